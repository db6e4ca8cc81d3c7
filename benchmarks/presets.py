"""What a preset comes to: out-of-fold figures over seeds, and time, also beside an earlier commit.

    python benchmarks/presets.py --data digit-recognizer.zip --preset quick [--seeds 3]
        [--before ../earlier/.venv/bin/kaggle-digits] [--before-seeds 1] [--turns 10]
        [--keep workspaces]

Each run is `kaggle-digits run` in a workspace of its own, with nothing there yet, one after the
other; runs of the earlier commit, which has to be installed somewhere, stand between those of this
one, so that both meet the machine at the same speed. Where that changes within a run, `--turns 10`
lets the two of a seed run by turns, ten minutes for the earlier commit and five for this one, the
other stopped; seconds are then those of its own turns. The log-loss is that of the submission's
blend. A run that ended before (`--keep`) is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = str(Path(sys.executable).with_name("kaggle-digits"))


class Run:
    """A preset in an empty workspace.

    Args:
        command: The `kaggle-digits` to call.
        place: Its workspace; what it says at its end is kept beside it.
        seed: The run's seed.
        given: The script's options.
    """

    def __init__(self, command: str, place: Path, seed: int, given: argparse.Namespace) -> None:
        self._call = [command, "run", "--preset", given.preset, "--seed", str(seed)]
        self._call += ["--json", "--quiet", "--data", str(given.data), "--workspace", str(place)]
        self._told = place.with_suffix(".json")
        self._seconds = 0.0
        self._load = 0.0
        self._made: subprocess.Popen[str] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has said what it has to say."""
        return self._told.exists()

    def go_on(self, seconds: float | None = None) -> None:
        """Begin it or let it go on, to its end or for some seconds; it is stopped after these."""
        began = time.monotonic()
        if self._made is None:
            self._load = os.getloadavg()[0]
            self._made = subprocess.Popen(
                self._call, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        else:
            os.killpg(self._made.pid, signal.SIGCONT)
        try:
            said, _ = self._made.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._made.pid, signal.SIGSTOP)
            self._seconds += time.monotonic() - began
            return
        self._seconds += time.monotonic() - began
        if self._made.returncode:
            raise subprocess.CalledProcessError(self._made.returncode, self._call)
        figures = json.loads(said) | {"seconds": self._seconds, "load_before": self._load}
        self._told.write_text(json.dumps(figures))

    def end(self) -> None:
        """End it if it is under way, stopped or not."""
        if self._made is not None and self._made.returncode is None:
            os.killpg(self._made.pid, signal.SIGKILL)
            self._made.wait()

    def figures(self) -> dict[str, Any]:
        """Return and print what it came to."""
        found: dict[str, Any] = json.loads(self._told.read_text())
        print(
            f"{self._told.stem}: {found['oof_accuracy']:.5f}, log-loss {found['oof_log_loss']:.5f},"
            f" {found['seconds']:.0f} s (load before {found['load_before']:.1f})",
            flush=True,
        )
        return found


def make(runs: list[Run], minutes: float | None) -> None:
    """Make runs, one after the other or by turns, each with half of the minutes of the last."""
    try:
        while waiting := [one for one in runs if not one.ended]:
            for one in waiting:
                alone = minutes is None or all(other.ended for other in runs if other is not one)
                one.go_on(None if alone else 60 * minutes / 2 ** runs.index(one))
    finally:
        for one in runs:
            one.end()


def row(name: str, found: list[dict[str, Any]]) -> str:
    """Return a line of the table: mean ± sd over the seeds."""
    cells = [name, str(len(found))]
    for key, digits in (("oof_accuracy", 5), ("oof_log_loss", 5), ("seconds", 0)):
        values = [one[key] for one in found]
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.{digits}f}{spread}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", help="kaggle-digits of an earlier commit")
    parser.add_argument("--before-seeds", type=int, default=1)
    parser.add_argument("--turns", type=float, help="minutes of the earlier commit's turns")
    parser.add_argument("--keep", type=Path, help="where workspaces stay; default: nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        now: list[dict[str, Any]] = []
        before: list[dict[str, Any]] = []
        for seed in range(given.seeds):
            runs = [Run(HERE, folder / f"{given.preset}-{seed}", seed, given)]
            if given.before and seed < given.before_seeds:
                name = f"{given.preset}-before-{seed}"
                runs.insert(0, Run(given.before, folder / name, seed, given))
            make(runs, given.turns)
            before += [one.figures() for one in runs[:-1]]
            now.append(runs[-1].figures())
    print("\n| commit | seeds | OOF accuracy | log-loss | seconds |\n|---|---|---|---|---|")
    print(row("this", now))
    if before:
        print(row("before", before))
        pairs = zip(now, before, strict=False)
        ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
        print(f"\ntime against before: {np.mean(ratios):.2f}")


if __name__ == "__main__":
    main()
