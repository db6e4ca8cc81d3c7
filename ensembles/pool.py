"""The pool: what a blend is made of, as arrays over the same rows.

An entry is a whole fold set (one configuration's members of all folds, which together predict every
training row out-of-fold) or an extra (predictions made elsewhere).

Fold sets need not have the same folds. What a blend needs of a set is one prediction for each row,
by networks that never saw it; how many networks made the others does not matter. So members of four
folds at home and of ten from a kernel stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.extra import Extra
from kaggle_digits.core.folds import Folds, make_folds, stored_folds
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore, require_same
from kaggle_digits.records.plan import MemberKey

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
        test: Mean over the entry's members, float64 [entries, test rows, classes]; without rows
            where they were not asked for.
        extras: Those entries that were made elsewhere; the last ones.
        folds: The number of folds of each fold set among the entries.
        sets: Each fold set's name, and those of the members in it.
    """

    names: tuple[str, ...]
    members: tuple[str, ...]
    oof: np.ndarray
    rows: np.ndarray
    test: np.ndarray
    extras: tuple[Extra, ...]
    folds: tuple[int, ...] = ()
    sets: Mapping[str, Sequence[str]] = field(default_factory=dict)


def make_pool(
    keys: Sequence[MemberKey],
    store: MemberStore,
    dataset: Dataset,
    folds: Folds,
    extras: Sequence[Extra] = (),
    others: Sequence[Folds] = (),
    *,
    with_test: bool = True,
) -> tuple[Pool, list[MemberKey]]:
    """Read the planned members that make whole fold sets, and put extras beside them.

    A fold set with a fold still missing is left out: its rows could not be judged. Members of all
    rows join what their fold set says of the test rows, as far as they are there.

    Args:
        keys: The planned members.
        store: Where they are.
        dataset: The data they must be of.
        folds: The plan's own folds.
        extras: Predictions made elsewhere.
        others: Other folds that members may be of.
        with_test: Also read what they say of the test rows, most of what there is to read.

    Returns:
        The pool, and the keys of those members that are not trained yet.

    Raises:
        ArtefactError: A member was made from other data or folds, is broken, or no fold set is
            whole.
        ConfigurationError: Two entries have the same name.
    """
    known = {one.digest: one for one in (*others, folds)}
    require_same(keys, dataset.digest)
    require_same([key for key in keys if key.folds not in known], dataset.digest, folds.digest)
    sets, missing = _whole_sets(keys, store, folds, known)
    if not sets:
        raise ArtefactError(
            f"No configuration has all its folds trained yet ({len(keys) - len(missing)} of "
            f"{len(keys)} members are there).",
            mend="Call `kaggle-digits cv-train` as before, or with --add alone, to go on.",
        )
    names = (*sets, *(extra.name for extra in extras))
    _require_distinct(names)
    # A class that is rare among ten folds need not be among four.
    rows = folds.judged_rows
    for own_folds in {group[0].folds for group in sets.values()}:
        rows = np.intersect1d(rows, known[own_folds].judged_rows)
    classes = len(dataset.competition.classes)
    oof = np.empty((len(names), len(rows), classes), dtype=np.float32)
    test_rows = len(dataset.test_images) if with_test else 0
    test = np.empty((len(names), test_rows, classes))
    for place, group in enumerate(sets.values()):
        own = known[group[0].folds]
        whole, test[place] = _read_set(group, store, own, test_rows, classes)
        oof[place] = whole if len(rows) == len(whole) else whole[rows]
    for place, extra in enumerate(extras, start=len(sets)):
        oof[place], test[place] = extra.oof[rows], extra.test[:test_rows]
    members = (
        *(key.name for group in sets.values() for key in group),
        *(extra.name for extra in extras),
    )
    counts = tuple(known[group[0].folds].count for group in sets.values())
    named = {name: [key.name for key in group] for name, group in sets.items()}
    return Pool(names, members, oof, rows, test, tuple(extras), counts, named), missing


def planned_folds(settings: Mapping[str, Any], dataset: Dataset, workspace: Workspace) -> Folds:
    """Return the folds that a plan's members are trained on here.

    Args:
        settings: The plan's.
        dataset: The data.
        workspace: Keeps them.

    Raises:
        DataError: A class has fewer rows than there are folds.
        ArtefactError: Stored folds do not fit the data.
    """
    return make_folds(dataset, settings["folds"], settings["seed"], workspace, settings.get("rare"))


def other_folds(
    keys: Sequence[MemberKey], folds: Folds, dataset: Dataset, workspace: Workspace
) -> list[Folds]:
    """Return the folds that members have where they are not the plan's own.

    Args:
        keys: The members.
        folds: The plan's own folds.
        dataset: The data.
        workspace: Has all folds that its members were trained on.

    Raises:
        ArtefactError: Stored folds do not fit the data.
    """
    wanted = {key.folds for key in keys} - {folds.digest}
    if not wanted:
        return []
    return [one for one in stored_folds(dataset, workspace) if one.digest in wanted]


def _whole_sets(
    keys: Sequence[MemberKey], store: MemberStore, folds: Folds, known: Mapping[str, Folds]
) -> tuple[dict[str, list[MemberKey]], list[MemberKey]]:
    sets: dict[str, list[MemberKey]] = {}
    for key in keys:
        sets.setdefault(_set_name(key, folds, known[key.folds]), []).append(key)
    missing = [key for key in keys if not store.has(key)]
    absent = set(missing)
    whole = {}
    for name, group in sets.items():
        of_folds = [key for key in group if key.fold is not None]
        all_folds = set(range(known[group[0].folds].count))
        if absent.isdisjoint(of_folds) and {key.fold for key in of_folds} == all_folds:
            whole[name] = [key for key in group if key not in absent]
    return whole, missing


def _set_name(key: MemberKey, folds: Folds, own: Folds) -> str:
    """Return a set's name; one of other folds than the plan's says which."""
    name = key.set_name
    if own.count != folds.count:
        name += f"-folds{own.count}"
    if own.seed != folds.seed:
        name += f"-seed{own.seed}"
    return name


def _read_set(
    keys: Sequence[MemberKey], store: MemberStore, folds: Folds, test_rows: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    # Sums in float64: the mean of one fold set, and of several, is what it was when all members
    # were summed at once.
    is_single = sum(key.fold is not None for key in keys) == folds.count
    oof = np.zeros((len(folds.of_row), classes), dtype=np.float32 if is_single else np.float64)
    count = np.zeros((len(folds.of_row), 1))
    test = np.zeros((test_rows, classes))
    for key in keys:
        held_out = folds.held_out_rows(key.fold)
        if test_rows:
            member = store.load(key, (len(held_out), test_rows), classes)
            own = member.held_out
            test += member.test
        else:
            own = store.held_out(key, len(held_out), classes)
        oof[held_out] += own
        count[held_out] += 1
    return oof if is_single else oof / np.maximum(count, 1), test / len(keys)


def _require_distinct(names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ConfigurationError(
                f"Two predictions to blend are named {name!r}; expected different names.",
                mend="Give a name as the third part: --extra OOF,TEST,NAME.",
            )
