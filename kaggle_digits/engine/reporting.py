"""Progress on its way from a worker to whoever shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.progress import Task as Shown


class Reporting:
    """Progress that a worker tells its parent; one task at a time.

    Args:
        pipe: To the parent.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def say(self, text: str) -> None:
        """Send one line."""
        self._pipe.send(("say", text))

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Shown]:
        """Send that a task was opened, and that it is over."""
        self._pipe.send(("open", label, total, unit))
        try:
            yield self
        finally:
            self._pipe.send(("close",))

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        """Send that more of the open task is done."""
        self._pipe.send(("advance", by, note, timed))


class Showing:
    """What one worker has told, shown; the other end of `Reporting`."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def show(self, told: tuple[Any, ...], progress: Progress) -> None:
        """Pass on one thing that was told."""
        kind, *given = told
        if kind == "say":
            progress.say(*given)
        elif kind == "open":
            self.close()
            self._task = self._open.enter_context(progress.task(*given))
        elif kind == "advance":
            by, note, timed = given
            self._task.advance(by, note, timed=timed)
        else:
            self.close()

    def close(self) -> None:
        """Close what is open: the worker has said so, or has died."""
        self._open.close()
