"""Members that were trained elsewhere join those of the workspace, on disk, by the same rules.

They are known here by their files alone: a member's folder and the plan of members.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import read_json, whole_folder, write_json
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

    from kaggle_digits.core.data import Dataset
    from kaggle_digits.core.folds import Folds

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_MEND = "Build, push and run the kernel again."


@dataclass(frozen=True, slots=True)
class Arrived:
    """A member's files as they came.

    Args:
        name: The member's name.
        files: member.json, held_out.npy and test.npy.
    """

    name: str
    files: Mapping[str, bytes]


def add_members(
    arrived: Sequence[Arrived], plan: Any, dataset: Dataset, workspace: Workspace
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Check members and put them into the workspace and its plan; all of them or none.

    Args:
        arrived: The members.
        plan: The plan of members they come with.
        dataset: The data at home.
        workspace: Its `ensembles` folder must be locked by the caller.

    Returns:
        Names of members that are new, names of those that were here, and whether the plan at home
        holds them now.

    Raises:
        ArtefactError: One was made on other data or folds, is broken, or cannot be blended with
            those planned here.
    """
    if not arrived:
        return (), (), False
    from kaggle_digits.core.folds import make_folds

    try:
        settings, planned = dict(plan["settings"]), list(plan["members"])
        count, seed = int(settings["folds"]), int(settings["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"The kernel's plan of members is broken: {error}.", mend=_MEND
        ) from error
    at_home = workspace.ensembles / "plan.json"
    home: Any = read_json(at_home) if at_home.exists() else {"settings": settings, "members": []}
    for what, ours in (("folds", count), ("seed", seed)):
        if home["settings"][what] != ours:
            raise ArtefactError(
                f"The kernel's members have {what} {ours}, those planned here "
                f"{home['settings'][what]}; they cannot be blended.",
                mend=f"Call `kaggle-digits cv-train` with {what} {ours}, or give another "
                "--workspace.",
            )
    folds = make_folds(dataset, count, seed, workspace, settings.get("rare"))
    keys = [_check(member, dataset, folds) for member in arrived]
    added, known = [], []
    for member in arrived:
        folder = workspace.ensembles / "members" / member.name
        if (folder / "member.json").exists():
            known.append(member.name)
            continue
        with whole_folder(folder) as place:
            for name, content in member.files.items():
                (place / name).write_bytes(content)
        added.append(member.name)
    here = [key for key in planned if key in keys]
    members = [*home["members"], *(key for key in here if key not in home["members"])]
    write_json(at_home, {"settings": home["settings"], "members": members})
    return tuple(added), tuple(known), bool(here)


def _check(member: Arrived, dataset: Dataset, folds: Folds) -> Any:
    """Hold a member against the data and the folds at home; return its key."""
    name = f"The kernel's member {member.name!r}"
    if not _NAME.fullmatch(member.name):
        raise ArtefactError(f"{name} has no proper name.", mend=_MEND)
    try:
        key = json.loads(member.files["member.json"])["key"]
        fold, data, of_folds = int(key["fold"]), key["data"], key["folds"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{name} cannot be read: {error}.", mend=_MEND) from error
    if not 0 <= fold < folds.count:
        raise ArtefactError(f"{name} is of fold {fold}; there are {folds.count}.", mend=_MEND)
    if data != dataset.digest:
        raise ArtefactError(
            f"{name} was trained on other data (digest {data}, here {dataset.digest})."
        )
    if of_folds != folds.digest:
        raise ArtefactError(
            f"{name} was trained on other folds (digest {of_folds}, here {folds.digest})."
        )
    if not member.name.endswith(digest(key)[:8]):
        raise ArtefactError(f"{name} holds another member than its name says.", mend=_MEND)
    classes = len(dataset.competition.classes)
    rows = {
        "held_out.npy": len(folds.held_out_rows(fold)),
        "test.npy": len(dataset.test_images),
    }
    from kaggle_digits.core.predictions import require_softmax

    for file, count in rows.items():
        array = _array(member.files[file], f"{name}, {file}")
        require_softmax(array, (count, classes), f"{name}, {file},")
    return key


def _array(content: bytes, name: str) -> np.ndarray:
    import numpy

    try:
        array: np.ndarray = numpy.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ArtefactError(f"{name} is no array: {error}.", mend=_MEND) from error
    return array
