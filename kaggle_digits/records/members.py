"""Members on disk: one configuration trained on one fold with one seed, complete or absent.

A member's folder is named by what made it. The plan (`records.plan`) lists the members that belong
together now; members of other settings may lie beside them and are never mixed in.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.aside import Contents, put_aside
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.figures import require_figures
from kaggle_digits.ground.files import is_temporary, whole_folder, write_bytes, write_json
from kaggle_digits.ground.stamps import versions
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.plan import MemberKey, MemberPlan, plan_path, read_plan, write_plan

MODEL = "model.keras"
"""The name of a member's network in its folder, where it is kept."""

_ABOUT = "member.json"
_ARRAYS = ("held_out.npy", "test.npy")

FILES = (_ABOUT, *_ARRAYS)
"""What a member consists of, its network aside."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A trained member.

    Args:
        key: Which one.
        held_out: Softmax on its fold's rows, ascending, float32 [fold rows, classes].
        test: Softmax on the test images, float32 [test rows, classes].
        record: Scores, losses, seconds, hardware, versions.
    """

    key: MemberKey
    held_out: np.ndarray
    test: np.ndarray
    record: dict[str, Any]


class MemberStore:
    """The members and the plan of a workspace.

    Args:
        workspace: Whose `ensembles` folder it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.ensembles / "members"
        self._plan = plan_path(workspace)
        self._checkpoints = workspace.cache / "checkpoints"

    @property
    def plan(self) -> Path:
        """The file of the plan."""
        return self._plan

    def path(self, key: MemberKey) -> Path:
        """Return a member's folder."""
        return self.folder / key.name

    def model_path(self, key: MemberKey) -> Path:
        """Return where a member's network is, if it is kept."""
        return self.path(key) / MODEL

    def checkpoints(self, key: MemberKey) -> Path:
        """Return the folder for what is needed while a member is trained, and not after."""
        return self._checkpoints / key.name

    def has(self, key: MemberKey) -> bool:
        """Say whether a member is there; if it is, it is complete."""
        return (self.path(key) / _ABOUT).exists()

    def has_weights(self, key: MemberKey) -> bool:
        """Say whether a member's network is kept; if it is, it is complete."""
        return self.has(key) and self.model_path(key).exists()

    def is_resumable(self, key: MemberKey) -> bool:
        """Say whether a member is not there, but a checkpoint that its training goes on from."""
        return not self.has(key) and any(self.checkpoints(key).glob("*.npz"))

    def add(self, member: Member, model: bytes | None = None) -> None:
        """Store a member, whole or not at all.

        Args:
            member: What to store.
            model: Its network as a Keras file's bytes; None for none.
        """
        with whole_folder(self.path(member.key)) as folder:
            np.save(folder / _ARRAYS[0], member.held_out)
            np.save(folder / _ARRAYS[1], member.test)
            if model is not None:
                (folder / MODEL).write_bytes(model)
            write_json(folder / _ABOUT, _about(member, folder, model))

    def add_files(self, key: MemberKey, files: Mapping[str, bytes]) -> None:
        """Store a member that was trained elsewhere as its files came, whole or not at all.

        Args:
            key: Which one.
            files: The contents of `FILES`, checked by `read_files`.
        """
        with whole_folder(self.path(key)) as folder:
            for name in FILES:
                (folder / name).write_bytes(files[name])

    def add_weights(self, member: Member, model: bytes) -> bool:
        """Put the network of a member that was trained again beside its predictions.

        Predictions that are not the stored ones bit for bit (other hardware, other versions)
        replace the member, so that network and predictions always belong together.

        Args:
            member: The member as it was trained again.
            model: Its network as a Keras file's bytes.

        Returns:
            Whether the predictions were the stored ones.
        """
        folder = self.path(member.key)
        try:
            held_out, test = (load_array(folder / name) for name in _ARRAYS)
        except (OSError, ValueError):
            self.add(member, model)
            return False
        if not (np.array_equal(held_out, member.held_out) and np.array_equal(test, member.test)):
            self.add(member, model)
            return False
        kept = Member(member.key, held_out, test, self._read(member.key)["record"])
        # The network last: while it is not there, the member simply has none.
        write_json(folder / _ABOUT, _about(kept, folder, model))
        write_bytes(folder / MODEL, model)
        return True

    def load(self, key: MemberKey, rows: tuple[int, int], classes: int) -> Member:
        """Read a member and check that it is what its name says.

        Args:
            key: Which one.
            rows: Rows of its fold, and test rows.
            classes: Number of classes.

        Raises:
            ArtefactError: It is not there, broken, changed, of another key, or no softmax output.
        """
        folder, about = self.path(key), self._read(key)
        held_out, test = (
            _read_array(about, folder / name, (count, classes))
            for name, count in zip(_ARRAYS, rows, strict=True)
        )
        return Member(key, held_out, test, about["record"])

    def held_out(self, key: MemberKey, rows: int, classes: int) -> np.ndarray:
        """Read a member's predictions of its fold alone, checked like all of it.

        Args:
            key: Which one.
            rows: Rows of its fold.
            classes: Number of classes.

        Raises:
            ArtefactError: It is not there, broken, changed, of another key, or no softmax output.
        """
        return _read_array(self._read(key), self.path(key) / _ARRAYS[0], (rows, classes))

    def record(self, key: MemberKey) -> dict[str, Any]:
        """Return a member's record without its predictions.

        Raises:
            ArtefactError: It is not there, broken, or of another key.
        """
        record: dict[str, Any] = self._read(key)["record"]
        return record

    def checked_model(self, key: MemberKey) -> Path:
        """Return the file of a member's network after checking it against the member's record.

        Raises:
            ArtefactError: It is not there, or is not the one that was stored.
        """
        about = self._read(key)
        path = self.model_path(key)
        if not path.exists():
            raise ArtefactError(
                f"Member {key.name} has no weights.",
                mend="Call `kaggle-digits cv-train --add --keep-weights`.",
            )
        _require_digest(about, path, path.read_bytes(), _MEND_NETWORK)
        return path

    def on_disk(self) -> list[MemberKey]:
        """Return the keys of all members in the workspace, in the order of their names.

        Raises:
            ArtefactError: One cannot be read, or holds another member than its name says.
        """
        keys = []
        for path in sorted(self.folder.glob(f"*/{_ABOUT}")):
            if is_temporary(path.parent):
                continue
            key, _ = read_artefact(path, _build_member, "a member's record", _MEND)
            if key.name != path.parent.name:
                raise ArtefactError(
                    f"{path.parent} holds another member than its name says.", mend=_MEND
                )
            keys.append(key)
        return keys

    def write_plan(self, settings: Mapping[str, Any], keys: Sequence[MemberKey]) -> None:
        """Write which members belong together."""
        write_plan(self._plan, MemberPlan(dict(settings), tuple(keys)))

    def has_plan(self) -> bool:
        """Say whether members have been planned."""
        return self._plan.exists()

    def read_plan(self) -> tuple[dict[str, Any], list[MemberKey]]:
        """Read which members belong together.

        Returns:
            The settings they were planned by, and their keys in order.

        Raises:
            ArtefactError: There is no plan yet, or it is broken.
        """
        plan = read_plan(self._plan)
        return plan.settings, list(plan.keys)

    def put_aside(self, say: Callable[[str], None]) -> AbstractContextManager[Callable[[], None]]:
        """Put all members and the plan aside until a new member is there.

        Args:
            say: Told of it.

        Returns:
            What to do it with; it gives what to call when the new member is there.
        """
        count = sum(1 for _ in self.folder.glob("*/member.json"))
        # A complete member's name ends in a digest; the folder of one being written does not.
        whole = "[0-9a-f]" * 8
        contents = Contents(
            (self.folder.name, self._plan.name),
            f"the members ({count}) and their plan",
            "new member",
            f"{self.folder.name}/*-{whole}/member.json",
        )
        return put_aside(self.folder.parent, contents, say)

    def _read(self, key: MemberKey) -> dict[str, Any]:
        folder = self.path(key)
        stored, about = read_artefact(folder / _ABOUT, _build_member, "a member's record", _MEND)
        if stored != key:
            raise ArtefactError(f"{folder} holds another member than its name says.", mend=_MEND)
        return about


def read_files(name: str, files: Mapping[str, bytes]) -> tuple[MemberKey, list[np.ndarray]]:
    """Read a member that was trained elsewhere from its files' contents.

    Args:
        name: Its folder's name.
        files: The contents of `FILES`.

    Returns:
        Which one it is, and its predictions of its fold and of the test rows, not checked yet.

    Raises:
        ArtefactError: A file cannot be read, or it is another member than its name says.
    """
    try:
        key = MemberKey.from_json(json.loads(files[_ABOUT])["key"])
    except (ValueError, TypeError, KeyError, RecursionError, ConfigurationError) as error:
        raise ArtefactError(f"{name}/{_ABOUT} cannot be read: {error}.") from error
    if key.name != name:
        raise ArtefactError(f"{name} holds another member than its name says.")
    arrays = []
    for file in _ARRAYS:
        try:
            arrays.append(np.load(io.BytesIO(files[file]), allow_pickle=False))
        except (ValueError, EOFError, OSError) as error:
            raise ArtefactError(f"{name}/{file} is no array: {error}.") from error
    return key, arrays


_MEND = "Delete its folder and call `kaggle-digits cv-train` again."
_MEND_NETWORK = "Delete its folder and call `kaggle-digits cv-train --add --keep-weights`."


def _build_member(values: object) -> tuple[MemberKey, dict[str, Any]]:
    """Make a member's key of its file, and hold what is read of the record against its form."""
    fields = Fields(values)
    key = MemberKey.from_json(fields.mapping("key"))
    record = fields.within("record")
    record.number("seconds")
    if "score" in record:
        score = record.within("score")
        require_figures(score)
        score.whole("rows", 0)
    if "labels" in record:
        labels = record.within("labels")
        for name in ("corrected", "left_out"):
            labels.whole(name)
        labels.within("score").number("accuracy")
        labels.within("score").whole("rows", 0)
    sums = Fields(fields.mapping("sha256", {}), "sha256")
    for name in (*_ARRAYS, MODEL):
        sums.text_or_none(name)
    return key, fields.all()


def require_same(keys: Sequence[MemberKey], data: str, folds: str | None = None) -> None:
    """Refuse members of other data or folds, by name.

    Args:
        keys: The members.
        data: Digest of the data they must be of.
        folds: Digest of the folds they must be of; None for any.

    Raises:
        ArtefactError: The first that is not is named.
    """
    for key in keys:
        for what, theirs, ours in (("data", key.data, data), ("folds", key.folds, folds)):
            if ours is not None and theirs != ours:
                raise ArtefactError(
                    f"Member {key.name} was made from other {what} than these (digest {theirs}, "
                    f"expected {ours}).",
                    mend="Call `kaggle-digits cv-train` on this data, or give another --workspace.",
                )


def _about(member: Member, folder: Path, model: bytes | None) -> dict[str, Any]:
    """Return what member.json says, with the digests of the files beside it."""
    sums = {name: _sha256((folder / name).read_bytes()) for name in _ARRAYS}
    if model is not None:
        sums[MODEL] = _sha256(model)
    return {
        "key": member.key.to_json(),
        "record": member.record,
        "sha256": sums,
        "versions": versions(),
    }


def _read_array(about: Mapping[str, Any], path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a member's predictions, once, and check them against its record."""
    try:
        content = path.read_bytes()
        array = load_array(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}.", mend=_MEND) from error
    require_softmax(array, shape, str(path))
    _require_digest(about, path, content)
    return array


def _require_digest(
    about: Mapping[str, Any], path: Path, content: bytes, mend: str = _MEND
) -> None:
    # Members from before there were digests have none.
    wanted = about.get("sha256", {}).get(path.name)
    if wanted is not None and _sha256(content) != wanted:
        raise ArtefactError(f"{path} is not the file that training wrote.", mend=mend)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
