"""The pool: what a blend is made of, as arrays over the same rows.

An entry is a whole fold set (one configuration's members of all folds, which together predict every
training row out-of-fold) or an extra (predictions made elsewhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensembles.extra import Extra
from ensembles.members import MemberKey, MemberStore, require_same
from kaggle_digits.core.folds import Folds
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Predictions that can be joined.

    Args:
        names: Of the entries, all different.
        members: The members in them, by name; an extra counts as one.
        oof: Each row's softmax by members that never saw it, float32 [entries, rows, classes].
        rows: Those rows' places in train.csv, ascending, int64 [rows]: all that are in a fold.
        test: Mean over the entry's members, float64 [entries, test rows, classes].
        extras: Those entries that were made elsewhere; the last ones.
    """

    names: tuple[str, ...]
    members: tuple[str, ...]
    oof: np.ndarray
    rows: np.ndarray
    test: np.ndarray
    extras: tuple[Extra, ...]


def make_pool(
    keys: Sequence[MemberKey],
    store: MemberStore,
    dataset: Dataset,
    folds: Folds,
    extras: Sequence[Extra] = (),
) -> tuple[Pool, list[MemberKey]]:
    """Read the planned members that make whole fold sets, and put extras beside them.

    A fold set with a fold still missing is left out: its rows could not be judged.

    Args:
        keys: The planned members.
        store: Where they are.
        dataset: The data they must be of.
        folds: The folds they must be of.
        extras: Predictions made elsewhere.

    Returns:
        The pool, and the keys of those members that are not trained yet.

    Raises:
        ArtefactError: A member was made from other data or folds, is broken, or no fold set is
            whole.
        ConfigurationError: Two entries have the same name.
    """
    require_same(keys, dataset.digest, folds.digest)
    sets, missing = _whole_sets(keys, store, folds)
    if not sets:
        raise ArtefactError(
            f"No configuration has all its folds trained yet ({len(keys) - len(missing)} of "
            f"{len(keys)} members are there).",
            mend="Call `kaggle-digits cv-train` to go on with them.",
        )
    names = (*sets, *(extra.name for extra in extras))
    _require_distinct(names)
    rows, classes = folds.judged_rows, len(dataset.competition.classes)
    oof = np.empty((len(names), len(rows), classes), dtype=np.float32)
    test = np.empty((len(names), len(dataset.test_images), classes))
    for place, group in enumerate(sets.values()):
        oof[place], test[place] = _read_set(group, store, folds, len(dataset.test_images), classes)
    for place, extra in enumerate(extras, start=len(sets)):
        oof[place], test[place] = extra.oof[rows], extra.test
    members = (
        *(key.name for group in sets.values() for key in group),
        *(extra.name for extra in extras),
    )
    return Pool(names, members, oof, rows, test, tuple(extras)), missing


def _whole_sets(
    keys: Sequence[MemberKey], store: MemberStore, folds: Folds
) -> tuple[dict[str, list[MemberKey]], list[MemberKey]]:
    sets: dict[str, list[MemberKey]] = {}
    for key in keys:
        sets.setdefault(key.set_name, []).append(key)
    missing = [key for key in keys if not store.has(key)]
    incomplete = {key.set_name for key in missing}
    whole = {
        name: group
        for name, group in sets.items()
        if name not in incomplete and {key.fold for key in group} == set(range(folds.count))
    }
    return whole, missing


def _read_set(
    keys: Sequence[MemberKey], store: MemberStore, folds: Folds, test_rows: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    # Sums in float64: the mean of one fold set, and of several, is what it was when all members
    # were summed at once.
    oof = np.zeros((len(folds.of_row), classes))
    count = np.zeros((len(folds.of_row), 1))
    test = np.zeros((test_rows, classes))
    for key in keys:
        held_out = folds.held_out_rows(key.fold)
        member = store.load(key, (len(held_out), test_rows), classes)
        oof[held_out] += member.held_out
        count[held_out] += 1
        test += member.test
    rows = folds.judged_rows
    return oof[rows] / count[rows], test / len(keys)


def _require_distinct(names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ConfigurationError(
                f"Two predictions to blend are named {name!r}; expected different names.",
                mend="Give a name as the third part: --extra OOF,TEST,NAME.",
            )
