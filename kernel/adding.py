"""Members that were trained elsewhere join those of the workspace, by the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore, read_files, require_same
from kaggle_digits.records.plan import MemberKey, MemberPlan, plan_path, read_plan, write_plan

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.core.folds import Folds


@dataclass(frozen=True, slots=True)
class Arrived:
    """A member's files as they came.

    Args:
        name: The member's name.
        files: The contents of the files a member consists of, by their names.
    """

    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of members that arrived.

    Args:
        added: Names of those that are new.
        known: Names of those that were here already.
        planned: Whether the plan at home holds any of them now.
    """

    added: tuple[str, ...]
    known: tuple[str, ...]
    planned: bool


def add_members(
    arrived: Sequence[Arrived], plan: MemberPlan, dataset: Dataset, workspace: Workspace
) -> Added:
    """Check members and put them into the workspace and its plan; all of them or none.

    Their folds need not be those of the plan at home: each training row has its out-of-fold
    prediction all the same.

    Args:
        arrived: The members.
        plan: The plan of members they come with.
        dataset: The data at home.
        workspace: Its `ensembles` folder must be locked by the caller.

    Raises:
        ArtefactError: One is broken, or was made on other data or on other folds than those that
            its plan names.
        DataError: A class has fewer rows than their folds.
    """
    folds = make_folds(dataset, plan.folds, plan.seed, workspace, plan.settings.get("rare"))
    keys = [_check(member, dataset, folds) for member in arrived]
    store = MemberStore(workspace)
    added, known = [], []
    for key, member in zip(keys, arrived, strict=True):
        if store.has(key):
            known.append(key.name)
        else:
            store.add_files(key, member.files)
            added.append(key.name)
    here = [key for key in plan.keys if key in keys]
    path = plan_path(workspace)
    home = read_plan(path) if path.exists() else MemberPlan(plan.settings, ())
    write_plan(path, home.joined_by(here))
    return Added(tuple(added), tuple(known), bool(here))


def _check(member: Arrived, dataset: Dataset, folds: Folds) -> MemberKey:
    """Hold a member against the data and the folds at home; return its key."""
    try:
        key, (held_out, test) = read_files(member.name, member.files)
        require_same([key], dataset.digest, folds.digest)
        if key.fold is not None and not 0 <= key.fold < folds.count:
            raise ArtefactError(f"{key.name} is of fold {key.fold}; there are {folds.count}.")
        classes = len(dataset.competition.classes)
        rows = len(folds.held_out_rows(key.fold)), len(dataset.test_images)
        for array, count, name in ((held_out, rows[0], "held_out"), (test, rows[1], "test")):
            require_softmax(array, (count, classes), f"{key.name}/{name}.npy")
    except ArtefactError as error:
        raise ArtefactError(
            f"A member of the kernel cannot be taken: {error.message}",
            mend="Build, push and run the kernel again.",
        ) from error
    return key
