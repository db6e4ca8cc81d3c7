"""Kill a search with SIGKILL at random moments and compare it with an undisturbed one.

    python benchmarks/search_kills.py [--kills 30] [--trials 40] [--strategy hyperband]
        [--data PATH] [--seed 0] [--workspace FOLDER] [-- OPTIONS OF tune]

Without --data the data are 300 generated images of 12×12 pixels, and networks are tiny. One
workspace is searched undisturbed; another is killed again and again, each time after a random share
of what the undisturbed search took, and then let end. All of this must hold:

* a trial that was completed before a kill has, after it, the same record, byte for byte;
* no completed trial is trained again;
* best.json of both workspaces is the same.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE, ROWS = 12, 300


def make_data(folder: Path) -> None:
    """Write a competition of bars: three classes, noisy, small."""
    draw = np.random.RandomState(0)
    names = ",".join(f"pixel{n}" for n in range(SIDE * SIDE))

    def image(label: int) -> list[int]:
        picture = draw.randint(0, 120, (SIDE, SIDE))
        place = draw.randint(2, SIDE - 2)
        if label == 0:
            picture[place] += 130
        elif label == 1:
            picture[:, place] += 130
        else:
            picture[np.arange(SIDE), np.arange(SIDE)] += 130
        return [int(v) for v in picture.reshape(-1)]

    folder.mkdir(parents=True)
    lines = [f"label,{names}"]
    for row in range(ROWS):
        lines.append(",".join(map(str, [row % 3, *image(row % 3)])))
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    lines = [names, *(",".join(map(str, image(row % 3))) for row in range(30))]
    (folder / "test.csv").write_text("\n".join(lines) + "\n")


def call(words: list[str], kill_after: float | None) -> tuple[float, bool]:
    """Call `tune`; return its wall time and whether it was killed."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "kaggle_digits", "tune", "--json", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, err = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.monotonic() - started, True
    if process.returncode != 0:
        raise SystemExit(f"tune ended with {process.returncode}: {err[-2000:]}")
    return time.monotonic() - started, False


def completed(workspace: Path) -> dict[str, bytes]:
    """Return the records of the trials that are complete, by file name."""
    found = {}
    for path in sorted((workspace / "tuning" / "trials").glob("*.json")):
        content = path.read_bytes()
        if json.loads(content)["state"] == "completed":
            found[path.name] = content
    return found


def top(workspace: Path) -> list[Any]:
    """Return best.json's configurations with their scores."""
    stored = json.loads((workspace / "tuning" / "best.json").read_text())
    return list(stored["configurations"])


def main() -> None:
    """Run both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--strategy", default="hyperband")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = given.workspace or Path(made)
        words = ["--trials", str(given.trials), "--strategy", given.strategy, *given.options]
        words += ["--seed", str(given.seed)]
        if given.data is None:
            given.data = folder / "competition"
            if not given.data.exists():
                make_data(given.data)
            space = folder / "space.toml"
            space.write_text('augmentation = "none"\nfilters = [16, 24]\nkernel_size = 3\n')
            words += ["--space", str(space)]
            if "--max-epochs" not in given.options:
                words += ["--max-epochs", "9"]
        words += ["--data", str(given.data)]
        quiet, killed = folder / "quiet", folder / "killed"
        began = time.time()
        seconds, _ = call([*words, "--workspace", str(quiet)], None)
        first = (quiet / "tuning" / "trials" / "0000.json").stat().st_mtime - began
        print(
            f"undisturbed: {seconds:.0f} s, the first trial after {first:.0f} s, "
            f"{len(completed(quiet))} trials completed",
            flush=True,
        )
        faults: list[str] = []
        kills = tries = 0
        before: dict[str, bytes] = {}
        # The start of a process repeats with each call; what it gains comes on top.
        gain = 2.2 * (seconds - first) / given.kills
        while kills < given.kills and tries < 2 * given.kills:
            tries += 1
            after = draw.uniform(0.5, first + gain)
            took, was_killed = call([*words, "--workspace", str(killed)], after)
            kills += was_killed
            now = completed(killed)
            changed = [name for name, content in before.items() if now.get(name) != content]
            faults += [f"after call {tries}: {name} is lost or was made again" for name in changed]
            before = now
            said = "killed" if was_killed else "ended"
            print(f"call {tries}: {said} after {took:.1f} s, {len(now)} completed", flush=True)
            if not was_killed:
                break
        call([*words, "--workspace", str(killed)], None)
        now = completed(killed)
        faults += [
            f"at the end: {name} is lost or was made again"
            for name, content in before.items()
            if now.get(name) != content
        ]
        if top(killed) != top(quiet):
            faults.append("best.json differs")
        for fault in faults:
            print(fault)
        print(
            f"{kills} kills, {len(now)} trials completed, {len(faults)} faults; best.json is "
            + ("the same" if top(killed) == top(quiet) else "NOT the same")
        )
        raise SystemExit(1 if faults or kills < given.kills else 0)


if __name__ == "__main__":
    main()
