"""How many trials per hour two workers finish, against one: one thread each in both cases.

    python benchmarks/search_workers.py [--data PATH] [--trials 12] [--workers 2] [--repeats 1]
        [-- OPTIONS OF tune]

Both searches make the same trials (random proposals are fixed by their number) with `--workers`;
each worker is bound to one core. What comes once is left out: a first call makes one trial more,
and with it the bank; the time of the second call begins when its first trial is handed out, so
after the start of its processes, and ends with the last trial. On a machine with fewer free cores
than workers the ratio says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def search(words: list[str], trials: int, workspace: Path, workers: int, cores: list[int]) -> float:
    """Search with so many workers on as many cores; return trials per hour."""
    for count in (1, 1 + trials):
        subprocess.run(
            [
                sys.executable, "-c",
                f"import os; os.sched_setaffinity(0, {cores[:workers]}); "
                "from kaggle_digits.shell.cli import main; main()",
                "tune", "--json", "--quiet", "--strategy", "random", "--race", "0",
                "--trials", str(count), "--workers", str(workers), "--threads", "1",
                "--workspace", str(workspace),
                *words,
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    ends, begins = [], []
    for path in (workspace / "tuning" / "trials").glob("*.json"):
        trial = json.loads(path.read_text())
        if trial["state"] == "completed" and trial["number"] > 0:
            end = path.stat().st_mtime
            ends.append(end)
            begins.append(end - trial["seconds"])
    return 3600 * len(ends) / (max(ends) - min(begins))


def main() -> None:
    """Compare one worker with several."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < given.workers:
        raise SystemExit(f"{given.workers} workers need as many cores; {len(cores)} are here")
    words = [*given.options]
    if given.data is not None:
        words += ["--data", str(given.data.resolve())]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.toml"
        space.write_text('augmentation = "standard"\n')
        if "--space" not in given.options:
            words += ["--space", str(space)]
        for repeat in range(given.repeats):
            load = os.getloadavg()[0]
            one = search(words, given.trials, Path(folder) / f"one{repeat}", 1, cores)
            many = search(words, given.trials, Path(folder) / f"many{repeat}", given.workers, cores)
            ratios.append(many / one)
            print(
                f"1 worker {one:.0f} trials/h, {given.workers} workers {many:.0f} trials/h: "
                f"{many / one:.2f}× (load before: {load:.1f})",
                flush=True,
            )
    print(f"{given.workers} workers: {statistics.mean(ratios):.2f}× the trials per hour of one")


if __name__ == "__main__":
    main()
