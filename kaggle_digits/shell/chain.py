"""The whole chain, tune → cross_validate → blend → check, by the wings' names."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kaggle_digits.core.hardware import available_threads
from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import parse_budget, require_budget
from kaggle_digits.ground.config import Preset, TrainingConfig, load_portfolio
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.files import require_output
from kaggle_digits.records.ranking import ranking_path
from kaggle_digits.shell.display import Picture, Rows, Shown

if TYPE_CHECKING:
    from ensembles.results import Blended, CrossValidated
    from kaggle_digits.ground.figures import Figure
    from submissions.api import Checked
    from tuning.results import Tuned

_SEARCH_SHARE = 0.15
_LEAST_SEARCH = 30.0
"""Seconds; in less, hardly a trial is completed: the time is better spent on members."""

_ENDING = 3.0
_ENDING_PER_IMAGE = 1e-4
"""Seconds of blend and check."""
_NEIGHBOURS_PER_IMAGE = 2e-3
_NEIGHBOURS_THREADS = 2
_NEIGHBOURS_SHARE = 0.15
"""Seconds of a core that asking neighbours takes, the cores that it keeps busy at most, and the
part of a time budget that it may take."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Ran(Shown):
    """What the whole chain has come to.

    Args:
        tuned: The search; None where the time was too short for one.
        trained: The members.
        blended: The blend; its figures are those of the submission.
        checked: The submission, checked, and scored where the truth is known.
        seconds: What all of it took.
    """

    tuned: Tuned | None
    trained: CrossValidated
    blended: Blended
    checked: Checked
    seconds: float

    @property
    def submission(self) -> Path:
        """The submission's file."""
        return self.blended.submission

    @property
    def oof_accuracy(self) -> float:
        """The blend's accuracy on the training rows, each judged by members that never saw it."""
        return self.blended.oof_accuracy

    @property
    def oof_accuracy_se(self) -> float:
        """Its standard error."""
        return self.blended.oof_accuracy_se

    @property
    def oof_log_loss(self) -> float:
        """The blend's log-loss on the same rows, in nats."""
        return self.blended.oof_log_loss

    @property
    def oof_log_loss_se(self) -> float:
        """Its standard error."""
        return self.blended.oof_log_loss_se

    @property
    def oof_metric(self) -> Figure | None:
        """The blend by what the competition is scored by; None where nobody said."""
        return self.blended.blend.metric

    def facts(self) -> Mapping[str, str]:
        """Return what each step has to say."""
        steps: Sequence[Shown] = (self.trained, self.blended, self.checked)
        facts = dict(self.tuned.facts() if self.tuned else {"trials": "none in this time"})
        facts |= {name: value for step in steps for name, value in step.facts().items()}
        return facts | {"time": duration(self.seconds)}

    def table(self) -> Rows:
        """Return the best configurations."""
        return self.tuned.table() if self.tuned else ()

    def pictures(self) -> Sequence[Picture]:
        """Return the training images that the blend is wrong about with the most confidence."""
        return self.blended.pictures()


def run(
    place: Place,
    preset: Preset,
    seed: int,
    *,
    trials: int | None = None,
    top_k: int | None = None,
    folds: int | None = None,
    epochs: int | None = None,
    rare: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    time_budget: str | float | None = None,
    metric: str | None = None,
    class_weights: str | None = None,
    output: Path | None = None,
    fresh: bool = False,
    started: float | None = None,
) -> Ran:
    """Search, train, blend, and check the submission; called again, it goes on.

    Args:
        place: Gives data and workspace.
        preset: How much is searched and trained, where nothing else is said.
        seed: Fixes all of it.
        trials: As in `tune`.
        top_k: As in `cross_validate`.
        folds: As in `cross_validate`.
        epochs: As in `cross_validate`.
        rare: As in both.
        workers: As in both.
        threads: As in both.
        cluster: As in both.
        time_budget: Seconds, or a text such as `1h30m`, that all of it may take; None for no limit.
        metric: As in `tune` and `blend`.
        class_weights: As in `tune` and `cross_validate`.
        output: A second place for the submission; None for none.
        fresh: Start search and training anew.
        started: `time.monotonic()` at which the time budget began; None for now.

    Raises:
        KaggleDigitsError: What the steps raise.
    """
    from kaggle_digits.core.folds import require_rows_per_class
    from kaggle_digits.records.metric import keep_metric, settle_metric

    started = time.monotonic() if started is None else started
    if output is not None:
        require_output(output, "--output")
    for name, given, least in (
        ("trials", trials, 1), ("top_k", top_k, 1), ("folds", folds, 2), ("epochs", epochs, 1),
        ("workers", workers, 1), ("threads", threads, 1),
    ):  # fmt: skip
        names.require_count(name, given, least)
    budget = None if time_budget is None else parse_budget(time_budget)
    require_backend()
    until = Deadline(budget, started)
    dataset = place.data()
    metric = settle_metric(place.workspace, metric, dataset, fresh=fresh)
    images = len(dataset.images) + len(dataset.test_images)
    if time_budget is not None:
        require_budget(time_budget, images)
    # What the members will refuse is refused before a search, which may take the place of another.
    if dataset.given_folds is None:
        require_rows_per_class(dataset, folds or preset.folds, rare)
    tuned = search(
        place,
        preset,
        seed,
        until,
        strategy=preset.strategy,
        trials=trials or preset.trials,
        top_k=top_k,
        workers=workers,
        threads=threads,
        cluster=cluster,
        rare=rare,
        metric=metric,
        class_weights=class_weights,
        # What would race is trained and scored on all rows right after.
        race=0,
        fresh=fresh,
        keep_other=True,
        started=started,
    )
    instead = () if tuned else without_ranking(place)
    place.progress.say("cv-train: training members")
    ending, asks = _ENDING + _ENDING_PER_IMAGE * images, None
    asking = _NEIGHBOURS_PER_IMAGE * images / min(_NEIGHBOURS_THREADS, available_threads())
    if asking <= _NEIGHBOURS_SHARE * until.left:
        ending += asking
    else:
        asks = False
    trained = _api("ensembles").cross_validate(
        place,
        preset,
        seed,
        config=instead,
        top_k=None if instead else top_k,
        folds=folds,
        epochs=epochs,
        rare=rare,
        class_weights=class_weights,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=time_budget,
        deadline=None if budget is None else until.part(until.left - ending),
        fresh=fresh,
    )
    place.progress.say("blend: averaging members")
    keep_metric(place.workspace, metric)
    blended = _api("ensembles").blend(place, neighbours=asks, metric=metric, output=output)
    # The workspace's own file: what was written to a device cannot be read back.
    checked = _api("submissions").check(place)
    return Ran(
        tuned=tuned,
        trained=trained,
        blended=blended,
        checked=checked,
        seconds=time.monotonic() - started,
    )


def search(place: Place, preset: Preset, seed: int, time: Deadline, **options: Any) -> Tuned | None:
    """Search in its share of the time; None if there is too little for a trial.

    Args:
        place: Gives data and workspace.
        preset: How much is searched, where nothing else is said.
        seed: Fixes the search.
        time: What search and members have together.
        **options: Others of `tune`.

    Raises:
        KaggleDigitsError: What `tune` raises, but that the time was over.
    """
    part = None
    if time.seconds is not None:
        part = time.part(time.left * _SEARCH_SHARE)
        if time.seconds * _SEARCH_SHARE < _LEAST_SEARCH:
            least = duration(_LEAST_SEARCH / _SEARCH_SHARE)
            place.progress.say(f"tune: nothing is searched in less than {least}")
            return None
    place.progress.say("tune: searching configurations")
    try:
        return cast("Tuned", _api("tuning").tune(place, preset, seed, deadline=part, **options))
    except OutOfTimeError:
        place.progress.say("tune: no trial was completed in its share of the time")
        return None


def without_ranking(place: Place) -> tuple[TrainingConfig, ...]:
    """Return what is trained if no search has ranked anything: the first bundled configuration."""
    if ranking_path(place.workspace).exists():
        place.progress.say("tune: the best of an earlier search is trained")
        return ()
    place.progress.say("tune: the first bundled configuration is trained")
    return (load_portfolio(place.data().competition.planes)[0],)


def _api(wing: str) -> Any:
    return importlib.import_module(f"{wing}.api")
