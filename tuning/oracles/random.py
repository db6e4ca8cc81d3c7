"""The strategy `random`."""

from __future__ import annotations

from typing import Any

import keras_tuner

from tuning.oracles.settings import Accepts, ProposalSettings
from tuning.oracles.shared import Proposing, common


class Random(Proposing, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Values drawn evenly from the space."""

    def __init__(self, settings: ProposalSettings, accepts: Accepts, trials: int | None) -> None:
        super().__init__(max_trials=None, **common(settings))
        self.begin(settings, accepts)

    def _random_values(self) -> dict[str, Any] | None:
        return self.draw(super()._random_values)
