"""Predict how long members take on more workers, from what two of them took here.

    python benchmarks/scale.py [--data PATH] [--folds 8] [--epochs 2] [--repeats 3]

First it measures, on this machine: the seconds of every member with one worker of one thread, with
two of them, and with one of two threads; the start of the workers, and what the driver needs to
store a result. Then it simulates the engine's own loop (a worker that is free takes the next task;
the driver stores one result after another) with the measured times, and compares the simulation for
two workers with what two workers really took. The same simulation gives the table for more.

What it leaves out: nodes of unequal speed, and a network slower than `--network` MB/s.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

RESULT_MB = 1.3
DATA_MB = 55.0
CONFIG = {"family": "stepped", "growth": 2.0, "augmentation": "none"}


@dataclass(frozen=True)
class Times:
    """What was measured, in seconds.

    Args:
        members: What a member's task took, one value for each, with as many at a time as will be.
        start: From the command to the first task's beginning, the worker's own start included.
        storing: What the driver does for each result.
        ending: From the last result to the end of the command.
    """

    members: list[float]
    start: float
    storing: float
    ending: float


def simulate(times: Times, workers: int, members: int, network: float | None = None) -> float:
    """Return the seconds that so many workers take for so many members.

    Args:
        times: What was measured.
        workers: How many work at a time, all as fast as here.
        members: How many tasks.
        network: MB/s between driver and nodes; None for workers on this machine.
    """
    receiving = RESULT_MB / network if network else 0.0
    taken = itertools.cycle(times.members)
    # The object store sends the data to one node after another.
    sending = DATA_MB / network if network else 0.0
    ends = [
        times.start + sending * (worker + 1) + next(taken)
        for worker in range(min(workers, members))
    ]
    heapq.heapify(ends)
    left = members - len(ends)
    driver = 0.0
    while ends:
        # The driver stores one result after another, and only then hands out the next task.
        driver = max(driver, heapq.heappop(ends) + receiving) + times.storing
        if left:
            left -= 1
            heapq.heappush(ends, driver + next(taken))
    return driver + times.ending


Records = list[dict[str, float]]


def measure(
    words: list[str], workspace: Path, workers: int, threads: int = 1
) -> tuple[float, Records]:
    """Train once; return the seconds of the command and each member's record."""
    began = time.time()
    subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "cv-train", "--quiet", "--threads", str(threads),
         "--workers", str(workers), "--workspace", str(workspace), *words],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.time() - began
    found = []
    for path in (workspace / "ensembles" / "members").glob("*/member.json"):
        record = json.loads(path.read_text())["record"]
        stored = path.stat().st_mtime - began
        found.append({"seconds": record["seconds"], "stored": stored})
    return seconds, sorted(found, key=lambda one: one["stored"])


def times_of(seconds: float, found: Records) -> Times:
    """Make the times of a run."""
    first = found[0]
    start = first["stored"] - first["seconds"]
    # What is left between a member's end and the next one's begin on the same worker.
    busy = sum(one["seconds"] for one in found)
    storing = max(0.0, (found[-1]["stored"] - start - busy) / len(found))
    return Times([one["seconds"] for one in found], start, storing, seconds - found[-1]["stored"])


def main() -> None:
    """Measure, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", type=float, default=100.0, help="MB/s")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        raise SystemExit("two workers need two cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        words = ["--folds", str(given.folds), "--epochs", str(given.epochs)]
        words += ["--config", str(folder / "config.json")]
        if given.data is not None:
            words += ["--data", str(given.data.resolve())]
        errors, ratios, widths = [], [], []
        for repeat in range(given.repeats):
            load = os.getloadavg()[0]
            alone, ones = measure(words, folder / f"one{repeat}", 1)
            both, twos = measure(words, folder / f"two{repeat}", 2)
            wide, wides = measure(words, folder / f"wide{repeat}", 1, threads=2)
            one, two = times_of(alone, ones), times_of(both, twos)
            widths.append((wide - times_of(wide, wides).start) / (both - two.start))
            # Two at a time are slower each: they share the memory's bandwidth. What a driver needs
            # for each result is that of the run with one worker.
            two = replace(two, storing=one.storing)
            expected = simulate(two, 2, len(twos))
            errors.append(expected / both - 1)
            ratios.append((both - two.start) / (alone - one.start))
            print(
                f"load before {load:.1f}: one worker {alone:.1f} s, two {both:.1f} s, simulated "
                f"{expected:.1f} s ({errors[-1]:+.1%}); members per hour x {1 / ratios[-1]:.2f}, "
                f"against one worker of two threads x {widths[-1]:.2f}",
                flush=True,
            )
        print(
            f"two workers: simulated against measured {statistics.mean(errors):+.1%}, members per "
            f"hour x {statistics.mean(1 / ratio for ratio in ratios):.2f}, against one worker of "
            f"two threads x {statistics.mean(widths):.2f}"
        )
        print("\n| workers | 40 members | 400 members | 4,000 members |\n|---|---|---|---|")
        for workers in (1, 2, 10, 100, 1000):
            own = one if workers == 1 else two
            network = None if workers <= 2 else given.network
            cells = [
                f"{simulate(own, workers, count, network):,.0f} s" for count in (40, 400, 4000)
            ]
            print(f"| {workers:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
