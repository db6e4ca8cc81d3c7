"""Do pseudo-labels help? Out-of-fold with and without them, over several seeds.

    python benchmarks/pseudo_labels.py [--data PATH] [--folder DIR] [--seeds 3] [--folds 5]
        [--epochs 14] [--config my.toml ...] [--equal-steps] [-- --pseudo-threshold 0.99 ...]

Each seed has folds, augmentation and networks of its own, and a workspace under the folder: called
again, it goes on. Compared are the members without pseudo-labels, those of the last round, and the
mean of both. Pseudo-labelled images make an epoch longer; `--equal-steps` also trains members
without them for as many steps as those with them, by more epochs. Options behind `--` are handed
to `cv-train`. Figures are mean ± standard deviation over the seeds, and the difference to the first
line, paired by seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from kill_and_resume import call

from kaggle_digits.core.data import load
from kaggle_digits.core.data.dataset import Dataset
from kaggle_digits.core.folds import Folds, make_folds
from kaggle_digits.core.predictions import Score, score
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey

WITHOUT, WITH, BOTH, LONGER = "without", "with", "mean of both", "without, as many steps"


class Seed:
    """One seed's workspace and what is trained there."""

    def __init__(self, given: argparse.Namespace, seed: int) -> None:
        self.place = Workspace(given.folder / f"seed-{seed}")
        self.dataset: Dataset = load(given.data, self.place)
        self.folds: Folds = make_folds(self.dataset, given.folds, seed, self.place)
        self._common = ["--seed", str(seed), "--folds", str(given.folds)]
        self._common += ["--workspace", str(self.place.root)]
        if given.data:
            self._common += ["--data", str(given.data)]
        for path in given.config:
            self._common += ["--config", str(path)]
        if not given.config:
            plain = given.folder / "default.json"
            plain.write_text("{}\n")
            self._common += ["--config", str(plain)]

    def train(self, epochs: int, options: Sequence[str] = ()) -> list[MemberKey]:
        """Train what is missing; return the plan's members."""
        call("cv-train", [*self._common, "--epochs", str(epochs), *options])
        return MemberStore(self.place).read_plan()[1]

    def judge(self, keys: Sequence[MemberKey]) -> Score:
        """Return the score of the members' mean, each row judged by those that never saw it."""
        labels = self.dataset.labels
        total = np.zeros((len(labels), len(self.dataset.competition.classes)))
        for key in keys:
            total[self.folds.held_out_rows(key.fold)] += self._load(key).held_out
        return score(total * self.folds.count / len(keys), labels)

    def pseudo_rows(self, keys: Sequence[MemberKey]) -> float:
        """Return how many test images join a member's training, on average."""
        store = MemberStore(self.place)
        return float(np.mean([store.record(key)["pseudo_labels"]["rows"] for key in keys]))

    def _load(self, key: MemberKey) -> Member:
        shape = len(self.folds.held_out_rows(key.fold)), len(self.dataset.test_images)
        classes = len(self.dataset.competition.classes)
        return MemberStore(self.place).load(key, shape, classes)


def measure(given: argparse.Namespace, number: int) -> dict[str, Score]:
    """Return each arm's score for one seed."""
    seed = Seed(given, number)
    without = seed.train(given.epochs)
    both = seed.train(given.epochs, ["--pseudo-label", *given.options])
    helped = [key for key in both if key.round]
    found = {
        WITHOUT: seed.judge(without), WITH: seed.judge(helped), BOTH: seed.judge(both)
    }  # fmt: skip
    joined = seed.pseudo_rows(helped)
    own = len(seed.dataset.labels) * (given.folds - 1) / given.folds
    print(f"seed {number}: {joined:,.0f} of {len(seed.dataset.test_images):,} test images join")
    if given.equal_steps:
        found[LONGER] = seed.judge(seed.train(round(given.epochs * (own + joined) / own)))
    for arm, judged in found.items():
        print(f"  {arm}: {_shown(judged.accuracy, judged.log_loss)}", flush=True)
    return found


def _shown(accuracy: float, log_loss: float) -> str:
    return f"accuracy {accuracy:.5f}, log-loss {log_loss:.5f}"


def _spread(values: Sequence[float], sign: str = "") -> str:
    deviation = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return f"{np.mean(values):{sign}.5f} ± {deviation:.5f}"


def main() -> None:
    """Train all arms for all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("pseudo-labels-workspace"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--equal-steps", action="store_true")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    seeds = [measure(given, number) for number in range(given.seeds)]
    print(f"\n{given.seeds} seeds, {given.folds} folds, {given.epochs} epochs, options: "
          f"{' '.join(given.options) or 'none'}\n")  # fmt: skip
    print("| members | OOF accuracy | difference | OOF log-loss | difference |")
    print("|---|---|---|---|---|")
    table = {}
    for arm in seeds[0]:
        accuracy = [found[arm].accuracy for found in seeds]
        losses = [found[arm].log_loss for found in seeds]
        gains = [found[arm].accuracy - found[WITHOUT].accuracy for found in seeds]
        falls = [found[arm].log_loss - found[WITHOUT].log_loss for found in seeds]
        table[arm] = {"accuracy": accuracy, "log_loss": losses}
        print(f"| {arm} | {_spread(accuracy)} | {_spread(gains, '+')} | {_spread(losses)} | "
              f"{_spread(falls, '+')} |")  # fmt: skip
    (given.folder / "result.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
