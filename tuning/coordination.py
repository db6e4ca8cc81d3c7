"""Who does what next: hands out work, takes results, keeps the study's files.

One coordinator serves one process that does everything itself, or any number of workers. Work under
way is a trial (in the study's files as `running`) or a racer's round; what a worker did not finish
is handed out again.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kaggle_digits.core.predictions import score
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.records.ranking import Ranked
from tuning.budget import Budget
from tuning.proposals import Proposer
from tuning.racing import FIRST_TEST, Race, has_raced
from tuning.scoring import Result, Splits, Unit
from tuning.selection import ranked
from tuning.study import COMPLETED, FAILED, RUNNING, Study, Trial

MOST_FAILURES_IN_A_ROW = 3
KEPT = 20
_MOST_LOSSES = 3
_REPEATS_WITH_TIME = 3


@dataclass(frozen=True, slots=True)
class Goals:
    """How far a search goes.

    Args:
        trials: Trials the study shall have, failed ones included; None for as many as time allows.
        racers: Configurations that race; below 2 for no race.
    """

    trials: int | None
    racers: int


@dataclass(slots=True)
class _UnderWay:
    unit: Unit
    worker: str
    expires: float


class Coordinator:
    """Hands out work and takes results.

    Args:
        study: Where everything is kept.
        past: The study's trials so far.
        make_proposer: Called with the trials when the first proposal is needed: a search that has
            nothing to propose need not load Keras Tuner.
        splits: The rows of trials and race.
        labels: int64, class indices of the data.
        epochs: Epochs of the race.
        goals: How far to go.
        budget: The time.
        progress: Told of every trial.
        lease: Seconds after which work is handed out again unless `renew` is called.
        outlived: Whether workers of an earlier call may still be at what it left running: then that
            is handed out only after a lease.
        watcher: Told of every trial that has ended.
    """

    def __init__(
        self,
        study: Study,
        past: list[Trial],
        make_proposer: Callable[[list[Trial]], Proposer],
        splits: Splits,
        labels: np.ndarray,
        epochs: int,
        goals: Goals,
        budget: Budget,
        progress: Progress,
        lease: float = float("inf"),
        outlived: bool = False,
        watcher: Callable[[Trial], None] | None = None,
    ) -> None:
        self.budget = budget
        self.fault: TrainingError | None = None
        self.has_handed_out = False
        self._study = study
        self._trials = {trial.number: trial for trial in past}
        self._make_proposer = make_proposer
        self._proposer: Proposer | None = None
        self._splits = splits
        self._labels = labels
        self._epochs = epochs
        self._goals = goals
        self._progress = progress
        self._lease = lease
        self._watcher = watcher
        self._under_way: dict[str, _UnderWay] = {}
        self._losses: dict[str, int] = {}
        self._race: Race | None = None
        self._race_is_done = False
        self._exhausted = False
        self._stopped = False
        self._lock = threading.RLock()
        for trial in past:
            if trial.state == RUNNING and outlived:
                self._hand_out(_unit(trial), "")
        self._refuse_row_of_failures()

    @property
    def trials(self) -> list[Trial]:
        """The study's trials in order."""
        with self._lock:
            return [self._trials[number] for number in sorted(self._trials)]

    @property
    def finished(self) -> list[Trial]:
        """The trials that have ended, in order."""
        return [trial for trial in self.trials if trial.state != RUNNING]

    def raced(self) -> list[Ranked]:
        """Return how all that have raced so far stand, from best to worst; empty without a race.

        Told from the files alone, so that a search that has ended says the same when called again.
        """
        with self._lock:
            if self._goals.racers < 2:
                return []
            entries = ranked(self.trials, len(self._trials))
            racers = [entry for entry in entries if has_raced(entry.config, self._study.race)]
            return self._race_of(racers, Silent()).standing() if len(racers) > 1 else []

    @property
    def is_over(self) -> bool:
        """Whether there will be no more work."""
        with self._lock:
            if self._stopped or self.fault or self.budget.is_spent:
                return True
            if self._under_way or self._wants_trials() or self._unfinished():
                return False
            return self._race_is_done

    def take(self, worker: str = "") -> Unit | None:
        """Hand out the next piece of work; None if there is none, now or for good (`is_over`)."""
        with self._lock:
            self.end_leases()
            while not self.is_over:
                unit = self._take_trial() or self._take_race()
                if unit is not None:
                    self._hand_out(unit, worker)
                    self.has_handed_out = True
                    return unit
                if self._under_way or not self._turn():
                    return None
            return None

    def give(self, unit: Unit, result: Result) -> None:
        """Take a result; one that is known already is dropped."""
        with self._lock:
            self._under_way.pop(unit.key, None)
            if unit.round is not None:
                if self._race is not None and self._race.knows(unit):
                    self._race.give(unit, result)
            else:
                self._give_trial(unit, result)
            self._study.put_spent(self.budget.spent)

    def renew(self, key: str, worker: str) -> bool:
        """Prolong the lease on a piece of work; return whether its result is still wanted."""
        with self._lock:
            place = self._under_way.get(key)
            if place is None or self.is_over or place.worker not in ("", worker):
                return False
            place.worker = worker
            place.expires = time.monotonic() + self._lease
            return True

    def lose(self, worker: str) -> None:
        """Take back what a worker had, which has died."""
        with self._lock:
            for key, place in list(self._under_way.items()):
                if place.worker == worker:
                    self._lose(key)

    def end_leases(self) -> None:
        """Take back what nobody has reported on for a whole lease."""
        with self._lock:
            now = time.monotonic()
            for key, place in list(self._under_way.items()):
                if place.expires < now:
                    self._lose(key)

    def prepare(self) -> None:
        """Load what proposals need now, so that no worker waits for it."""
        with self._lock:
            if self._proposer is None and self._wants_trials():
                self._proposer = self._make_proposer(self.trials)

    def stop(self) -> None:
        """Hand out nothing any more."""
        self._stopped = True

    @property
    def seconds_left(self) -> float:
        """A guess of how long the trials that are wanted will take; infinite if there is none."""
        finished = [trial.seconds for trial in self.finished]
        left = self.budget.left
        if self._goals.trials is None or not finished:
            return left
        workers = max(1, len(self._under_way))
        missing = self._goals.trials - len(finished)
        return min(left, sum(finished) / len(finished) * missing / workers)

    def _take_trial(self) -> Unit | None:
        waiting = [trial for trial in self._unfinished() if trial.name not in self._under_way]
        if waiting:
            return _unit(waiting[0])
        if not self._wants_trials():
            return None
        trial = self._propose()
        if trial is None:
            # Hyperband waits for results of others; otherwise the space has nothing left.
            self._exhausted = not self._under_way
            return None
        self._study.put(trial)
        self._trials[trial.number] = trial
        return _unit(trial)

    def _propose(self) -> Trial | None:
        if self._proposer is None:
            self._proposer = self._make_proposer(self.trials)
        return self._proposer.propose()

    def _take_race(self) -> Unit | None:
        if self._race is None:
            if self._under_way or self._wants_trials() or self._unfinished():
                return None
            self._race = self._make_race()
        return self._race.take() if self._race else None

    def _make_race(self) -> Race | None:
        if self._goals.racers < 2 or self._splits.race_folds < 2:
            return None
        entries = ranked(self.trials, len(self._trials))
        # The first trial's configuration is what the search has to beat: it always races.
        racers = entries[: self._goals.racers] + [
            entry
            for entry in entries[self._goals.racers :]
            if entry.config == self._trials[0].config
        ]
        racers = racers[: self._most_racers()]
        if len(racers) < 2:
            return None
        return self._race_of(racers, self._progress)

    def _most_racers(self) -> int:
        """Return how many configurations can finish the rounds before the first test in time."""
        if not self.budget.is_limited:
            return len(self._trials)
        seconds = statistics.median(
            trial.seconds * self._epochs / trial.epochs for trial in self.finished
        )
        return int(self.budget.left / max(FIRST_TEST * seconds, 1e-3))

    def _race_of(self, racers: list[Ranked], progress: Progress) -> Race:
        return Race(
            racers,
            self._study.race,
            self._splits,
            self._labels,
            self._epochs,
            _REPEATS_WITH_TIME if self.budget.is_limited else 1,
            progress,
        )

    def _turn(self) -> bool:
        """Go from the trials to the race, or on from there; return whether there may be work."""
        if self._wants_trials() or self._unfinished():
            return True
        if self._race is not None and not self._race.is_over:
            return False
        self._race = None
        # Time that the race has left is for more trials, if more are wanted.
        wanted = self._goals.trials
        more = wanted is None or len(self._trials) < wanted
        if more and not self._exhausted and self.budget.race_has_ended():
            return True
        self._race_is_done = True
        return False

    def _wants_trials(self) -> bool:
        wanted = self._goals.trials
        if self._exhausted or not self.budget.is_open_for_trials:
            return False
        return wanted is None or len(self._trials) < wanted

    def _unfinished(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == RUNNING]

    def _hand_out(self, unit: Unit, worker: str) -> None:
        self._under_way[unit.key] = _UnderWay(unit, worker, time.monotonic() + self._lease)

    def _lose(self, key: str) -> None:
        place = self._under_way.pop(key)
        if place.unit.round is not None and self._race is not None:
            self._race.give_back(place.unit)
        if not place.worker:
            return  # nobody had begun
        self._losses[key] = self._losses.get(key, 0) + 1
        self._progress.say(f"{place.unit.name}: its worker is gone; it is handed out again")
        if self._losses[key] >= _MOST_LOSSES:
            reason = f"{_MOST_LOSSES} workers died at it (out of memory?)."
            self.give(place.unit, Result(None, reason))

    def _give_trial(self, unit: Unit, result: Result) -> None:
        trial = next((t for t in self._unfinished() if t.name == unit.key), None)
        if trial is None or trial.config != unit.config:
            return
        if result.held_out is None:
            trial = trial.failed(result.reason, result.seconds)
        else:
            judged = score(result.held_out, self._labels[self._splits.trial_rows])
            self._study.put_predictions(trial.number, result.held_out)
            trial = replace(
                trial,
                state=COMPLETED,
                log_loss=judged.log_loss,
                accuracy=judged.accuracy,
                log_loss_se=judged.log_loss_se,
                accuracy_se=judged.accuracy_se,
                rows=judged.rows,
                seconds=round(result.seconds, 1),
                history=result.history,
            )
        self._study.put(trial)
        self._trials[trial.number] = trial
        best = ranked(self.trials, KEPT)
        self._study.keep_predictions(entry.trial for entry in best)
        if self._proposer is not None:
            self._proposer.tell(trial)
        if self._watcher is not None:
            self._watcher(trial)
        self._refuse_row_of_failures()

    def _refuse_row_of_failures(self) -> None:
        last = self.finished[-MOST_FAILURES_IN_A_ROW:]
        if len(last) == MOST_FAILURES_IN_A_ROW and all(trial.state == FAILED for trial in last):
            self.fault = TrainingError(
                f"The last {MOST_FAILURES_IN_A_ROW} trials failed; the last: {last[-1].reason}",
                mend="Mend the cause and call again with --fresh.",
            )


def _unit(trial: Trial) -> Unit:
    config: TrainingConfig = trial.config
    return Unit(key=trial.name, name=trial.name, config=config, epochs=trial.epochs)
