"""Which views help when predicting: more of them, and some that add slant and width?

    python benchmarks/views.py --data digit-recognizer.zip --workspace sets --sets plain
        [--seeds 1] [--folds 3] [--epochs 12]

Needs no training: it asks the networks that `ideas.py` has kept in the workspace about their
own held-out rows. What a network says of a view is kept: called again, the script goes on. The
difference is to nine views, of the rows' losses after one temperature each, averaged over the
seeds, with a bootstrap interval of 95 % over the rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from ideas import Sets, Unit, interval, judge

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
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    sets = Sets(given)
    names = given.sets.split(",")
    views: list[View | None] = list(dict.fromkeys(v for tried in TRIED.values() for v in tried))
    answers = {
        (seed, view): np.mean([said(sets, name, seed, view) for name in names], axis=0)
        for view in [None, *views]
        for seed in range(given.seeds)
    }
    judged = {
        words: judge(
            [
                np.mean([answers[seed, view] for view in (None, *tried)], axis=0)
                for seed in range(given.seeds)
            ],
            sets.labels,
        )
        for words, tried in TRIED.items()
    }
    print(f"mean of {' + '.join(names)}, {given.seeds} seeds\n")
    print("| views | errors | log-loss | difference to nine |")
    print("|---|---|---|---|")
    for words, found in judged.items():
        apart = found.losses - judged[BASE].losses
        low, high = interval(apart)
        print(
            f"| {words} | {np.mean(found.errors):.0f} | {np.mean(found.log_losses):.5f} | "
            f"{apart.mean():+.5f} [{low:+.5f}, {high:+.5f}] |"
        )


if __name__ == "__main__":
    main()
