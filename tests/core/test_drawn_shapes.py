"""The embedded shapes: the same every time, with the truth apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from kaggle_digits.core import drawn_shapes
from kaggle_digits.core.data import load
from kaggle_digits.ground.workspace import Workspace


def test_they_are_drawn_the_same_every_time() -> None:
    images, labels = drawn_shapes.draw()
    assert images.shape == (1800, 32, 32, 3) and len(set(labels)) == 6
    again, same = drawn_shapes.draw()
    assert np.array_equal(images, again) and labels == same
    assert hashlib.sha256(images.tobytes()).hexdigest()[:8] == "fba5367c"


def test_they_are_loaded_by_their_name_and_gone_on_with(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Workspace(tmp_path / "w")
    found = load(Path(drawn_shapes.NAME), place)
    images, labels = drawn_shapes.draw()
    assert np.array_equal(found.images, images[:1200])
    assert np.array_equal(found.test_images, images[1200:])
    assert found.truth is not None and list(found.truth.values()) == labels[1200:]
    assert found.name == "embedded shapes" and found.competition.planes == 3
    again = load(None, place)
    assert again.digest == found.digest and again.truth == found.truth


def test_a_folder_of_that_name_comes_first(make, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = make(drawn_shapes.NAME)
    assert len(load(Path(drawn_shapes.NAME), Workspace(tmp_path / "w")).images) == made.rows
