"""A search's time: how much is left, and how work under way is cut when none is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaggle_digits.ground.progress import Progress, Task

RACE_SHARE = 0.3
_END_SHARE = 0.03


class CutError(Exception):
    """Work under way has to stop: the time is spent, or nobody waits for its result any more."""


class Budget:
    """The seconds a study may take, over all calls together.

    A search is for a while open for new trials, then for the race, and, if that ends early, for new
    trials again.

    Args:
        seconds: All of it; None for no limit.
        spent: Of earlier calls.
        started: What the clock said at the start of this call.
        races: Whether time is to be kept for a race.
        clock: Gives seconds that never run back.
    """

    def __init__(
        self,
        seconds: float | None,
        spent: float,
        started: float,
        *,
        races: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._before = spent
        self._started = started
        self._clock = clock
        self._reserve = RACE_SHARE if races else 0.0
        self._races_at = (seconds or 0.0) * (1 - self._reserve)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._seconds is not None

    @property
    def spent(self) -> float:
        """Seconds spent until now, earlier calls included; never more than there are."""
        spent = self._before + self._clock() - self._started
        return spent if self._seconds is None else min(spent, self._seconds)

    @property
    def left(self) -> float:
        """Seconds left; infinite without a limit."""
        return float("inf") if self._seconds is None else self._seconds - self.spent

    @property
    def is_spent(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0

    @property
    def is_open_for_trials(self) -> bool:
        """Whether a new trial may begin."""
        return self._seconds is None or self.spent < self._races_at

    def race_has_ended(self) -> bool:
        """Open the rest of the time for trials; return whether there is a rest worth it."""
        if self._seconds is None or self.left <= self._seconds * _END_SHARE:
            return False
        self._races_at = self.spent + self.left * (1 - self._reserve)
        return True


class Watched:
    """Progress that ends the work it is told of once the time is spent.

    Args:
        progress: Whom to tell.
        must_stop: Asked at every step.
    """

    def __init__(self, progress: Progress, must_stop: Callable[[], bool]) -> None:
        self._progress = progress
        self._must_stop = must_stop

    def say(self, text: str) -> None:
        """Pass one line on."""
        self._progress.say(text)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Task]:
        """Open a task whose steps may raise `CutError`."""
        with self._progress.task(label, total, unit) as task:
            yield _WatchedTask(task, self._must_stop)


class _WatchedTask:
    def __init__(self, task: Task, must_stop: Callable[[], bool]) -> None:
        self._task = task
        self._must_stop = must_stop

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self._task.advance(by, note, timed=timed)
        if self._must_stop():
            raise CutError
