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
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, did_you_mean
from tuning.space import Space

OBJECTIVE = "log_loss"
STRATEGIES = ("hyperband", "bayesian", "random", "grid")
EPOCHS = "tuner/epochs"
PROMOTED = "tuner/trial_id"
FACTOR = 3
_MOST_REJECTIONS = 2000
_RANDOM_POINTS = 10
_CANDIDATES = 2000
_LOCAL_ROUNDS = 4
_LOCAL_BEST = 8
_LOCAL_STEPS = 40


@dataclass(frozen=True, slots=True)
class OracleSettings:
    """What an oracle proposes from.

    Args:
        strategy: One of `STRATEGIES`.
        space: What is searched.
        seed: Fixes the proposals; 0 is a seed.
        epochs: Epochs of a whole trial; hyperband's early rounds have fewer.
        portfolio: Well-tried configurations, proposed first, in this order.
        accepts: Whether a configuration may be tried (its cost).
        trials: How many trials the search will have; None for no limit. Hyperband begins with the
            largest bracket that fits into it.
    """

    strategy: str
    space: Space
    seed: int
    epochs: int
    portfolio: tuple[TrainingConfig, ...]
    accepts: Callable[[TrainingConfig], bool]
    trials: int | None = None


def make_oracle(settings: OracleSettings) -> Any:
    """Return the strategy's oracle.

    It has, besides what Keras Tuner's oracles have: `configs`, the configuration of each trial by
    its id; `rejected`, a count; `state()` and `load(state)`, what cannot be told from the trials,
    as a dictionary that JSON can hold.

    Raises:
        ConfigurationError: The strategy is unknown.
    """
    hardware.prepare()
    import keras_tuner

    classes = {
        "hyperband": _hyperband,
        "bayesian": _bayesian,
        "random": _random,
        "grid": _grid,
    }
    if settings.strategy not in classes:
        raise ConfigurationError(
            f"--strategy was given as {settings.strategy!r}.",
            mend=did_you_mean(settings.strategy, classes),
        )
    common = {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": settings.space.hyperparameters(),
        "allow_new_entries": False,
        "tune_new_entries": False,
        # Keras Tuner reads a seed of 0 as none.
        "seed": settings.seed + 1,
        # Failures are counted by the search.
        "max_consecutive_failed_trials": 2**31,
    }
    oracle = classes[settings.strategy](keras_tuner, settings, common)
    oracle.verbose = 0
    # Small spaces are exhausted only after many draws of the same values.
    oracle._max_collisions = _MOST_REJECTIONS
    return oracle


class _Proposing:
    """What all strategies share; mixed into Keras Tuner's classes."""

    settings: OracleSettings
    trials: dict[str, Any]

    def begin(self, settings: OracleSettings) -> None:
        self.settings = settings
        self.rejected = 0
        self.configs: dict[str, TrainingConfig] = {}
        self.seen: set[str] = set()
        self.chosen: TrainingConfig | None = None

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        pass

    def save(self) -> None:
        pass

    def _save_trial(self, trial: Any) -> None:
        pass

    def _well_tried(self) -> dict[str, Any] | None:
        """Return the oracle's values of the next well-tried configuration, if there is one left."""
        for config in self.settings.portfolio:
            if config.digest not in self.seen:
                self.chosen = config
                return self.settings.space.to_values(config)
        return None

    def _takes(self, values: Mapping[str, Any]) -> bool:
        """Choose the configuration of these values unless it is too dear or was seen before."""
        config = self.settings.space.to_config(values)
        if config.digest in self.seen or not self.settings.accepts(config):
            self.rejected += 1
            return False
        self.chosen = config
        return True

    def _draw(self, sample: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        known = self._well_tried()
        if known is not None:
            return known
        self._seed_state = int(self._stream(1).integers(2**31))
        for _ in range(_MOST_REJECTIONS):
            values = sample()
            if values is None or self._takes(values):
                return values
        return None

    def _stream(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, len(self.trials), purpose])


def _random(keras_tuner: Any, settings: OracleSettings, common: dict[str, Any]) -> Any:
    class Random(_Proposing, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
        def _random_values(self) -> dict[str, Any] | None:
            return self._draw(super()._random_values)

    oracle = Random(max_trials=None, **common)
    oracle.begin(settings)
    return oracle


def _hyperband(keras_tuner: Any, settings: OracleSettings, common: dict[str, Any]) -> Any:
    class Hyperband(_Proposing, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc]
        """Well-tried configurations are members of the first bracket's first round."""

        _brackets: list[dict[str, Any]]
        _current_bracket: int
        _current_iteration: int

        def _random_values(self) -> dict[str, Any] | None:
            return self._draw(super()._random_values)

        def populate_space(self, trial_id: str) -> Any:
            answer = super().populate_space(trial_id)
            promoted = (answer.get("values") or {}).get(PROMOTED)
            if promoted is not None:
                self.chosen = self.configs[promoted]
            return answer

        def start_with(self, trials: float) -> None:
            """Begin with the most aggressive bracket that can be finished."""
            bracket = self._current_bracket
            while bracket and self._length(bracket) > trials:
                bracket -= 1
            self._current_bracket = bracket
            self._brackets = []
            self._start_new_bracket()

        def _length(self, bracket: int) -> int:
            return sum(self._get_size(bracket, number) for number in range(bracket + 1))

        def state(self) -> dict[str, Any]:
            return {
                # A copy: Keras Tuner goes on writing into its own.
                "brackets": copy.deepcopy(self._brackets),
                "current_bracket": self._current_bracket,
                "current_iteration": self._current_iteration,
            }

        def load(self, state: Mapping[str, Any]) -> None:
            self._brackets = copy.deepcopy(state["brackets"])
            self._current_bracket = state["current_bracket"]
            self._current_iteration = state["current_iteration"]

    oracle = Hyperband(
        max_epochs=settings.epochs, factor=FACTOR, hyperband_iterations=None, **common
    )
    oracle.begin(settings)
    wanted = settings.trials if settings.trials is not None else float("inf")
    oracle.start_with(min(wanted, settings.space.size()))
    return oracle


def _grid(keras_tuner: Any, settings: OracleSettings, common: dict[str, Any]) -> Any:
    class Grid(_Proposing, keras_tuner.oracles.GridSearchOracle):  # type: ignore[misc]
        """Keras Tuner's order, all defaults first, walked from wherever a search stopped."""

        last: dict[str, Any] | None = None

        def populate_space(self, trial_id: str) -> Any:
            values = self._well_tried()
            if values is not None:
                return {"status": "RUNNING", "values": values}
            for _ in range(_MOST_REJECTIONS):
                values = self._first() if self.last is None else self._get_next_combination(
                    self.last
                )  # fmt: skip
                if values is None:
                    break
                self.last = dict(values)
                if self._takes(values):
                    return {"status": "RUNNING", "values": values}
            return {"status": "IDLE" if self.ongoing_trials else "STOPPED", "values": None}

        def _first(self) -> dict[str, Any]:
            space = self.get_space()
            for dimension in space.space:
                if space.is_active(dimension):
                    space.values[dimension.name] = dimension.default
            return dict(space.values)

        def state(self) -> dict[str, Any]:
            return {"last": self.last}

        def load(self, state: Mapping[str, Any]) -> None:
            self.last = state["last"]

    oracle = Grid(max_trials=None, **common)
    oracle.begin(settings)
    return oracle


def _bayesian(keras_tuner: Any, settings: OracleSettings, common: dict[str, Any]) -> Any:
    from threadpoolctl import threadpool_limits

    class Bayesian(_Proposing, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
        """Keras Tuner's Gaussian process and lower confidence bound, over sampled candidates."""

        def _random_values(self) -> dict[str, Any] | None:
            return self._draw(super()._random_values)

        def populate_space(self, trial_id: str) -> Any:
            completed = sum(trial.status == "COMPLETED" for trial in self.trials.values())
            if completed < self.num_initial_points or len(self._nonfixed_space()) == 0:
                return self._random_populate_space()
            known = self._well_tried()
            if known is not None:
                return {"status": "RUNNING", "values": known}
            # Small matrices: threads would cost more than they bring, and change the last digits.
            with threadpool_limits(1):
                self._fit()
                candidates = self._candidates(self._stream(2))
            for vector in candidates:
                values = self._vector_to_values(vector)
                if self._takes(values):
                    return {"status": "RUNNING", "values": values}
            return self._random_populate_space()

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
            return list(points[order][:_MOST_REJECTIONS])

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

    oracle = Bayesian(
        max_trials=None,
        num_initial_points=max(_RANDOM_POINTS, len(settings.portfolio)),
        # The process's noise: two trainings of one configuration differ by a few per cent.
        alpha=1e-2,
        **common,
    )
    oracle.begin(settings)
    return oracle
