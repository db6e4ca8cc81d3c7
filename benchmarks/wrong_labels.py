"""Planted wrong labels: how many the report's list finds, and what correcting them brings.

    python benchmarks/wrong_labels.py --data digit-recognizer.zip

A share of the training labels is replaced by others, drawn at random. Members of one configuration
are trained on that, blended, and the report's list of labels that look wrong is taken as it is, as
`--labels`, into a second workspace with the same configuration and seed. A third is trained on the
labels as they were. All three are judged by the labels as they were, which no step is told.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def plant(data: Path, folder: Path, share: float) -> np.ndarray:
    """Write the competition with wrong labels; gives the rows that have them, ascending."""
    from kaggle_digits.core.data.source import find

    source = find(data)
    folder.mkdir(parents=True)
    with source.open("train") as stream:
        header, *lines = stream.read().splitlines()
    random = np.random.default_rng(0)
    labels = np.array([int(line.partition(b",")[0]) for line in lines])
    rows = np.sort(random.choice(len(lines), round(share * len(lines)), replace=False))
    wrong = (labels[rows] + random.integers(1, 10, len(rows))) % 10
    for row, label in zip(rows.tolist(), wrong.tolist(), strict=True):
        lines[row] = b"%d,%b" % (label, lines[row].partition(b",")[2])
    (folder / "train.csv").write_bytes(b"\n".join([header, *lines, b""]))
    with source.open("test") as stream:
        (folder / "test.csv").write_bytes(stream.read())
    return rows


def call(*words: object) -> dict[str, Any]:
    """Call the command line; gives what --json prints."""
    command = [sys.executable, "-m", "kaggle_digits", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def listed(root: Path) -> list[dict[str, str]]:
    """Return the lines of the report's list, and write it beside the report."""
    page = (root / "report.html").read_text("utf-8")
    found = re.search(r'href="data:text/csv;base64,([^"]+)"', page)
    assert found is not None
    content = base64.b64decode(found[1])
    (root / "list.csv").write_bytes(content)
    return list(csv.DictReader(content.decode().splitlines()))


def judge(root: Path, truth: np.ndarray) -> str:
    """Say how a workspace's blend does by the labels as they were."""
    answers = np.load(root / "ensembles" / "blend" / "oof.npy").argmax(axis=1)
    right = answers == truth
    error = (right.mean() * (1 - right.mean()) / len(right)) ** 0.5
    return f"{right.mean():.5f} ± {error:.5f} ({int((~right).sum())} of {len(right):,} wrong)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the competition's zip or folder")
    parser.add_argument("--share", type=float, default=0.01, help="of the labels that are replaced")
    parser.add_argument("--folds", type=int, default=3, help="as in cv-train")
    parser.add_argument("--epochs", type=int, default=3, help="as in cv-train")
    parser.add_argument("--keep", type=Path, help="folder for data and workspaces")
    options = parser.parse_args()
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.workspace import Workspace

    with tempfile.TemporaryDirectory() as own:
        place = options.keep or Path(own)
        planted, started = plant(options.data, place / "planted", options.share), time.monotonic()
        truth = load(options.data, Workspace(place / "truth")).labels
        config = place / "config.toml"
        config.write_text('family = "strided"\n')

        def train(name: str, data: Path, *labels: object) -> dict[str, Any]:
            shared = ["--data", data, "--workspace", place / name]
            sizes = ["--folds", options.folds, "--epochs", options.epochs]
            call("cv-train", "--config", config, *sizes, *shared, *labels)
            return call("blend", *shared)

        before = train("wrong", place / "planted")
        call("report", "--data", place / "planted", "--workspace", place / "wrong")
        lines = listed(place / "wrong")
        rows = np.array([int(line["row"]) for line in lines])
        taken = {int(line["row"]): int(line["take"]) for line in lines if line["take"]}
        mended = sum(taken.get(row) == truth[row] for row in planted.tolist())
        spoilt = [row for row in taken if row not in set(planted.tolist())]
        print(f"planted {len(planted)} wrong labels in {len(truth):,} rows; {len(rows)} listed")
        for first in (100, len(planted) // 2, len(planted), 2 * len(planted)):
            found = int(np.isin(rows[:first], planted).sum())
            print(f"among the first {first}: {found} planted")
        print(
            f"filled in: {len(taken)}; {mended} of the planted mended, {len(spoilt)} others changed"
        )
        after = train("mended", place / "planted", "--labels", place / "wrong" / "list.csv")
        train("clean", options.data)
        print(f"OOF accuracy on its own labels, wrong: {before['oof_accuracy']:.5f}")
        print(
            f"OOF accuracy on its own labels, corrected: {after['oof_accuracy']:.5f}; on those of "
            f"train.csv: {after['labels']['oof_accuracy']:.5f}"
        )
        for name in ("wrong", "mended", "clean"):
            print(f"by the labels as they were, {name}: {judge(place / name, truth)}")
        print(f"{time.monotonic() - started:.0f} s on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
