"""The crew of one: this process does each task when its outcome is waited for."""

from __future__ import annotations

from dataclasses import replace

from kaggle_digits.engine.tasks import Outcome, Site, Task, perform


class Inline:
    """This process, one task after another.

    Args:
        site: What tasks find.
    """

    size = 1

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self, task: Task) -> None:
        """Take a task."""
        self._task = task

    def wait(self) -> Outcome:
        """Do it."""
        return replace(perform(self._task, self._site), task=self._task)

    def close(self) -> None:
        """Do nothing: there is no other process."""
