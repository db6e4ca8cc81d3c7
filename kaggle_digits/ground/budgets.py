"""The shortest `--time-budget`: what is shorter cannot be kept, and is refused before any work."""

from __future__ import annotations

import math

from kaggle_digits.ground.durations import duration, parse_duration
from kaggle_digits.ground.errors import ConfigurationError

SHORTEST = 40.0
"""Seconds: libraries are loaded, a pace is measured, and the least that can be made is made."""

_SECONDS_PER_IMAGE = 0.003
"""One epoch of a fold set and its predictions, on a slow or busy machine."""


def parse_budget(text: str) -> float:
    """Return the seconds of a --time-budget.

    Raises:
        ConfigurationError: It is no length of time, or shorter than any can be.
    """
    seconds = parse_duration(text)
    if seconds < SHORTEST:
        raise ConfigurationError(
            f"--time-budget was given as {text!r}; expected {SHORTEST:.0f}s or more.",
            mend="Give more time, or leave it out.",
        )
    return seconds


def shortest_for(images: int) -> float:
    """Return the shortest budget of a whole fold set, in seconds.

    Args:
        images: Those of train.csv and test.csv together.
    """
    return max(SHORTEST, math.ceil(images * _SECONDS_PER_IMAGE / 10) * 10.0)


def require_budget(text: str, images: int) -> None:
    """Refuse a budget in which these data do not come to a fold set.

    Args:
        text: The --time-budget.
        images: Those of train.csv and test.csv together.

    Raises:
        ConfigurationError: It is too short.
    """
    shortest = shortest_for(images)
    if parse_budget(text) < shortest:
        raise ConfigurationError(
            f"--time-budget was given as {text!r}; {images:,} images need "
            f"{duration(shortest)} or more.",
            mend="Give more time, or leave it out.",
        )
