"""Lengths of time as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_digits.ground.durations import duration, parse_duration
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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"), (7.6, "8 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"), (3780, "1 h 03 min"), (100_000, "27 h 46 min"),
    ],
)  # fmt: skip
def test_a_length_of_time_as_a_person_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(1, 3599))
def test_what_is_shown_can_be_typed_up_to_an_hour(seconds: int) -> None:
    assert parse_duration(duration(seconds)) == seconds


@given(st.floats(0.5, 9e5, exclude_min=True))
def test_what_is_shown_is_never_more_than_it_is(seconds: float) -> None:
    """Within half a second; from an hour on, what is left of a minute is not shown."""
    shown = parse_duration(duration(seconds))
    assert seconds - (60 if seconds >= 3599.5 else 0.5) <= shown <= seconds + 0.5


@given(st.integers(0, 200), st.integers(0, 999), st.integers(0, 999))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    wanted = 3600 * hours + 60 * minutes + seconds
    text = f"{hours}h{minutes}m{seconds}s"
    if wanted:
        assert parse_duration(text) == parse_duration(f" {hours} h {minutes} min {seconds} s ")
        assert parse_duration(text) == wanted
    else:
        with pytest.raises(ConfigurationError):
            parse_duration(text)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_is_refused_in_words(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ConfigurationError as error:
        assert repr(text) in error.message
    else:
        assert 0 < seconds < 1e6
