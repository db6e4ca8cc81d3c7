"""What fits into a time budget: rules that hold whatever the paces and the budget are."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles.planning import (
    Allotment,
    Candidate,
    Pace,
    Paces,
    Prices,
    allot,
    describe,
    in_order,
    to_measure,
)
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.records.plan import FoldSet

CONFIGS = [TrainingConfig(depth=depth) for depth in (1, 2, 3)]
LIGHT = TrainingConfig(augmentation="light")


def candidates(configs=CONFIGS, seeds=3, epochs=10) -> list[Candidate]:
    return [Candidate(fold_set) for fold_set in in_order(configs, seeds, epochs)]


def prices(*seconds_per_epoch: float, member: float = 1.0, **more) -> Prices:
    paces = {
        config.digest: Pace(member, epoch)
        for config, epoch in zip(CONFIGS, seconds_per_epoch, strict=False)
    }
    return Prices(folds=2, copies=5, paces=paces, **more)


def shown(found: list[Allotment]) -> list[tuple[int, int, int]]:
    """Return depth, repeat and epochs of each set."""
    return [(a.fold_set.config.depth, a.fold_set.repeat, a.epochs) for a in found]


def test_configurations_come_before_seeds() -> None:
    assert [(s.config.depth, s.repeat) for s in in_order(CONFIGS, 2, 4)] == [
        (1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        # A set of 10 epochs at 1 s is 2 folds × (1 + 10) = 22 s.
        (1000.0, [(d, r, 10) for r in range(3) for d in (1, 2, 3)]),
        (66.0, [(1, 0, 10), (2, 0, 10), (3, 0, 10)]),
        (65.9, [(1, 0, 10), (2, 0, 10), (3, 0, 9)]),
        (44.0 + 12.0, [(1, 0, 10), (2, 0, 10), (3, 0, 5)]),
        (44.0 + 11.9, [(1, 0, 10), (2, 0, 10)]),  # 4 epochs are less than half
        (22.0, [(1, 0, 10)]),
        (8.0, [(1, 0, 3)]),
        (4.0, [(1, 0, 1)]),
        (3.9, [(1, 0, 1)]),  # the first is made in any case
        (-5.0, [(1, 0, 1)]),
    ],
)
def test_full_epochs_first_then_configurations_then_seeds(left, wanted) -> None:
    assert shown(allot(candidates(), left, prices(1, 1, 1), first_is_due=True)) == wanted


def test_where_a_set_is_there_the_next_is_not_forced() -> None:
    assert allot(candidates(), 3.9, prices(1, 1, 1), first_is_due=False) == []
    assert shown(allot(candidates(), 12.0, prices(1, 1, 1), first_is_due=False)) == [(1, 0, 5)]


def test_a_cheaper_set_does_not_overtake() -> None:
    found = allot(candidates(), 25.0, prices(1, 9, 0.1), first_is_due=True)
    assert shown(found) == [(1, 0, 10)]


def test_members_that_are_there_cost_nothing() -> None:
    whole, half, new = (
        Candidate(FoldSet(CONFIGS[0], repeat, 0, 10), begun=there > 0, there=there)
        for repeat, there in enumerate((2, 1, 0))
    )
    price = prices(1)
    assert [price.seconds(item, 10) for item in (whole, half, new)] == [0, 11, 22]
    assert price.seconds(half, 9) == 20  # of nine epochs none is there
    assert shown(allot([whole, half, new], 11.0, price, first_is_due=False)) == [
        (1, 0, 10), (1, 1, 10),
    ]  # fmt: skip


def test_a_set_that_was_begun_keeps_its_epochs() -> None:
    begun = Candidate(FoldSet(CONFIGS[0], 0, 0, 10), begun=True, there=1)
    assert allot([begun], 10.9, prices(1), first_is_due=False) == []
    assert shown(allot([begun], 10.9, prices(1), first_is_due=True)) == [(1, 0, 10)]


def test_copies_of_the_bank_are_paid_once() -> None:
    config = CONFIGS[0]
    paces = {config.digest: Pace(1, 1, copy=3), LIGHT.digest: Pace(1, 1, copy=3)}
    price = Prices(folds=2, copies=5, paces=paces, made={"standard": 1}, copying=2)
    first, second = candidates([config], 2)
    # Four of five copies are missing, and two workers have to start.
    assert price.seconds(first, 10) == 22 + 2.5 + 2 * 3
    assert price.after(first, 10).seconds(second, 10) == 22
    assert price.seconds(candidates([LIGHT])[0], 2) == 6 + 2.5 + 1 * 3
    none = Prices(folds=2, copies=5, paces={config.digest: Pace(1, 1)})
    assert none.seconds(first, 10) == 22


def random_case(seed: int) -> tuple[list[Candidate], Prices]:
    random = np.random.default_rng(seed)
    paces = {config.digest: Pace(*random.uniform(0, 5, 3).tolist()) for config in (*CONFIGS, LIGHT)}
    folds, copies, epochs = (int(random.integers(low, 12)) for low in (2, 1, 1))
    found = candidates([*CONFIGS, LIGHT], int(random.integers(1, 6)), epochs)
    return found, Prices(folds, copies, paces, {"standard": int(random.integers(0, 4))})


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_paces_the_rules_hold(seed) -> None:
    sets, price = random_case(seed)
    smallest = price.seconds(sets[0], 1)
    epochs_before = -1
    for left in np.linspace(0, 3000, 120):
        found = allot(sets, float(left), price, first_is_due=True)
        spent, state = 0.0, price
        for place, item in enumerate(found):
            assert item.candidate == sets[place]
            assert 1 <= item.epochs <= item.candidate.fold_set.epochs
            assert place == 0 or item.epochs >= item.candidate.least
            assert item.seconds == state.seconds(item.candidate, item.epochs)
            spent += item.seconds
            state = state.after(item.candidate, item.epochs)
        # Within the time, but for the one epoch of the first set that is always made.
        assert spent <= max(left, smallest) * (1 + 1e-9)
        # Only the last has fewer epochs.
        assert all(item.epochs == item.candidate.fold_set.epochs for item in found[:-1])
        # More time never means less training.
        epochs = sum(item.epochs for item in found)
        assert epochs >= epochs_before
        epochs_before = epochs
        # What is left would not have paid for half a set more.
        if len(found) < len(sets) and found[-1].epochs == found[-1].candidate.fold_set.epochs:
            following = sets[len(found)]
            assert spent + state.seconds(following, following.least) > left


def test_configurations_whose_turn_does_not_come_are_not_measured() -> None:
    sets = candidates()
    assert to_measure(sets, 1.0, prices()) == CONFIGS[0]
    assert to_measure(sets, 22.0, prices(1)) is None
    assert to_measure(sets, 22.1, prices(1)) == CONFIGS[1]
    assert to_measure(sets, 44.1, prices(1, 1)) == CONFIGS[2]
    assert to_measure(sets, 1000.0, prices(1, 1, 1)) is None
    there = [Candidate(item.fold_set, begun=True, there=2) for item in sets[:1]]
    assert to_measure([*there, *sets[1:]], 5.0, prices()) == CONFIGS[1]


def test_what_is_not_measured_is_not_allotted() -> None:
    assert shown(allot(candidates(), 1000.0, prices(1), first_is_due=True)) == [(1, 0, 10)]


def test_paces_follow_what_members_took() -> None:
    paces = Paces({config.digest: Pace(2, 1) for config in CONFIGS})
    assert paces.now() == paces.measured
    paces.note(CONFIGS[0], 8, 20.0)  # 10 s were expected
    now = paces.now()
    assert now[CONFIGS[0].digest] == Pace(4, 2)
    assert now[CONFIGS[1].digest] == Pace(4, 2)
    paces.note(CONFIGS[1], 8, 10.0)
    now = paces.now()
    assert now[CONFIGS[1].digest] == Pace(2, 1)
    assert now[CONFIGS[2].digest] == Pace(3, 1.5)
    paces.note(LIGHT, 8, 500.0)  # nothing was expected of it
    assert paces.now() == now


def test_the_plan_says_what_comes_and_how_long_it_takes() -> None:
    price = prices(1, 1, 1)
    found = allot(candidates(), 56.0, price, first_is_due=True)
    lines = describe(found, price, {CONFIGS[0].digest: 2345.6}, 60)
    assert lines[0] == "plan: 3 fold sets in 56 s of 1 min 00 s"
    assert lines[1] == (
        f"  {CONFIGS[0].digest[:8]} strided, repeat 0: 2 folds × 10 epochs, 2,346 images/s, 22 s"
    )
    assert "2 folds × 5 epochs, 12 s" in lines[3]
