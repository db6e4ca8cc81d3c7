"""A blend's rule, made anew of its account, joins other rows just as the rule itself does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ensembles.rules import (
    CalibratedRule,
    EvenedRule,
    LinearRule,
    LogLinearRule,
    PowerRule,
    Rule,
    VoteRule,
    rule_of,
    told_of,
)
from kaggle_digits.ground.errors import ArtefactError

RULES: list[Rule] = [
    LinearRule((0.25, 0.75, 0.0)),
    LogLinearRule((1 / 3, 1 / 3, 1 / 3), (0.0, 0.0, 0.0, 0.0)),
    LogLinearRule((0.9, -0.2, 0.0), (0.1, -0.3, 0.0, 0.7)),
    PowerRule(2.5),
    VoteRule(),
    EvenedRule(LinearRule((0.1, 0.2, 0.7)), (0.8, 1.3, 1.1)),
    CalibratedRule(PowerRule(0.0), 1.7),
    CalibratedRule(EvenedRule(LinearRule((0.1, 0.2, 0.7)), (0.8, 1.3, 1.1)), 0.9),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_survives_its_account(rule: Rule) -> None:
    # In the order of their configurations, which no file keeps: JSON objects are written sorted.
    names = ("c", "a", "b")
    account = json.loads(json.dumps(told_of(rule, names), sort_keys=True))
    made = rule_of(account)
    said = np.random.default_rng(3).dirichlet([1, 2, 3, 4], (3, 50))
    there = [names.index(name) for name in sorted(names)]
    np.testing.assert_allclose(made.apply(said[there]), rule.apply(said), rtol=1e-6)


def test_temperatures_whose_sets_are_not_named_are_not_guessed() -> None:
    account = {"weights": {"a": 0.4, "b": 0.6}, "rule": {"member_temperatures": [0.8, 1.3]}}
    with pytest.raises(ArtefactError, match="without their names") as error:
        rule_of(account)
    assert "kernel weights" in error.value.mend
    one = {"weights": {"a": 1.0}, "rule": {"member_temperatures": [0.8]}}
    assert rule_of(one) == EvenedRule(LinearRule((1.0,)), (0.8,))
