"""One search on disk: its settings, a file for each trial, predictions of the best, the time spent.

The trials' files are the whole truth. What Keras Tuner knows is rebuilt from them (see
`proposals`), so a kill can neither lose a finished trial nor leave half of one. A trial's file is
written when it is proposed and once more when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from kaggle_digits.core.arrays import load_array, npy_bytes
from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.files import remove, write_bytes, write_json
from kaggle_digits.ground.stamps import differences, versions
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import ranking_path

RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"
_PUT_BACK = "Put the file back, give another --workspace, or start anew with `tune --fresh`."

_MEND = "Start anew with `kaggle-digits tune --fresh`, or give another --workspace."


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration of the search.

    Args:
        number: From 0, in the order of the proposals.
        config: The configuration.
        epochs: Passes over its training rows.
        state: `running`, `completed` or `failed`.
        reason: Why it failed; empty otherwise.
        log_loss: On the held-out rows, nats; None unless completed.
        accuracy: On the held-out rows; None unless completed.
        log_loss_se: Standard error of the log-loss.
        accuracy_se: Standard error of the accuracy.
        rows: Held-out rows it was scored on.
        seconds: Wall time of the training, without earlier calls' part of a resumed one.
        history: Mean training loss of each epoch, in nats; of the first fold's network where
            there are folds.
        threads: Threads it was computed with; 0 where it is not known.
        metric: What the search ranks by, where that is not log-loss; None unless completed.
        values: What the oracle proposed, in its own terms.
        oracle: Where the oracle stood after the proposal.
        rejected: Configurations the search had rejected until then.
    """

    number: int
    config: TrainingConfig
    epochs: int
    state: str
    reason: str = ""
    log_loss: float | None = None
    accuracy: float | None = None
    log_loss_se: float | None = None
    accuracy_se: float | None = None
    rows: int = 0
    seconds: float = 0.0
    history: tuple[float, ...] = ()
    threads: int = 0
    metric: Figure | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    oracle: Mapping[str, Any] = field(default_factory=dict)
    rejected: int = 0

    @property
    def name(self) -> str:
        """How progress and messages name it."""
        return f"trial {self.number}"

    @property
    def loss(self) -> float | None:
        """What it is ranked by, less being better: what the metric lacks of 1, else log-loss."""
        return self.log_loss if self.metric is None else self.metric.loss

    def failed(self, reason: str, seconds: float = 0.0) -> Trial:
        """Return the trial as one that failed."""
        return replace(self, state=FAILED, reason=reason, seconds=round(seconds, 1))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        values = asdict(self) | {"config": self.config.to_json()}
        if self.metric is None:
            del values["metric"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make a trial from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
            ConfigurationError: Its configuration cannot be.
        """
        fields = Fields(values)
        fields.require_known(*cls.__slots__)
        trial = cls(
            number=fields.whole("number"),
            config=TrainingConfig.from_json(fields.mapping("config")),
            epochs=fields.whole("epochs", least=1),
            state=fields.text("state"),
            reason=fields.text("reason", ""),
            log_loss=fields.number_or_none("log_loss"),
            accuracy=fields.number_or_none("accuracy"),
            log_loss_se=fields.number_or_none("log_loss_se"),
            accuracy_se=fields.number_or_none("accuracy_se"),
            rows=fields.whole("rows", 0),
            seconds=fields.number("seconds", 0.0),
            history=tuple(fields.numbers("history")),
            threads=fields.whole("threads", 0),
            metric=Figure.from_json(fields.within("metric")) if "metric" in fields else None,
            values=fields.mapping("values", {}),
            oracle=fields.mapping("oracle", {}),
            rejected=fields.whole("rejected", 0),
        )
        if trial.state not in (RUNNING, COMPLETED, FAILED):
            raise FormError(
                f"state is {trial.state!r}; expected {RUNNING}, {COMPLETED} or {FAILED}"
            )
        if trial.state == COMPLETED and (trial.log_loss is None or trial.accuracy is None):
            raise FormError("it is completed without log_loss and accuracy")
        return trial


class StudyOnDisk:
    """The search's folder.

    Args:
        workspace: Whose `tuning` folder it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.tuning
        self._ranking = ranking_path(workspace)
        self._predictions = self.folder / "predictions"
        self.race = self.folder / "race"

    def open(self, settings: Mapping[str, Any], call: str | None = None) -> list[Trial]:
        """Take up the study with these settings, or begin it.

        Args:
            settings: What decides the trials: data, seed, space, strategy, epochs, rows.
            call: The command that asks for it, kept for who wants the same; None for none.

        Returns:
            The trials in order.

        Raises:
            ArtefactError: The study that is there was made with other settings, or is broken.
        """
        path = self._settings_path
        if not path.exists():
            if self.size:
                raise ArtefactError(
                    f"{path} is not there, but {self.size} trials of its study are.",
                    mend=_PUT_BACK,
                )
            about = {"settings": dict(settings), "versions": versions()}
            write_json(path, about if call is None else about | {"call": call})
            return []
        stored = self._about()
        old = stored["settings"]
        if old != dict(settings):
            raise ArtefactError(
                f"The study in {self.folder} was made with other settings "
                f"({differences(old, settings)}).",
                mend="Give another --workspace, or start anew with --fresh, which drops this study "
                "once the new one has a trial.",
            )
        if call is not None and call != stored.get("call"):
            write_json(path, stored | {"call": call})
        return self.trials()

    def settings(self) -> dict[str, Any]:
        """Return the settings the study was begun with.

        Raises:
            ArtefactError: There is no study, or its file is broken.
        """
        return Fields(self._about()).mapping("settings")

    def call(self) -> str | None:
        """Return the command that asked for it last; None where an earlier version did not say.

        Raises:
            ArtefactError: There is no study, or its file is broken.
        """
        return Fields(self._about()).text_or_none("call")

    def _about(self) -> dict[str, Any]:
        path = self._settings_path
        if not path.exists():
            raise ArtefactError(
                f"There is no study in {self.folder}.", mend="Call `kaggle-digits tune` first."
            )

        def build(values: object) -> dict[str, Any]:
            fields = Fields(values)
            fields.mapping("settings")
            fields.text_or_none("call")
            return fields.all()

        return read_artefact(path, build, "a study's settings", _MEND)

    def heading(self) -> str:
        """Return strategy, epochs, seed, and what ranks where it is not log-loss, in words.

        Raises:
            ArtefactError: There is no study, or its file is broken.
        """
        self.settings()

        def build(values: object) -> str:
            own = Fields(values).within("settings")
            words = (
                f"{own.text('strategy')}, {own.whole('epochs')} epochs, seed {own.whole('seed')}"
            )
            return f"{words}, ranked by {own.text('metric')}" if "metric" in own else words

        return read_artefact(self._settings_path, build, "a study's settings", _MEND)

    def trials(self) -> list[Trial]:
        """Return the trials in order.

        Raises:
            ArtefactError: A trial's file is broken, or one is missing between others.
        """
        found = []
        for number, path in enumerate(sorted((self.folder / "trials").glob("*.json"))):
            trial = read_artefact(path, Trial.from_json, "a trial's record", _MEND)
            if trial.number != number:
                raise ArtefactError(
                    f"Trial {number} is missing in {self.folder}.",
                    mend="Delete the trials after it, which are searched again.",
                )
            found.append(trial)
        return found

    def put(self, trial: Trial) -> None:
        """Store a trial, in place of its earlier state."""
        write_json(self.folder / "trials" / f"{trial.number:04d}.json", trial.to_json())

    def put_predictions(self, number: int, probabilities: np.ndarray) -> None:
        """Store a trial's softmax on the held-out rows, float32 [rows, classes]."""
        write_array(self._predictions / f"{number:04d}.npy", probabilities.astype(np.float32))

    def predictions(self, number: int) -> np.ndarray | None:
        """Return a trial's softmax on the held-out rows; None if it was not kept."""
        return read_array(self._predictions / f"{number:04d}.npy")

    def keep_predictions(self, numbers: Iterable[int]) -> None:
        """Drop the predictions of all other trials, so that a long search stays small."""
        kept = {f"{number:04d}.npy" for number in numbers}
        for path in self._predictions.glob("*.npy"):
            if path.name not in kept:
                remove(path)

    def spent(self) -> float:
        """Return the seconds of searching that all calls together have spent."""
        path = self.folder / "time.json"
        if not path.exists():
            return 0.0
        return read_artefact(
            path,
            lambda values: Fields(values).number("seconds"),
            "the time a search has taken",
            f"Delete it: the time counts from 0 again. {_MEND}",
        )

    def put_spent(self, seconds: float) -> None:
        """Store the seconds spent so far."""
        write_json(self.folder / "time.json", {"seconds": round(seconds, 3)})

    @property
    def entries(self) -> tuple[str, ...]:
        """The names in `folder` that belong to the study."""
        return (
            self._ranking.name,
            self.race.name,
            self._predictions.name,
            "tensorboard",
            "time.json",
            "trials",
            self._settings_path.name,
        )

    @property
    def size(self) -> int:
        """Trials that are there, whatever their state; their files are not read."""
        return len(list((self.folder / "trials").glob("*.json")))

    def is_there(self) -> bool:
        """Say whether a study has been begun."""
        return self._settings_path.exists()

    @property
    def _settings_path(self) -> Path:
        return self.folder / "study.json"


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array as an .npy file, whole or not at all."""
    write_bytes(path, npy_bytes(values))


def read_array(path: Path) -> np.ndarray | None:
    """Read an .npy file; None if it is not there or is no array."""
    try:
        return load_array(path)
    except (OSError, ValueError):
        return None
