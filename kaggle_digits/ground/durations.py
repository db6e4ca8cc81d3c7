"""Lengths of time as a user writes them: `45s`, `20m`, `8h`, `1h30m`."""

from __future__ import annotations

import re

from kaggle_digits.ground.errors import ConfigurationError

_NUMBER = r"(\d+(?:\.\d+)?)"
_FORM = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)
_SECONDS = (3600.0, 60.0, 1.0)
_LONGEST = 1e6


def parse_duration(text: str, option: str = "--time-budget") -> float:
    """Return the seconds of a length of time.

    Args:
        text: Hours, minutes and seconds in this order, each a number and its letter; at least one.
        option: How the message names it.

    Raises:
        ConfigurationError: It is none above 0 and below 11 days.
    """
    found = _FORM.fullmatch(text.strip())
    parts = found.groups() if found else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, _SECONDS, strict=False) if part)
    if not 0 < seconds < _LONGEST:
        raise ConfigurationError(
            f"{option} was given as {text!r}; expected a time like 1h30m, 8h, 90m or 45s."
        )
    return seconds
