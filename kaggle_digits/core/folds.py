"""Stratified folds: fixed by the data and the seed, stored once, the same for all of a workspace.

Stored, not only computed, so that another version of scikit-learn cannot move a row to another fold
between two calls on one workspace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.ground import names
from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import (
    ArtefactError,
    ConfigurationError,
    DataError,
    shorten,
)
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


_NOWHERE = -2
_NO_FOLD = -3
_OF_RARE = dict(zip(names.RARE, (-1, _NOWHERE), strict=True))
"""The fold that rows of rare classes are marked with."""


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Which fold each training row belongs to.

    Args:
        count: Number of folds.
        seed: The seed they were drawn with.
        of_row: int64 [rows], each row's fold, 0 to count - 1; -1 for rows that all folds train
            on, -2 for rows that none does, as those whose label is left out: they are in no fold
            and never judged.
    """

    count: int
    seed: int
    of_row: np.ndarray

    def training_rows(self, fold: int | None) -> np.ndarray:
        """Return the rows outside a fold, of None all that can be used; ascending, int64."""
        return np.flatnonzero((self.of_row != fold) & (self.of_row != _NOWHERE))

    def held_out_rows(self, fold: int | None) -> np.ndarray:
        """Return the rows of a fold, of None no rows; ascending, int64."""
        return np.flatnonzero(self.of_row == (_NO_FOLD if fold is None else fold))

    @property
    def judged_rows(self) -> np.ndarray:
        """The rows that are held out once, ascending, int64: all that are in a fold."""
        return np.flatnonzero(self.of_row >= 0)

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the assignment."""
        return digest(self.of_row.tolist())


def make_folds(
    dataset: Dataset, count: int, seed: int, workspace: Workspace, rare: str | None = None
) -> Folds:
    """Return the workspace's folds for a data set, drawn the first time and read back later.

    Args:
        dataset: The data.
        count: Number of folds.
        seed: Fixes the draw.
        workspace: Where they are stored.
        rare: What to do with classes of fewer rows than folds, one of `names.RARE`; None
            to refuse them.

    Raises:
        DataError: A class has fewer rows than there are folds.
        ArtefactError: The stored folds do not fit the data.
    """
    if dataset.given_folds is not None:
        return _given(dataset, dataset.given_folds, count, seed)
    require_rows_per_class(dataset, count, rare)
    kept = dataset.kept
    if dataset.groups is not None:
        _require_groups(dataset.groups[kept], count)
    is_rare = rows_of_rare(dataset.labels[kept], count)
    of_rare = f"-{rare}" if is_rare.any() else ""
    path = _folder(workspace) / f"{dataset.digest}-{count}-seed{seed}{of_rare}.json"
    if path.exists():
        return _read(path, dataset, count, seed)
    of_row = np.full(len(dataset.labels), _NOWHERE, dtype=np.int64)
    of_row[kept[is_rare]] = _OF_RARE.get(rare or "", 0)
    of_row[kept[~is_rare]] = _spread(dataset, kept[~is_rare], count, seed)
    folds = Folds(count, seed, of_row)
    write_json(path, {"folds": count, "seed": seed, "of_row": folds.of_row.tolist()})
    return folds


def fold_count(dataset: Dataset, asked: int | None, usual: int) -> int:
    """Return how many folds members are trained on.

    Args:
        dataset: The data; where its files give the folds, it is their number.
        asked: What the user asks for; None for nothing.
        usual: What is usual otherwise.

    Raises:
        ConfigurationError: The files give another number than was asked for.
    """
    if dataset.given_folds is None:
        return asked or usual
    there = int(dataset.given_folds.max()) + 1
    if asked not in (None, there):
        raise ConfigurationError(
            f"--folds was given as {asked}, but the fold column has {there} folds.",
            mend=f"Leave --folds out, or give --folds {there}.",
        )
    return there


def _given(dataset: Dataset, of_row: np.ndarray, count: int, seed: int) -> Folds:
    """Return the folds that the files give.

    Raises:
        DataError: A class stands in one fold alone, so that nothing learns it for that fold.
    """
    of_row = of_row.copy()
    of_row[dataset.left_out] = _NOWHERE
    for index, label in enumerate(dataset.competition.classes):
        there = np.unique(of_row[(dataset.labels == index) & (of_row >= 0)])
        if len(there) == 1:
            raise DataError(
                f"All rows of the class {label!r} stand in one fold of the fold column; expected "
                "two folds at least, so that networks can learn it.",
                mend="Give another --fold-column, or none, with a --workspace of its own.",
            )
    return Folds(count, seed, of_row)


def _require_groups(groups: np.ndarray, count: int) -> None:
    there = len(np.unique(groups))
    if there < count:
        raise DataError(
            f"The groups' column has {there} groups, fewer than the {count} folds.",
            mend=f"Give --folds {there}." if there >= 2 else "Give another --groups column.",
        )


def stored_folds(dataset: Dataset, workspace: Workspace) -> list[Folds]:
    """Return all folds of a data set that a workspace has, whatever their number and seed.

    Raises:
        ArtefactError: Stored folds do not fit the data.
    """
    found = []
    of_rare = "|".join(_OF_RARE)
    for path in sorted(_folder(workspace).glob(f"{dataset.digest}-*-seed*.json")):
        form = rf"{dataset.digest}-(\d+)-seed(\d+)(?:-(?:{of_rare}))?\.json"
        named = re.fullmatch(form, path.name)
        if named is not None:
            found.append(_read(path, dataset, int(named[1]), int(named[2])))
    return found


def rows_of_rare(labels: np.ndarray, count: int) -> np.ndarray:
    """Return which rows are of a class of fewer than `count` rows, bool [rows]."""
    found: np.ndarray = np.bincount(labels)[labels] < count
    return found


def require_rows_per_class(dataset: Dataset, count: int, rare: str | None = None) -> None:
    """Refuse data with too few rows of a class to be spread over all folds.

    Args:
        dataset: The data.
        count: Number of folds.
        rare: What is to be done with such classes, one of `names.RARE`; None to refuse
            them.

    Raises:
        DataError: The classes are named; or too few are left without them.
    """
    labels = dataset.labels[dataset.kept]
    rows = np.bincount(labels, minlength=len(dataset.competition.classes))
    few = [
        f"{label!r} ({rows[index]})"
        for index, label in enumerate(dataset.competition.classes)
        if rows[index] < count
    ]
    if not few:
        return
    fewest = int(rows.min())
    if len(rows) - len(few) < 2:
        raise DataError(
            f"{len(few)} of the {len(rows)} classes in train.csv have fewer rows than the {count} "
            f"folds: {shorten(few)}; expected two classes of {count} rows at least.",
            mend=f"Give --folds {fewest}." if fewest >= 2 else "Add rows to the classes.",
        )
    if rare is None:
        kept = (
            "--rare keep-in-train trains on them in every fold and never judges them, --rare drop "
            "leaves them out"
        )
        raise DataError(
            f"{'Class' if len(few) == 1 else 'Classes'} with fewer rows in train.csv than the "
            f"{count} folds: {shorten(few)}; expected {count} or more of each class.",
            mend=f"{kept}; or give --folds {fewest}." if fewest >= 2 else f"{kept}.",
        )


def draw_folds(
    labels: np.ndarray, count: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return a stratified fold for each row, int64 [rows].

    Args:
        labels: int64 [rows], class indices.
        count: How many folds.
        seed: Fixes the draw.
        groups: int64 [rows], rows with equal numbers stand in one fold; None where rows are free.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    of_row = np.empty(len(labels), dtype=np.int64)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        of_row[held_out] = fold
    return of_row


def holdout(
    labels: np.ndarray, train: int, held_out: int, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two disjoint stratified samples of rows.

    Args:
        labels: int64 [rows], class indices.
        train: Rows of the first sample at most.
        held_out: Rows of the second sample at most.
        seed: Fixes the draw.
        groups: int64 [rows], rows with equal numbers come into one sample; None where rows are
            free.

    Returns:
        Two ascending int64 arrays of rows. Where the data has fewer rows than both samples want,
        they share what is there in the same proportion.

    Raises:
        DataError: There are fewer rows than classes in one of the samples, or the rows are of one
            group.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    rows = len(labels)
    if groups is not None:
        return _holdout_of_groups(labels, train, held_out, seed, groups)
    if train + held_out >= rows:
        held_out = round(rows * held_out / (train + held_out))
        train = rows - held_out
    classes = len(np.unique(labels))
    if min(train, held_out) < classes:
        raise DataError(
            f"train.csv has {rows} rows of {classes} classes; too few to hold out some of each "
            "class.",
            mend="Add rows, or leave the rarest classes out.",
        )
    split = StratifiedShuffleSplit(
        n_splits=1, train_size=train, test_size=held_out, random_state=seed
    )
    first, second = next(split.split(np.zeros(rows), labels))
    return np.sort(first), np.sort(second)


def _folder(workspace: Workspace) -> Path:
    return workspace.ensembles / "folds"


def _read(path: Path, dataset: Dataset, count: int, seed: int) -> Folds:
    mend = "Put the file back, or delete it: the same seed draws the same folds again."
    given = read_artefact(
        path, lambda values: Fields(values).wholes("of_row"), "the folds of a data set", mend
    )
    of_row = np.asarray(given, dtype=np.int64)
    known, found = {*range(count), *_OF_RARE.values()}, set(of_row.tolist())
    if of_row.shape != dataset.labels.shape or not set(range(count)) <= found <= known:
        raise ArtefactError(
            f"{path} does not fit the data's {len(dataset.labels)} rows and {count} folds.",
            mend=mend,
        )
    return Folds(count, seed, of_row)


def _spread(dataset: Dataset, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the folds of rows of common classes, int64 [rows].

    Rows keep the fold that they have without corrections, so that members of both are alike, as
    long as each fold then has rows of each class.
    """
    labels = dataset.labels[rows]
    groups = dataset.groups
    if dataset.fixes is not None:
        given = dataset.given_labels
        common = np.flatnonzero(~rows_of_rare(given, count))
        before = np.full(len(given), -1, dtype=np.int64)
        before[common] = draw_folds(given[common], count, seed, _of(groups, common))
        of_row = before[rows]
        there = np.zeros((count, labels.max() + 1), dtype=bool)
        there[of_row, labels] = True
        if of_row.min() >= 0 and there[:, np.unique(labels)].all():
            return np.asarray(of_row)
    return draw_folds(labels, count, seed, _of(groups, rows))


def _of(groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[rows]


def _holdout_of_groups(
    labels: np.ndarray, train: int, held_out: int, seed: int, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the two samples from groups that are on one side each; arguments as `holdout`'s."""
    count = min(round((train + held_out) / held_out), len(np.unique(groups)))
    if count < 2:
        raise DataError(
            "All rows that a search can use are of one group, or of one fold of the fold column; "
            "expected two at least, so that some can be held out.",
            mend="Give another --groups or --fold-column, or train without a search: cv-train "
            "--config FILE.",
        )
    count = min(count, int(np.unique(labels, return_counts=True)[1].min()))
    of_row = draw_folds(labels, max(2, count), seed, groups)
    # Of groups of unequal sizes, the fold that comes nearest to what is to be held out.
    aim = len(labels) * held_out / (train + held_out)
    chosen = int(np.abs(np.bincount(of_row) - aim).argmin())
    sides = (np.flatnonzero(of_row != chosen), train), (np.flatnonzero(of_row == chosen), held_out)
    first, second = (side[_some(labels[side], most, seed)] for side, most in sides)
    return first, second


def _some(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return some places of each class in the classes' proportions, ascending, int64."""
    place = np.random.default_rng(seed).permutation(len(labels))
    share = np.empty(len(labels))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        share[own[np.argsort(place[own])]] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.argsort(share, kind="stable")[:most])
