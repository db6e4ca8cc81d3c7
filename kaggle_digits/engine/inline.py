"""The crew of one: this process does each task when its outcome is waited for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from kaggle_digits.engine.tasks import Outcome, Site, Task, perform
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


class Inline:
    """This process, one task after another.

    Args:
        dataset: The data.
        workspace: Whose cache is used.
        progress: Told of every step.
        deadline: When tasks have to end.
    """

    size = 1

    def __init__(
        self, dataset: Dataset, workspace: Workspace, progress: Progress, deadline: Deadline
    ) -> None:
        self._site = Site(dataset, workspace, True, progress, deadline)
        self._task: Task | None = None

    def start(self, task: Task) -> None:
        """Take a task."""
        self._task = task

    def wait(self) -> Outcome:
        """Do it."""
        assert self._task is not None
        task, self._task = self._task, None
        return perform(task, self._site, socket.gethostname())

    def close(self) -> None:
        """Forget the task that was taken; there is no other process."""
        self._task = None
