"""Memory, time and disk over many trials, or many members, with real, tiny networks.

    python benchmarks/memory.py search [--count 100] [--every 10] [--strategy random]
    python benchmarks/memory.py members [--count 100] [--every 10]

All of them are trained in this process. Printed: resident memory and the sizes of the workspace's
folders after every few; at the end, over the second half, the slopes of memory (MB) and of time
(ms) for each further one. Keras keeps something for every model that is built; the engine clears
its session before each training.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from search_kills import make_data

from ensembles.cross_validation import CrossValidationSettings, cross_validate
from kaggle_digits.core.data import load
from kaggle_digits.engine import Resources
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from tuning.coordination import Goals
from tuning.narrowing import narrow
from tuning.search import SearchSettings, search

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_CONFIG = TrainingConfig(augmentation="none", filters=16)
_FOLDS = 10


def resident() -> float:
    """Return this process's resident memory in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("resident memory can be read on Linux only")


def size(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


class Watch(Silent):
    """Notes memory and time whenever one more is done."""

    def __init__(self, workspace: Workspace, every: int, noun: str) -> None:
        """Begin the first one.

        Args:
            workspace: Whose folders are looked at.
            every: After how many a line is printed.
            noun: What they are called.
        """
        self._workspace = workspace
        self._every = every
        self._noun = noun
        self._last = time.monotonic()
        self.memory: list[float] = []
        self.seconds: list[float] = []

    def say(self, text: str) -> None:
        """Take a member's line for a member."""
        if text.startswith("member "):
            self.note()

    def note(self) -> None:
        """One more is done."""
        now = time.monotonic()
        self.seconds.append(now - self._last)
        self._last = now
        self.memory.append(resident())
        if len(self.memory) % self._every == 0:
            place = self._workspace
            sizes = (
                ("tuning", place.tuning),
                ("ensembles", place.ensembles),
                ("cache", place.cache),
            )
            print(
                f"{len(self.memory)} {self._noun}: {self.memory[-1]:.0f} MB resident, "
                f"{np.mean(self.seconds[-self._every :]):.2f} s each; "
                + ", ".join(f"{name} {size(folder):.2f} MB" for name, folder in sizes),
                flush=True,
            )


def searched(
    dataset: Dataset, workspace: Workspace, count: int, strategy: str, watch: Watch
) -> None:
    """Search so many trials."""
    settings = SearchSettings(
        epochs=2, rows=200, copies=1, max_megamacs=5, seed=0, strategy=strategy,
        space=narrow({"augmentation": "none", "filters": [16, 24]}, "the benchmark"),
        portfolio=(_CONFIG,),
    )  # fmt: skip
    search(
        dataset,
        workspace,
        settings,
        Goals(count, 0),
        Deadline(),
        watch,
        Resources(workers=1),
        watcher=lambda _: watch.note(),
    )


def cross_validated(dataset: Dataset, workspace: Workspace, count: int, watch: Watch) -> None:
    """Train so many members, or a few more: whole fold sets."""
    settings = CrossValidationSettings(
        folds=_FOLDS,
        epochs=2,
        copies=1,
        seed=0,
        seeds=-(-count // _FOLDS),
        resources=Resources(workers=1),
    )
    cross_validate([_CONFIG], dataset, workspace, settings, watch)


def slope(values: list[float]) -> float:
    """Return the slope of a line through the second half of the values."""
    half = np.array(values[len(values) // 2 :])
    return float(np.polyfit(np.arange(len(half)), half, 1)[0])


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["search", "members"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--strategy", default="random")
    given = parser.parse_args()
    noun = "trials" if given.what == "search" else "members"
    with tempfile.TemporaryDirectory() as made:
        make_data(Path(made) / "competition")
        workspace = Workspace(Path(made) / "workspace")
        dataset = load(Path(made) / "competition", workspace, Silent().say)
        watch = Watch(workspace, given.every, noun)
        if given.what == "search":
            searched(dataset, workspace, given.count, given.strategy, watch)
        else:
            cross_validated(dataset, workspace, given.count, watch)
    print(
        f"over the second half of {len(watch.memory)} {noun}: {slope(watch.memory):+.3f} MB and "
        f"{1000 * slope(watch.seconds):+.1f} ms for each further one"
    )


if __name__ == "__main__":
    main()
