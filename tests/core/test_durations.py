"""Lengths of time as users write them."""

from __future__ import annotations

import pytest

from kaggle_digits.ground.durations import parse_duration
from kaggle_digits.ground.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("1.5m", 90), ("0.5h", 1800),
        ("1h1m1s", 3661), (" 40m ", 2400), ("2h0.5s", 7200.5),
    ],
)  # fmt: skip
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "soon", "40", "m", "0m", "-5m", "30m1h", "1h1h", "1e3s", "nanm", "infh", "999h", "٣m"],
)
def test_what_is_none_is_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--wait was given as .*1h30m"):
        parse_duration(text, "--wait")
