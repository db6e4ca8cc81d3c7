"""Images that are there twice, or nearly: in train.csv and test.csv, or in different folds."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles.duplicates import NEAR, Across, across_folds, near_duplicates


def images(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 8, 8)).astype(np.uint8)


def test_copies_are_found_exact_and_nearly_so():
    train, test = images(300, 0), images(100, 1)
    test[7] = train[42]
    test[50] = np.clip(train[99].astype(int) + 2, 0, 255).astype(np.uint8)
    found = near_duplicates(train, test)
    assert [(pair.train, pair.test) for pair in found] == [(42, 7), (99, 50)]
    assert found[0].distance == 0 and 0 < found[1].distance <= 2


def test_images_that_are_further_apart_are_not_the_same():
    train = images(50, 0)
    test = np.where(train > 127, train - int(NEAR) - 2, train + int(NEAR) + 2).astype(np.uint8)
    assert near_duplicates(train, test) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (4, 4)])
def test_images_without_anything_on_them(shape):
    train, test = np.zeros((6, *shape), np.uint8), np.zeros((3, *shape), np.uint8)
    assert [pair.distance for pair in near_duplicates(train, test)] == [0, 0, 0]
    assert near_duplicates(train[:1], test + 200) == []


def test_the_same_images_in_different_folds_are_counted():
    train, folds = images(200, 0), np.arange(200) % 4
    train[41] = train[0]  # folds 1 and 0
    train[44] = train[4]  # both in fold 0
    train[50] = np.clip(train[7].astype(int) + 2, 0, 255).astype(np.uint8)  # folds 2 and 3
    assert across_folds(train, folds) == Across(rows=200, same=2, asked=200, near=4)


def test_rows_that_all_folds_train_on_count_and_those_that_none_does_do_not():
    train, folds = images(60, 0), np.arange(60) % 2
    train[10] = train[20]
    folds[20] = -1
    assert across_folds(train, folds) == Across(rows=59, same=1, asked=59, near=1)
    folds[20] = -2
    assert across_folds(train, folds) == Across(rows=59, same=0, asked=59, near=0)


def test_large_images_are_found_as_small_ones_are():
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (40, 70, 65, 3)).astype(np.uint8)
    noise = random.integers(-3, 4, train[0].shape)
    train[31] = np.clip(train[2].astype(int) + noise, 0, 255).astype(np.uint8)
    assert across_folds(train, np.arange(40) % 2) == Across(rows=40, same=0, asked=40, near=2)


def test_what_is_said_names_both_counts_and_few_are_not_told_of():
    assert Across(rows=42000, same=0, asked=3000, near=14).doubt(grouped=False) == ""
    assert Across(rows=0, same=0, asked=0, near=0).doubt(grouped=False) == ""
    words = Across(rows=42000, same=2, asked=3000, near=300).doubt(grouped=False)
    assert words.startswith(
        "other folds hold the very same image for 2 of 42,000 rows and nearly the same for 300 of "
        "3,000 rows looked at, so that figures may flatter; rows that belong together"
    )
    assert "--groups" not in Across(rows=9, same=2, asked=9, near=2).doubt(grouped=True)


def test_cv_train_tells_of_copies_in_other_folds_and_groups_mend_it(make, workspace, monkeypatch):
    from ensembles import cross_validation
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.wanted import Wanted
    from kaggle_digits.ground.workspace import Workspace

    made = make()
    head, *rows = made.rows_of("train.csv")
    for row in range(1, 30, 2):
        rows[row][1:] = rows[row - 1][1:]
    made.write("train.csv", [[*head, "patient"], *([*r, f"p{n // 6}"] for n, r in enumerate(rows))])

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    monkeypatch.setattr(cross_validation, "open_engine", stop)
    settings = cross_validation.CrossValidationSettings(folds=3, epochs=1, copies=1, seed=0)

    def said(place, **wanted) -> list[str]:
        lines: list[str] = []

        class Told:
            def say(self, text: str) -> None:
                lines.append(text)

        dataset = load(made.folder, place, wanted=Wanted(**wanted))
        with pytest.raises(Stop):
            cross_validation.cross_validate([], dataset, place, settings, Told())
        return lines

    (line,) = said(workspace)
    assert line.startswith("cv-train: other folds hold the very same image for ")
    assert line.endswith("want --groups COLUMN")
    assert said(Workspace(workspace.root.with_name("grouped")), groups="patient") == []
