"""A task as a value, what it finds where it runs, and what comes of it."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import KaggleDigitsError, TrainingError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


class WorkerDiedError(TrainingError):
    """The worker that had a task died; from the engine, each one that it was given to."""


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
        progress: Told of every step.
        deadline: When the task has to end.
        node: How the machine is named.
        is_home: Whether it is the driver's own workspace.
    """

    dataset: Dataset
    workspace: Workspace
    progress: Progress
    deadline: Deadline = field(default_factory=Deadline)
    node: str = field(default_factory=socket.gethostname)
    is_home: bool = True


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


def perform(task: Task, site: Site) -> Outcome:
    """Do a task here; what goes wrong becomes part of the outcome.

    The outcome names the task without its arguments: whoever gave it out knows them, so they need
    not travel back.
    """
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
    named = replace(task, arguments=())
    return Outcome(named, value, error, site.node, time.monotonic() - started)
