"""What a search does next: asks the oracle, follows the race, takes results, keeps the files.

One loop asks it for the next piece of work and gives it results; who does the work is the engine's
matter. Work under way is a trial (in the study's files as `running`) or a racer's round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from kaggle_digits.core.metrics import dealt
from kaggle_digits.core.metrics import judged as judge
from kaggle_digits.core.predictions import score
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
        groups_of: Gives the groups of rows, whose errors come together; None for rows on their own.
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
        watcher: Callable[[Trial], None],
        metric: str | None = None,
        groups_of: Callable[[np.ndarray], np.ndarray | None] = lambda rows: None,
    ) -> None:
        self.time = time
        self._study = study
        self._trials = {trial.number: trial for trial in past}
        self._ended: list[Trial] = []  # by this call
        self._make_proposer = make_proposer
        self._proposer: Proposer | None = None
        self._splits = splits
        self._labels = labels
        self._epochs = epochs
        self._goals = goals
        self._progress = progress
        self._watcher = watcher
        self._metric = metric
        self._groups_of = groups_of
        # Before folds' races had rows of their own, others were under the same names.
        self._race_folder = study.race / "apart" if len(splits.trial) > 1 else study.race
        self._under_way: set[Unit] = set()
        self._race: Race | None = None
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
        if self._splits.race_folds < 2:
            return []
        entries = ranked(self.trials, len(self._trials))
        racers = [entry for entry in entries if has_raced(entry.config, self._race_folder)]
        if len(racers) < 2:
            return []
        race = self._race_of(racers, Silent())
        reached = race.standing()
        if not race.is_over:
            # Racers of a later race that was cut take no places from those whose race has ended,
            # which it did some rounds further than the later one came.
            former = self._race_of([one for one in racers if not race.waits_for(one)], Silent())
            places = former.standing() if former.is_over else []
            if places and places[0].folds > (reached[0].folds if reached else 0):
                return places
        return reached

    def units(self) -> Iterator[Unit | None]:
        """Yield the work of the search; None for none now, since results are waited for."""
        while True:
            yield from self._handed_out(self._take_trial)
            self._race = None if self.time.deadline.has_passed else self._make_race()
            if self._race is not None:
                yield from self._handed_out(self._race.take)
            # Time that the race has left is for more trials, if more are wanted.
            if not self._wants_more or not self.time.race_has_ended():
                return

    def give(self, unit: Unit, result: Result) -> None:
        """Take a result.

        Raises:
            TrainingError: Too many trials in a row have failed.
        """
        self.give_back(unit)
        if unit.round is None:
            self._give_trial(unit, result)
        else:
            assert self._race is not None  # whose units are all done before another one is made
            self._race.give(unit, result)
        result.drop_checkpoints()
        # The cause of an earlier call's failures may be mended by now: they do not count.
        last = self._ended[-MOST_FAILURES_IN_A_ROW:]
        if len(last) == MOST_FAILURES_IN_A_ROW and all(trial.state == FAILED for trial in last):
            raise TrainingError(
                f"The last {MOST_FAILURES_IN_A_ROW} trials failed; the last: {last[-1].reason}",
                mend="Mend the cause and call again: the search goes on with other trials.",
            )

    def give_back(self, unit: Unit) -> None:
        """Take back what was not finished in time; a later call goes on with it."""
        self._under_way.discard(unit)
        self._study.put_spent(self.time.spent)

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

    @property
    def _wants_more(self) -> bool:
        """Whether there are to be more trials, and there may be."""
        wanted = self._goals.trials
        return not self._exhausted and (wanted is None or len(self._trials) < wanted)

    def _handed_out(self, take: Callable[[], Unit | None]) -> Iterator[Unit | None]:
        """Yield what is taken, until nothing is left and nothing under way may bring more."""
        while not self.time.deadline.has_passed:
            unit = take()
            if unit is not None:
                self._under_way.add(unit)
            elif not self._under_way:
                return
            yield unit

    def _take_trial(self) -> Unit | None:
        for trial in self.trials:
            if trial.state == RUNNING and _unit(trial) not in self._under_way:
                return _unit(trial)
        if not self._wants_more or not self.time.is_open_for_trials:
            return None
        if self._proposer is None:
            self._proposer = self._make_proposer(self.trials)
        proposed = self._proposer.propose()
        if proposed is None:
            # Hyperband waits for results of others; otherwise the space has nothing left.
            self._exhausted = not self._under_way
            return None
        self._study.put(proposed)
        self._trials[proposed.number] = proposed
        return _unit(proposed)

    def _make_race(self) -> Race | None:
        if self._goals.racers < 2 or self._splits.race_folds < 2:
            return None
        entries = ranked(self.trials, len(self._trials))
        # The first trial's configuration is what the search has to beat: it always races.
        racers = self._best_and_first(entries, self._goals.racers)
        if racers and self.time.is_limited:
            # No more of them than can finish the rounds before the first test in time.
            seconds = statistics.median(
                trial.seconds * self._epochs / trial.epochs for trial in self.finished
            )
            racers = racers[: int(self.time.deadline.left / max(FIRST_TEST * seconds, 1e-3))]
        return self._race_of(racers, self._progress) if len(racers) > 1 else None

    def _best_and_first(self, entries: list[Ranked], count: int) -> list[Ranked]:
        if not entries:
            return []
        first = self._trials[min(self._trials)].config
        return entries[:count] + [one for one in entries[count:] if one.config == first]

    def _race_of(self, racers: list[Ranked], progress: Progress) -> Race:
        return Race(
            racers,
            self._race_folder,
            self._splits,
            self._labels,
            self._epochs,
            _REPEATS_WITH_TIME if self.time.is_limited else 1,
            progress,
            self._metric,
            self._groups_of,
        )

    def _give_trial(self, unit: Unit, result: Result) -> None:
        trial = self._trials[unit.trial]
        if result.held_out is None:
            trial = trial.failed(result.reason, result.seconds)
        else:
            labels = self._labels[self._splits.trial_rows]
            groups = self._groups_of(self._splits.trial_rows)
            judged = score(result.held_out, labels, groups)
            metric = self._metric
            self._study.put_predictions(trial.number, result.held_out)
            trial = replace(
                trial,
                state=COMPLETED,
                **asdict(judged),
                seconds=round(result.seconds, 1),
                history=result.history,
                threads=result.threads,
                metric=None
                if metric is None
                else judge(metric, result.held_out, labels, dealt(len(labels)), groups),
            )
        self._study.put(trial)
        self._trials[trial.number] = trial
        # Of all that may race, or did: who wins is set beside others by its predictions.
        entries = ranked(self.trials, len(self._trials))
        kept = self._best_and_first(entries, max(KEPT, self._goals.racers))
        kept += [one for one in entries[KEPT:] if has_raced(one.config, self._race_folder)]
        self._study.keep_predictions(entry.trial for entry in kept)
        if self._proposer is not None:
            self._proposer.tell(trial)
        self._ended.append(trial)
        self._watcher(trial)


def _unit(trial: Trial) -> Unit:
    return Unit(trial.number, trial.config, trial.epochs)
