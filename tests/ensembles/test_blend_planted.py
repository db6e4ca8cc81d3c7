"""Blends of planted members: each method finds what it should, and honest figures are honest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ensembles.diversity import diversity, to_others
from ensembles.evaluation import (
    Evaluation,
    Judged,
    RowResults,
    choose,
    compare,
    evaluate,
    row_results,
)
from ensembles.fitting import member_temperatures
from ensembles.methods import METHODS
from ensembles.rules import EvenedRule
from ensembles.tables import against_mean
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.predictions import score

FITTED = [name for name, method in METHODS.items() if method.is_fitted]
CLASSES = 4


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def truth(random: np.random.Generator, rows: int, spread: float = 4.0):
    """Draw logits of the true posterior, float64 [rows, classes], and labels drawn from it."""
    logits = spread * random.normal(size=(rows, CLASSES))
    cumulative = softmax(logits).cumsum(axis=1)
    return logits, (cumulative > random.random((rows, 1))).argmax(axis=1).clip(max=CLASSES - 1)


def noisy(random: np.random.Generator, logits: np.ndarray, noises: Sequence[float]) -> np.ndarray:
    """Make one member per noise: the truth's logits with so much normal noise, float32."""
    members = [softmax(logits + noise * random.normal(size=logits.shape)) for noise in noises]
    return np.stack(members).astype(np.float32)


def folds_of(rows: int, count: int = 5) -> np.ndarray:
    return np.arange(rows) % count


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("name", ["weighted", "greedy"])
def test_adversarial_and_constant_members_get_nothing(random, name):
    logits, labels = truth(random, 1500)
    good = noisy(random, logits, [1.5, 1.5, 1.5])
    adversarial = np.roll(good[:1], 1, axis=2)  # as sure as the first, of the wrong class
    constant = np.broadcast_to(np.float32([0.4, 0.3, 0.2, 0.1]), good[:1].shape)
    pool = np.concatenate([good, adversarial, constant])
    weights = np.array(METHODS[name].fit(pool, labels).weights)
    assert weights[3:].max() < 0.01 and weights[:3].min() > 0.15
    # What is no better than noise costs the plain mean a lot, and these methods next to nothing.
    honest = evaluate(METHODS[name], pool, labels, folds_of(1500)).plain.honest.log_loss
    alone = evaluate(METHODS[name], good, labels, folds_of(1500)).plain.honest.log_loss
    mean = evaluate(METHODS["mean"], pool, labels, folds_of(1500)).plain.honest.log_loss
    assert honest < alone + 0.005 and mean > alone + 0.2


def test_stack_turns_an_adversarial_member_round_and_leaves_out_a_constant_one(random):
    logits, labels = truth(random, 1500)
    good = noisy(random, logits, [1.5, 1.5, 1.5])
    # Sure where the truth is unsure: the sign of its log-odds is wrong.
    adversarial = noisy(random, -logits, [1.5])
    constant = np.broadcast_to(np.float32([0.4, 0.3, 0.2, 0.1]), good[:1].shape)
    rule = METHODS["stack"].fit(np.concatenate([good, adversarial, constant]), labels)
    assert rule.weights[3] < -0.05 and min(rule.weights[:3]) > 0.1
    # A constant member can only shift the classes, which the bias takes back.
    shift = rule.weights[4] * np.log([0.4, 0.3, 0.2, 0.1]) + np.array(rule.bias)
    assert np.ptp(shift) < 0.5


@pytest.mark.parametrize("name", ["weighted", "greedy", "stack"])
def test_duplicates_share_the_weight_of_one(random, name):
    logits, labels = truth(random, 1500)
    pool = noisy(random, logits, [1.0, 1.5, 2.0])
    single = METHODS[name].fit(pool, labels)
    doubled = np.concatenate([pool[:1], pool, pool[:1]])  # the first member three times
    rule = METHODS[name].fit(doubled, labels)
    assert rule.weights[0] == pytest.approx(rule.weights[1], abs=1e-6)
    assert rule.weights[0] == pytest.approx(rule.weights[4], abs=1e-6)
    together = rule.weights[0] + rule.weights[1] + rule.weights[4]
    # The stack's penalty pulls each copy to an equal weight, so a copied member gains a little.
    assert together == pytest.approx(single.weights[0], abs=0.15 if name == "stack" else 1e-3)
    joined, wanted = rule.apply(doubled), single.apply(pool)
    np.testing.assert_allclose(joined, wanted, atol=0.06 if name == "stack" else 1e-3)


@pytest.mark.parametrize("name", ["weighted", "greedy", "stack"])
def test_better_members_weigh_more(random, name):
    logits, labels = truth(random, 3000)
    weights = METHODS[name].fit(noisy(random, logits, [0.8, 1.6, 3.2]), labels).weights
    assert weights[0] > weights[1] > weights[2]
    assert weights[0] > 2 * weights[2]


def test_stack_wins_where_members_are_miscalibrated_differently(random):
    logits, labels = truth(random, 3000)
    noise = 1.5 * random.normal(size=(4, *logits.shape))
    sharpness = np.array([0.2, 0.5, 2.0, 5.0])[:, None, None]
    pool = softmax((logits + noise) * sharpness).astype(np.float32)
    evaluations = {n: evaluate(m, pool, labels, folds_of(3000)) for n, m in METHODS.items()}
    stack = row_results(evaluations["stack"].plain.oof, labels)
    for name, other in evaluations.items():
        if name != "stack":
            found = compare(stack, row_results(other.plain.oof, labels))
            assert found.log_loss_high < 0, name
    weights = np.array(evaluations["stack"].plain.rule.weights)
    # Equally good members that differ in sharpness alone: what counts is weight times sharpness,
    # and the penalty leaves it within a factor of three where sharpness spans 25.
    evened = weights * sharpness.ravel()
    assert (np.diff(weights) < 0).all() and evened.max() < 3 * evened.min()
    # Weights on members that were evened out come as near, once the blend has its temperature.
    assert choose(list(evaluations.values()), labels).method.name == "weighted"


def test_the_geometric_mean_wins_where_errors_add_to_the_logits(random):
    logits, labels = truth(random, 3000)
    pool = noisy(random, logits, [3.0] * 6)
    mean, geometric, power = (
        evaluate(METHODS[name], pool, labels, folds_of(3000))
        for name in ("mean", "geometric", "power")
    )
    found = compare(
        row_results(geometric.calibrated.oof, labels), row_results(mean.calibrated.oof, labels)
    )
    assert found.log_loss_high < 0
    assert power.calibrated.rule.rule.exponent <= 4


def test_the_arithmetic_mean_wins_where_single_members_go_quite_wrong(random):
    logits, labels = truth(random, 3000)
    pool = noisy(random, logits, [0.3] * 6)
    for member in pool:  # each is sure of a random class on its own tenth of the rows
        rows = random.random(3000) < 0.1
        wrong = random.integers(0, CLASSES, 3000)[rows]
        member[rows] = softmax(18.0 * np.eye(CLASSES)[wrong])
    mean, geometric, power = (
        evaluate(METHODS[name], pool, labels, folds_of(3000))
        for name in ("mean", "geometric", "power")
    )
    found = compare(row_results(mean.plain.oof, labels), row_results(geometric.plain.oof, labels))
    assert found.log_loss_high < 0 and found.images_low > 0
    assert 0.25 <= power.plain.rule.exponent <= 1.5
    assert power.plain.honest.log_loss <= mean.plain.honest.log_loss + 1e-3


def test_large_powers_win_where_each_member_knows_its_own_part(random):
    logits, labels = truth(random, 3000)
    knows = random.integers(0, 6, 3000)
    pool = np.full((6, 3000, CLASSES), 1 / CLASSES, dtype=np.float32)
    pool[knows, np.arange(3000)] = softmax(logits)
    power = evaluate(METHODS["power"], pool, labels, folds_of(3000))
    mean = evaluate(METHODS["mean"], pool, labels, folds_of(3000))
    assert power.plain.rule.exponent >= 2
    found = compare(row_results(power.plain.oof, labels), row_results(mean.plain.oof, labels))
    assert found.log_loss_high < 0


def test_votes_win_where_a_sure_member_is_often_wrong(random):
    logits, labels = truth(random, 3000)
    pool = noisy(random, 0.3 * logits, [0.15, 0.15, 0.15])
    pool[2] = softmax(30.0 * noisy(random, logits, [4.0])[0]).astype(np.float32)
    vote, mean = (evaluate(METHODS[n], pool, labels, folds_of(3000)) for n in ("vote", "mean"))
    found = compare(row_results(vote.plain.oof, labels), row_results(mean.plain.oof, labels))
    assert found.images_low > 0


def test_the_temperature_finds_a_planted_one(random):
    logits, labels = truth(random, 20000)
    pool = softmax(logits * 2.5)[None].astype(np.float32)
    evaluation = evaluate(METHODS["mean"], pool, labels, folds_of(20000))
    assert evaluation.temperature == pytest.approx(2.5, abs=0.12)
    assert evaluation.calibrated.honest.log_loss < evaluation.plain.honest.log_loss - 0.01
    # No answer changes, so that accuracy and submission stay.
    assert evaluation.calibrated.honest.accuracy == evaluation.plain.honest.accuracy


@pytest.mark.parametrize("name", ["weighted", "greedy"])
def test_a_member_that_is_only_surer_does_not_get_the_weight(random, name):
    """As with label smoothing: the better one is far too modest, the worse one calibrated."""
    logits, labels = truth(random, 6000)
    better, worse = noisy(random, logits, [0.4, 1.2])
    pool = np.stack([softmax(0.15 * np.log(better + 1e-12)), worse]).astype(np.float32)
    found = evaluate(METHODS[name], pool, labels, folds_of(6000))
    weights = found.plain.rule.weights
    assert weights is not None and weights[0] > 0.7
    alone = score(worse.astype(np.float64), labels)
    assert found.plain.honest.accuracy > alone.accuracy + 3 * alone.accuracy_se


def test_auto_stays_with_the_mean_where_members_are_alike(random):
    logits, labels = truth(random, 600)
    for noise in (0.3, 0.6):
        pool = noisy(random, logits, [noise] * 4)
        evaluations = [evaluate(m, pool, labels, folds_of(600)) for m in METHODS.values()]
        assert choose(evaluations, labels).method.name == "mean"


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_auto_takes_what_is_better_beyond_noise_and_the_simplest_of_it(seed):
    random = np.random.default_rng(seed)
    logits, labels = truth(random, 2000)
    pool = noisy(random, logits, [0.5, 3.0])
    pool[0] = 0.9 * pool[0] + 0.1 * pool[1]
    evaluations = [evaluate(m, pool, labels, folds_of(2000)) for m in METHODS.values()]
    # Mean, geometric, vote and power cannot tell the two apart; greedy and stack are less simple.
    assert choose(evaluations, labels).method.name == "weighted"


def judged_as(name: str, joined: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Return a method's evaluation whose out-of-fold rows are these."""
    evaluation = evaluate(METHODS[name], joined[None], labels, folds_of(len(labels)))
    rule, judged = evaluation.plain.rule, score(joined, labels)
    planted = Judged(rule, joined, judged, judged)
    return Evaluation(METHODS[name], planted, planted, 1.0, 0.0)


def test_auto_looks_at_right_rows_too():
    """Equal in log-loss, but clearly fewer rows right: not as good."""
    labels = np.zeros(400, dtype=np.int64)
    better = np.tile([0.55, 0.45], (400, 1))
    worse = np.where(np.arange(400)[:, None] % 2, [0.75, 0.25], [0.4, 0.6])
    found = compare(row_results(worse, labels), row_results(better, labels))
    assert found.log_loss > 0 and found.log_loss_low < 0 and found.images_high < 0

    def chosen(mean: np.ndarray, vote: np.ndarray) -> str:
        named = [judged_as("mean", mean, labels), judged_as("vote", vote, labels)]
        return choose(named, labels).method.name

    assert chosen(worse, better) == "vote"
    assert chosen(better, better) == "mean"


def test_auto_takes_nothing_for_what_one_group_alone_gains():
    labels, rows = np.zeros(400, dtype=np.int64), np.arange(400)
    sure = np.tile([0.9, 0.1], (400, 1))
    wrong = np.where(rows[:, None] < 40, [0.4, 0.6], sure)
    named = [judged_as("mean", wrong, labels), judged_as("vote", sure, labels)]
    assert choose(named, labels).method.name == "vote"
    assert choose(named, labels, np.where(rows < 40, 0, rows)).method.name == "mean"


def pool_and_fresh(seed: int, rows: int = 600, fresh: int = 3000):
    """Members whose quality differs, on rows to fit on and on rows never seen."""
    random = np.random.default_rng(seed)
    noises = np.linspace(1.0, 2.5, 8)
    made = []
    for count in (rows, fresh):
        logits, labels = truth(random, count)
        shared = random.normal(size=logits.shape)
        made.append((noisy(random, logits + shared, noises), labels))
    return made


def biases(name: str, repetitions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far figures lie from fresh rows' log-loss: mean and standard error, [4] each.

    The honest figure's distance, the fitted one's, and both less the distance of averaging, which
    fits nothing: what is left is the method's own, without the luck of the rows. The
    averaged members of methods that even members out are as sure as rows say that nobody else sees,
    since such methods share little luck with members that are not.
    """
    _, elsewhere = pool_and_fresh(10_000)
    temperatures = member_temperatures(*elsewhere)
    found = []
    for seed in range(repetitions):
        (pool, labels), (fresh, fresh_labels) = pool_and_fresh(seed)
        judged = evaluate(METHODS[name], pool, labels, folds_of(len(labels), 10)).plain
        truly = score(judged.rule.apply(fresh), fresh_labels).log_loss
        mean = METHODS["mean"].fit(pool, labels)
        if name in ("weighted", "greedy"):
            mean = EvenedRule(mean, temperatures)
        luck = score(mean.apply(pool), labels).log_loss
        luck -= score(mean.apply(fresh), fresh_labels).log_loss
        honest, fitted = judged.honest.log_loss - truly, judged.fitted.log_loss - truly
        found.append((honest, fitted, honest - luck, fitted - luck))
    values = np.array(found)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(repetitions)


def assert_honest(name: str, mean: np.ndarray, error: np.ndarray) -> None:
    honest, _, own_honest, own_fitted = mean
    # The last fit sees all folds, each judged one misses one: too gloomy by a fraction, never rosy.
    # The fraction is larger where temperatures are fitted as well as weights to these 600 rows.
    gloom = -(0.5 if name in ("weighted", "greedy") else 0.3) * own_fitted
    assert -2 * error[0] < honest < 2 * error[0] + (gloom if gloom > 0.5 * error[0] else 0)
    assert -2 * error[2] < own_honest < gloom + error[2]


@pytest.mark.parametrize("name", ["weighted", "stack"])
def test_the_honest_figure_is_honest_and_the_fitted_one_flatters(name):
    mean, error = biases(name, 12)
    assert_honest(name, mean, error)
    assert mean[3] < -3 * error[3]


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_over_200_repetitions_the_honest_figure_is_honest_and_the_fitted_one_flatters(name):
    mean, error = biases(name, 200)
    assert mean[3] < -2 * error[3]
    if name == "power":  # one of nine numbers: hardly anything to flatter with, so no fraction
        assert abs(mean[0]) < 2 * error[0] and abs(mean[2]) < 2 * error[2]
    else:
        assert_honest(name, mean, error)
    if name == "stack":  # of the others, with less to flatter, the luck of the rows drowns it
        assert mean[1] < -2 * error[1]


def test_the_honest_figure_never_sees_its_own_fold(random):
    """Change the labels of one fold: the rows of that fold must come out as before."""
    logits, labels = truth(random, 500)
    pool, folds = noisy(random, logits, [1.0, 2.0, 3.0]), folds_of(500)
    changed = np.where(folds == 2, (labels + 1) % CLASSES, labels)
    for method in METHODS.values():
        before, after = (evaluate(method, pool, given, folds) for given in (labels, changed))
        for one, other in ((before.plain, after.plain), (before.calibrated, after.calibrated)):
            assert np.array_equal(one.oof[folds == 2], other.oof[folds == 2])
        if method.is_fitted:
            assert not np.array_equal(before.calibrated.oof, after.calibrated.oof)
            assert before.plain.rule != after.plain.rule or method.name == "power"


def test_the_interval_in_images_on_numbers_worked_out_by_hand():
    first, second = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    first[:60], second[10:65] = True, True  # 10 rows only the first, 5 only the second
    found = compare(RowResults(first, np.zeros(100)), RowResults(second, np.zeros(100)))
    p, q = 11 / 102, 6 / 102
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 102)
    assert found.images == 5
    assert found.images_low == pytest.approx(100 * (p - q - half), abs=1e-4)
    assert found.images_high == pytest.approx(100 * (p - q + half), abs=1e-4)
    back = compare(RowResults(second, np.zeros(100)), RowResults(first, np.zeros(100)))
    assert (back.images, back.images_low) == (-5, pytest.approx(-found.images_high))


@pytest.mark.parametrize("share", [0.002, 0.02])
def test_the_intervals_hold_the_truth_95_times_in_100(share):
    """Pairs that differ rarely, as those of good blends do; 600 draws of 2,000 rows."""
    random = np.random.default_rng(0)
    rows, held, held_loss = 2000, 0, 0
    for _ in range(600):
        drawn = random.random(rows)
        first = drawn > share  # wrong on `share` of the rows; the second on another 2 * share
        second = (drawn < share) | (drawn > 3 * share)
        losses = random.normal(0.3, 1, rows)
        found = compare(RowResults(first, losses), RowResults(second, np.zeros(rows)))
        held += found.images_low <= (2 * share - share) * rows <= found.images_high
        held_loss += found.log_loss_low <= 0.3 <= found.log_loss_high
    assert 0.92 <= held / 600 <= 1
    assert 0.925 <= held_loss / 600 <= 0.975


def test_the_intervals_are_those_of_groups_where_rows_err_together(random):
    """Ten equal rows each: what 2,000 rows say, in ten times as many."""
    first, second = random.random(2000) < 0.9, random.random(2000) < 0.85
    losses = random.normal(-0.1, 1, 2000)

    def results(times: int) -> tuple[RowResults, RowResults]:
        repeated = [np.repeat(one, times) for one in (first, losses, second, np.zeros(2000))]
        return RowResults(*repeated[:2]), RowResults(*repeated[2:])

    single, alone = compare(*results(1)), compare(*results(10))
    together = compare(*results(10), np.repeat(np.arange(2000), 10))
    assert (together.images, together.log_loss) == (alone.images, alone.log_loss)
    for name, times in (("images", 10), ("log_loss", 1)):
        widths = [
            getattr(one, f"{name}_high") - getattr(one, f"{name}_low")
            for one in (single, alone, together)
        ]
        assert widths[2] == pytest.approx(widths[1] * np.sqrt(10), rel=0.01)
        assert widths[2] == pytest.approx(widths[0] * times, rel=0.01)
        middle = (getattr(together, f"{name}_high") + getattr(together, f"{name}_low")) / 2
        assert middle == pytest.approx(getattr(together, name))


def test_leave_one_out_names_who_helps_and_who_harms(random):
    logits, labels = truth(random, 2000)
    pool = noisy(random, logits, [1.0, 1.0, 1.0, 1.0])
    pool[3] = np.roll(pool[3], 1, axis=1)  # sure and wrong
    found = diversity(["a", "b", "c", "wrong"], pool, labels)
    assert [one.verdict for one in found.contributions] == ["helps", "helps", "helps", "harms"]
    without = pool[:3].astype(float).mean(axis=0)
    everyone = pool.astype(float).mean(axis=0)
    everyone, without = (temper(one, best_temperature(one, labels)) for one in (everyone, without))
    wanted = compare(row_results(everyone, labels), row_results(without, labels))
    assert found.contributions[3].effect.images == wanted.images
    assert found.contributions[3].effect.log_loss == pytest.approx(wanted.log_loss)
    assert found.contributions[3].score == score(pool[3], labels)


def test_agreement_overlap_and_what_all_miss():
    labels = np.array([0, 1, 2, 3, 0])
    answers = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 3, 1]])  # wrong: rows 2, 3, 4 and rows 1, 2, 4
    found = diversity(["a", "b"], np.eye(CLASSES)[answers], labels)
    np.testing.assert_allclose(found.agreement, [[1, 0.6], [0.6, 1]])
    np.testing.assert_allclose(found.overlap, [[1, 0.5], [0.5, 1]])
    assert found.missed_by_all.tolist() == [2, 4]
    assert to_others(found.overlap).tolist() == [0.5, 0.5]
    alone = diversity(["a"], np.eye(CLASSES)[answers[:1]], labels)
    assert alone.contributions[0].effect is None and to_others(alone.agreement) is None
    right = diversity(["a", "b"], np.eye(CLASSES)[np.stack([labels, labels])], labels)
    assert right.overlap.tolist() == [[0, 0], [0, 0]] and len(right.missed_by_all) == 0


def test_what_members_and_methods_bring_is_judged_by_groups(random):
    logits, labels = truth(random, 400)
    pool, labels = np.repeat(noisy(random, logits, [1.0, 2.0]), 10, axis=1), np.repeat(labels, 10)
    groups = np.repeat(np.arange(400), 10)
    alone = diversity(["a", "b"], pool, labels).contributions[0]
    found = diversity(["a", "b"], pool, labels, groups).contributions[0]
    assert found.score == score(pool[0], labels, groups) and found.score != alone.score
    ways = [evaluate(METHODS[name], pool, labels, folds_of(4000)) for name in ("mean", "geometric")]
    rows, together = (against_mean(ways, labels, of, temperature=False)[1] for of in (None, groups))
    for one, other in ((alone.effect, found.effect), (rows, together)):
        width, wider = (each.log_loss_high - each.log_loss_low for each in (one, other))
        assert other.log_loss == one.log_loss and 3 < wider / width < 3.4
    judged = ways[0].in_groups(labels, groups)
    assert judged.calibrated.honest == score(judged.calibrated.oof, labels, groups)
    assert judged.plain.honest == score(ways[0].plain.oof, labels, groups)
    assert judged.plain.fitted == ways[0].plain.fitted
