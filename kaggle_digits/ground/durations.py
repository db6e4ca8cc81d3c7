"""Lengths of time, read and written: `8h` or `1h30m` from a user, `1 h 30 min` to one."""

from __future__ import annotations

import re

from kaggle_digits.ground.errors import ConfigurationError

_NUMBER = r"(\d+(?:\.\d+)?)"
_FORM = re.compile(rf"(?:{_NUMBER} ?h)? ?(?:{_NUMBER} ?m(?:in)?)? ?(?:{_NUMBER} ?s)?", re.ASCII)
_SECONDS = (3600.0, 60.0, 1.0)
_LONGEST = 1e6


def parse_duration(text: str, option: str = "--time-budget") -> float:
    """Return the seconds of a length of time.

    Args:
        text: Hours, minutes and seconds in this order, each a number and its letter; at least one.
            What `duration` writes is read as well.
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


def duration(seconds: float) -> str:
    """Return a length of time as a person would write it: `8 s`, `2 min 05 s`, `1 h 03 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
