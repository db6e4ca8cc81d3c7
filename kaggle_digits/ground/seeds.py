"""Named random streams: what a stream is for, and the numbers it begins from.

A user gives one seed. Each purpose has a stream of its own, so that one that draws more or less
does not move the others. The values are never changed: results depend on them, byte for byte.
"""

from __future__ import annotations

from enum import IntEnum

FIXED = 0
"""The seed of what is to come out alike whatever seed the user gives: bags, permutations."""

_EPOCHS = 1000


class Purpose(IntEnum):
    """What a stream is for."""

    PROPOSALS = 1
    """The oracle's draws of a trial's values."""

    CANDIDATES = 2
    """The points that the Bayesian strategy asks its process about."""

    WALK = 7
    """The order in which a network's epochs walk through the bank's copies."""

    ROWS = 11
    """The order of an epoch's rows, and how they are mixed."""


def of_network(seed: int, purpose: Purpose, *epoch: int) -> list[int]:
    """Return what a stream of one network's training begins from.

    Args:
        seed: The network's own.
        purpose: `WALK`, or `ROWS` with the epoch.
        epoch: From 0, where each epoch has a stream of its own.
    """
    return [seed, purpose, *epoch]


def of_trial(seed: int, trial: int, purpose: Purpose) -> list[int]:
    """Return what a stream of one proposal begins from.

    Args:
        seed: The search's.
        trial: Number of the trial that is proposed.
        purpose: `PROPOSALS` or `CANDIDATES`.
    """
    return [seed, trial, purpose]


def of_dropout(seed: int, epoch: int) -> int:
    """Return the seed of an epoch's dropout, for backends that have one number for it."""
    return seed * _EPOCHS + epoch
