"""The one thing that says how much time is left, and that ends work when none is."""

from __future__ import annotations

import time
from collections.abc import Callable

from kaggle_digits.ground.errors import KaggleDigitsError


class OutOfTimeError(KaggleDigitsError):
    """Work under way stopped because its time was over; a later call goes on with it."""


class Deadline:
    """A length of time that began at some moment; without a limit it never ends.

    Pickled, it travels as the seconds that are left: clocks of two machines have nothing in common.

    Args:
        seconds: How long it is; None for no limit.
        started: What the clock said at its beginning; None for now.
        clock: Gives seconds that never run back.

    Attributes:
        seconds: As given.
        started: What its clock said at its beginning.
    """

    def __init__(
        self,
        seconds: float | None = None,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self.started = clock() if started is None else started

    @property
    def elapsed(self) -> float:
        """Seconds since its beginning."""
        return self._clock() - self.started

    @property
    def left(self) -> float:
        """Seconds left, negative once it has passed; infinite without a limit."""
        return float("inf") if self.seconds is None else self.seconds - self.elapsed

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0

    def part(self, seconds: float) -> Deadline:
        """Return one of so many seconds from now, by the same clock; never later than this one."""
        return Deadline(max(min(seconds, self.left), 0.0), None, self._clock)

    def sooner(self, seconds: float) -> Deadline:
        """Return one that began at the same moment and is so many seconds shorter."""
        length = None if self.seconds is None else self.seconds - seconds
        return Deadline(length, self.started, self._clock)

    def check(self) -> None:
        """End the work that asks, once no time is left.

        Raises:
            OutOfTimeError: No time is left.
        """
        if self.has_passed:
            raise OutOfTimeError("The time was over before the work was done.")

    def __reduce__(self) -> tuple[type[Deadline], tuple[float | None]]:
        """Travel as the seconds that are left."""
        return Deadline, (None if self.seconds is None else self.left,)
