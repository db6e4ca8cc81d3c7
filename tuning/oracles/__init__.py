"""Keras Tuner's oracles, bent so that a proposal is a function of the past trials and its number.

Each strategy is Keras Tuner's own oracle class with four changes:

* Nothing is written: the study's files are the truth. Keras Tuner's own state files are written in
  place, and a resume from them runs a finished search's last trial again.
* Randomness comes from (seed, number of the trial), so an oracle that is given the past trials
  proposes what the one that lived through them does.
* Well-tried configurations come first; networks above the cost limit and configurations seen
  before are rejected here and counted, and never reach a trial.
* The Gaussian process of the Bayesian strategy is asked about many random candidates at once.
  Keras Tuner starts 50 gradient descents instead, at 7 to 17 seconds a proposal in 12 dimensions.

The strategies' modules import Keras Tuner, and with it Keras; so they are imported when an oracle
is made, and not before.
"""

from __future__ import annotations

import importlib
from typing import Any

from kaggle_digits.core import hardware
from tuning.oracles.settings import EPOCHS, OBJECTIVE, Accepts, ProposalSettings

__all__ = ["EPOCHS", "OBJECTIVE", "STRATEGIES", "Accepts", "ProposalSettings", "make_oracle"]

STRATEGIES = {
    "hyperband": ("tuning.oracles.hyperband", "Hyperband"),
    "bayesian": ("tuning.oracles.bayesian", "Bayesian"),
    "random": ("tuning.oracles.random", "Random"),
    "grid": ("tuning.oracles.grid", "Grid"),
}
"""Where each strategy's class is."""


def make_oracle(settings: ProposalSettings, accepts: Accepts, trials: int | None = None) -> Any:
    """Return the strategy's oracle.

    It has, besides what Keras Tuner's oracles have: `configs`, the configuration of each trial by
    its id; `rejected`, a count; `state()` and `load(state)`, what cannot be told from the trials,
    as a dictionary that JSON can hold.

    Args:
        settings: What it proposes from.
        accepts: Whether a configuration may be tried (its cost).
        trials: How many trials the search will have; None for no limit. Hyperband begins with the
            largest bracket that fits into it.
    """
    hardware.prepare()
    module, name = STRATEGIES[settings.strategy]
    return getattr(importlib.import_module(module), name)(settings, accepts, trials)
