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
)

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
    names = ("a", "b", "c")
    weights = None if rule.weights is None else dict(zip(names, rule.weights, strict=True))
    account = json.loads(json.dumps({"weights": weights, "rule": rule.to_json()}))
    made = rule_of(account)
    assert made == rule
    said = np.random.default_rng(3).dirichlet([1, 2, 3, 4], (3, 50))
    np.testing.assert_array_equal(made.apply(said), rule.apply(said))
