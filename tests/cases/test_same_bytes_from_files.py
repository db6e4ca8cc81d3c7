"""The same images as columns, as PNG files and in folders per class: the same submission."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import kaggle_digits as kd
from kaggle_digits.core.demo import embedded

SIDE = 28


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, Path]:
    """The embedded digits, as pixel columns and three times as files."""
    table, _ = embedded(tmp_path / "embedded")
    train = np.loadtxt(table / "train.csv", np.uint8, delimiter=",", skiprows=1)
    test = np.loadtxt(table / "test.csv", np.uint8, delimiter=",", skiprows=1)
    labels, images = train[:, 0], train[:, 1:].reshape(-1, SIDE, SIDE)
    test = test.reshape(-1, SIDE, SIDE)
    files, classes = tmp_path / "files", tmp_path / "classes"
    for folder in (files / "train", files / "test", classes / "test"):
        folder.mkdir(parents=True)
    for number, (label, image) in enumerate(zip(labels, images, strict=True)):
        beside = classes / "train" / str(label)
        beside.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(files / "train" / f"{number}.png"), image)
        cv2.imwrite(str(beside / f"{number}.png"), image)
    for number, image in enumerate(test, start=1):
        for folder in (files, classes):
            cv2.imwrite(str(folder / "test" / f"{number}.png"), image)
    rows = [f"{number},{label}" for number, label in enumerate(labels)]
    (files / "train.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    for folder in (files, classes):
        shutil.copy(table / "sample_submission.csv", folder)
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(files.rglob("*")):
            archive.write(path, path.relative_to(files))
    return {"table": table, "files": files, "classes": classes, "packed": packed}


@pytest.mark.slow
def test_digits_as_columns_as_png_files_and_in_folders_per_class_make_one_submission(
    forms: dict[str, Path], tmp_path: Path
) -> None:
    config = kd.TrainingConfig(filters=4, depth=1, augmentation="light")
    made, digests = {}, set()
    for name, path in forms.items():
        competition = kd.load(path, workspace=tmp_path / f"w-{name}", seed=5, progress=False)
        digests.add(competition.dataset.digest)
        kd.cross_validate(competition, config=config, folds=2, epochs=2, pseudo_label=False)
        made[name] = Path(kd.blend(competition).submission).read_bytes()
    assert len(digests) == 1
    lines = made["table"].split()
    assert len(lines) == 1 + 599 and len({line.split(b",")[1] for line in lines[1:]}) == 10
    for name, content in made.items():
        assert content == made["table"], name
