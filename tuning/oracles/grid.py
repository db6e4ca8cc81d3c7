"""The strategy `grid`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from tuning.oracles.settings import Accepts, ProposalSettings
from tuning.oracles.shared import MOST_REJECTIONS, Proposing, common


class Grid(Proposing, keras_tuner.oracles.GridSearchOracle):  # type: ignore[misc]
    """Keras Tuner's order, all defaults first, walked from wherever a search stopped."""

    def __init__(self, settings: ProposalSettings, accepts: Accepts, trials: int | None) -> None:
        super().__init__(max_trials=None, **common(settings))
        self.begin(settings, accepts)
        self._last: dict[str, Any] | None = None

    def populate_space(self, trial_id: str) -> Any:
        """Return the next trial's values as Keras Tuner does."""
        values = self.well_tried()
        if values is not None:
            return {"status": "RUNNING", "values": values}
        for _ in range(MOST_REJECTIONS):
            last = self._last
            values = self._first() if last is None else self._get_next_combination(last)
            if values is None:
                break
            self._last = dict(values)
            if self.takes(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "IDLE" if self.ongoing_trials else "STOPPED", "values": None}

    def state(self) -> dict[str, Any]:
        """Return where the walk stands."""
        return {"last": self._last}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self._last = state["last"]

    def _first(self) -> dict[str, Any]:
        space = self.get_space()
        for dimension in space.space:
            if space.is_active(dimension):
                space.values[dimension.name] = dimension.default
        return dict(space.values)
