"""What `report` takes: 60 member sets of 42,000 rows and 28,000 test images, to the page.

    python benchmarks/report.py

Members are those of `blend_comparison.py`, 60 configurations in 5 folds each; images are blurred
noise of 28 x 28, written as CSV files and parsed once before. The command runs in a process of its
own; its seconds include start-up and reading.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from blend_comparison import CLASSES, FOLDS, TEST_ROWS, member, truth

SIDE = 28


def write_competition(folder: Path, rows: int) -> None:
    """Write train.csv and test.csv with images that have the labels of `truth`."""
    random = np.random.default_rng(3)
    shapes = _blurred(random.normal(size=(CLASSES, SIDE, SIDE)))
    names = ",".join(f"pixel{number}" for number in range(SIDE * SIDE))
    for name, count, seed in (("train", rows, 0), ("test", TEST_ROWS, 1)):
        labels = truth(count, seed)[1]
        noise = _blurred(random.normal(size=(count, SIDE, SIDE)).astype(np.float32))
        pixels = np.clip(shapes[labels] * 60 + noise * 60, 0, 255).astype(np.uint8)
        flat = pixels.reshape(count, -1)
        head = names
        if name == "train":
            flat, head = np.column_stack([labels, flat]), f"label,{names}"
        np.savetxt(folder / f"{name}.csv", flat, "%d", ",", header=head, comments="")


def _blurred(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = sum(np.roll(images, by, axis) for by in (-2, -1, 0, 1, 2)) / 5**0.5
    return images


def fill(root: Path, data: Path, sets: int) -> None:
    """Put planted members, their plan and their blend into a workspace."""
    from kaggle_digits.core.data import load
    from kaggle_digits.core.folds import make_folds
    from kaggle_digits.core.predictions import score
    from kaggle_digits.ground.config import TrainingConfig
    from kaggle_digits.ground.workspace import Workspace
    from kaggle_digits.records.members import Member, MemberStore
    from kaggle_digits.records.plan import MemberKey

    workspace = Workspace(root)
    dataset = load(data, workspace)
    folds = make_folds(dataset, FOLDS, 0, workspace)
    store, keys = MemberStore(workspace), []
    logits, test_logits = truth(len(dataset.labels))[0], truth(TEST_ROWS, 1)[0]
    for number in range(sets):
        oof, test = member(logits, number), member(test_logits, number)
        for fold in range(FOLDS):
            key = MemberKey(
                TrainingConfig(), fold, number, 1, 1, dataset.digest, folds.digest, "", number
            )
            rows = folds.held_out_rows(fold)
            judged = score(oof[rows], dataset.labels[rows])
            record = {
                "seconds": 1.0,
                "history": [1.0, 0.5, 0.3],
                "score": {name: getattr(judged, name) for name in judged.__slots__},
            }
            store.add(Member(key, oof[rows], test, record))
            keys.append(key)
    store.write_plan({"folds": FOLDS, "seed": 0}, keys)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=60, help="member sets")
    parser.add_argument("--rows", type=int, default=42000, help="training rows")
    parser.add_argument("--keep", type=Path, help="folder for data, workspace and page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder = options.keep or Path(own)
        data, root = folder / "data", folder / "workspace"
        words = ["--data", str(data), "--workspace", str(root), "--quiet"]
        command = [sys.executable, "-m", "kaggle_digits"]
        if not root.exists():
            data.mkdir(parents=True)
            write_competition(data, options.rows)
            fill(root, data, options.members)
            subprocess.run([*command, "blend", *words], check=True, stdout=subprocess.DEVNULL)
        load, started, before = os.getloadavg()[0], time.perf_counter(), os.times()
        subprocess.run([*command, "report", *words], check=True)
        seconds, after = time.perf_counter() - started, os.times()
        used = (after.children_user + after.children_system) - (
            before.children_user + before.children_system
        )
        size = (root / "report.html").stat().st_size
        print(
            f"{options.members} sets of {options.rows:,} rows: {seconds:.1f} s, {used:.1f} s of "
            f"processor time, page {size / 1e6:.2f} MB; load before {load:.1f} on "
            f"{os.cpu_count()} cores"
        )


if __name__ == "__main__":
    main()
