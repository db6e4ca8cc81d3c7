"""How progress is told, without knowing who shows it.

The shell implements `Progress` on stderr; `Silent` is for library use and tests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """A piece of work of known length that is under way."""

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        """Say that `by` more units are done.

        Args:
            by: How many.
            note: Replaces the text beside the bar.
            timed: Whether they tell how fast the others will be: not if they were there already or
                if getting started was part of their time.
        """


class Progress(Protocol):
    """Who shows progress; an object with these two methods can be given as `load(progress=...)`."""

    def say(self, text: str) -> None:
        """Show one line that stays."""

    def task(self, label: str, total: int, unit: str = "") -> AbstractContextManager[Task]:
        """Begin to show a task, until the `with` block ends.

        Args:
            label: What is done.
            total: How many units it has.
            unit: What they are called, as in `members`.
        """


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def task(self, label: str, total: int, unit: str = "") -> AbstractContextManager[Task]:
        """Open a task nobody sees."""
        return nullcontext(_SilentTask())


class _SilentTask:
    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        pass


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 fold set`, `3 fold sets`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
