"""What the planner allots, whatever it is given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ensembles.planning import Candidate, Pace, Prices, allot, describe, to_measure
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.records.plan import FoldSet

CONFIGS = [
    TrainingConfig(depth=depth, augmentation=policy)
    for depth in (1, 2, 3)
    for policy in ("none", "light", "standard")
]
seconds = st.floats(0, 100, allow_subnormal=False)
paces = st.builds(Pace, member=seconds, epoch=seconds, copy=seconds)


@st.composite
def cases(draw) -> tuple[list[Candidate], Prices]:
    """Fold sets, some of them begun, some of them of an unknown price."""
    folds = draw(st.integers(2, 10))
    candidates = []
    for repeat in range(draw(st.integers(1, 8))):
        fold_set = FoldSet(draw(st.sampled_from(CONFIGS)), repeat, 0, draw(st.integers(1, 30)))
        there = draw(st.integers(0, folds)) if draw(st.booleans()) else 0
        candidates.append(Candidate(fold_set, begun=there > 0, there=there))
    known = draw(st.sets(st.sampled_from(CONFIGS))) | {candidates[0].fold_set.config}
    return candidates, Prices(
        folds=folds,
        copies=draw(st.integers(1, 20)),
        paces={config.digest: draw(paces) for config in sorted(known, key=CONFIGS.index)},
        made={"light": draw(st.integers(0, 20))},
        workers=draw(st.integers(1, 4)),
    )


lefts = st.floats(-100, 1e5)


@given(cases(), lefts)
def test_nothing_beyond_the_time_is_allotted(case, left) -> None:
    candidates, prices = case
    found = allot(candidates, left, prices, first_is_due=False)
    assert sum(item.seconds for item in found) <= max(left, 0) * (1 + 1e-9)


@given(cases(), lefts)
def test_beyond_the_time_goes_only_the_least_of_a_first_that_is_due(case, left) -> None:
    candidates, prices = case
    first, *others = allot(candidates, left, prices, first_is_due=True)
    least = candidates[0].fold_set.epochs if candidates[0].begun else 1
    assert first.seconds <= left or first.epochs == least
    assert sum(item.seconds for item in others) <= max(left - first.seconds, 0) * (1 + 1e-9)


@given(cases(), lefts, st.booleans())
def test_a_beginning_of_the_candidates_with_whole_epochs_but_for_the_last(case, left, due) -> None:
    candidates, prices = case
    found = allot(candidates, left, prices, first_is_due=due)
    assert [item.candidate for item in found] == candidates[: len(found)]
    for place, item in enumerate(found):
        assert prices.knows(item.candidate)
        most = item.candidate.fold_set.epochs
        assert item.epochs == most or (place == len(found) - 1 and not item.candidate.begun)
        assert item.epochs >= (1 if due and place == 0 else item.candidate.least)
        assert item.seconds == prices.seconds(item.candidate, item.epochs)
        prices = prices.after(item.candidate, item.epochs)
    assert len(describe(found, prices, {}, max(left, 0))) == len(found) + 1


@given(cases(), lefts, st.floats(0, 1e4), st.booleans())
def test_more_time_never_means_less_training(case, left, more, due) -> None:
    candidates, prices = case
    before = [item.epochs for item in allot(candidates, left, prices, first_is_due=due)]
    after = [item.epochs for item in allot(candidates, left + more, prices, first_is_due=due)]
    assert len(after) >= len(before)
    assert all(later >= earlier for earlier, later in zip(before, after, strict=False))


@given(cases(), lefts)
def test_what_is_measured_next_is_the_first_of_an_unknown_price(case, left) -> None:
    candidates, prices = case
    unknown = [item.fold_set.config for item in candidates if not prices.knows(item)]
    assert to_measure(candidates, left, prices) in (None, *unknown[:1])
