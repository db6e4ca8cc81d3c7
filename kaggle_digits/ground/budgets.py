"""The shortest `--time-budget`: what is shorter cannot be kept, and is refused before any work."""

from __future__ import annotations

import math

from kaggle_digits.ground.durations import duration, parse_duration
from kaggle_digits.ground.errors import ConfigurationError

SHORTEST = 40.0
"""Seconds: libraries are loaded, a pace is measured, and the least that can be made is made."""

_SECONDS_PER_IMAGE = 0.003
"""One epoch of a fold set and its predictions, on a slow or busy machine."""


def parse_budget(given: str | float) -> float:
    """Return the seconds of a time budget.

    Args:
        given: Seconds, or a length of time as a user writes it.

    Raises:
        ConfigurationError: It is no length of time, or shorter than any can be.
    """
    seconds = parse_duration(given) if isinstance(given, str) else float(given)
    if not seconds >= SHORTEST:
        raise ConfigurationError(
            f"--time-budget was given as {_quoted(given)}; expected {SHORTEST:.0f}s or more.",
            mend="Give more time, or leave it out.",
        )
    return seconds


def shortest_for(images: int) -> float:
    """Return the shortest budget of a whole fold set, in seconds.

    Args:
        images: Those of train.csv and test.csv together.
    """
    return max(SHORTEST, math.ceil(images * _SECONDS_PER_IMAGE / 10) * 10.0)


def require_budget(given: str | float, images: int) -> None:
    """Refuse a budget in which these data do not come to a fold set.

    Args:
        given: As in `parse_budget`.
        images: Those of train.csv and test.csv together.

    Raises:
        ConfigurationError: It is too short.
    """
    shortest = shortest_for(images)
    if parse_budget(given) < shortest:
        raise ConfigurationError(
            f"--time-budget was given as {_quoted(given)}; {images:,} images need "
            f"{duration(shortest)} or more.",
            mend="Give more time, or leave it out.",
        )


def _quoted(given: str | float) -> str:
    return repr(given) if isinstance(given, str) else f"{given:g} s"
