"""Keras Tuner's oracle as a proposer of configurations, kept in memory and rebuilt by replay.

The oracle is that of random search: with the few trials a preset has, the Bayesian one is still in
its random phase, and later takes ten seconds for each proposal. Its proposals are a function of its
seed and of what it was told. So the finished trials on disk are enough: a resumed search tells a
new oracle the same story and is where it was. Keras Tuner's own state files, which are written in
place and repeat a search's last trial on every resume, are never made.
"""

from __future__ import annotations

from typing import Any

from kaggle_digits.core import hardware
from kaggle_digits.core.architecture import megamacs
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.progress import Progress
from tuning.space import hyperparameters, to_config, to_values
from tuning.study import COMPLETED, Trial

_OBJECTIVE = "log_loss"
_TUNER = "kaggle-digits"
_MOST_REJECTIONS = 500


class Proposer:
    """Proposes one configuration after the other; the default configuration comes first.

    Networks above the cost limit and configurations seen before are rejected here: they are counted
    and never reach a trial.

    Args:
        seed: Fixes the proposals; 0 is a seed.
        shape: Image height and width in pixels, and the number of classes.
        max_megamacs: Largest cost of a network, millions of multiply-adds per image.
    """

    def __init__(self, seed: int, shape: tuple[int, int, int], max_megamacs: float) -> None:
        self.rejected = 0
        self._shape = shape
        self._max_megamacs = max_megamacs
        self._seen: set[str] = set()
        self._oracle = _oracle(seed)
        self._trial: Any = None

    def propose(self) -> TrainingConfig:
        """Return the next configuration to try.

        Raises:
            ConfigurationError: The space has nothing left within the limits.
        """
        for _ in range(_MOST_REJECTIONS):
            self._trial = self._oracle.create_trial(_TUNER)
            if self._trial.status == "STOPPED":
                break
            if not self._seen:
                self._trial.hyperparameters.values = to_values(TrainingConfig())
            config = to_config(self._trial.hyperparameters.values)
            first = not self._seen
            if first or (
                config.digest not in self._seen and self._cost(config) <= self._max_megamacs
            ):
                self._seen.add(config.digest)
                return config
            self.rejected += 1
            self._end("FAILED")
        raise ConfigurationError(
            f"The search space has no further configuration within {self._max_megamacs:g} million "
            f"multiply-adds per image ({len(self._seen)} tried, {self.rejected} rejected).",
            mend="Give fewer --trials, or another --preset.",
        )

    def tell(self, log_loss: float | None) -> None:
        """Tell the oracle what came of its proposal; None for a trial that failed."""
        if log_loss is None:
            self._end("FAILED")
            return
        self._oracle.update_trial(self._trial.trial_id, {_OBJECTIVE: log_loss})
        self._end("COMPLETED")

    def replay(self, trials: list[Trial], progress: Progress) -> None:
        """Bring the oracle to where it was after these trials.

        Raises:
            ArtefactError: It would have proposed something else: the trials are not of this search,
                or another version of Keras Tuner made them.
        """
        for trial in trials:
            proposed = self.propose()
            if proposed != trial.config:
                raise ArtefactError(
                    f"Trial {trial.number} of the study is not what this search proposes there.",
                    mend="Start anew with --fresh; the study comes from other versions.",
                )
            self.tell(trial.log_loss if trial.state == COMPLETED else None)
        if trials:
            progress.say(f"study: {len(trials)} finished trials taken up")

    def _cost(self, config: TrainingConfig) -> float:
        return megamacs(config, *self._shape)

    def _end(self, status: str) -> None:
        self._trial.status = status
        self._oracle.end_trial(self._trial)


def _oracle(seed: int) -> Any:
    hardware.prepare()
    import keras_tuner

    class InMemory(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
        """Drops Keras Tuner's files: the study's own are the truth."""

        def save(self) -> None:
            pass

        def _save_trial(self, trial: Any) -> None:
            pass

    oracle = InMemory(
        objective=keras_tuner.Objective(_OBJECTIVE, "min"),
        max_trials=None,
        hyperparameters=hyperparameters(),
        allow_new_entries=False,
        tune_new_entries=False,
        # Keras Tuner reads a seed of 0 as none.
        seed=seed + 1,
        # Failures are counted by the search; rejections end as failures here.
        max_consecutive_failed_trials=_MOST_REJECTIONS + 1,
    )
    oracle.verbose = 0
    return oracle
