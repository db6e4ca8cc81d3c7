"""The strategy `hyperband`: many short trials first, the best of them again for longer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras_tuner

from tuning.oracles.settings import Accepts, ProposalSettings
from tuning.oracles.shared import Proposing, common

_PROMOTED = "tuner/trial_id"
_FACTOR = 3


class Hyperband(Proposing, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc]
    """Well-tried configurations are members of the first bracket's first round."""

    _brackets: list[dict[str, Any]]
    _current_bracket: int
    _current_iteration: int

    def __init__(self, settings: ProposalSettings, accepts: Accepts, trials: int | None) -> None:
        super().__init__(
            max_epochs=settings.epochs,
            factor=_FACTOR,
            hyperband_iterations=None,
            **common(settings),
        )
        self.begin(settings, accepts)
        wanted = trials if trials is not None else float("inf")
        self._start_with(min(wanted, settings.space.size()))

    def populate_space(self, trial_id: str) -> Any:
        """Return the next trial's values as Keras Tuner does."""
        answer = super().populate_space(trial_id)
        promoted = (answer.get("values") or {}).get(_PROMOTED)
        if promoted is not None:
            self.chosen = self.configs[promoted]
        return answer

    def state(self) -> dict[str, Any]:
        """Return where the brackets stand."""
        return {
            # A copy: Keras Tuner goes on writing into its own.
            "brackets": copy.deepcopy(self._brackets),
            "current_bracket": self._current_bracket,
            "current_iteration": self._current_iteration,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self._brackets = copy.deepcopy(state["brackets"])
        self._current_bracket = state["current_bracket"]
        self._current_iteration = state["current_iteration"]

    def _random_values(self) -> dict[str, Any] | None:
        return self.draw(super()._random_values)

    def _start_with(self, trials: float) -> None:
        """Begin with the most aggressive bracket that can be finished."""
        bracket = self._current_bracket
        while bracket and self._length(bracket) > trials:
            bracket -= 1
        self._current_bracket = bracket
        self._brackets = []
        self._start_new_bracket()

    def _length(self, bracket: int) -> int:
        return sum(self._get_size(bracket, number) for number in range(bracket + 1))
