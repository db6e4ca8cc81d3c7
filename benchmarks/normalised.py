"""What sets of differently made members bring to a mean, against as many alike sets.

    python benchmarks/normalised.py --data digit-recognizer.zip --workspace sets
        [--sets plain,deslant,box20] [--folds 3] [--epochs 12] [--seeds 3] [--workers 2]
        [--most 4] [--show]

Each set of `normalised.toml` is one member for each fold, so that its out-of-fold predictions cover
all rows. Every member is a process of its own, what it predicts is a folder, and a killed member
goes on from its checkpoint: called again, the script goes on where it was. `--show` trains nothing.

The table has every mean of up to `--most` distinct sets, beside its control: the mean of as many
`plain` sets of different seeds. Log-losses are those of the mean, calibrated by one temperature.
The difference to the control is of the rows' own losses, averaged over the seeds, with a bootstrap
interval of 95 % over the rows.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.files import whole_folder, write_json
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

CONTROL = "plain"
SHARED = {"family": "stepped", "growth": 2.0, "views": 9}
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
        self._workspace = Workspace(given.workspace)
        self._given = given
        recipes = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
        self.configs = {
            name: TrainingConfig.from_json(SHARED | values) for name, values in recipes.items()
        }
        self.dataset = load(given.data, self._workspace)
        self.folds = make_folds(self.dataset, given.folds, 0, self._workspace)
        self.images, self.labels = self.dataset.images, self.dataset.labels

    def place(self, unit: Unit) -> Path:
        """Return the folder of what a member predicts."""
        made_of = self.configs[unit.name].digest, self._given.folds, self._given.epochs
        which = "-".join(map(str, (*made_of, unit.fold, unit.seed)))
        return self._workspace.root / "members" / which

    def bank(self, name: str) -> Bank:
        """Return the bank of a set."""
        config = self.configs[name]
        return Bank(
            self.dataset,
            config.augmentation,
            0,
            self._workspace,
            normalisation=config.normalisation,
        )

    def train(self, unit: Unit) -> None:
        """Train a member and keep what it predicts for its fold."""
        config, epochs = self.configs[unit.name], self._given.epochs
        job = TrainingJob(
            name=f"{unit.name} fold {unit.fold} seed {unit.seed}",
            config=config,
            train_rows=self.folds.training_rows(unit.fold),
            held_out_rows=self.folds.held_out_rows(unit.fold),
            epochs=epochs,
            copies=epochs,
            seed=int(digest([unit.seed, config.digest, unit.fold])[:7], 16),
            predict_test=False,
        )
        checkpoints = self._workspace.cache / "checkpoints"
        bank = self.bank(unit.name)
        with whole_folder(self.place(unit)) as folder:
            trained = train(
                job, self.dataset, bank, checkpoints, Silent(), model_file=folder / "model.keras"
            )
            np.save(folder / "held-out.npy", trained.held_out)
            write_json(folder / "record.json", {"seconds": trained.seconds, "set": unit.name})
        trained.checkpoint.unlink(missing_ok=True)

    def whole(self, name: str, seed: int) -> np.ndarray | None:
        """Return a set's out-of-fold predictions, [rows, classes]; None if a member is missing."""
        found = np.zeros((len(self.labels), len(self.dataset.competition.classes)))
        for fold in range(self._given.folds):
            path = self.place(Unit(name, fold, seed)) / "held-out.npy"
            if not path.exists():
                return None
            found[self.folds.held_out_rows(fold)] = np.load(path)
        return found


def train_missing(sets: Sets, names: list[str], given: argparse.Namespace) -> None:
    """Train what is not there, each member in a process on a core of its own."""
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[: given.workers]:
        cores.put(core)

    def one(unit: Unit) -> None:
        if sets.place(unit).exists():
            return
        core = cores.get()
        order = ["--member", unit.name, str(unit.fold), str(unit.seed)]
        try:
            subprocess.run(
                ["taskset", "--cpu-list", str(core), sys.executable, *sys.argv, *order], check=True
            )
        finally:
            cores.put(core)
        print(f"{unit.name} fold {unit.fold} seed {unit.seed} done", flush=True)

    for seed, name in itertools.product(range(given.first_seed, given.seeds), names):
        units = [Unit(name, fold, seed) for fold in range(given.folds)]
        if not all(sets.place(unit).exists() for unit in units):
            sets.bank(name).ensure(range(given.epochs), Silent())
    with ThreadPoolExecutor(given.workers) as pool:
        order = itertools.product(range(given.first_seed, given.seeds), names, range(given.folds))
        for done in [pool.submit(one, Unit(name, fold, seed)) for seed, name, fold in order]:
            done.result()


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
    print("| mean of | seeds | errors | log-loss | control: errors | log-loss | difference |")
    print("|---|---|---|---|---|---|---|")
    for size in range(1, most + 1):
        for chosen in itertools.combinations(names, size):
            here = [n for n in range(seeds) if all((name, n) in whole for name in chosen)]
            if not here:
                continue
            made = judge(
                [np.mean([whole[name, n] for name in chosen], axis=0) for n in here], sets.labels
            )
            cells = [" + ".join(chosen), str(len(here)), *_cells(made), "", "", ""]
            if size <= len(plain) and chosen != (CONTROL,):
                turns = [[plain[(n + k) % len(plain)] for k in range(size)] for n in here]
                alike = judge(
                    [np.mean([whole[CONTROL, n] for n in turn], axis=0) for turn in turns],
                    sets.labels,
                )
                low, high = interval(made.losses - alike.losses)
                mean = float((made.losses - alike.losses).mean())
                cells[4:] = [*_cells(alike), f"{mean:+.5f} [{low:+.5f}, {high:+.5f}]"]
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
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--member", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sets = Sets(given)
    if given.member:
        name, fold, seed = given.member
        sets.train(Unit(name, int(fold), int(seed)))
        return
    names = given.sets.split(",") if given.sets else list(sets.configs)
    if not given.show:
        train_missing(sets, names, given)
    show(sets, names, given.seeds, given.most)


if __name__ == "__main__":
    main()
