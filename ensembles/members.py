"""Members on disk: one configuration trained on one fold with one seed, complete or absent.

A member's folder is named by what made it. The plan lists the members that belong together now;
members of other settings may lie beside them and are never mixed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.aside import Contents, put_aside
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import read_json, whole_folder, write_bytes, write_json
from kaggle_digits.ground.stamps import digest, versions
from kaggle_digits.ground.workspace import Workspace

MODEL = "model.keras"
"""The name of a member's network in its folder, where it is kept."""

_ARRAYS = ("held_out.npy", "test.npy")


@dataclass(frozen=True, slots=True)
class FoldSet:
    """One configuration trained once on every fold.

    Args:
        config: The configuration.
        repeat: Which of its trainings with other seeds, from 0.
        round: Of pseudo-labels; 0 for none.
        epochs: Passes over the training part, the same for all folds.
    """

    config: TrainingConfig
    repeat: int
    round: int
    epochs: int

    @property
    def name(self) -> str:
        """The name that its members have in common."""
        name = f"{self.config.digest[:8]}-epochs{self.epochs}-repeat{self.repeat}"
        return f"{name}-round{self.round}" if self.round else name


@dataclass(frozen=True, slots=True)
class MemberKey:
    """Which member: everything that decides it.

    Args:
        config: The configuration.
        fold: The fold it never saw.
        seed: Its seed.
        epochs: Passes over the other folds.
        copies: Augmented copies it walked through.
        data: Digest of the data.
        folds: Digest of the folds.
        bank: Digest of the augmentation bank.
        repeat: Which of the configuration's trainings with other seeds, from 0.
        round: How many times test predictions were turned into labels before it; 0 for none.
        pseudo: Digest of what decided its pseudo-labels; empty for none.
    """

    config: TrainingConfig
    fold: int
    seed: int
    epochs: int
    copies: int
    data: str
    folds: str
    bank: str
    repeat: int = 0
    round: int = 0
    pseudo: str = ""

    @property
    def name(self) -> str:
        """The member's name: its configuration, fold and seed, and a digest of the whole key."""
        return (
            f"{self.config.digest[:8]}-fold{self.fold}-seed{self.seed}-{digest(self.to_json())[:8]}"
        )

    @property
    def set_name(self) -> str:
        """The name of its fold set: the members that differ from it in nothing but the fold."""
        return self.fold_set.name

    @property
    def fold_set(self) -> FoldSet:
        """The fold set it belongs to."""
        return FoldSet(self.config, self.repeat, self.round, self.epochs)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold.

        The last three are left out where they have their defaults, so that members keep the names
        they had before there were such fields.
        """
        values = {name: getattr(self, name) for name in self.__slots__}
        for name, default in (("repeat", 0), ("round", 0), ("pseudo", "")):
            if values[name] == default:
                del values[name]
        return values | {"config": self.config.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make a key from `to_json`'s dictionary."""
        return cls(**(dict(values) | {"config": TrainingConfig.from_json(values["config"])}))


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
        self._plan = workspace.ensembles / "plan.json"
        self._checkpoints = workspace.cache / "checkpoints"

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
        return (self.path(key) / "member.json").exists()

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
            write_json(folder / "member.json", _about(member, folder, model))

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
        held_out, test = (np.load(folder / name, allow_pickle=False) for name in _ARRAYS)
        if not (np.array_equal(held_out, member.held_out) and np.array_equal(test, member.test)):
            self.add(member, model)
            return False
        kept = Member(member.key, held_out, test, read_json(folder / "member.json")["record"])
        # The network last: while it is not there, the member simply has none.
        write_json(folder / "member.json", _about(kept, folder, model))
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
        folder = self.path(key)
        about = self._read(key)
        arrays = []
        for name, count in zip(_ARRAYS, rows, strict=True):
            try:
                array = np.load(folder / name, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise ArtefactError(
                    f"{folder / name} cannot be read: {error}.", mend=_MEND
                ) from error
            require_softmax(array, (count, classes), str(folder / name))
            _require_digest(about, folder / name)
            arrays.append(array)
        return Member(key, arrays[0], arrays[1], about["record"])

    def record(self, key: MemberKey) -> dict[str, Any]:
        """Return a member's record without its predictions.

        Raises:
            ArtefactError: It is not there, broken, or of another key.
        """
        record: dict[str, Any] = self._read(key)["record"]
        return record

    def checked_model(self, key: MemberKey) -> Path:
        """Return the file of a member's network after holding it against the member's record.

        Raises:
            ArtefactError: It is not there, or is not the one that was stored.
        """
        about = self._read(key)
        path = self.model_path(key)
        if not path.exists():
            raise ArtefactError(
                f"Member {key.name} has no weights.",
                mend="Call `kaggle-digits cv-train --keep-weights`.",
            )
        _require_digest(about, path)
        return path

    def on_disk(self) -> list[MemberKey]:
        """Return the keys of all members in the workspace, in the order of their names.

        Raises:
            ArtefactError: One cannot be read, or holds another member than its name says.
        """
        keys = []
        for path in sorted(self.folder.glob("*/member.json")):
            try:
                key = MemberKey.from_json(read_json(path)["key"])
            except (KeyError, TypeError, ConfigurationError) as error:
                raise ArtefactError(f"{path} is no member: {error}.", mend=_MEND) from error
            if key.name != path.parent.name:
                raise ArtefactError(
                    f"{path.parent} holds another member than its name says.", mend=_MEND
                )
            keys.append(key)
        return keys

    def write_plan(self, settings: Mapping[str, Any], keys: Sequence[MemberKey]) -> None:
        """Write which members belong together."""
        write_json(
            self._plan, {"settings": dict(settings), "members": [key.to_json() for key in keys]}
        )

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
        if not self._plan.exists():
            raise ArtefactError(
                f"{self._plan} is not there: no members have been planned yet.",
                mend="Call `kaggle-digits cv-train` first.",
            )
        stored = read_json(self._plan)
        try:
            return stored["settings"], [MemberKey.from_json(key) for key in stored["members"]]
        except (KeyError, TypeError, ConfigurationError) as error:
            raise ArtefactError(
                f"{self._plan} is no plan of members: {error}.",
                mend=f"Delete {self._plan} and call `kaggle-digits cv-train`; the members stay.",
            ) from error

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
        about = read_json(folder / "member.json")
        if not isinstance(about, dict) or about.get("key") != key.to_json():
            raise ArtefactError(f"{folder} holds another member than its name says.", mend=_MEND)
        return about


_MEND = "Delete its folder and call `kaggle-digits cv-train` again."


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


def _require_digest(about: Mapping[str, Any], path: Path) -> None:
    # Members from before there were digests have none.
    wanted = about.get("sha256", {}).get(path.name)
    if wanted is not None and _sha256(path.read_bytes()) != wanted:
        raise ArtefactError(f"{path} is not the file that training wrote.", mend=_MEND)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
