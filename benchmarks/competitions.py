"""Do out-of-fold figures hold the true scores, in competitions of other kinds than digits?

    python benchmarks/competitions.py [--only auc qwk groups rare] [--folder FOLDER]

Draws four small competitions whose test labels are known, works on each as a user would, and prints
the out-of-fold figure with its 95 % interval beside the score on the test images. Nothing is
fetched; the same seed draws the same data. Some minutes on two cores.

- auc: two classes, a faint blob or none, one row in ten with the other label. The sample submission
  has a 0 in every line, as many have.
- qwk: five grades of how much of the image is covered, graded by a hand that errs.
- groups: 60 writers in train.csv, others in test.csv; each writer's images have a ground of their
  own and mostly one label, so that who knows the writer knows the label.
- rare: three classes of which one has 4 % of the rows, with and without class weights.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kaggle_digits as kd

SIDE = 12
TEST = 4000
SMALL = kd.TrainingConfig(filters=8, depth=1, augmentation="none", learning_rate=0.02)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Images uint8 [n, 12, 12], labels int64 [n], and groups."""


def blobs(random: np.random.Generator, strength: np.ndarray) -> np.ndarray:
    """Return images of a blob somewhere on a noisy ground, float64 [n, 12, 12]."""
    rows = len(strength)
    middle = random.uniform(3, SIDE - 4, (2, rows, 1, 1))
    place = np.arange(SIDE)
    down, along = place[:, np.newaxis] - middle[0], place - middle[1]
    blob = np.exp(-(down**2 + along**2) / 6)
    return 90 + random.normal(0, 22, (rows, SIDE, SIDE)) + strength[:, None, None] * blob


def faint(random: np.random.Generator, rows: int, *, test: bool) -> Rows:
    """Draw `auc`."""
    there = random.integers(0, 2, rows)
    images = blobs(random, 45.0 * there)
    return clipped(images), np.where(random.random(rows) < 0.1, 1 - there, there), None


def grades(random: np.random.Generator, rows: int, *, test: bool) -> Rows:
    """Draw `qwk`."""
    amount = random.beta(1.2, 2.5, rows)
    # Which pixels are covered is drawn anew for each image; how many is what counts.
    covered = random.random((rows, SIDE, SIDE)) < amount[:, None, None]
    images = 60 + 70 * covered + random.normal(0, 25, covered.shape)
    graded = np.digitize(amount + random.normal(0, 0.08, rows), [0.15, 0.3, 0.45, 0.65])
    return clipped(images), graded, None


def writers(random: np.random.Generator, rows: int, *, test: bool) -> Rows:
    """Draw `groups`."""
    count = rows // 25
    writer = np.arange(rows) // 25
    habit = random.integers(0, 2, count)[writer]
    labels = np.where(random.random(rows) < 0.9, habit, 1 - habit)
    grounds = random.normal(0, 40, (count, SIDE, SIDE))[writer]
    images = blobs(random, 35.0 * labels) * 0.6 + 40 + grounds
    return clipped(images), labels, writer + (1000 if test else 0)


def unequal(random: np.random.Generator, rows: int, *, test: bool) -> Rows:
    """Draw `rare`."""
    labels = random.choice(3, rows, p=[0.64, 0.32, 0.04])
    strength = np.array([0.0, 60.0, 30.0])[labels]
    return clipped(blobs(random, strength)), labels, None


def clipped(images: np.ndarray) -> np.ndarray:
    """Return bytes."""
    return np.clip(images, 0, 255).astype(np.uint8)


def write(folder: Path, draw: Callable[..., Rows], rows: int, seed: int) -> Path:
    """Write a competition's files and, beside the folder, the truth; return the truth's file."""
    random = np.random.default_rng(seed)
    train, labels, groups = draw(random, rows, test=False)
    test, truth, _ = draw(random, TEST, test=True)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = [f"pixel{place}" for place in range(SIDE * SIDE)]
    extra = [] if groups is None else ["writer"]
    lines = (
        [label, *image.ravel(), *([] if groups is None else [groups[row]])]
        for row, (image, label) in enumerate(zip(train, labels, strict=True))
    )
    save(folder / "train.csv", ["label", *pixels, *extra], lines)
    save(folder / "test.csv", pixels, (image.ravel() for image in test))
    ids = range(1, TEST + 1)
    save(folder / "sample_submission.csv", ["id", "label"], ([key, 0] for key in ids))
    known = folder.with_name(f"{folder.name}-truth.csv")
    save(known, ["id", "label"], zip(ids, truth, strict=True))
    return known


def save(path: Path, header: list[str], rows: Any) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def judged(blended: Any, checked: Any) -> list[str]:
    """Return a row's end: the out-of-fold figure, the true one, and how they compare."""
    oof, true = blended.blend.metric, checked.metric
    if oof.name == "accuracy":
        value = checked.local.accuracy
        se = float(np.sqrt(value * (1 - value) / checked.local.rows))
    else:
        value, se = true.value, true.se
    low, high = oof.value - 1.96 * oof.se, oof.value + 1.96 * oof.se
    apart = (value - oof.value) / np.hypot(oof.se, se)
    return [
        f"{oof.value:.4f} ± {oof.se:.4f} [{low:.4f}, {high:.4f}]",
        f"{value:.4f} ± {se:.4f}",
        f"{apart:+.1f}",
        "yes"
        if low <= value <= high
        else "no: it is above"
        if value > high
        else "**no: it is below**",
    ]


def work(place: Path, seed: int, kind: str) -> Iterator[list[str]]:
    """Work on a competition; yield a row for each way that is tried."""
    draw, rows, metric = {
        "auc": (faint, 1500, "auc"),
        "qwk": (grades, 1500, "qwk"),
        "groups": (writers, 1500, "accuracy"),
        "rare": (unequal, 2500, "macro-f1"),
    }[kind]
    data = place / f"{kind}-{seed}"
    truth = write(data, draw, rows, seed)
    ways: list[tuple[str, dict[str, Any], dict[str, Any]]]
    if kind == "groups":
        ways = [("without `--groups`", {}, {}), ("`--groups writer`", {"groups": "writer"}, {})]
    elif kind == "rare":
        ways = [(f"`--class-weights {way}`", {}, {"class_weights": way})
                for way in ("none", "balanced")]  # fmt: skip
    else:
        ways = [(f"`--metric {metric}`", {}, {})]
    for number, (way, reading, training) in enumerate(ways):
        started = time.monotonic()
        said: list[str] = []
        competition = kd.load(
            data, workspace=place / f"{kind}-{seed}-{number}", progress=Told(said), seed=seed,
            **reading,
        )  # fmt: skip
        if kind in ("auc", "qwk"):
            kd.tune(competition, trials=3, max_epochs=4, race=0, metric=metric, time_budget="90s")
            kd.cross_validate(competition, folds=4, epochs=8, top_k=1, workers=1)
        else:
            kd.cross_validate(competition, config=SMALL, folds=4, epochs=12, workers=1, **training)
        blended = kd.blend(competition, metric=metric)
        checked = kd.check(competition, truth=truth)
        end = judged(blended, checked)
        told = "; ".join(line for line in said if "other folds hold" in line) or "-"
        seconds = time.monotonic() - started
        yield [kind, str(seed), way, metric, *end, told.removeprefix("cv-train: ")[:60],
               f"{seconds:.0f}"]  # fmt: skip


class Told:
    """Keeps what is said."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def say(self, text: str) -> None:
        """Take a line."""
        self._lines.append(text)

    def task(self, label: str, total: int, unit: str = "") -> Any:
        """Give what is told of nothing."""
        from kaggle_digits.ground.progress import Silent

        return Silent().task(label, total, unit)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ["auc", "qwk", "groups", "rare"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep data and workspaces there")
    given = parser.parse_args()
    header = [
        "data", "seed", "how", "metric", "OOF ± SE [95 %]", "true score ± SE",
        "true less OOF, in SE of both", "OOF interval holds it", "told of copies", "s",
    ]  # fmt: skip
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    with tempfile.TemporaryDirectory() as made:
        for kind in given.only:
            for seed in range(given.seeds):
                for row in work(given.folder or Path(made), seed, kind):
                    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
