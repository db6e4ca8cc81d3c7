"""The embedded digits: the competition's exact form, the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import kaggle_digits
from kaggle_digits.core import demo
from kaggle_digits.core.data import dataset as dataset_module
from kaggle_digits.core.data import load
from kaggle_digits.ground.competition import SubmissionFormat, read_labels


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No `data/` under the current folder."""
    monkeypatch.chdir(tmp_path)


def test_files_have_the_competitions_form(tmp_path):
    folder, truth = demo.embedded(tmp_path / "embedded")
    assert folder == tmp_path / "embedded" / "competition"
    assert truth == tmp_path / "embedded" / "truth" / "labels.csv"
    assert sorted(path.name for path in folder.iterdir()) == [
        "sample_submission.csv",
        "test.csv",
        "train.csv",
    ]
    pixels = ",".join(f"pixel{number}" for number in range(784))
    expected = {
        folder / "train.csv": (f"label,{pixels}", 1198, 785),
        folder / "test.csv": (pixels, 599, 784),
        folder / "sample_submission.csv": ("ImageId,Label", 599, 2),
        truth: ("ImageId,Label", 599, 2),
    }
    for path, (header, rows, width) in expected.items():
        content = path.read_bytes()
        assert content.count(b"\n") == content.count(b"\r\n") == rows + 1
        lines = content.decode("ascii").removesuffix("\r\n").split("\r\n")
        assert lines[0] == header
        assert {line.count(",") for line in lines} == {width - 1}
    form, ids = SubmissionFormat.read((folder / "sample_submission.csv").read_bytes(), "sample")
    assert form == SubmissionFormat()
    assert ids == tuple(str(number) for number in range(1, 600))


def test_bytes_are_the_same_every_time(tmp_path):
    def sums(folder):
        return {
            path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*.csv"))
        }

    demo.embedded(tmp_path / "one")
    program = "import sys, pathlib; from kaggle_digits.core.demo import embedded as e; "
    program += "e(pathlib.Path(sys.argv[1]))"
    root = str(Path(kaggle_digits.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "two")],
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert len(sums(tmp_path / "one")) == 4
    assert sums(tmp_path / "one") == sums(tmp_path / "two")


def test_load_without_a_path(workspace):
    dataset = load(None, workspace)
    assert dataset.name == "embedded digits"
    assert dataset.images.shape == (1198, 28, 28)
    assert dataset.test_images.shape == (599, 28, 28)
    assert dataset.competition.classes == tuple("0123456789")
    assert dataset.competition.form == SubmissionFormat()
    assert dataset.truth is not None
    assert tuple(dataset.truth) == dataset.test_ids
    assert set(dataset.truth.values()) == set(dataset.competition.classes)


def test_split_is_stratified_and_has_every_digit_once(workspace):
    from sklearn.datasets import load_digits

    dataset = load(None, workspace)
    assert dataset.truth is not None
    given = Counter(map(str, load_digits().target))
    train = Counter(map(str, dataset.labels))
    test = Counter(dataset.truth.values())
    assert train + test == given
    for digit, count in given.items():
        assert abs(test[digit] - count / 3) < 1
    both = np.concatenate([dataset.images, dataset.test_images]).reshape(1797, -1)
    small = load_digits().data
    # As many distinct images as there were: none is in both parts, none is lost.
    assert len(np.unique(both, axis=0)) == len(np.unique(small, axis=0))


def test_images_are_the_digits_enlarged(workspace):
    from sklearn.datasets import load_digits

    dataset = load(None, workspace)
    assert dataset.truth is not None
    digits = load_digits()
    images = np.concatenate([dataset.images, dataset.test_images]).astype(float)
    labels = [*map(int, dataset.labels), *map(int, dataset.truth.values())]
    assert images.max() == 255
    border = np.ones((28, 28), bool)
    border[3:-3, 3:-3] = False
    assert not images[:, border].any()
    # Each image, shrunk to 8×8 again, is nearest to one with its own label.
    from cv2 import INTER_AREA, resize

    shrunk = np.stack([resize(image[3:-3, 3:-3], (8, 8), interpolation=INTER_AREA).ravel()
                       for image in images]) * 16 / 255  # fmt: skip
    squared = (shrunk**2).sum(1)[:, None] - 2 * shrunk @ digits.data.T + (digits.data**2).sum(1)
    nearest = squared.argmin(1)
    assert digits.target[nearest].tolist() == labels
    assert len(set(nearest)) > 1780


def test_second_load_makes_and_parses_nothing(workspace, monkeypatch):
    first = load(None, workspace)
    monkeypatch.setattr(demo, "_digits", None)
    monkeypatch.setattr(dataset_module, "read_competition", None)
    second = load(None, workspace)
    assert second.digest == first.digest
    assert second.truth == first.truth


@pytest.mark.parametrize("gone", ["competition/train.csv", "truth/labels.csv"])
def test_lost_files_are_made_again(workspace, gone):
    first = load(None, workspace)
    (workspace.cache / "embedded" / gone).unlink()
    second = load(None, workspace)
    assert second.digest == first.digest
    assert second.truth == first.truth


def test_truth_is_apart_from_what_a_competitor_gets(workspace):
    load(None, workspace)
    folder = workspace.cache / "embedded" / "competition"
    sample = read_labels((folder / "sample_submission.csv").read_bytes(), "sample")
    assert set(sample.values()) == {"0"}
    assert load(folder, workspace).truth is None
