"""The search itself: propose, train, score, store; then the race; then the ranking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaggle_digits.core import hardware
from kaggle_digits.core.folds import require_rows_per_class
from kaggle_digits.engine import Engine, Resources, Site, make_copies, open_engine
from kaggle_digits.engine import Task as Work
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.errors import KaggleDigitsError, TrainingError
from kaggle_digits.ground.progress import Progress, Task
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import Ranked, ranking_path, write_ranking
from tuning.budget import SearchTime
from tuning.coordination import KEPT, Coordinator, Goals
from tuning.oracles import ProposalSettings
from tuning.proposals import ProposalLimits, Proposer
from tuning.scoring import (
    Result,
    ScoringSettings,
    Splits,
    Unit,
    bank_of,
    copies_of,
    score_unit,
    splits_of,
)
from tuning.selection import diverse, ranked
from tuning.showing import header, line, ranking_text
from tuning.study import COMPLETED, StudyOnDisk, Trial

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings(ProposalSettings):
    """What decides a search's trials, the data aside: what is proposed, and how it is scored.

    Args:
        rows: Rows a trial trains on at most; half as many again are held out.
        copies: Augmented copies a network walks through.
        max_megamacs: Largest cost of a network, millions of multiply-adds per image.
        folds: Folds a trial is scored on; 0 for one holdout.
        race_folds: Folds of the race; with three, a round has as many rows as a trial.
        metric: What trials are ranked by, one of `names.RANKING`; None for log-loss.
    """

    rows: int
    copies: int
    max_megamacs: float
    folds: int = 0
    race_folds: int = 3
    metric: str | None = None

    @property
    def scoring(self) -> ScoringSettings:
        """What decides a configuration's score."""
        return ScoringSettings(
            rows=self.rows,
            copies=self.copies,
            folds=self.folds,
            race_folds=self.race_folds,
            seed=self.seed,
        )

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """Return the study's settings, the data and the space included."""
        names = (
            "epochs", "rows", "copies", "max_megamacs", "seed", "strategy", "folds", "race_folds",
        )  # fmt: skip
        return (
            {name: getattr(self, name) for name in names}
            | {
                "data": dataset.digest,
                "portfolio": " ".join(config.digest for config in self.portfolio),
            }
            | ({} if dataset.fixes is None else {"labels": dataset.fixes.account()})
            # Left out where they say what studies did before they came.
            | ({} if self.metric is None else {"metric": self.metric})
            | ({} if dataset.together is None else {"split": "by group"})
            | self.space.settings()
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Args:
        trials: All trials that have ended, in order.
        best: The distinct configurations of `best.json`, in its order.
        rejected: Configurations that were drawn and not tried: too costly, or seen before.
        raced: How many of the best come from the race.
        seconds: Time the study has taken, over all calls.
    """

    trials: list[Trial]
    best: list[Ranked]
    rejected: int
    raced: int
    seconds: float


def usual_resources(workers: int | None, threads: int | None, cluster: str | None) -> Resources:
    """Return what trials may use: one at a time with all cores, unless something else is said.

    Proposals depend on what was learned before, so one trial at a time makes the best of each. More
    workers share the cores.
    """
    if cluster is not None:
        return Resources(workers, threads, cluster)
    count = workers or 1
    return Resources(count, threads or max(len(hardware.available_cores()) // count, 1))


def search(
    dataset: Dataset,
    workspace: Workspace,
    settings: SearchSettings,
    goals: Goals,
    deadline: Deadline,
    progress: Progress,
    resources: Resources,
    *,
    averaged: int = 0,
    watcher: Callable[[Trial], None] | None = None,
    rare: str | None = None,
    call: str | None = None,
) -> Found:
    """Go on with the workspace's study until its goals are reached or its time is spent.

    Args:
        dataset: The data.
        workspace: Where the study is.
        settings: What decides the trials.
        goals: How far to go.
        deadline: The study's time from the start of this call, as if none had been spent before.
        progress: Told of every trial.
        resources: Who trains.
        averaged: Order the best so that the average of so many is the best; 0 for by rank alone.
        watcher: Called with every trial that has ended.
        rare: What is to be done with classes too rare to hold out some of; None to refuse them. A
            search trains on them either way.
        call: The command that asks for it; None for none.

    Returns:
        What the study has come to; `best.json` holds its best as well.

    Raises:
        ArtefactError: The study that is there has other settings.
        ConfigurationError: An unknown strategy, or no configuration within the limits.
        DataError: A class has too few rows.
        TrainingError: Too many trials in a row failed.
        OutOfTimeError: The time was over before any trial was completed.
    """
    require_rows_per_class(dataset, max(2, settings.folds), rare)
    study = StudyOnDisk(workspace)
    past = study.open(settings.to_json(dataset), call)
    splits = splits_of(dataset, settings.scoring)
    shape = dataset.competition

    def make_proposer(trials: list[Trial]) -> Proposer:
        return Proposer(
            settings,
            ProposalLimits(
                max_megamacs=settings.max_megamacs,
                shape=(shape.height, shape.width, len(shape.classes), shape.planes),
                trials=goals.trials,
            ),
            trials,
        )

    time = SearchTime(deadline, study.spent(), races=goals.racers >= 2)
    total = goals.trials if goals.trials is not None else max(1, round(time.deadline.left))
    unit = "trials" if goals.trials is not None else "s"
    with progress.task("tune", total, unit) as task:
        table = _Table(progress, task, by_time=goals.trials is None, metric=settings.metric)

        def ended(trial: Trial) -> None:
            table.add(trial, coordinator)
            if watcher is not None:
                watcher(trial)

        coordinator = Coordinator(
            study,
            past,
            make_proposer,
            splits,
            dataset.labels,
            settings.epochs,
            goals,
            time,
            progress,
            ended,
            settings.metric,
            dataset.groups_of,
        )
        table.begin(coordinator)
        site = Site(dataset, workspace, progress, time.deadline)
        with open_engine(site, resources) as engine:
            _work(coordinator, engine, settings.scoring)
    trials = coordinator.finished
    raced = coordinator.raced()
    best = ranked(trials, KEPT, raced)
    if not best:
        raise _nothing(trials)
    if averaged:
        best = _diverse(best, study, dataset, splits, settings.metric, averaged)
    write_ranking(ranking_path(workspace), best, dataset.digest, settings.seed)
    return Found(
        trials=trials,
        best=best,
        rejected=trials[-1].rejected,
        raced=len(raced),
        seconds=study.spent(),
    )


def _work(coordinator: Coordinator, engine: Engine, settings: ScoringSettings) -> None:
    """Let the engine do what the coordinator asks for, until nothing is left or time is over."""

    def tasks() -> Iterator[Work | None]:
        for unit in coordinator.units():
            if unit is not None:
                try:
                    bank = bank_of(unit, engine.site, settings)
                    make_copies(engine, bank, copies_of(unit, bank, engine.site, settings))
                except OutOfTimeError:
                    coordinator.give_back(unit)
                    return
            yield None if unit is None else Work(unit.name, score_unit, (settings, unit))

    for outcome in engine.run(tasks()):
        unit: Unit = outcome.task.arguments[1]
        if isinstance(outcome.error, OutOfTimeError):
            engine.site.progress.say(
                f"{unit.name}: cut, the time is over; a later call goes on with it"
            )
            coordinator.give_back(unit)
        elif isinstance(outcome.error, TrainingError):
            coordinator.give(unit, Result(None, outcome.error.message, outcome.seconds))
        else:
            coordinator.give(unit, outcome.result())


def _diverse(
    best: list[Ranked],
    study: StudyOnDisk,
    dataset: Dataset,
    splits: Splits,
    metric: str | None,
    averaged: int,
) -> list[Ranked]:
    labels = dataset.labels[splits.trial_rows]
    shape = (len(labels), len(dataset.competition.classes))
    predictions = {}
    for entry in best:
        stored = study.predictions(entry.trial)
        if stored is not None and stored.shape == shape:  # else as one that was not kept
            predictions[entry.trial] = stored
    return diverse(best, predictions, labels, averaged, metric)


def _nothing(trials: list[Trial]) -> KaggleDigitsError:
    if not trials:
        return OutOfTimeError(
            "The time was over before the first trial was completed.",
            mend="Give a longer --time-budget; what was begun goes on from its last epoch.",
        )
    return TrainingError(
        f"None of {len(trials)} trials was completed; the last: {trials[-1].reason}",
        mend="Mend the cause and call again with more --trials than these.",
    )


class _Table:
    """The live table: a row for each trial that ends, and the bar below."""

    def __init__(
        self, progress: Progress, task: Task, *, by_time: bool, metric: str | None
    ) -> None:
        self._progress = progress
        self._task = task
        self._by_time = by_time
        self._metric = metric
        self._seconds = 0
        self._has_header = False

    def begin(self, coordinator: Coordinator) -> None:
        finished = coordinator.finished
        if finished:
            self._progress.say(f"study: {len(finished)} finished trials taken up")
        if not self._by_time:
            self._task.advance(len(finished), _best_so_far(finished), timed=False)

    def add(self, trial: Trial, coordinator: Coordinator) -> None:
        finished = coordinator.finished
        best = ranked(finished, 1)
        if not self._has_header:
            self._has_header = True
            self._progress.say(header(self._metric))
        self._progress.say(line(trial, best[0] if best else None, coordinator.seconds_left))
        if self._by_time:
            spent = round(coordinator.time.spent) - self._seconds
            self._seconds += spent
            self._task.advance(spent, _best_so_far(finished))
        else:
            self._task.advance(1, _best_so_far(finished))


def _best_so_far(done: list[Trial]) -> str:
    best = ranked([trial for trial in done if trial.state == COMPLETED], 1)
    return f"best {ranking_text(best[0])}" if best else ""
