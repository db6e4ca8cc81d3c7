"""What each strategy proposes, and that a new oracle with the same past proposes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kaggle_digits.core.architecture import megamacs
from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.errors import ConfigurationError
from tuning.narrowing import narrow
from tuning.oracles import ProposalSettings
from tuning.proposals import ProposalLimits, Proposer
from tuning.space import Space
from tuning.study import COMPLETED, FAILED, Trial

SHAPE = (28, 28, 10)
LIMIT = 20.0
STRATEGIES = ("random", "hyperband", "bayesian", "grid")


def loss(trial: Trial) -> float:
    """A score that depends on the configuration and the epochs alone."""
    config = trial.config
    return float(
        0.02
        + 0.2 * abs(config.dropout - 0.4)
        + 0.05 * abs(np.log(config.learning_rate / 0.006))
        + 0.1 * (config.family != "pooled")
        + 0.1 / trial.epochs
    )


def proposer(strategy: str, past=(), **changed) -> Proposer:
    settings = ProposalSettings(
        strategy=strategy,
        space=Space(),
        seed=0,
        epochs=9,
        portfolio=(TrainingConfig(), TrainingConfig(family="pooled", filters=16)),
    )
    limits = ProposalLimits(changed.pop("max_megamacs", LIMIT), SHAPE, changed.pop("trials", None))
    return Proposer(replace(settings, **changed), limits, past)


def run(strategy: str, count: int, past=(), failing=(), **changed) -> list[Trial]:
    made = proposer(strategy, past, **changed)
    trials = list(past)
    while len(trials) < count:
        trial = made.propose()
        if trial is None:
            break
        if trial.number in failing:
            trial = trial.failed("memory")
        else:
            trial = replace(trial, state=COMPLETED, log_loss=loss(trial), accuracy=0.9)
        made.tell(trial)
        trials.append(trial)
    return trials


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_proposals_begin_with_the_portfolio_are_distinct_and_affordable(strategy):
    trials = run(strategy, 20)
    assert [trial.config for trial in trials[:2]] == [
        TrainingConfig(), TrainingConfig(family="pooled", filters=16),
    ]  # fmt: skip
    firsts = [trial for trial in trials if trial.values.get("tuner/round", 0) == 0]
    assert len({trial.config for trial in firsts}) == len(firsts) >= 12
    assert all(megamacs(trial.config, *SHAPE) <= LIMIT for trial in trials)
    assert trials[-1].rejected > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("failing", [(), (1, 6)])
def test_a_new_oracle_with_the_same_past_proposes_the_same(strategy, failing):
    wanted = run(strategy, 22, failing=failing)
    for done in (1, 15):
        past = [Trial.from_json(trial.to_json()) for trial in wanted[:done]]
        assert run(strategy, 22, past, failing) == wanted, done


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_trial_under_way_can_be_told_to_a_new_oracle(strategy):
    wanted = run(strategy, 14)
    past = wanted[:10]
    made = proposer(strategy, [*past, made_running(wanted[10])])
    made.tell(wanted[10])
    following = made.propose()
    assert following is not None and following.config == wanted[11].config


def made_running(trial: Trial) -> Trial:
    return replace(trial, state="running", log_loss=None, accuracy=None)


@pytest.mark.parametrize("strategy", ["random", "hyperband", "bayesian"])
def test_seeds_fix_the_proposals_and_zero_is_a_seed(strategy):
    # Beyond the random points of the Bayesian strategy.
    assert run(strategy, 14, seed=0) == run(strategy, 14, seed=0)
    assert run(strategy, 14, seed=0)[2:] != run(strategy, 14, seed=1)[2:]


def test_the_bundled_portfolio_comes_first_where_it_may():
    trials = run("random", 9, portfolio=tuple(load_portfolio()), max_megamacs=1000)
    assert [trial.config for trial in trials[: len(load_portfolio())]] == load_portfolio()[:9]


def test_the_first_configuration_is_tried_whatever_it_costs_and_others_are_not():
    dear = TrainingConfig(family="pooled", filters=128, depth=3)
    assert megamacs(dear, *SHAPE) > LIMIT
    assert [t.config for t in run("random", 2, portfolio=(dear, dear))][0] == dear
    second = run("random", 2, portfolio=(TrainingConfig(), dear))
    assert second[1].config != dear


def test_what_a_space_file_excludes_is_never_proposed():
    space = narrow({"family": "pooled", "depth": [1, 3]}, "a file")
    for strategy in STRATEGIES:
        trials = run(strategy, 8, space=space)
        assert {trial.config.family for trial in trials} == {"pooled"}
        assert {trial.config.depth for trial in trials} <= {1, 3}


def test_nothing_within_the_limit_means_no_proposal():
    for strategy in STRATEGIES:
        trials = run(strategy, 5, max_megamacs=0.001)
        assert [trial.config for trial in trials] == [TrainingConfig()], strategy


def test_the_bayesian_strategy_is_better_than_random_where_there_is_a_trend():
    best = {}
    for strategy in ("bayesian", "random"):
        best[strategy] = [
            min(trial.log_loss for trial in run(strategy, 25, seed=seed)) for seed in range(3)
        ]
    assert np.mean(best["bayesian"]) < np.mean(best["random"])


def test_several_workers_get_different_proposals_while_results_are_out():
    past = run("bayesian", 14)
    made = proposer("bayesian", past)
    proposed = [made.propose() for _ in range(4)]
    assert len({trial.config for trial in proposed if trial}) == 4


def test_hyperband_promotes_the_best_of_a_round_with_more_epochs():
    trials = run("hyperband", 22)
    first = [trial for trial in trials if trial.values["tuner/round"] == 0][:9]
    promoted = [trial for trial in trials if trial.values["tuner/round"] == 1][:3]
    assert {trial.epochs for trial in first} == {1} and {t.epochs for t in promoted} == {3}
    ranked = sorted(first, key=lambda trial: trial.log_loss)
    assert {trial.config for trial in promoted} <= {trial.config for trial in ranked[:3]}


@pytest.mark.parametrize(("trials", "epochs"), [(4, 3), (8, 9), (2, 9), (1, 9)])
def test_hyperband_begins_with_a_bracket_that_fits_the_trials(trials, epochs):
    found = run("hyperband", trials, trials=trials, epochs=epochs)
    assert max(trial.epochs for trial in found) == epochs


def test_a_failure_does_not_starve_a_round_of_hyperband():
    trials = run("hyperband", 22, failing=(0, 3))
    assert max(trial.epochs for trial in trials) == 9
    promoted = [trial.config for trial in trials if trial.values["tuner/round"] > 0]
    assert trials[0].state == FAILED and trials[0].config not in promoted


def test_grid_walks_a_small_space_to_its_end():
    few = {
        "family": "pooled", "filters": [16, 24], "growth": 1.5, "kernel_size": 3,
        "dense_units": 0, "batch_norm": True, "spatial_dropout": 0.0, "dropout": [0.1, 0.3],
        "batch_size": 256, "learning_rate": 0.01, "weight_decay": 0.05, "label_smoothing": 0.05,
        "augmentation": "light", "depth": [1, 2],
    }  # fmt: skip
    space = narrow(few, "a file")
    trials = run("grid", 99, space=space)
    assert len({trial.config for trial in trials}) == len(trials) == space.size() == 8


def test_an_unknown_strategy_gets_the_nearest():
    with pytest.raises(ConfigurationError, match="hyperbnd") as caught:
        proposer("hyperbnd")
    assert "Did you mean 'hyperband'" in str(caught.value.mend)
