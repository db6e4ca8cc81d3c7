"""A search's time: how much of it is for trials, and how much for the race."""

from __future__ import annotations

from kaggle_digits.ground.deadline import Deadline

RACE_SHARE = 0.3
_END_SHARE = 0.03


class SearchTime:
    """The seconds a study may take, over all calls together.

    A search is for a while open for new trials, then for the race, and, if that ends early, for new
    trials again.

    Args:
        whole: All of it, from the start of this call.
        spent: Seconds of it that earlier calls have spent.
        races: Whether time is to be kept for a race.

    Attributes:
        deadline: When this call has to end.
    """

    def __init__(self, whole: Deadline, spent: float, *, races: bool) -> None:
        self.deadline = whole.sooner(spent)
        self._seconds = whole.seconds
        self._before = spent
        self._reserve = RACE_SHARE if races else 0.0
        self._races_at = (whole.seconds or 0.0) * (1 - self._reserve)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._seconds is not None

    @property
    def spent(self) -> float:
        """Seconds spent until now, earlier calls included; never more than there are."""
        spent = self._before + self.deadline.elapsed
        return spent if self._seconds is None else min(spent, self._seconds)

    @property
    def is_open_for_trials(self) -> bool:
        """Whether a new trial may begin."""
        return self._seconds is None or self.spent < self._races_at

    def race_has_ended(self) -> bool:
        """Open the rest of the time for trials; return whether there is a rest worth it."""
        if self._seconds is None or self.deadline.left <= self._seconds * _END_SHARE:
            return False
        self._races_at = self.spent + self.deadline.left * (1 - self._reserve)
        return True
