"""The search itself: propose, train, score, store; then the race; then the ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kaggle_digits.core.folds import require_rows_per_class
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.progress import Progress, Task
from kaggle_digits.ground.ranking import Ranked, ranking_path, write_ranking
from kaggle_digits.ground.workspace import Workspace
from tuning.budget import Budget, CutError, Watched
from tuning.coordination import KEPT, Coordinator, Goals
from tuning.proposals import ProposalSettings, Proposer
from tuning.scoring import Scorer, ScoringSettings, Splits
from tuning.selection import diverse, ranked
from tuning.showing import header, line
from tuning.space import Space
from tuning.study import COMPLETED, Study, Trial

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What decides a search's trials, the data aside.

    Args:
        epochs: Passes over the rows of a whole trial.
        rows: Rows a trial trains on at most; half as many again are held out.
        copies: Augmented copies a network walks through.
        max_megamacs: Largest cost of a network, millions of multiply-adds per image.
        seed: Fixes proposals, rows, and each trial's training.
        strategy: One of `oracles.STRATEGIES`.
        folds: Folds a trial is scored on; 0 for one holdout.
        race_folds: Folds of the race; with three, a round has as many rows as a trial.
        space: What is searched.
        portfolio: Well-tried configurations, tried first; empty for none.
    """

    epochs: int
    rows: int
    copies: int
    max_megamacs: float
    seed: int
    strategy: str = "hyperband"
    folds: int = 0
    race_folds: int = 3
    space: Space = field(default_factory=Space)
    portfolio: tuple[TrainingConfig, ...] = ()

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
            | self.space.settings()
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Args:
        trials: All trials that have ended, in order.
        best: The distinct configurations of `best.json`, from best to worst.
        rejected: Configurations that were drawn and not tried: too dear, or seen before.
        raced: How many of the best come from the race.
        seconds: Time the study has taken, over all calls.
    """

    trials: list[Trial]
    best: list[Ranked]
    rejected: int
    raced: int
    seconds: float


class Staff(Protocol):
    """Whoever does a coordinator's work."""

    @property
    def lease(self) -> float:
        """Seconds after which work that nobody reports on is handed out again."""

    @property
    def outlives(self) -> bool:
        """Whether some of them may go on working when this process ends."""

    def work(self, coordinator: Coordinator, progress: Progress) -> None:
        """Do the work until there is none left."""


class Alone:
    """This process does everything, one piece after the other.

    Args:
        scorer: Trains.
    """

    lease = float("inf")
    outlives = False

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def work(self, coordinator: Coordinator, progress: Progress) -> None:
        """Do the work until there is none left."""
        watched = Watched(progress, lambda: coordinator.budget.is_spent)
        while (unit := coordinator.take()) is not None:
            try:
                result = self._scorer.run(unit, watched)
            except CutError:
                progress.say(f"{unit.name}: cut, the time is over; a later call goes on with it")
                return
            coordinator.give(unit, result)
            result.drop_checkpoints()


def search(
    dataset: Dataset,
    workspace: Workspace,
    settings: SearchSettings,
    goals: Goals,
    budget: Callable[[float], Budget],
    progress: Progress,
    staff: Staff | None = None,
    *,
    wants_diverse: bool = False,
    watcher: Callable[[Trial], None] | None = None,
    rare: str | None = None,
) -> Found:
    """Go on with the workspace's study until its goals are reached or its time is spent.

    Args:
        dataset: The data.
        workspace: Where the study is.
        settings: What decides the trials.
        goals: How far to go.
        budget: Makes the budget of the seconds that the study has spent so far.
        progress: Told of every trial.
        staff: Who does the work; None for this process.
        wants_diverse: Order the best by what they add to an average, not by rank alone.
        watcher: Called with every trial that has ended.
        rare: What is to be done with classes too rare to hold out some of; None to refuse them. A
            search trains on them either way.

    Returns:
        What the study has come to; `best.json` holds its best as well.

    Raises:
        ArtefactError: The study that is there has other settings.
        ConfigurationError: An unknown strategy, or no configuration within the limits.
        DataError: A class has too few rows.
        TrainingError: Too many trials in a row failed.
    """
    require_rows_per_class(dataset, max(2, settings.folds), rare)
    study = Study(workspace)
    past = study.open(settings.to_json(dataset))
    splits = Splits(dataset.labels, settings.scoring)
    staff = staff or Alone(Scorer(dataset, workspace, settings.scoring))
    shape = dataset.competition

    def make_proposer(trials: list[Trial]) -> Proposer:
        return Proposer(
            ProposalSettings(
                strategy=settings.strategy,
                space=settings.space,
                seed=settings.seed,
                epochs=settings.epochs,
                portfolio=settings.portfolio,
                max_megamacs=settings.max_megamacs,
                shape=(shape.height, shape.width, len(shape.classes)),
                trials=goals.trials,
            ),
            trials,
        )

    time_left = budget(study.spent())
    total = goals.trials if goals.trials is not None else max(1, round(time_left.left))
    unit = "trials" if goals.trials is not None else "s"
    with progress.task("tune", total, unit) as task:
        table = _Table(progress, task, by_time=goals.trials is None)
        coordinator = Coordinator(
            study,
            past,
            make_proposer,
            splits,
            dataset.labels,
            settings.epochs,
            goals,
            time_left,
            progress,
            staff.lease,
            staff.outlives,
            lambda trial: table.add(trial, coordinator, watcher),
        )
        table.begin(coordinator)
        if not coordinator.is_over:
            staff.work(coordinator, progress)
    if coordinator.has_handed_out:
        study.put_spent(time_left.spent)
    if coordinator.fault is not None:
        raise coordinator.fault
    trials = coordinator.finished
    raced = coordinator.raced()
    best = ranked(trials, KEPT, raced)
    if not best:
        raise _nothing(trials)
    if wants_diverse:
        best = _diverse(best, study, dataset, splits)
    write_ranking(ranking_path(workspace), best, dataset.digest, settings.seed)
    return Found(
        trials=trials,
        best=best,
        rejected=trials[-1].rejected,
        raced=len(raced),
        seconds=study.spent(),
    )


def _diverse(best: list[Ranked], study: Study, dataset: Dataset, splits: Splits) -> list[Ranked]:
    predictions = {}
    for entry in best:
        stored = study.predictions(entry.trial)
        if stored is not None:
            predictions[entry.trial] = stored
    return diverse(best, predictions, dataset.labels[splits.trial_rows], len(best))


def _nothing(trials: list[Trial]) -> TrainingError:
    if not trials:
        return TrainingError(
            "The time was over before the first trial was completed.",
            mend="Give a longer --time-budget; what was begun goes on from its last epoch.",
        )
    return TrainingError(
        f"None of {len(trials)} trials was completed; the last: {trials[-1].reason}",
        mend="Call again with --fresh and another --preset.",
    )


class _Table:
    """The live table: a row for each trial that ends, and the bar below."""

    def __init__(self, progress: Progress, task: Task, *, by_time: bool) -> None:
        self._progress = progress
        self._task = task
        self._by_time = by_time
        self._seconds = 0
        self._has_header = False

    def begin(self, coordinator: Coordinator) -> None:
        finished = coordinator.finished
        if finished:
            self._progress.say(f"study: {len(finished)} finished trials taken up")
        if not self._by_time:
            self._task.advance(len(finished), _best_so_far(finished), timed=False)

    def add(
        self,
        trial: Trial,
        coordinator: Coordinator,
        watcher: Callable[[Trial], None] | None,
    ) -> None:
        finished = coordinator.finished
        best = ranked(finished, 1)
        if not self._has_header:
            self._has_header = True
            self._progress.say(header())
        self._progress.say(
            line(trial, best[0].log_loss if best else None, coordinator.seconds_left)
        )
        if self._by_time:
            spent = round(coordinator.budget.spent) - self._seconds
            self._seconds += spent
            self._task.advance(spent, _best_so_far(finished))
        else:
            self._task.advance(1, _best_so_far(finished))
        if watcher is not None:
            watcher(trial)


def _best_so_far(done: list[Trial]) -> str:
    best = ranked([trial for trial in done if trial.state == COMPLETED], 1)
    return f"best log-loss {best[0].log_loss:.4f}" if best else ""
