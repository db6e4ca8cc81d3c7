"""One search's proposals: what the oracle asks for, and what it is told.

A proposal carries what the oracle cannot be asked again for (its own values and, for hyperband and
grid, where it stands). Stored with the trial, it lets a resumed search give a new oracle its past
directly, without proposing anything a second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from kaggle_digits.core.architecture import megamacs
from kaggle_digits.ground.config import TrainingConfig
from tuning.oracles import EPOCHS, OBJECTIVE, ProposalSettings, make_oracle
from tuning.study import COMPLETED, FAILED, RUNNING, Trial

_WORST = 1e6
"""The loss a failed trial has in hyperband's eyes; with a failure left out, a round would never
have the trials it waits for."""


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """What bounds a search's proposals.

    Args:
        max_megamacs: Largest cost of a network, millions of multiply-adds per image.
        shape: Image height and width in pixels, the number of classes, and planes of colour.
        trials: How many trials the search will have; None for no limit.
    """

    max_megamacs: float
    shape: tuple[int, int, int, int]
    trials: int | None = None


class Proposer:
    """Proposes one trial after the other.

    Args:
        settings: What decides the proposals. Of the portfolio, the configurations that a space
            file excludes are left out, and those above the cost limit, the first excepted: it is
            what every search is measured against.
        limits: What bounds them.
        past: The study's trials so far.
    """

    def __init__(
        self, settings: ProposalSettings, limits: ProposalLimits, past: Iterable[Trial] = ()
    ) -> None:
        self._settings = settings
        self._limits = limits
        affordable = tuple(
            config
            for place, config in enumerate(settings.portfolio)
            if settings.space.admits(config) and (place == 0 or self._accepts(config))
        )
        self._hyperband = settings.strategy == "hyperband"
        self._oracle = make_oracle(
            replace(settings, portfolio=affordable), self._accepts, limits.trials
        )
        self._trials: dict[int, Any] = {}
        past = sorted(past, key=lambda trial: trial.number)
        for trial in past:
            self._restore(trial)
        if past:
            self._oracle.load(past[-1].oracle)
            self._oracle.rejected = past[-1].rejected

    @property
    def rejected(self) -> int:
        """Configurations that were drawn and not tried: too costly, or seen before."""
        return int(self._oracle.rejected)

    def propose(self) -> Trial | None:
        """Return the next trial, running; None if there is nothing to propose (now)."""
        number = len(self._trials)
        made = self._oracle.create_trial(f"worker {number}")
        if made.status != "RUNNING":
            return None
        config: TrainingConfig = self._oracle.chosen
        self._remember(number, made, config)
        values = dict(made.hyperparameters.values)
        return Trial(
            number=number,
            config=config,
            epochs=int(values.get(EPOCHS, self._settings.epochs)),
            state=RUNNING,
            values=values,
            oracle=self._oracle.state(),
            rejected=self.rejected,
        )

    def tell(self, trial: Trial) -> None:
        """Tell the oracle what came of a trial."""
        made = self._trials[trial.number]
        loss = trial.loss
        if loss is None and self._hyperband:
            loss = _WORST
        if loss is not None:
            self._oracle.update_trial(made.trial_id, {OBJECTIVE: loss})
        made.status = "FAILED" if loss is None else "COMPLETED"
        self._oracle.end_trial(made)

    def _restore(self, trial: Trial) -> None:
        """Put a past trial where living through it would have put it."""
        from keras_tuner.engine.trial import Trial as KerasTunerTrial

        oracle = self._oracle
        parameters = oracle.hyperparameters.copy()
        parameters.values = dict(trial.values)
        made = KerasTunerTrial(
            hyperparameters=parameters, trial_id=f"{trial.number:04d}", status="RUNNING"
        )
        oracle.trials[made.trial_id] = made
        oracle.ongoing_trials[f"worker {trial.number}"] = made
        oracle.start_order.append(made.trial_id)
        oracle._record_values(made)
        self._remember(trial.number, made, trial.config)
        if trial.state in (COMPLETED, FAILED):
            self.tell(trial)

    def _remember(self, number: int, made: Any, config: TrainingConfig) -> None:
        self._trials[number] = made
        self._oracle.configs[made.trial_id] = config
        self._oracle.seen.add(config.digest)

    def _accepts(self, config: TrainingConfig) -> bool:
        return megamacs(config, *self._limits.shape) <= self._limits.max_megamacs
