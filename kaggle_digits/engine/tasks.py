"""A task as a value, what it finds where it runs, and what comes of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import KaggleDigitsError, TrainingError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


class WorkerDiedError(TrainingError):
    """A task was given out again and again, and each worker that had it died."""


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work that gives the same result wherever it runs.

    Args:
        key: Names it in messages.
        function: Called as `function(site, *arguments)`; found by its module and name, so it can be
            pickled. It writes nothing but the cache of its site.
        arguments: Can be pickled. The data are not among them: they are the site's.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """What a task finds where it runs.

    Args:
        dataset: The data: memory-mapped, or in the node's object store; read-only.
        workspace: Whose cache the task may use. On the driver's machine it is the driver's own, so
            that a task that is called again goes on from its checkpoint.
        is_home: Whether it is the driver's own workspace.
        progress: Told of every step.
        deadline: When the task has to end.
    """

    dataset: Dataset
    workspace: Workspace
    is_home: bool
    progress: Progress
    deadline: Deadline


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a task: a value, or one of our own errors.

    Args:
        task: The task.
        value: What its function returned; None with an error.
        error: Why there is no value.
        node: Where it ran.
        seconds: Wall time there.
    """

    task: Task
    value: Any = None
    error: KaggleDigitsError | None = None
    node: str = ""
    seconds: float = 0.0

    def result(self) -> Any:
        """Return the value.

        Raises:
            KaggleDigitsError: The task's own error.
        """
        if self.error is not None:
            raise self.error
        return self.value


def perform(task: Task, site: Site, node: str) -> Outcome:
    """Do a task here; what goes wrong becomes part of the outcome."""
    started = time.monotonic()
    value: Any = None
    error: KaggleDigitsError | None = None
    try:
        value = task.function(site, *task.arguments)
    except KaggleDigitsError as own:
        error = own
    except Exception as other:
        traceback.print_exc()  # into the workspace's log
        error = TrainingError(
            f"{task.key} broke: {type(other).__name__}: {other}",
            mend="The workspace's log.txt has the details; please report them.",
        )
    return Outcome(task, value, error, node, time.monotonic() - started)
