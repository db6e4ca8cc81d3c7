"""What `run` makes of a time budget: whether it is kept, and how good the submission is in truth.

    python benchmarks/time_budgets.py [--budgets 45s 90s 3m 6m] [--busy 0 2] [--data NAME …]

NAME is `digits` (the embedded ones) or `letters` (26 drawn ones, 3,900 + 2,600 images of 28×28,
see letters.py). Each run has a workspace of its own; `--busy N` runs N endless loops beside it. The
true accuracy is that of `check --truth`, for the embedded digits of their own truth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import letters

TOOL = [sys.executable, "-m", "kaggle_digits"]


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Run endless loops beside the work."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def truth_of(checked: dict[str, object]) -> float:
    """Return the true accuracy that `check` found."""
    value = checked["local_accuracy"]
    assert isinstance(value, float)
    return value


def run(budget: str, data: list[str], truth: list[str]) -> str:
    """Run once; return a line of the table without its first columns."""
    with tempfile.TemporaryDirectory() as name:
        place = ["--workspace", str(Path(name) / "w"), *data, "--json"]
        began = time.monotonic()
        ran = subprocess.run(
            [*TOOL, "run", "--time-budget", budget, *place], capture_output=True, text=True
        )
        seconds = time.monotonic() - began
        if ran.returncode:
            said = json.loads(ran.stdout)["error"]
            return f"{seconds:.0f} s | exit code {ran.returncode}: {said}"
        made = json.loads(ran.stdout)
        checked = subprocess.run(
            [*TOOL, "check", *place, *truth], capture_output=True, text=True, check=True
        )
        records = [
            json.loads(path.read_text())["record"]
            for path in (Path(name) / "w" / "ensembles" / "members").glob("*/member.json")
        ]
        epochs = sorted({len(record["history"]) for record in records})
        return (
            f"{seconds:.0f} s | {made['members']} members, {epochs} epochs | "
            f"{made['oof_accuracy']:.4f} | {truth_of(json.loads(checked.stdout)):.4f}"
        )


def main() -> None:
    """Print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", nargs="+", default=["45s", "90s", "3m", "6m"])
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--data", nargs="+", default=["digits", "letters"])
    given = parser.parse_args()
    print("| data | busy loops | budget | taken | made | OOF accuracy | true accuracy |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "letters"
        letters.write(folder, 3900, 2600)
        truth = Path(name) / "truth.csv"
        os.replace(folder / "truth.csv", truth)
        ways = {
            "digits": ([], []),
            "letters": (["--data", str(folder)], ["--truth", str(truth)]),
        }
        for data in given.data:
            for loops in given.busy:
                for budget in given.budgets:
                    with busy(loops):
                        line = run(budget, *ways[data])
                    print(f"| {data} | {loops} | {budget} | {line} |", flush=True)


if __name__ == "__main__":
    main()
