"""Draws a small competition of 26 letters: upper and lower case alike, bent, blurred and noisy.

    python benchmarks/letters.py FOLDER [--rows 3900] [--test 2600]

The letters come from the fonts that matplotlib brings, so they are the same wherever its version
is. The true labels of the test images are in `truth.csv`, which is for `check --truth` alone.
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

import numpy as np

_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic",
    "DejaVuSansMono", "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmr10", "cmti10",
    "cmss10", "cmtt10",
)  # fmt: skip
_SIZE = 28
_DRAWN = 56


def draw(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return images of letters, uint8 [rows, 28, 28], light on dark.

    Args:
        labels: int [rows], 0 for A.
        random: Where fonts, forms and noise come from.
    """
    import cv2
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    fonts = [
        ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", 40)
        for name in _FONTS
    ]
    made = np.empty((len(labels), _SIZE, _SIZE), dtype=np.uint8)
    corners = np.float32([[0, 0], [_DRAWN, 0], [0, _DRAWN], [_DRAWN, _DRAWN]])
    for row, label in enumerate(labels):
        letters = string.ascii_uppercase if random.random() < 0.5 else string.ascii_lowercase
        page = Image.new("L", (_DRAWN, _DRAWN))
        font = fonts[random.integers(len(fonts))]
        ImageDraw.Draw(page).text((28, 28), letters[label], 255, font, anchor="mm")
        bent = (corners + random.normal(0, 6, (4, 2))).astype(np.float32)
        image = cv2.warpPerspective(
            np.asarray(page), cv2.getPerspectiveTransform(corners, bent), (_DRAWN, _DRAWN)
        )
        image = cv2.resize(cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 3)), (_SIZE, _SIZE))
        noisy = image * random.uniform(0.4, 1) + random.normal(0, 20, image.shape)
        made[row] = np.clip(noisy, 0, 255)
    return made


def write(folder: Path, rows: int, test: int) -> None:
    """Write train.csv, test.csv, sample_submission.csv and truth.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = ",".join(f"pixel{number}" for number in range(_SIZE * _SIZE))
    for number, (name, count) in enumerate((("train", rows), ("test", test))):
        random = np.random.default_rng(number)
        labels = random.permutation(np.arange(count) % len(string.ascii_uppercase))
        lines = [",".join(map(str, image.ravel())) for image in draw(labels, random)]
        names = [string.ascii_uppercase[label] for label in labels]
        if name == "train":
            header = f"label,{pixels}"
            lines = [f"{letter},{line}" for letter, line in zip(names, lines, strict=True)]
        else:
            header = pixels
            for other, answers in (("sample_submission", ["A"] * count), ("truth", names)):
                table = [f"{place},{answer}" for place, answer in enumerate(answers, start=1)]
                (folder / f"{other}.csv").write_text("\n".join(["ImageId,Label", *table, ""]))
        (folder / f"{name}.csv").write_text("\n".join([header, *lines, ""]))


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=3900)
    parser.add_argument("--test", type=int, default=2600)
    options = parser.parse_args()
    write(options.folder, options.rows, options.test)


if __name__ == "__main__":
    main()
