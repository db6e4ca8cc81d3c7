"""Members on disk: one configuration trained on one fold with one seed, complete or absent.

A member's folder is named by what made it. The plan lists the members that belong together now;
members of other settings may lie beside them and are never mixed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import remove, whole_folder, write_bytes, write_json
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
        """Make a key from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
            ConfigurationError: Its configuration cannot be.
        """
        fields = Fields(values)
        fields.require_known(*cls.__slots__)
        return cls(
            config=TrainingConfig.from_json(fields.mapping("config")),
            fold=fields.whole("fold"),
            seed=fields.whole("seed"),
            epochs=fields.whole("epochs"),
            copies=fields.whole("copies"),
            data=fields.text("data"),
            folds=fields.text("folds"),
            bank=fields.text("bank"),
            repeat=fields.whole("repeat", 0),
            round=fields.whole("round", 0),
            pseudo=fields.text("pseudo", ""),
        )


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

    def add(self, member: Member, model: Path | None = None) -> None:
        """Store a member, whole or not at all.

        Args:
            member: What to store.
            model: The Keras file of its network, copied beside the predictions; None for none.
        """
        with whole_folder(self.path(member.key)) as folder:
            np.save(folder / _ARRAYS[0], member.held_out)
            np.save(folder / _ARRAYS[1], member.test)
            content = None if model is None else model.read_bytes()
            if content is not None:
                (folder / MODEL).write_bytes(content)
            write_json(folder / "member.json", _about(member, folder, content))

    def add_weights(self, member: Member, model: Path) -> bool:
        """Put the network of a member that was trained again beside its predictions.

        Predictions that are not the stored ones bit for bit (other hardware, other versions)
        replace the member, so that network and predictions always belong together.

        Args:
            member: The member as it was trained again.
            model: The Keras file of its network.

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
        content = model.read_bytes()
        kept = Member(member.key, held_out, test, self._read(member.key)["record"])
        # The network last: while it is not there, the member simply has none.
        write_json(folder / "member.json", _about(kept, folder, content))
        write_bytes(folder / MODEL, content)
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
                array = load_array(folder / name)
            except (OSError, ValueError) as error:
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
            key, _ = read_artefact(path, _build_member, "a member's record", _MEND)
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
        return read_artefact(self._plan, _build_plan, "a plan of members", _MEND_PLAN)

    def clear(self) -> None:
        """Remove all members and the plan."""
        remove(self.folder)
        remove(self._plan)

    def _read(self, key: MemberKey) -> dict[str, Any]:
        folder = self.path(key)
        stored, about = read_artefact(
            folder / "member.json", _build_member, "a member's record", _MEND
        )
        if stored != key:
            raise ArtefactError(f"{folder} holds another member than its name says.", mend=_MEND)
        return about


_MEND = "Delete its folder and call `kaggle-digits cv-train` again."
_MEND_PLAN = (
    "Delete it and call `kaggle-digits cv-train` again: members that are complete are taken up."
)


def _build_plan(values: object) -> tuple[dict[str, Any], list[MemberKey]]:
    fields = Fields(values)
    settings = fields.within("settings")
    # What an earlier version did not write is filled in by who reads it.
    for name in ("folds", "seed"):
        settings.whole(name)
    for name in ("epochs", "copies", "seeds", "kept"):
        settings.whole(name, 0)
    settings.flag("ended", False)
    keys = [MemberKey.from_json(key) for key in fields.items("members")]
    if settings.whole("kept", 0) > len(keys):
        raise FormError("settings.kept is more than there are members")
    return fields.mapping("settings"), keys


def _build_member(values: object) -> tuple[MemberKey, dict[str, Any]]:
    """Make a member's key of its file, and hold what is read of the record against its form."""
    fields = Fields(values)
    key = MemberKey.from_json(fields.mapping("key"))
    record = fields.within("record")
    record.number("seconds")
    if "score" in record:
        score = record.within("score")
        for name in ("accuracy", "accuracy_se", "log_loss", "log_loss_se"):
            score.number(name)
        score.whole("rows", 0)
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


def _require_digest(about: Mapping[str, Any], path: Path) -> None:
    # Members from before there were digests have none.
    wanted = about.get("sha256", {}).get(path.name)
    if wanted is not None and _sha256(path.read_bytes()) != wanted:
        raise ArtefactError(f"{path} is not the file that training wrote.", mend=_MEND)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
