"""What an idea brings to a mean of sets, against as many further sets of the same kind.

    python benchmarks/ideas.py --data digit-recognizer.zip --workspace sets
        [--sets plain,deslant,box20] [--folds 3] [--epochs 12] [--seeds 3] [--workers 2]
        [--most 2] [--shared] [--show]

Each set of `ideas.toml` is one member for each fold, so that its out-of-fold predictions cover all
rows. What a member predicts is a folder: called again, the script goes on where it was. `--show`
trains nothing. Each worker has a core of its own; with `--shared`, for a GPU, none has.

The table has every set, and every mean of up to `--most` distinct sets, beside its control: the
mean of as many `plain` sets of different seeds. Log-losses are those of the mean, calibrated by one
temperature. The difference to the control is of the rows' own losses, averaged over the seeds, with
a bootstrap interval of 95 % over the rows. Seconds are those of a fold's training, and of one run
only where all was trained in one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ways import TRIED, Way

from kaggle_digits.core import augmentation, inference, training
from kaggle_digits.core.augmentation import POLICIES, Bank
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import Folds, make_folds
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.ground import names as known_names
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.files import whole_folder, write_json
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

CONTROL = "plain"
SHARED = {
    "family": "stepped",
    "growth": 2.0,
    "views": 9,
    "augmentation": "elastic",
    "optimizer": "muon",
    "learning_rate": 0.02,
}
RESAMPLES = 2000


@dataclass(frozen=True)
class Unit:
    """A member: its set's name, its fold and its seed."""

    name: str
    fold: int
    seed: int


class Sets:
    """The members of all sets in one workspace."""

    def __init__(self, given: argparse.Namespace) -> None:
        POLICIES.update(TRIED)
        augmentation.MOST_BYTES = 2**40  # the banks of all sets stay
        known_names.POLICIES = (*known_names.POLICIES, *TRIED)  # type: ignore[assignment]
        self._workspace = Workspace(given.workspace)
        self._given = given
        recipes = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
        self.ways = {name: Way(**values.pop("trained", {})) for name, values in recipes.items()}
        self.configs = {
            name: TrainingConfig.from_json(SHARED | values) for name, values in recipes.items()
        }
        self.dataset = load(given.data, self._workspace)
        self.images, self.labels = self.dataset.images, self.dataset.labels
        self.folds = self.folds_of(CONTROL)

    def folds_of(self, name: str) -> Folds:
        """Return the folds of a set."""
        return make_folds(
            self.dataset, self._given.folds * self.ways[name].folds, 0, self._workspace
        )

    def units(self, name: str, seed: int) -> list[Unit]:
        """Return the members of a set."""
        folds = self._given.folds * self.ways[name].folds
        return [Unit(name, fold, seed) for fold in range(folds)]

    def place(self, unit: Unit) -> Path:
        """Return the folder of what a member predicts."""
        made_of = digest([self.configs[unit.name].to_json(), str(self.ways[unit.name])])[:8]
        which = made_of, self._given.folds, self._given.epochs, unit.fold, unit.seed
        return self._workspace.root / "members" / "-".join(map(str, (unit.name, *which)))

    def bank(self, name: str) -> Bank:
        """Return the bank of a set."""
        return Bank.of(self.configs[name], self.dataset, 0, self._workspace)

    def train(self, unit: Unit) -> None:
        """Train a member and keep what it predicts for its fold."""
        config, way, folds = self.configs[unit.name], self.ways[unit.name], self.folds_of(unit.name)
        rows = folds.training_rows(unit.fold)
        told = self._told(unit, rows) if way.teacher else None
        targets = None
        if way.soft and told is not None:
            own = np.eye(told.shape[1], dtype=np.float32)[self.labels[rows]]
            targets = ((1 - way.soft) * own + way.soft * told).astype(np.float32)
        job = TrainingJob(
            name=f"{unit.name} fold {unit.fold} seed {unit.seed}",
            config=config,
            train_rows=rows,
            held_out_rows=folds.held_out_rows(unit.fold),
            epochs=way.epochs(self._given.epochs),
            copies=way.epochs(self._given.epochs),
            seed=int(digest([unit.seed, config.digest, unit.fold])[:7], 16),
            predict_test=False,
            targets=targets,
        )
        checkpoints = self._workspace.cache / "checkpoints" / unit.name
        bank = self.bank(unit.name)
        bank.ensure(range(job.copies), Silent())
        given_label = None if told is None else told[np.arange(len(rows)), self.labels[rows]]
        with way.in_force(self.images[rows], given_label), whole_folder(self.place(unit)) as folder:
            trained = training.train(
                job, self.dataset, bank, checkpoints, Silent(), model_file=folder / "model.keras"
            )
            np.save(folder / "held-out.npy", trained.held_out)
            write_json(folder / "record.json", {"seconds": trained.seconds, "set": unit.name})
        trained.checkpoint.unlink(missing_ok=True)

    def _told(self, unit: Unit, rows: np.ndarray) -> np.ndarray:
        """Return what the control's member of this fold and seed says of its training rows."""
        config = self.configs[CONTROL]
        place = self.place(Unit(CONTROL, unit.fold, unit.seed))
        model = inference.load(place / "model.keras")
        return inference.predict(model, self.images[rows], config)

    def seconds(self, name: str, seed: int) -> float:
        """Return how long a member of a set was trained, on average."""
        units = self.units(name, seed)
        told = [json.loads((self.place(unit) / "record.json").read_text()) for unit in units]
        return float(np.mean([record["seconds"] for record in told]))

    def whole(self, name: str, seed: int) -> np.ndarray | None:
        """Return a set's out-of-fold predictions, [rows, classes]; None if a member is missing."""
        places = {unit.fold: self.place(unit) / "held-out.npy" for unit in self.units(name, seed)}
        if not all(path.exists() for path in places.values()):
            return None
        folds = self.folds_of(name)
        found = np.zeros((len(self.labels), len(self.dataset.competition.classes)))
        for fold, path in places.items():
            found[folds.held_out_rows(fold)] = np.load(path)
        return found


_sets: Sets | None = None


def _begin(given: argparse.Namespace, cores: Any) -> None:
    """Make a worker ready: its core, and the sets it takes members of."""
    global _sets
    if cores is not None:
        os.sched_setaffinity(0, {cores.get()})
    _sets = Sets(given)


def _work(task: Unit | tuple[str, int]) -> str:
    """Train a member, or make one copy of a set's bank."""
    assert _sets is not None
    if isinstance(task, Unit):
        _sets.train(task)
        return f"{task.name} fold {task.fold} seed {task.seed}"
    name, copy = task
    _sets.bank(name).ensure([copy], Silent())
    return f"{name} copy {copy}"


def train_missing(sets: Sets, names: list[str], given: argparse.Namespace) -> None:
    """Train what is not there; sets that ask the control's members come last."""
    waves: dict[bool, list[Unit | tuple[str, int]]] = {False: [], True: []}
    begun: set[tuple[str, int]] = set()
    for seed, name in itertools.product(range(given.first_seed, given.seeds), names):
        missing = [unit for unit in sets.units(name, seed) if not sets.place(unit).exists()]
        bank, way = sets.bank(name), sets.ways[name]
        tasks = waves[way.teacher]
        if missing:
            copies = bank.missing(range(way.epochs(given.epochs)))
            new = [copy for copy in copies if (bank.digest, copy) not in begun]
            begun.update((bank.digest, copy) for copy in new)
            tasks += [(name, copy) for copy in new]
        tasks += missing
    context = multiprocessing.get_context("spawn")
    cores = None
    if not given.shared:
        cores = context.SimpleQueue()
        for core in sorted(os.sched_getaffinity(0))[: given.workers]:
            cores.put(core)
    with ProcessPoolExecutor(given.workers, context, _begin, (given, cores)) as pool:
        for tasks in waves.values():
            for done in pool.map(_work, tasks):
                print(f"{done} done", flush=True)


@dataclass(frozen=True)
class Judged:
    """A mean of sets, judged on all rows: one value for each seed, and the rows' mean losses."""

    errors: list[int]
    log_losses: list[float]
    losses: np.ndarray


def judge(means: list[np.ndarray], labels: np.ndarray) -> Judged:
    """Judge one mean for each seed, each calibrated by one temperature."""
    errors = [int((mean.argmax(axis=1) != labels).sum()) for mean in means]
    losses = [row_losses(temper(mean, best_temperature(mean, labels)), labels) for mean in means]
    return Judged(errors, [float(found.mean()) for found in losses], np.mean(losses, axis=0))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of a mean over rows."""
    random = np.random.default_rng(0)
    rows = len(differences)
    means = [differences[random.integers(0, rows, rows)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def show(sets: Sets, names: list[str], seeds: int, most: int) -> None:
    """Print the table of all means that can be made of what is there."""
    found = {(name, seed): sets.whole(name, seed) for name in sets.configs for seed in range(seeds)}
    whole = {which: made for which, made in found.items() if made is not None}
    plain = [seed for seed in range(seeds) if (CONTROL, seed) in whole]
    seconds = cache(sets.seconds)
    print(
        "| mean of | seeds | seconds | errors | log-loss "
        "| control: errors | log-loss | difference |\n|---|---|---|---|---|---|---|---|"
    )
    for size in range(1, most + 1):
        for chosen in itertools.combinations(names, size):
            here = [n for n in range(seeds) if all((name, n) in whole for name in chosen)]
            if not here:
                continue
            made = judge(
                [np.mean([whole[name, n] for name in chosen], axis=0) for n in here], sets.labels
            )
            spent = [sum(seconds(name, n) for name in chosen) for n in here]
            cells = [" + ".join(chosen), str(len(here)), _spread(spent, 0), *_cells(made)]
            cells += [""] * 3
            if size <= len(plain) and chosen != (CONTROL,):
                turns = [[plain[(n + k) % len(plain)] for k in range(size)] for n in here]
                alike = judge(
                    [np.mean([whole[CONTROL, n] for n in turn], axis=0) for turn in turns],
                    sets.labels,
                )
                low, high = interval(made.losses - alike.losses)
                mean = float((made.losses - alike.losses).mean())
                cells[5:] = [*_cells(alike), f"{mean:+.5f} [{low:+.5f}, {high:+.5f}]"]
            print("| " + " | ".join(cells) + " |", flush=True)


def _cells(judged: Judged) -> tuple[str, str]:
    return _spread(judged.errors, 0), _spread(judged.log_losses, 5)


def _spread(values: list[int] | list[float], digits: int) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--sets", help="names, with commas between them; all if left out")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--most", type=int, default=2)
    parser.add_argument("--shared", action="store_true", help="workers share cores and a GPU")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    sets = Sets(given)
    names = given.sets.split(",") if given.sets else list(sets.configs)
    if not given.show:
        train_missing(sets, names, given)
    show(sets, names, given.seeds, given.most)


if __name__ == "__main__":
    main()
