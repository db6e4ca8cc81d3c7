"""One search on disk: its settings, a file for each finished trial, and the best configurations.

The trials' files are the whole truth. What Keras Tuner knows is rebuilt from them (see
`proposals`), so a kill can neither lose a finished trial nor leave half of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.ranking import Ranked, ranking_path
from kaggle_digits.ground.workspace import (
    Workspace,
    differences,
    read_json,
    remove,
    versions,
    write_json,
)

COMPLETED = "completed"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration the search has finished with.

    Args:
        number: From 0, in the order of the search.
        config: The configuration.
        state: `completed` or `failed`.
        reason: Why it is not completed; empty otherwise.
        log_loss: On the held-out rows, nats; None unless completed.
        accuracy: On the held-out rows; None unless completed.
        seconds: Wall time.
    """

    number: int
    config: TrainingConfig
    state: str
    reason: str = ""
    log_loss: float | None = None
    accuracy: float | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self) | {"config": self.config.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make a trial from `to_json`'s dictionary."""
        return cls(**(dict(values) | {"config": TrainingConfig.from_json(values["config"])}))


class Study:
    """The search's folder.

    Args:
        workspace: Whose `tuning` folder it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.tuning
        self._ranking = ranking_path(workspace)

    def open(self, settings: Mapping[str, Any]) -> list[Trial]:
        """Take up the study with these settings, or begin it.

        Args:
            settings: What decides the trials: data, seed, space, epochs, rows.

        Returns:
            The finished trials in order.

        Raises:
            ArtefactError: The study that is there was made with other settings, or is broken.
        """
        path = self._folder / "study.json"
        if not path.exists():
            write_json(path, {"settings": dict(settings), "versions": versions()})
            return []
        old = read_json(path)["settings"]
        if old != dict(settings):
            raise ArtefactError(
                f"The study in {self._folder} was made with other settings "
                f"({differences(old, settings)}).",
                mend="Start anew with --fresh, or give another --workspace.",
            )
        return self.trials()

    def trials(self) -> list[Trial]:
        """Return the finished trials in order.

        Raises:
            ArtefactError: A trial's file is broken, or one is missing between others.
        """
        found = []
        for number, path in enumerate(sorted((self._folder / "trials").glob("*.json"))):
            try:
                trial = Trial.from_json(read_json(path))
            except (KeyError, TypeError) as error:
                raise ArtefactError(
                    f"{path} is not a trial's record: {error}.", mend="Start anew with --fresh."
                ) from error
            if trial.number != number:
                raise ArtefactError(
                    f"Trial {number} is missing in {self._folder}.", mend="Start anew with --fresh."
                )
            found.append(trial)
        return found

    def add(self, trial: Trial) -> None:
        """Store a finished trial."""
        write_json(self._folder / "trials" / f"{trial.number:04d}.json", trial.to_json())

    def clear(self) -> None:
        """Remove the study with all it holds."""
        for path in (self._folder / "study.json", self._folder / "trials", self._ranking):
            remove(path)


def ranked(trials: Sequence[Trial], count: int) -> list[Ranked]:
    """Return the best distinct completed trials: by log-loss, ties by accuracy, then by age.

    Args:
        trials: Finished trials.
        count: How many at most.
    """
    scored = [
        Ranked(trial.config, trial.number, trial.log_loss, trial.accuracy)
        for trial in trials
        if trial.log_loss is not None and trial.accuracy is not None
    ]
    scored.sort(key=lambda entry: (entry.log_loss, -entry.accuracy, entry.trial))
    distinct: dict[str, Ranked] = {}
    for entry in scored:
        distinct.setdefault(entry.config.digest, entry)
    return list(distinct.values())[:count]
