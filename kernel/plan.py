"""What a kernel's script will do: a value, and the command lines it stands for."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields, FormError
from kaggle_digits.ground.config import Preset, load_presets
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.names import AUTO, PRECISIONS, PRESETS, require_known
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.ranking import Ranked
from kaggle_digits.records.ranking import to_ranked as of_entry

SUBMISSION = "{submission}"
"""Stands in a command line for the place of the submission; the script knows it."""

RANKING = "{ranking}"
"""Stands in a command line for the file with the configurations the script carries."""

LABELS = "{labels}"
"""Stands in a command line for the file with the corrections of labels the script carries."""

WEIGHTS = "{weights}"
"""Stands in a command line for the folder of the networks that a kernel only predicts with."""

_REHEARSAL_ROWS = 600


@dataclass(frozen=True, slots=True)
class Plan:
    """What one script runs.

    Args:
        preset: Name of the preset.
        seed: The seed of all commands.
        top_k: Configurations that become members.
        competition: The competition's short name.
        gpu: Whether the run must have a GPU.
        ranked: Configurations to train without a search, in that order; empty for a search.
        trials: Trials of the search; None for the preset's.
        max_epochs: Epochs of a trial; None for the preset's.
        folds: Folds; None for the preset's.
        epochs: Epochs of a member; None for the preset's.
        rehearse: Whether a small sample goes through the first commands before the real data.
        goes_on: `owner/slug` of the kernel whose output the run continues; empty for none.
        budget: Seconds after which the run ends in good order; None for no limit.
        labels: Corrections of the training labels, as a file of them; empty for none.
        reading: Options by which the data are read, as a command line has them; empty for none.
        weights: `owner/slug` of the data set with the networks to predict with, where nothing is
            trained; empty where members are.
        weights_digest: What these networks must have; empty for none.
        metric: What the competition is scored by, one of `names.METRICS`; empty where nobody said.
        precision: What networks compute in, one of `names.PRECISIONS`.
        training: Options of search and members alike, `--rare` and `--class-weights`, as a command
            line has them; empty for none.

    Raises:
        ConfigurationError: There is no such preset or precision.
    """

    preset: str
    seed: int
    top_k: int
    competition: str
    gpu: bool = False
    ranked: tuple[Ranked, ...] = ()
    trials: int | None = None
    max_epochs: int | None = None
    folds: int | None = None
    epochs: int | None = None
    rehearse: bool = True
    goes_on: str = ""
    budget: float | None = None
    labels: str = ""
    reading: str = ""
    weights: str = ""
    weights_digest: str = ""
    metric: str = ""
    precision: str = AUTO
    training: str = ""

    def __post_init__(self) -> None:
        """Check the names, so that a plan that exists has commands."""
        require_known("preset", self.preset, PRESETS)
        require_known("precision", self.precision, PRECISIONS)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return dataclasses.asdict(self) | {"ranked": [entry.to_json() for entry in self.ranked]}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Make a plan from `to_json`'s dictionary.

        Raises:
            ConfigurationError: It is not one.
        """
        try:
            plan = cls(**(dict(values) | {"ranked": tuple(map(to_ranked, values["ranked"]))}))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"The script's plan cannot be read: {error}.") from error
        kinds = typing.get_type_hints(cls)
        for name in set(cls.__slots__) - {"ranked"}:
            value = getattr(plan, name)
            if not isinstance(value, kinds[name]) and not (
                name == "budget" and isinstance(value, int)
            ):
                raise ConfigurationError(f"The script's plan cannot be read: {name} is {value!r}.")
        if plan.preset not in load_presets():
            raise ConfigurationError(f"The script's plan has the unknown preset {plan.preset!r}.")
        return plan

    def commands(self, *, staged: bool = True) -> list[list[str]]:
        """Return the command lines after `kaggle-digits`, without --data and --workspace.

        Args:
            staged: Blend after each configuration's fold set, so that a submission is there early;
                the last blend is the same either way.
        """
        if self.weights:
            reading = shlex.split(self.reading)
            return [
                [
                    "predict",
                    "--weights",
                    WEIGHTS,
                    "--output",
                    SUBMISSION,
                    *reading,
                    *self._labels(),
                    *self._precision(),
                ],
                ["check", SUBMISSION],
            ]
        found = [*self._ranking()]
        for top_k in range(1 if staged else self.top_k, self.top_k + 1):
            found += [
                [
                    *("cv-train", *self._shared(), "--top-k", str(top_k)),
                    *(*self._members(), *shlex.split(self.training)),
                ],
                ["blend", *self._shared(), *self._metric(), "--output", SUBMISSION],
                ["check", SUBMISSION],
            ]
        return found

    def rehearsal(self) -> list[list[str]]:
        """Return the command lines that show on a small sample that the packages fit."""
        if not self.rehearse or self.weights:
            return []
        if self.ranked:
            least = ["--top-k", "1", "--folds", "2", "--epochs", "1"]
            # On a sample, whose rows are others than those that are corrected.
            least += [*self._precision(), *shlex.split(self.training)]
            return [self._adopt(), ["cv-train", "--quiet", *least]]
        least = ["--trials", "1", "--max-epochs", "1", *self._precision()]
        return [
            ["tune", "--quiet", *least, *shlex.split(self.reading), *shlex.split(self.training)]
        ]

    def for_script(self) -> dict[str, Any]:
        """Return what the script is given: the fields, and the command lines made of them."""
        # Predicting needs no augmentation, which is most of what is examined.
        examine = ["kernel", "examine", *(["--gpu"] if self.gpu else []), *self._precision()]
        examine = [] if self.weights and not self.gpu else examine
        return self.to_json() | {
            "examine": examine,
            "rehearsal": self.rehearsal(),
            "rehearsal_rows": _REHEARSAL_ROWS,
            "commands": self.commands(),
        }

    def describe(self, preset: Preset) -> list[str]:
        """Return the plan in lines a person can read.

        Args:
            preset: The preset of the plan's name.
        """
        device = "a GPU is required" if self.gpu else "CPU or GPU"
        precision = "" if self.precision == AUTO else f" in {self.precision}"
        machine = f"competition {self.competition}; {device}{precision}; no internet"
        if self.weights:
            return [
                f"predicts only, with the networks of the data set {self.weights} (digest "
                f"{self.weights_digest})",
                machine,
            ]
        if self.ranked:
            search = f"no search; {len(self.ranked)} configurations given at the build"
        else:
            search = f"search of {self.trials or preset.trials} trials"
        lines = [
            f"preset {self.preset}, seed {self.seed}: {search}, then the best {self.top_k} × "
            f"{self.folds or preset.folds} folds, blended after each fold set",
            machine,
        ]
        if self.goes_on:
            lines.append(f"goes on from the output of {self.goes_on}")
        if self.budget is not None:
            lines.append(f"ends in good order after {duration(self.budget)}")
        if self.training:
            lines.append(f"trains with {self.training}")
        if self.labels:
            changes = len(self.labels.splitlines()) - 1
            lines.append(f"{counted(changes, 'training label')} corrected or left out")
        lines += [
            f"configuration {place} ({entry.config.digest}): "
            + ", ".join(f"{name} {value}" for name, value in entry.config.to_json().items())
            for place, entry in enumerate(self.ranked[: self.top_k], start=1)
        ]
        return lines

    def _ranking(self) -> list[list[str]]:
        if self.ranked:
            return [self._adopt() + self._labels()]
        extra = _given("--trials", self.trials) + _given("--max-epochs", self.max_epochs)
        extra += shlex.split(self.training)
        strategy = load_presets()[self.preset].strategy
        given = [*self._shared(), *self._metric(), "--strategy", strategy, "--race", "0"]
        return [["tune", *given, *extra]]

    def _adopt(self) -> list[str]:
        return ["kernel", "adopt", RANKING, "--seed", str(self.seed), *shlex.split(self.reading)]

    def _members(self) -> list[str]:
        return _given("--folds", self.folds) + _given("--epochs", self.epochs)

    def _shared(self) -> list[str]:
        given = [*shlex.split(self.reading), *self._labels(), *self._precision()]
        return ["--preset", self.preset, "--seed", str(self.seed), *given]

    def _metric(self) -> list[str]:
        return ["--metric", self.metric] if self.metric else []

    def _labels(self) -> list[str]:
        return ["--labels", LABELS] if self.labels else []

    def _precision(self) -> list[str]:
        return [] if self.precision == AUTO else ["--precision", self.precision]


def to_ranked(values: Mapping[str, Any]) -> Ranked:
    """Make a ranked configuration from its JSON form.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return of_entry(Fields(values))
    except FormError as error:
        raise ConfigurationError(f"A ranked configuration cannot be read: {error}.") from error


def _given(option: str, value: int | None) -> list[str]:
    return [] if value is None else [option, str(value)]
