"""The search itself: propose, train on a fixed holdout with fixed epochs, score, store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import holdout, require_rows_per_class
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import score
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, TrainingError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.ranking import Ranked, ranking_path, write_ranking
from kaggle_digits.ground.workspace import Workspace, remove
from tuning import space
from tuning.proposals import Proposer
from tuning.study import COMPLETED, FAILED, Study, Trial, ranked

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_MOST_FAILURES_IN_A_ROW = 3
_KEPT = 20


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What decides a search's trials, the data aside.

    Args:
        epochs: Passes over the rows of a trial.
        rows: Rows a trial trains on at most; half as many again are held out.
        copies: Augmented copies a trial walks through.
        max_megamacs: Largest cost of a network, millions of multiply-adds per image.
        seed: Fixes proposals, rows, and each trial's training.
    """

    epochs: int
    rows: int
    copies: int
    max_megamacs: float
    seed: int

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """Return the study's settings, the data and the space included."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "data": dataset.digest,
            "strategy": "random",
            "space": space.settings(),
        }


def search(
    dataset: Dataset,
    workspace: Workspace,
    settings: SearchSettings,
    trials: int,
    progress: Progress,
) -> tuple[list[Trial], list[Ranked]]:
    """Go on with the workspace's study until it has so many trials.

    Args:
        dataset: The data.
        workspace: Where the study is.
        settings: What decides the trials.
        trials: How many trials the study shall have, failed ones included.
        progress: Told of every trial.

    Returns:
        All finished trials, and the distinct completed configurations from best to worst, which
        are in `best.json` as well.

    Raises:
        ArtefactError: The study that is there has other settings.
        ConfigurationError: The space has nothing left.
        TrainingError: Too many trials in a row failed.
    """
    require_rows_per_class(dataset, 2)
    study = Study(workspace)
    done = study.open(settings.to_json(dataset))
    if len(done) < trials:
        done = _continue(study, done, dataset, workspace, settings, trials, progress)
    best = ranked(done, _KEPT)
    if not best:
        raise TrainingError(
            f"None of {len(done)} trials was completed; the last: {done[-1].reason}",
            mend="Call again with --fresh and another --preset.",
        )
    write_ranking(ranking_path(workspace), best, dataset.digest, settings.seed)
    return done, best


def _continue(
    study: Study,
    done: list[Trial],
    dataset: Dataset,
    workspace: Workspace,
    settings: SearchSettings,
    trials: int,
    progress: Progress,
) -> list[Trial]:
    shape = dataset.competition
    proposer = Proposer(
        settings.seed,
        (shape.height, shape.width, len(shape.classes)),
        settings.max_megamacs,
    )
    proposer.replay(done, progress)
    with progress.task("tune", trials, "trials") as task:
        task.advance(len(done), _best_so_far(done))
        for number in range(len(done), trials):
            _refuse_row_of_failures(done)
            try:
                config = proposer.propose()
            except ConfigurationError:
                if not done:
                    raise
                progress.say(f"tune: the space is exhausted after {len(done)} trials")
                break
            trial = _try(number, config, dataset, workspace, settings, progress)
            proposer.tell(trial.log_loss)
            study.add(trial)
            done = [*done, trial]
            task.advance(1, _best_so_far(done))
            progress.say(_line(trial))
    return done


def _try(
    number: int,
    config: TrainingConfig,
    dataset: Dataset,
    workspace: Workspace,
    settings: SearchSettings,
    progress: Progress,
) -> Trial:
    started = time.monotonic()
    train_rows, held_out_rows = holdout(
        dataset.labels, settings.rows, settings.rows // 2, settings.seed
    )
    bank = Bank(dataset, config.augmentation, settings.seed, workspace)
    bank.ensure(settings.copies, hardware.available_threads(), progress)
    job = TrainingJob(
        name=f"trial {number}",
        config=config,
        train_rows=train_rows,
        held_out_rows=held_out_rows,
        epochs=settings.epochs,
        copies=settings.copies,
        seed=settings.seed,
        predict_test=False,
    )
    try:
        trained = train(job, dataset, bank, workspace.cache / "checkpoints", progress)
    except TrainingError as error:
        return Trial(
            number, config, FAILED, error.message, seconds=round(time.monotonic() - started, 1)
        )
    judged = score(trained.held_out, dataset.labels[held_out_rows])
    remove(trained.checkpoint)
    return Trial(
        number,
        config,
        COMPLETED,
        log_loss=judged.log_loss,
        accuracy=judged.accuracy,
        seconds=round(time.monotonic() - started, 1),
    )


def _refuse_row_of_failures(done: list[Trial]) -> None:
    last = done[-_MOST_FAILURES_IN_A_ROW:]
    if len(last) == _MOST_FAILURES_IN_A_ROW and all(trial.state == FAILED for trial in last):
        raise TrainingError(
            f"The last {_MOST_FAILURES_IN_A_ROW} trials failed; the last: {last[-1].reason}",
            mend="Mend the cause and call again with --fresh.",
        )


def _best_so_far(done: list[Trial]) -> str:
    best = ranked(done, 1)
    return f"best log-loss {best[0].log_loss:.4f}" if best else ""


def _line(trial: Trial) -> str:
    if trial.log_loss is None or trial.accuracy is None:
        return f"trial {trial.number}: failed: {trial.reason}"
    return (
        f"trial {trial.number}: log-loss {trial.log_loss:.4f}, accuracy {trial.accuracy:.4f}, "
        f"{trial.seconds:.0f} s"
    )
