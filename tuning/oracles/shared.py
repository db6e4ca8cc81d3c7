"""What all strategies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import numpy as np

from kaggle_digits.ground import seeds
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.seeds import Purpose
from tuning.oracles.settings import OBJECTIVE, Accepts, ProposalSettings

MOST_REJECTIONS = 2000


class Proposing:
    """Mixed into Keras Tuner's classes, before them."""

    trials: dict[str, Any]

    def begin(self, settings: ProposalSettings, accepts: Accepts) -> None:
        """Set what the strategies share; called when Keras Tuner's own part is there."""
        self.settings = settings
        self.accepts = accepts
        self.rejected = 0
        self.configs: dict[str, TrainingConfig] = {}
        self.seen: set[str] = set()
        self.chosen: TrainingConfig | None = None
        self.verbose = 0
        # Small spaces are exhausted only after many draws of the same values.
        self._max_collisions = MOST_REJECTIONS

    def state(self) -> dict[str, Any]:
        """Return what cannot be told from the trials, as a dictionary that JSON can hold."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""

    def save(self) -> None:
        """Write nothing: the study's files are the truth."""

    def stream(self, purpose: Purpose) -> np.random.Generator:
        """Return the stream of the trial that is proposed next."""
        return np.random.default_rng(seeds.of_trial(self.settings.seed, len(self.trials), purpose))

    def well_tried(self) -> dict[str, Any] | None:
        """Return the oracle's values of the next well-tried configuration, if there is one left."""
        for config in self.settings.portfolio:
            if config.digest not in self.seen:
                self.chosen = config
                return self.settings.space.to_values(config)
        return None

    def takes(self, values: Mapping[str, Any]) -> bool:
        """Choose the configuration of these values unless it is too costly or was seen before."""
        config = self.settings.space.to_config(values)
        if config.digest in self.seen or not self.accepts(config):
            self.rejected += 1
            return False
        self.chosen = config
        return True

    def draw(self, sample: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """Return well-tried values if there are any left, else the first sample that is taken."""
        known = self.well_tried()
        if known is not None:
            return known
        self._seed_state = int(self.stream(Purpose.PROPOSALS).integers(2**31))
        for _ in range(MOST_REJECTIONS):
            values = sample()
            if values is None or self.takes(values):
                return values
        return None

    def _save_trial(self, trial: Any) -> None:
        pass


def common(settings: ProposalSettings) -> dict[str, Any]:
    """Return what every oracle of Keras Tuner is given."""
    return {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": settings.space.hyperparameters(),
        "allow_new_entries": False,
        "tune_new_entries": False,
        # Keras Tuner reads a seed of 0 as none.
        "seed": settings.seed + 1,
        # Failures are counted by the search.
        "max_consecutive_failed_trials": 2**31,
    }
