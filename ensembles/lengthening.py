"""How many epochs are enough: by the data's size at first, then by the learning curve.

Enough is where more epochs bring less than what the same time brings otherwise: one more fold set,
whose gain in log-loss is some 5 % (0.0155 to 0.0148 by a second seed on 42,000 rows).

At first the data's size says it: few rows want more epochs than many, but not in proportion. Then
the held-out log-loss of fold sets with different epochs says whether the curve still gains. Where
time is too short for any look at it, one set of up to twice that many epochs is made rather than
two sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

WORTH = 0.05
"""Relative gain in log-loss that twice as many epochs must bring."""

_AMPLE = 3.0
"""A longer set is tried where there is time for so many of them; for one, where the curve is known
near its end."""

_NEAR = 2.0
"""Doublings between the last two points of a curve that is known near its end."""

_ROWS = 42_000
_EPOCHS = 12
_POWER = 0.25
"""From 42,000 rows, where 12 epochs were seen to be enough, to 1,198, where some 25 are."""

_KNOWN_ROWS = 20_000


def enough_epochs(rows: int) -> int:
    """Return how many epochs are enough for data of so many rows, before anything is known of them.

    Args:
        rows: Of train.csv.
    """
    return max(round(_EPOCHS * math.pow(_ROWS / max(rows, 1), _POWER)), 1)


def may_lengthen(rows: int) -> bool:
    """Say whether the learning curve has a say for data of so many rows.

    From 20,000 rows on it has none: on 42,000, 30 epochs were no better than 12, and what short
    sets gain there would promise more.
    """
    return rows < _KNOWN_ROWS


@dataclass(slots=True)
class Curve:
    """Held-out log-loss by epochs, of one configuration's fold sets.

    Args:
        losses: In nats, calibrated, by epochs.
    """

    losses: dict[int, float] = field(default_factory=dict)

    def gain(self) -> float | None:
        """Return the relative gain of the last doubling of epochs; None before two are known.

        Where the two longest sets are further apart, it is the mean gain of the doublings between
        them: an upper bound of the last one's, since curves flatten.
        """
        if len(self.losses) < 2:
            return None
        fewer, more = sorted(self.losses)[-2:]
        if not self.losses[fewer] > 0:
            return 0.0
        doublings = math.log2(more / fewer)
        return float(1 - (self.losses[more] / self.losses[fewer]) ** (1 / doublings))

    @property
    def sets_needed(self) -> float:
        """For how many longer sets there must be time before one is tried."""
        if len(self.losses) < 2:
            return _AMPLE
        fewer, more = sorted(self.losses)[-2:]
        return 1.0 if math.log2(more / fewer) <= _NEAR else _AMPLE

    def enough(self, rows: int) -> int:
        """Return how many epochs are enough as far as is known.

        Gains halve with each doubling, or faster: if the last one gained `g`, then `g / WORTH`
        times its epochs gain no more than `WORTH` by twice as many. Half of what the data's size
        says is the least, since two points are noisy.

        Args:
            rows: Of train.csv.
        """
        usual, gain = enough_epochs(rows), self.gain()
        if gain is None:
            return usual
        longest = max(self.losses)
        return max(round(longest * max(gain / WORTH, 1)), -(-usual // 2))

    @property
    def still_gains(self) -> bool:
        """Whether twice as many epochs may be worth it, as far as is known."""
        gain = self.gain()
        return gain is None or gain >= WORTH
