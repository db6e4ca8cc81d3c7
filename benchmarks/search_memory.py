"""Memory and disk of a search over many trials with real, tiny networks.

    python benchmarks/search_memory.py [--trials 100] [--every 10] [--strategy random]

The whole search runs in this process. Printed: resident memory and the sizes of the tuning folder
and of the cache after every few trials; at the end the slope of memory over the second half, MB
per trial. Keras keeps something for every model that is built; the engine clears its session
before each training.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from search_kills import make_data

from kaggle_digits.core.data import load
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from tuning.budget import Budget
from tuning.coordination import Goals
from tuning.narrowing import narrow
from tuning.search import SearchSettings, search
from tuning.study import Trial


def resident() -> float:
    """Return this process's resident memory in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("resident memory can be read on Linux only")


def size(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Search and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--strategy", default="random")
    given = parser.parse_args()
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as made:
        make_data(Path(made) / "competition")
        workspace = Workspace(Path(made) / "workspace")
        dataset = load(Path(made) / "competition", workspace, Silent().say)

        def watch(trial: Trial) -> None:
            memory.append(resident())
            if len(memory) % given.every == 0:
                print(
                    f"{len(memory)} trials: {memory[-1]:.0f} MB resident, tuning "
                    f"{size(workspace.tuning):.2f} MB, cache {size(workspace.cache):.2f} MB",
                    flush=True,
                )

        search(
            dataset,
            workspace,
            SearchSettings(
                epochs=2, rows=200, copies=1, max_megamacs=5, seed=0, strategy=given.strategy,
                space=narrow({"augmentation": "none", "filters": [16, 24]}, "the benchmark"),
                portfolio=(TrainingConfig(augmentation="none", filters=16),),
            ),
            Goals(given.trials, 0),
            lambda spent: Budget(None, spent, time.monotonic(), races=False),
            Silent(),
            watcher=watch,
        )  # fmt: skip
    half = np.array(memory[len(memory) // 2 :])
    slope = np.polyfit(np.arange(len(half)), half, 1)[0]
    print(f"memory over the second half: {slope:+.3f} MB a trial")


if __name__ == "__main__":
    main()
