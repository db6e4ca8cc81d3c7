"""Members on disk: one configuration trained on one fold with one seed, complete or absent.

A member's folder is named by what made it. The plan lists the members that belong together now;
members of other settings may lie beside them and are never mixed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import (
    Workspace,
    digest,
    read_json,
    remove,
    versions,
    whole_folder,
    write_json,
)


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
    """

    config: TrainingConfig
    fold: int
    seed: int
    epochs: int
    copies: int
    data: str
    folds: str
    bank: str

    @property
    def name(self) -> str:
        """The member's name: its configuration, fold and seed, and a digest of the whole key."""
        return (
            f"{self.config.digest[:8]}-fold{self.fold}-seed{self.seed}-{digest(self.to_json())[:8]}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "config": self.config.to_json()
        }

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
        self._members = workspace.ensembles / "members"
        self._plan = workspace.ensembles / "plan.json"

    def path(self, key: MemberKey) -> Path:
        """Return a member's folder."""
        return self._members / key.name

    def has(self, key: MemberKey) -> bool:
        """Say whether a member is there; if it is, it is complete."""
        return (self.path(key) / "member.json").exists()

    def add(self, member: Member) -> None:
        """Store a member, whole or not at all."""
        about = {"key": member.key.to_json(), "record": member.record, "versions": versions()}
        with whole_folder(self.path(member.key)) as folder:
            np.save(folder / "held_out.npy", member.held_out)
            np.save(folder / "test.npy", member.test)
            write_json(folder / "member.json", about)

    def load(self, key: MemberKey, rows: tuple[int, int], classes: int) -> Member:
        """Read a member and check that it is what its name says.

        Args:
            key: Which one.
            rows: Rows of its fold, and test rows.
            classes: Number of classes.

        Raises:
            ArtefactError: It is not there, broken, of another key, or no softmax output.
        """
        folder = self.path(key)
        mend = "Delete its folder and call `kaggle-digits cv-train` again."
        about = read_json(folder / "member.json")
        if about.get("key") != key.to_json():
            raise ArtefactError(f"{folder} holds another member than its name says.", mend=mend)
        arrays = []
        for name, count in zip(("held_out.npy", "test.npy"), rows, strict=True):
            try:
                array = np.load(folder / name, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise ArtefactError(
                    f"{folder / name} cannot be read: {error}.", mend=mend
                ) from error
            require_softmax(array, (count, classes), str(folder / name))
            arrays.append(array)
        return Member(key, arrays[0], arrays[1], about["record"])

    def write_plan(self, settings: Mapping[str, Any], keys: Sequence[MemberKey]) -> None:
        """Write which members belong together."""
        write_json(
            self._plan, {"settings": dict(settings), "members": [key.to_json() for key in keys]}
        )

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
        except (KeyError, TypeError) as error:
            raise ArtefactError(
                f"{self._plan} is no plan of members: {error}.",
                mend="Call `kaggle-digits cv-train --fresh`.",
            ) from error

    def clear(self) -> None:
        """Remove all members and the plan."""
        remove(self._members)
        remove(self._plan)
