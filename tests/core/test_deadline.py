"""How much time is left, and how it travels."""

from __future__ import annotations

import pickle

import pytest

from kaggle_digits.ground.deadline import Deadline, OutOfTimeError


def test_a_deadline_runs_down_and_ends_the_work_that_asks():
    now = [100.0]
    deadline = Deadline(1000.0, clock=lambda: now[0])
    assert (deadline.left, deadline.elapsed, deadline.has_passed) == (1000, 0, False)
    now[0] = 400.0
    assert (deadline.left, deadline.elapsed) == (700, 300)
    deadline.check()
    now[0] = 1100.0
    assert deadline.has_passed
    with pytest.raises(OutOfTimeError, match="The time was over"):
        deadline.check()


def test_a_time_that_began_earlier_has_less_left():
    assert Deadline(10.0, started=5.0, clock=lambda: 12.0).left == 3


def test_without_a_limit_it_never_passes():
    deadline = Deadline()
    assert deadline.left == float("inf") and not deadline.has_passed
    assert pickle.loads(pickle.dumps(deadline)).left == float("inf")


def test_it_travels_as_the_seconds_that_are_left():
    there = pickle.loads(pickle.dumps(Deadline(50.0, started=-30.0, clock=lambda: 0.0)))
    assert 19 < there.left <= 20
