"""What a search does next: asks the oracle, follows the race, takes results, keeps the files.

One loop asks it for the next piece of work and gives it results; who does the work is the engine's
matter. Work under way is a trial (in the study's files as `running`) or a racer's round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kaggle_digits.core.metrics import dealt
from kaggle_digits.core.metrics import judged as judge
from kaggle_digits.core.predictions import score
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.records.ranking import Ranked
from tuning.budget import SearchTime
from tuning.proposals import Proposer
from tuning.racing import FIRST_TEST, Race, has_raced
from tuning.scoring import Result, Splits, Unit
from tuning.selection import ranked
from tuning.study import COMPLETED, FAILED, RUNNING, StudyOnDisk, Trial

MOST_FAILURES_IN_A_ROW = 3
KEPT = 20
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


class Coordinator:
    """Says what comes next and takes results.

    Args:
        study: Where everything is kept.
        past: The study's trials so far.
        make_proposer: Called with the trials when the first proposal is needed: a search that has
            nothing to propose need not load Keras Tuner.
        splits: The rows of trials and race.
        labels: int64, class indices of the data.
        epochs: Epochs of the race.
        goals: How far to go.
        time: The time.
        progress: Told of every trial.
        watcher: Told of every trial that has ended.
        metric: What trials are ranked by, one of `names.RANKING`; None for log-loss.
    """

    def __init__(
        self,
        study: StudyOnDisk,
        past: list[Trial],
        make_proposer: Callable[[list[Trial]], Proposer],
        splits: Splits,
        labels: np.ndarray,
        epochs: int,
        goals: Goals,
        time: SearchTime,
        progress: Progress,
        watcher: Callable[[Trial], None] | None = None,
        metric: str | None = None,
    ) -> None:
        self.time = time
        self.fault: TrainingError | None = None
        self.has_handed_out = False
        self._study = study
        self._trials = {trial.number: trial for trial in past}
        self._ended_before = {trial.number for trial in past if trial.state != RUNNING}
        self._make_proposer = make_proposer
        self._proposer: Proposer | None = None
        self._splits = splits
        self._labels = labels
        self._epochs = epochs
        self._goals = goals
        self._progress = progress
        self._watcher = watcher
        self._metric = metric
        self._under_way: set[str] = set()
        self._race: Race | None = None
        self._race_is_done = False
        self._exhausted = False

    @property
    def trials(self) -> list[Trial]:
        """The study's trials in order."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def finished(self) -> list[Trial]:
        """The trials that have ended, in order."""
        return [trial for trial in self.trials if trial.state != RUNNING]

    def raced(self) -> list[Ranked]:
        """Return how all that have raced so far stand, from best to worst; empty without a race.

        Told from the files alone, so that a search that has ended says the same when called again.
        """
        if self._goals.racers < 2:
            return []
        entries = ranked(self.trials, len(self._trials))
        racers = [entry for entry in entries if has_raced(entry.config, self._study.race)]
        return self._race_of(racers, Silent()).standing() if len(racers) > 1 else []

    @property
    def is_over(self) -> bool:
        """Whether there will be no more work."""
        if self.fault or self.time.deadline.has_passed:
            return True
        if self._under_way or self._wants_trials() or self._unfinished():
            return False
        return self._race_is_done

    def units(self) -> Iterator[Unit | None]:
        """Yield the work of the search; None for none now, since results are waited for."""
        while not self.is_over:
            unit = self._take_trial() or self._take_race()
            if unit is not None:
                self._under_way.add(unit.key)
                self.has_handed_out = True
                yield unit
            elif self._under_way:
                yield None
            elif not self._turn():
                return

    def give(self, unit: Unit, result: Result) -> None:
        """Take a result."""
        self._under_way.discard(unit.key)
        if unit.round is not None:
            if self._race is not None and self._race.knows(unit):
                self._race.give(unit, result)
        else:
            self._give_trial(unit, result)
        self._study.put_spent(self.time.spent)

    def give_back(self, unit: Unit) -> None:
        """Take back what was not finished in time; a later call goes on with it."""
        self._under_way.discard(unit.key)

    @property
    def seconds_left(self) -> float:
        """A guess of how long the trials that are wanted will take; infinite if there is none."""
        finished = [trial.seconds for trial in self.finished]
        left = self.time.deadline.left
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
        if not self.time.is_limited:
            return len(self._trials)
        seconds = statistics.median(
            trial.seconds * self._epochs / trial.epochs for trial in self.finished
        )
        return int(self.time.deadline.left / max(FIRST_TEST * seconds, 1e-3))

    def _race_of(self, racers: list[Ranked], progress: Progress) -> Race:
        return Race(
            racers,
            self._study.race,
            self._splits,
            self._labels,
            self._epochs,
            _REPEATS_WITH_TIME if self.time.is_limited else 1,
            progress,
            self._metric,
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
        if more and not self._exhausted and self.time.race_has_ended():
            return True
        self._race_is_done = True
        return False

    def _wants_trials(self) -> bool:
        wanted = self._goals.trials
        if self._exhausted or not self.time.is_open_for_trials:
            return False
        return wanted is None or len(self._trials) < wanted

    def _unfinished(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == RUNNING]

    def _give_trial(self, unit: Unit, result: Result) -> None:
        trial = next((t for t in self._unfinished() if t.name == unit.key), None)
        if trial is None or trial.config != unit.config:
            return
        if result.held_out is None:
            trial = trial.failed(result.reason, result.seconds)
        else:
            labels = self._labels[self._splits.trial_rows]
            judged = score(result.held_out, labels)
            metric = self._metric
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
                threads=result.threads,
                metric=None
                if metric is None
                else judge(metric, result.held_out, labels, dealt(len(labels))),
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
        # Of this call: the cause of an earlier call's failures may be mended by now.
        ended = [trial for trial in self.finished if trial.number not in self._ended_before]
        last = ended[-MOST_FAILURES_IN_A_ROW:]
        if len(last) == MOST_FAILURES_IN_A_ROW and all(trial.state == FAILED for trial in last):
            self.fault = TrainingError(
                f"The last {MOST_FAILURES_IN_A_ROW} trials failed; the last: {last[-1].reason}",
                mend="Mend the cause and call again: the search goes on with other trials.",
            )


def _unit(trial: Trial) -> Unit:
    config: TrainingConfig = trial.config
    return Unit(key=trial.name, name=trial.name, config=config, epochs=trial.epochs)
