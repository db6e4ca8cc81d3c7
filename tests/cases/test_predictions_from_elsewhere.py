"""What users met with predictions that were not made by `cv-train` here."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles.extra import ExtraFiles, read_extra
from ensembles.prediction import NewImages, render
from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import DataError

CLASSES = ("a", "b", "label")


@pytest.fixture
def bring(tmp_path, workspace):
    """Read an extra whose test file is a table that `predict` has written."""

    def bring(made, names, probabilities) -> np.ndarray:
        dataset = load(made.folder, workspace)
        images = np.zeros((len(names), made.height, made.width), np.uint8)
        path = tmp_path / "predictions.csv"
        path.write_bytes(
            render(NewImages(tuple(names), images, images), probabilities, made.classes)
        )
        oof = np.full((made.rows, 3), 1 / 3)
        np.save(tmp_path / "oof.npy", oof)
        return read_extra(ExtraFiles("theirs", tmp_path / "oof.npy", path), dataset).test

    return bring


@pytest.fixture
def probabilities() -> np.ndarray:
    values = np.random.default_rng(1).random((12, 3)) + 0.05
    return values / values.sum(axis=1, keepdims=True)


def test_the_table_of_predict_is_taken_by_extra(make, bring, probabilities) -> None:
    """It was refused for its columns, `image,label,p_0,…`."""
    made = make(classes=CLASSES)
    names = [str(number) for number in range(1, 13)]
    np.testing.assert_allclose(bring(made, names, probabilities), probabilities, atol=1e-6)


def test_its_rows_go_by_their_ids_where_test_csv_has_some(make, bring, probabilities) -> None:
    made = make(classes=CLASSES, ids=[f"t{n}" for n in range(12)], id_column="id")
    names = [f"t{n}" for n in range(12)]
    order = np.random.default_rng(2).permutation(12)
    found = bring(made, [names[place] for place in order], probabilities[order])
    np.testing.assert_allclose(found, probabilities, atol=1e-6)


def test_its_counted_rows_are_those_of_test_csv_where_the_sample_alone_has_ids(
    make, bring, probabilities
) -> None:
    made = make(classes=CLASSES)
    made.sample([f"img_{n}" for n in range(12)])
    names = [str(number) for number in range(1, 13)]
    np.testing.assert_allclose(bring(made, names, probabilities), probabilities, atol=1e-6)
    with pytest.raises(DataError, match="has the id '2'"):
        bring(made, [names[1], names[0], *names[2:]], probabilities)


def test_a_table_of_other_images_is_refused(make, bring, probabilities) -> None:
    made = make(classes=CLASSES)
    with pytest.raises(DataError, match=r"has shape \(11, 3\); expected \(12, 3\)"):
        bring(made, [f"{n}.png" for n in range(11)], probabilities[:11])
    with pytest.raises(DataError, match=r"has the id '0\.png'"):
        bring(made, [f"{n}.png" for n in range(12)], probabilities)
