"""What is there to look at: the pool of members and the blend, read from the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.pool import Pool, make_pool, other_folds, planned_folds
from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.blend import MEND, blend_folder, read_account
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell.report.parts import Subject

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class StoredBlend:
    """The blend that was made last.

    Args:
        about: Its account.
        rows: The places in train.csv of the rows that were judged, int64 [rows].
        oof: Their out-of-fold softmax, float32 [rows, classes].
        test: Softmax of the test rows, float32 [test rows, classes].
    """

    about: dict[str, Any]
    rows: np.ndarray
    oof: np.ndarray
    test: np.ndarray


def read_blend(workspace: Workspace, dataset: Dataset) -> StoredBlend:
    """Read the blend.

    Raises:
        ArtefactError: It is broken, or was made from other data.
    """
    about = read_account(workspace, dataset.digest)
    classes = len(dataset.competition.classes)
    arrays = []
    for name, count in (("oof", len(dataset.labels)), ("test", len(dataset.test_ids))):
        path = blend_folder(workspace) / f"{name}.npy"
        try:
            array = load_array(path)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read: {error}.", mend=MEND) from error
        require_softmax(array, (count, classes), str(path))
        arrays.append(array)
    oof, test = arrays
    if about["rows"] == len(dataset.kept):
        rows = dataset.kept
    else:
        # Rows that nobody judges have the same probability for every class.
        rows = np.flatnonzero(np.ptp(oof, axis=1) > 0)
    return StoredBlend(about, rows, oof[rows], test)


def read_pool(workspace: Workspace, dataset: Dataset) -> tuple[Pool, Folds, list[MemberKey]]:
    """Read the planned members as a pool, without what they say of the test rows.

    Returns:
        The pool, the plan's own folds, and the planned members.

    Raises:
        ArtefactError: There is no plan, no fold set is whole, or something is broken.
    """
    store = MemberStore(workspace)
    settings, keys = store.read_plan()
    folds = planned_folds(settings, dataset, workspace)
    others = other_folds(keys, folds, dataset, workspace)
    pool, _ = make_pool(keys, store, dataset, folds, others=others, with_test=False)
    return pool, folds, keys


def pool_of(subject: Subject) -> tuple[Pool, Folds, list[MemberKey]]:
    """Read the subject's pool; for `Subject.once`."""
    return read_pool(subject.workspace, subject.data())


def blend_of(subject: Subject) -> StoredBlend:
    """Read the subject's blend; for `Subject.once`."""
    return read_blend(subject.workspace, subject.data())
