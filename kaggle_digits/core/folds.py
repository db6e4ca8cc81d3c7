"""Stratified folds: fixed by the data and the seed, stored once, the same for all of a workspace.

Stored, not only computed, so that another version of scikit-learn cannot move a row to another fold
between two calls on one workspace.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Which fold each training row belongs to.

    Args:
        count: Number of folds.
        seed: The seed they were drawn with.
        of_row: int64 [rows], each row's fold, 0 to count - 1.
    """

    count: int
    seed: int
    of_row: np.ndarray

    def training_rows(self, fold: int) -> np.ndarray:
        """Return the rows outside a fold, ascending, int64."""
        return np.flatnonzero(self.of_row != fold)

    def held_out_rows(self, fold: int) -> np.ndarray:
        """Return the rows of a fold, ascending, int64."""
        return np.flatnonzero(self.of_row == fold)

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the assignment."""
        return digest(self.of_row.tolist())


def make_folds(dataset: Dataset, count: int, seed: int, workspace: Workspace) -> Folds:
    """Return the workspace's folds for a data set, drawn the first time and read back later.

    Raises:
        DataError: A class has fewer rows than there are folds.
        ArtefactError: The stored folds do not fit the data.
    """
    require_rows_per_class(dataset, count)
    path = _folder(workspace) / f"{dataset.digest}-{count}-seed{seed}.json"
    if path.exists():
        return _read(path, dataset, count, seed)
    folds = Folds(count, seed, _draw(dataset.labels, count, seed))
    write_json(path, {"folds": count, "seed": seed, "of_row": folds.of_row.tolist()})
    return folds


def stored_folds(dataset: Dataset, workspace: Workspace) -> list[Folds]:
    """Return all folds of a data set that a workspace has, whatever their number and seed.

    Raises:
        ArtefactError: Stored folds do not fit the data.
    """
    found = []
    for path in sorted(_folder(workspace).glob(f"{dataset.digest}-*-seed*.json")):
        named = re.fullmatch(rf"{dataset.digest}-(\d+)-seed(\d+)\.json", path.name)
        if named is not None:
            found.append(_read(path, dataset, int(named[1]), int(named[2])))
    return found


def require_rows_per_class(dataset: Dataset, count: int) -> None:
    """Refuse data with too few rows of a class to be spread over all folds.

    Raises:
        DataError: The class is named.
    """
    rows = Counter(dataset.labels.tolist())
    for index, label in enumerate(dataset.competition.classes):
        if rows[index] < count:
            raise DataError(
                f"Class {label!r} has {rows[index]} rows in train.csv; "
                f"{count} folds need {count} or more of each class.",
                mend="Give fewer --folds.",
            )


def holdout(
    labels: np.ndarray, train: int, held_out: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two disjoint stratified samples of rows.

    Args:
        labels: int64 [rows], class indices.
        train: Rows of the first sample at most.
        held_out: Rows of the second sample at most.
        seed: Fixes the draw.

    Returns:
        Two ascending int64 arrays of rows. Where the data has fewer rows than both samples want,
        they share what is there in the same proportion.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    rows = len(labels)
    if train + held_out >= rows:
        held_out = round(rows * held_out / (train + held_out))
        train = rows - held_out
    split = StratifiedShuffleSplit(
        n_splits=1, train_size=train, test_size=held_out, random_state=seed
    )
    first, second = next(split.split(np.zeros(rows), labels))
    return np.sort(first), np.sort(second)


def _folder(workspace: Workspace) -> Path:
    return workspace.ensembles / "folds"


def _read(path: Path, dataset: Dataset, count: int, seed: int) -> Folds:
    mend = "Put the file back, or delete it: the same seed draws the same folds again."
    given = read_artefact(path, lambda values: Fields(values).wholes("of_row"), "folds", mend)
    of_row = np.asarray(given, dtype=np.int64)
    if of_row.shape != dataset.labels.shape or set(of_row.tolist()) != set(range(count)):
        raise ArtefactError(
            f"{path} does not fit the data's {len(dataset.labels)} rows and {count} folds.",
            mend=mend,
        )
    return Folds(count, seed, of_row)


def _draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    of_row = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels)):
        of_row[held_out] = fold
    return of_row
