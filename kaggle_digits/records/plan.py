"""`plan.json`: which members belong together, whoever trained them; the one reader and writer.

Values and files only: nothing here loads an array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FoldSet:
    """One configuration trained once on every fold; members of all rows may stand beside them.

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
        fold: The fold it never saw; None where it saw all rows.
        seed: Its seed.
        epochs: Passes over the rows it saw.
        copies: Augmented copies it walked through.
        data: Digest of the data.
        folds: Digest of the folds.
        bank: Digest of the augmentation bank.
        repeat: Which of the configuration's trainings with other seeds, from 0.
        round: How many times test predictions were turned into labels before it; 0 for none.
        pseudo: Digest of what decided its pseudo-labels; empty for none.
    """

    config: TrainingConfig
    fold: int | None
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
        return _name_of(self)

    @property
    def set_name(self) -> str:
        """The name of its fold set: the members that differ from it in nothing but the fold."""
        return self.fold_set.name

    @property
    def fold_set(self) -> FoldSet:
        """The fold set it belongs to."""
        return FoldSet(self.config, self.repeat, self.round, self.epochs)

    @property
    def set_id(self) -> tuple[FoldSet, str]:
        """What members of one set have in common: the fold set, and which folds it has."""
        return self.fold_set, self.folds

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
    def from_json(cls, values: Any) -> Self:
        """Make a key from `to_json`'s dictionary.

        Raises:
            FormError: It is none: a field is missing, unknown, or of another type.
            ConfigurationError: Its configuration cannot be.
        """
        fields = Fields(values)
        fields.require_known(*cls.__slots__)
        return cls(
            config=TrainingConfig.from_json(fields.mapping("config")),
            fold=fields.whole_or_null("fold"),
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


@lru_cache(maxsize=1024)  # asked for again and again, and as costly as reading the member's record
def _name_of(key: MemberKey) -> str:
    part = "all" if key.fold is None else f"fold{key.fold}"
    return f"{key.config.digest[:8]}-{part}-seed{key.seed}-{digest(key.to_json())[:8]}"


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """The members that belong together.

    Args:
        settings: What they were planned by; `folds` and `seed` say which folds those that are
            trained here have, and which rows the blend's weights are fitted on in turn. Members
            that came from elsewhere may have others.
        keys: The members, in order.
    """

    settings: dict[str, Any]
    keys: tuple[MemberKey, ...]

    @property
    def folds(self) -> int:
        """The number of its own folds."""
        return int(self.settings["folds"])

    @property
    def seed(self) -> int:
        """The seed its own folds were drawn with."""
        return int(self.settings["seed"])

    def joined_by(self, keys: Sequence[MemberKey]) -> MemberPlan:
        """Return a plan that holds other members too, after its own, each once."""
        return MemberPlan(self.settings, tuple(dict.fromkeys([*self.keys, *keys])))

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Make a plan of what `plan.json` holds.

        Raises:
            FormError: It is none.
        """
        fields = Fields(stored)
        settings = fields.within("settings")
        # What an earlier version did not write is filled in by who reads it.
        settings.whole("folds", least=2)
        settings.whole("seed")
        for name in ("epochs", "copies", "seeds", "kept"):
            settings.whole(name, 0)
        settings.flag("ended", False)
        calls = settings.items("calls") if "calls" in settings else []
        if not all(isinstance(one, str | None) for one in calls):
            raise FormError("settings.calls holds what is no command")
        keys = tuple(MemberKey.from_json(key) for key in fields.items("members"))
        if settings.whole("kept", 0) > len(keys):
            raise FormError("settings.kept is more than there are members")
        return cls(fields.mapping("settings"), keys)


def going_on(settings: Mapping[str, Any]) -> str:
    """Return the command that goes on with a plan, in words.

    Args:
        settings: The plan's.
    """
    call: str | None = (settings.get("calls") or [None])[-1]
    # A budget that was added and is spent would be spent once more.
    is_spent = settings.get("ended") and call and "--add" in call and "--time-budget" in call
    if call is not None and not is_spent:
        return call
    return "cv-train --add" + (f" --seed {settings['seed']}" if settings["seed"] else "")


def plan_path(workspace: Workspace) -> Path:
    """Return where a workspace's plan of members is."""
    return workspace.ensembles / "plan.json"


def read_plan(path: Path) -> MemberPlan:
    """Read which members belong together.

    Raises:
        ArtefactError: There is no plan yet, or it is broken.
    """
    if not path.exists():
        raise ArtefactError(
            f"{path} is not there: no members have been planned yet.",
            mend="Call `kaggle-digits cv-train` first.",
        )
    return read_artefact(
        path,
        MemberPlan.from_json,
        "a plan of members",
        f"Delete {path} and call `kaggle-digits cv-train`; the members stay.",
    )


def write_plan(path: Path, plan: MemberPlan) -> None:
    """Write which members belong together."""
    write_json(path, {"settings": plan.settings, "members": [key.to_json() for key in plan.keys]})
