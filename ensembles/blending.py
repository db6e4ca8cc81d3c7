"""The blend: members' softmax averaged, out-of-fold to be judged, on the test rows to submit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensembles.members import Member, MemberKey, MemberStore
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.predictions import Score, score
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import Workspace, versions, write_bytes, write_json

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

METHODS = ("mean",)


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """An average of members.

    Args:
        method: How they were averaged.
        members: Their names.
        oof: Out-of-fold softmax: each row's mean over the members that never saw it, float64
            [rows, classes].
        test: Mean over all members, float64 [test rows, classes].
        score: Of `oof`.
    """

    method: str
    members: tuple[str, ...]
    oof: np.ndarray
    test: np.ndarray
    score: Score


def load_members(
    keys: Sequence[MemberKey], store: MemberStore, dataset: Dataset, folds: Folds
) -> tuple[list[Member], list[MemberKey]]:
    """Read the planned members that make whole fold sets.

    A configuration with a fold still missing is left out: its rows could not be judged.

    Returns:
        The members, and the keys of those that are not trained yet.

    Raises:
        ArtefactError: A member was made from other data or folds, is broken, or no fold set is
            whole.
    """
    for key in keys:
        if key.data != dataset.digest or key.folds != folds.digest:
            raise ArtefactError(
                f"Member {key.name} was made from other {_which(key, dataset)} than these.",
                mend="Call `kaggle-digits cv-train` on this data, or give another --workspace.",
            )
    missing = [key for key in keys if not store.has(key)]
    incomplete = {key.config.digest for key in missing}
    whole = [key for key in keys if key.config.digest not in incomplete]
    if not whole:
        raise ArtefactError(
            f"No configuration has all its folds trained yet ({len(keys) - len(missing)} of "
            f"{len(keys)} members are there).",
            mend="Call `kaggle-digits cv-train` to go on with them.",
        )
    classes = len(dataset.competition.classes)
    members = [
        store.load(key, (len(folds.held_out_rows(key.fold)), len(dataset.test_images)), classes)
        for key in whole
    ]
    return members, missing


def mean_blend(members: Sequence[Member], folds: Folds, labels: np.ndarray) -> Blend:
    """Average members with equal weights.

    Args:
        members: Whole fold sets.
        folds: Which rows each member held out.
        labels: int64 [rows], class indices.
    """
    classes = members[0].test.shape[1]
    total = np.zeros((len(labels), classes))
    count = np.zeros((len(labels), 1))
    for member in members:
        rows = folds.held_out_rows(member.key.fold)
        total[rows] += member.held_out
        count[rows] += 1
    oof = total / count
    test = np.mean([member.test.astype(np.float64) for member in members], axis=0)
    return Blend(
        "mean", tuple(member.key.name for member in members), oof, test, score(oof, labels)
    )


def write_submission(
    blend: Blend, dataset: Dataset, folds: Folds, workspace: Workspace, copy_to: Path | None
) -> Path:
    """Write the submission in the competition's form, and beside it what it was made from.

    Args:
        blend: What to submit.
        dataset: Gives ids, classes and form.
        folds: Recorded with it.
        workspace: Its `submissions` folder takes `submission.csv` and `submission.json`.
        copy_to: A second place for the file; None for none.

    Returns:
        The path to tell the user: `copy_to` if given.
    """
    competition = dataset.competition
    labels = [competition.classes[index] for index in blend.test.argmax(axis=1)]
    content = competition.form.render(dataset.test_ids, labels)
    path = workspace.submissions / "submission.csv"
    write_bytes(path, content)
    write_json(
        path.with_suffix(".json"),
        {
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "method": blend.method,
            "members": list(blend.members),
            **{
                f"oof_{name}": value
                for name, value in asdict(blend.score).items()
                if name != "rows"
            },
            "rows": blend.score.rows,
            "data_digest": dataset.digest,
            "folds": folds.count,
            "seed": folds.seed,
            "versions": versions(),
        },
    )
    if copy_to is not None:
        write_bytes(copy_to, content)
    return copy_to or path


def _which(key: MemberKey, dataset: Dataset) -> str:
    return "data" if key.data != dataset.digest else "folds"
