"""Which views help when predicting: more of them, some that add slant and width, of which images?

    python benchmarks/views.py --data digit-recognizer.zip --workspace sets --sets plain
        [--first-seed 0] [--seeds 1] [--folds 3] [--epochs 12]

Needs no training: it asks the networks that `ideas.py` has kept in the workspace about their
own held-out rows. What a network says of a view is kept: called again, the script goes on. "Seen"
is by how many views, on average. The difference is to nine views of every image, of the rows'
losses after one temperature each, averaged over the seeds, with a bootstrap interval of 95 % over
the rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from ideas import Judged, Sets, Unit, interval, judge

from kaggle_digits.core import inference

NOW = inference._MOVES
SLANTS = tuple(("slant", value) for value in (0.1, -0.1, 0.2, -0.2))
WIDTHS = tuple(("width", value) for value in (1.08, 0.92, 1.15, 0.87))
HEIGHTS = tuple(("height", value) for value in (1.08, 0.92))
TRIED = {
    "1 view": (),
    "5 views": NOW[:4],
    "9 views": NOW[:8],
    "13 views": NOW[:12],
    "25 views": NOW[:24],
    "9, 2 slants": (*NOW[:8], *SLANTS[:2]),
    "9, 4 slants": (*NOW[:8], *SLANTS),
    "9, 2 widths": (*NOW[:8], *WIDTHS[:2]),
    "9, 4 widths": (*NOW[:8], *WIDTHS),
    "9, 2 slants, 2 widths": (*NOW[:8], *SLANTS[:2], *WIDTHS[:2]),
    "9, 4 slants, 4 widths, 2 heights": (*NOW[:8], *SLANTS, *WIDTHS, *HEIGHTS),
    "25, 4 slants, 4 widths, 2 heights": (*NOW[:24], *SLANTS, *WIDTHS, *HEIGHTS),
}
WHERE_UNSURE = {"9 where unsure": NOW[:8], "25 where unsure": NOW[:24]}
"""All images are seen by the first views, as in prediction; by these those that stay unsure."""
BASE = "9 views"
View = tuple[object, ...]


def seen(images: np.ndarray, view: View | None) -> np.ndarray:
    """Return images as a view shows them; None for as they are."""
    if view is None:
        return images
    if not isinstance(view[0], str):
        return inference._moved(images, *view)
    kind, value = view
    height, width = images.shape[1:]
    middle, centre = (height - 1) / 2, (width - 1) / 2
    back = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    if kind == "slant":
        back[0] = 1.0, value, -value * middle
    elif kind == "width":
        back[0] = 1 / value, 0.0, centre * (1 - 1 / value)
    else:
        back[1] = 0.0, 1 / value, middle * (1 - 1 / value)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(one, back, (width, height), flags=flags) for one in images])


def said(sets: Sets, name: str, seed: int, view: View | None) -> np.ndarray:
    """Return what a set's networks say of a view of their held-out rows, [rows, classes]."""
    found = np.zeros((len(sets.labels), int(sets.labels.max()) + 1))
    normalisation = sets.configs[name].normalisation
    for fold in range(sets.folds.count):
        place = sets.place(Unit(name, fold, seed))
        words = "as-it-is" if view is None else "_".join(map(str, view))
        path = place / f"view-{words}.npy"
        rows = sets.folds.held_out_rows(fold)
        if not path.exists():
            model = inference.load(place / "model.keras")
            # The views are of the normalised images, as in prediction.
            shown = seen(inference.normalise(sets.images[rows], normalisation), view)
            temporary = path.with_suffix(".part.npy")
            np.save(temporary, inference.predict(model, shown))
            temporary.replace(path)
        found[rows] = np.load(path)
    return found


def main() -> None:
    """Predict what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--sets", default="plain", help="names, with commas between them")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="the last of them is one less")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    sets = Sets(given)
    names = given.sets.split(",")
    views: list[View | None] = list(dict.fromkeys(v for tried in TRIED.values() for v in tried))
    answers = {
        (name, seed, view): said(sets, name, seed, view)
        for view in [None, *views]
        for name in names
        for seed in range(given.first_seed, given.seeds)
    }
    shares: list[float] = []

    def asked(name: str, seed: int, tried: tuple[View, ...], where: str) -> np.ndarray:
        def mean(tried: tuple[View, ...]) -> np.ndarray:
            return np.mean([answers[name, seed, view] for view in (None, *tried)], axis=0)

        if where == "all":
            shares.append(1 + len(tried))
            return mean(tried)
        first = inference._FIRST_VIEWS
        found = mean(tried[: first - 1])
        smoothing = sets.configs[name].label_smoothing
        unsure = inference._confidence(found, smoothing) < inference._SURE
        found[unsure] = mean(tried)[unsure]
        shares.append(first + (1 + len(tried) - first) * unsure.mean())
        return found

    print(f"mean of {' + '.join(names)}, seeds {given.first_seed} to {given.seeds - 1}\n")
    print("| views | seen | errors | log-loss | difference to nine |")
    print("|---|---|---|---|---|")

    def found_by(tried: tuple[View, ...], where: str) -> Judged:
        shares.clear()
        each = [
            np.mean([asked(name, seed, tried, where) for name in names], axis=0)
            for seed in range(given.first_seed, given.seeds)
        ]
        return judge(each, sets.labels)

    base = found_by(TRIED[BASE], "all")
    rows = [(words, tried, "all") for words, tried in TRIED.items()]
    rows += [(words, tried, "unsure") for words, tried in WHERE_UNSURE.items()]
    for words, tried, where in rows:
        found = found_by(tried, where)
        apart = found.losses - base.losses
        low, high = interval(apart)
        print(
            f"| {words} | {np.mean(shares):.1f} | {np.mean(found.errors):.0f} | "
            f"{np.mean(found.log_losses):.5f} | {apart.mean():+.5f} [{low:+.5f}, {high:+.5f}] |"
        )


if __name__ == "__main__":
    main()
