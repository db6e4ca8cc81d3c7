"""The strategy `bayesian`: a Gaussian process of the losses, asked where a better one may be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
from threadpoolctl import threadpool_limits

from kaggle_digits.ground.seeds import Purpose
from tuning.oracles.settings import Accepts, ProposalSettings
from tuning.oracles.shared import MOST_REJECTIONS, Proposing, common

_RANDOM_POINTS = 10
_CANDIDATES = 2000
_LOCAL_ROUNDS = 4
_LOCAL_BEST = 8
_LOCAL_STEPS = 40


class Bayesian(Proposing, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """Keras Tuner's Gaussian process and lower confidence bound, over sampled candidates."""

    def __init__(self, settings: ProposalSettings, accepts: Accepts, trials: int | None) -> None:
        super().__init__(
            max_trials=None,
            num_initial_points=max(_RANDOM_POINTS, len(settings.portfolio)),
            # The process's noise: two trainings of one configuration differ by a few per cent.
            alpha=1e-2,
            **common(settings),
        )
        self.begin(settings, accepts)

    def populate_space(self, trial_id: str) -> Any:
        """Return the next trial's values as Keras Tuner does."""
        completed = sum(trial.status == "COMPLETED" for trial in self.trials.values())
        if completed < self.num_initial_points or len(self._nonfixed_space()) == 0:
            return self._random_populate_space()
        known = self.well_tried()
        if known is not None:
            return {"status": "RUNNING", "values": known}
        # Small matrices: threads would cost more than they bring, and change the last digits.
        with threadpool_limits(1):
            self._fit()
            candidates = self._candidates(self.stream(Purpose.CANDIDATES))
        for vector in candidates:
            values = self._vector_to_values(vector)
            if self.takes(values):
                return {"status": "RUNNING", "values": values}
        return self._random_populate_space()

    def _random_values(self) -> dict[str, Any] | None:
        return self.draw(super()._random_values)

    def _fit(self) -> None:
        """Fit the process to the logarithm of the losses, which spread over decades.

        Trials under way stand at a pessimistic guess, mean plus standard deviation, so that
        several workers are not sent to the same place.
        """
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        points = np.array([self._vector(t.hyperparameters.values) for t in done])
        losses = np.log(np.maximum([t.score for t in done], 1e-9))
        self.gpr = self._make_gpr()
        # The best length of a dimension without influence is at the end of its range.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.gpr.fit(points, losses)
            running = [t for t in self.trials.values() if t.status == "RUNNING"]
            if running:
                extra = np.array([self._vector(t.hyperparameters.values) for t in running])
                mean, spread = self.gpr.predict(extra, return_std=True)
                self.gpr.optimizer = None
                self.gpr.kernel = self.gpr.kernel_
                self.gpr.fit(
                    np.concatenate([points, extra]), np.concatenate([losses, mean + spread])
                )

    def _make_gpr(self) -> Any:
        process = super()._make_gpr()
        process.n_restarts_optimizer = 2
        return process

    def _candidates(self, random: np.random.Generator) -> Sequence[np.ndarray]:
        """Return points of the space from the most to the least promising."""
        count = len(self._nonfixed_space())
        points = self._snapped(random.random((_CANDIDATES, count)))
        bounds = self._bounds(points)
        for step in 0.15 / 2 ** np.arange(_LOCAL_ROUNDS):
            best = points[np.argsort(bounds, kind="stable")[:_LOCAL_BEST]]
            near = np.repeat(best, _LOCAL_STEPS, axis=0)
            # Few dimensions at a time: a step in all of them leaves the good ones' place.
            moved = random.random(near.shape) < max(0.2, 1 / count)
            near = np.clip(near + moved * random.normal(0, step * 2, near.shape), 0, 1 - 1e-9)
            near = self._snapped(near)
            points = np.concatenate([points, near])
            bounds = np.concatenate([bounds, self._bounds(near)])
        order = np.argsort(bounds, kind="stable")
        return list(points[order][:MOST_REJECTIONS])

    def _bounds(self, points: np.ndarray) -> np.ndarray:
        mean, spread = self.gpr.predict(points, return_std=True)
        return np.asarray(mean - self.beta * spread)

    def _snapped(self, points: np.ndarray) -> np.ndarray:
        """Move points [n, dimensions] to where the values they stand for lie."""
        moved = np.empty_like(points)
        chosen: dict[str, np.ndarray] = {}
        for column, dimension in enumerate(self._nonfixed_space()):
            places = points[:, column]
            default = dimension.value_to_prob(dimension.default)
            active = np.ones(len(points), bool)
            for condition in dimension.conditions:
                active &= np.isin(chosen[condition.name], list(condition.values))
            if hasattr(dimension, "ordered"):  # Keras Tuner's Choice
                values = np.array(dimension.values)
                index = np.minimum((places * len(values)).astype(int), len(values) - 1)
                place_of = np.array([dimension.value_to_prob(v) for v in dimension.values])
                places = place_of[index]
                chosen[dimension.name] = values[index]
            moved[:, column] = np.where(active, places, default)
        return moved

    def _vector(self, values: Mapping[str, Any]) -> list[float]:
        """Return values as a point of the unit cube; what is not searched at its default."""
        return [
            float(
                dimension.value_to_prob(
                    values[dimension.name]
                    if dimension.name in values
                    and all(condition.is_active(values) for condition in dimension.conditions)
                    else dimension.default
                )
            )
            for dimension in self._nonfixed_space()
        ]
