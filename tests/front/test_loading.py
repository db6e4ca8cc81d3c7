"""A competition in every form a user has it in memory or on disk, and what is said of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kaggle_digits as kd
from kaggle_digits.core.data import load as load_files
from kaggle_digits.front.images import Scaling, as_images
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell.display import Picture, Shown


class Told:
    """Listens, and keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
        print("told:", text)

    def task(self, label: str, total: int, unit: str = "") -> Any:
        raise AssertionError("nothing here takes long")


def test_a_folder_a_zip_tables_and_arrays_are_the_same_images(made: Any, tmp_path: Path) -> None:
    train, test = (pd.read_csv(made.folder / name) for name in ("train.csv", "test.csv"))
    images = made.images.reshape(-1, 4, 4)
    held = made.test_images.reshape(-1, 4, 4)
    forms: list[dict[str, Any]] = [
        {"data": str(made.folder)},
        {"data": made.zipped(tmp_path / "c.zip")},
        {"data": train, "test": test},
        {"data": (images, np.array(made.labels)), "test": held},
        {"data": (images[..., None], [int(one) for one in made.labels]), "test": held[..., None]},
        {"data": (made.images / 255, made.labels), "test": made.test_images / 255},
        {"data": (made.images.tolist(), made.labels), "test": made.test_images.tolist()},
    ]
    found = [
        kd.load(**form, workspace=tmp_path / str(place), progress=False)
        for place, form in enumerate(forms)
    ]
    assert len({one.dataset.digest for one in found}) == 1
    assert np.array_equal(found[0].images, images)
    assert [found[0].classes[label] for label in found[0].labels] == made.labels
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].seed = 1  # type: ignore[misc]


def test_the_command_line_goes_on_with_what_was_given_as_arrays(made: Any, tmp_path: Path) -> None:
    images, test = made.images.reshape(-1, 2, 8), made.test_images.reshape(-1, 2, 8)
    given = kd.load((images, made.labels), test, workspace=tmp_path / "w", progress=False)
    assert given.images.shape[1:] == (2, 8)
    again = load_files(None, Workspace(tmp_path / "w"))
    assert again.digest == given.dataset.digest
    assert kd.load(workspace=tmp_path / "w", progress=False).dataset.digest == again.digest


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([[3, 200]], np.uint8), 0, 255),
        (np.array([[0.0, 0.25]]), 0, 1),
        (np.array([[0, 16]]), 0, 16),
        (np.array([[0.0, 254.0]]), 0, 255),
        (np.array([[-1.0, 1.0]]), -1, 1),
        (np.array([[7.0, 7.0]]), 7, 8),
    ],
)
def test_the_range_of_values_is_found(values: np.ndarray, low: float, high: float) -> None:
    found = Scaling.of(values)
    assert (found.low, found.high) == (low, high)
    scaled = found.apply(values)
    assert scaled.dtype == np.uint8
    wanted = np.rint((values.astype(float) - low) / (high - low) * 255)
    assert np.array_equal(scaled, wanted.clip(0, 255))


def test_colours_stay_and_opacity_is_left_out() -> None:
    red = np.zeros((1, 2, 2, 4), np.uint8)
    red[..., 0] = 200
    assert np.array_equal(as_images(red, None), red[..., :3])


@pytest.mark.parametrize("shape", ["2x4x3", "3x2x4"])
def test_flat_rows_of_colour_have_their_planes_in_the_order_given(shape: str) -> None:
    image = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    flat = image if shape == "2x4x3" else np.moveaxis(image, -1, 1)
    found = as_images(flat.reshape(1, -1), ImageShape.parse(shape))
    assert np.array_equal(found, image)


def test_arrays_in_colour_are_a_competition_in_colour(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
    given = kd.load((images, ["a", "b"] * 6), images[:3], workspace=tmp_path, progress=False)
    assert np.array_equal(given.images, images) and np.array_equal(given.test_images, images[:3])
    assert "5×4 pixels in colour" in repr(given) and "<img" in given._repr_html_()


def test_a_class_that_corrections_emptied_has_no_picture(made: Any, tmp_path: Path) -> None:
    fixes = ["row,take", "0,exclude", *(f"{row},0" for row in range(2, 30, 3))]
    (tmp_path / "fixes.csv").write_text("\n".join(fixes) + "\n")
    given = kd.load(
        made.folder, workspace=tmp_path / "w", labels=tmp_path / "fixes.csv", progress=False
    )
    shown = given.pictures()
    assert [one.caption for one in shown] == ["0", "1"]
    # Row 0 is left out, and row 2 has its class by now.
    assert [one.image.ravel().tolist() for one in shown] == made.images[[2, 1]].tolist()


def test_the_range_is_said_to_who_listens(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    kd.load((made.images / 16, made.labels), made.test_images / 16, workspace=tmp_path / "w",
            progress=told)  # fmt: skip
    assert "images: values of 0 to 15.9375 become 0 to 255" in told.lines
    assert capsys.readouterr().out.splitlines() == [f"told: {line}" for line in told.lines]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"data": "none.zip"}, "There is nothing at none.zip"),
        ({"data": "none.zip", "test": np.zeros((1, 4))}, "test was given with data"),
        ({"data": (np.zeros((3, 4)), [0, 1, 0])}, "data was given without test"),
        ({"data": (np.zeros((3, 5)), [0, 1, 0]), "test": np.zeros((1, 5))}, "Rows have 5 values"),
        ({"data": (np.zeros((3, 4)), [0, 1]), "test": np.zeros((1, 4))}, "one for each of 3"),
        ({"data": (np.full((3, 4), np.nan), [0, 1, 0]), "test": np.zeros((1, 4))}, "no numbers"),
        ({"data": (np.zeros((3, 4)), [0, 1, 0]), "test": np.zeros((1, 9))}, "expected the same"),
        ({"data": np.zeros((3, 4)), "test": np.zeros((1, 4))}, "data was given as ndarray"),
        ({"preset": "huge"}, "preset was given as 'huge'"),
        ({"seed": -1}, "seed was given as -1"),
        ({"image_shape": "wide"}, "was given as 'wide'"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_our_own(
    form: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kd.KaggleDigitsError, match=says):
        kd.load(**form, workspace=tmp_path / "w", progress=False)


def test_a_second_notebook_on_one_workspace_gets_a_clear_error(made: Any, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    first, second = (kd.load(made.folder, workspace=workspace.root, progress=False) for _ in "12")
    with (
        workspace.lock(workspace.ensembles),  # what the first one's call holds while it trains
        pytest.raises(kd.InUseError, match="in use by process") as error,
    ):
        kd.cross_validate(second, folds=2, epochs=1)
    assert "another --workspace" in str(error.value.mend)
    with pytest.raises(kd.ArtefactError, match="no members have been planned yet"):
        kd.members(first)


def test_a_value_is_shown_with_all_text_escaped() -> None:
    class Value(Shown):
        def facts(self) -> dict[str, str]:
            return {"<name>": "a & b"}

        def table(self) -> list[list[str]]:
            return [["<h>", "n"], ["<script>", "1"]]

        def pictures(self) -> list[Picture]:
            return [Picture(np.eye(4, dtype=np.uint8), '"><b>')]

    shown = Value()._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "a &amp; b" in shown
    assert "&lt;name&gt;" in shown and 'alt="&quot;&gt;&lt;b&gt;"' in shown
    assert 'src="data:image/png;base64,iVBOR' in shown
    assert repr(Value()).splitlines() == ["Value", "  <name>  a & b", "  <h>       n",
                                          "  <script>  1"]  # fmt: skip
