"""Searching in Python: typed functions that return values and print nothing.

place = Place(Workspace(Path("workspace")), lambda: dataset, Silent())
tuned = tune(place, load_presets()["quick"], 0, trials=4)
tuned.leader.log_loss, tuned.leader.log_loss_se
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import parse_budget
from kaggle_digits.ground.calls import typed
from kaggle_digits.ground.config import Preset, load_portfolio
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.files import require_output
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import ranking_path
from tuning.results import Study, Tuned

if TYPE_CHECKING:
    from kaggle_digits.engine import Resources
    from tuning.search import Found
    from tuning.study import Trial


def tune(
    place: Place,
    preset: Preset,
    seed: int,
    *,
    strategy: str = "hyperband",
    space: Path | None = None,
    portfolio: bool = True,
    trials: int | None = None,
    max_epochs: int | None = None,
    time_budget: str | float | None = None,
    folds: int | None = None,
    race: int | None = None,
    diverse: bool | None = None,
    top_k: int | None = None,
    rare: str | None = None,
    metric: str | None = None,
    class_weights: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    export: Path | None = None,
    plot: Path | None = None,
    tensorboard: bool = False,
    fresh: bool = False,
    keep_other: bool = False,
    started: float | None = None,
    deadline: Deadline | None = None,
) -> Tuned:
    """Search configurations; called again, it goes on.

    Args:
        place: Gives data and workspace.
        preset: How much is searched, where nothing else is said.
        seed: Fixes proposals, held-out rows and trainings.
        strategy: Which oracle proposes, one of `names.STRATEGIES`.
        space: A TOML file that narrows the space; None for all of it.
        portfolio: Try the bundled configurations first.
        trials: Trials of the study, failed ones included; None for the preset's, or for as many as
            fit into the time budget.
        max_epochs: Passes over a whole trial's rows; None for the preset's.
        time_budget: Seconds, or a text such as `20m`, after which it ends with what is complete;
            None for no limit.
        folds: Score trials on so many folds; None for one fixed holdout.
        race: Best configurations that are scored again fold by fold; None for what suits.
        diverse: Put those first whose average is the best, `top_k` of them, each in the order of
            what it adds, not by rank alone; None for as in the preset.
        top_k: How many will be trained; None for the preset's number.
        rare: What to do with classes too rare to hold out some of, one of `names.RARE`.
        metric: What the competition is scored by, one of `names.METRICS`: those of `names.RANKING`
            rank trials and choose how to blend, for the others log-loss does. None for what the
            workspace keeps, at first accuracy and log-loss.
        class_weights: How much rows of each class count, one of `names.CLASS_WEIGHTS`; None for all
            the same, or what a space file says.
        workers: Trials at a time on this machine; None for one.
        threads: Threads each computes with; None for all cores' share.
        cluster: Address of a Ray cluster; None for this machine alone.
        export: A CSV file for the trials.
        plot: A PNG file for a plot of the study; a page goes beside it.
        tensorboard: Log trials for TensorBoard, in the workspace.
        fresh: Start anew; the study that is there goes once a trial is completed.
        keep_other: Keep a study of another preset that is there, instead of refusing.
        started: `time.monotonic()` at which the time budget began; None for now.
        deadline: When to end, in the place of a time budget; None for none.

    Raises:
        OutOfTimeError: The time was over before the first trial was completed.
        ConfigurationError: A value is out of its range or unknown, or no configuration is within
            the limits.
        DataError: A class has too few rows.
        ArtefactError: The study that is there has other settings; or cannot be written.
        InUseError: Another process searches in this workspace.
        TrainingError: Too many trials in a row failed.
    """
    started = time.monotonic() if started is None else started
    _require_outputs(export, plot)
    names.require_known("strategy", strategy, names.STRATEGIES)
    if class_weights is not None:
        names.require_known("class_weights", class_weights, names.CLASS_WEIGHTS)
    if rare is not None:
        names.require_known("rare", rare, names.RARE)
    for name, given, least in (
        ("trials", trials, 1), ("max_epochs", max_epochs, 1), ("folds", folds, 2),
        ("race", race, 0), ("top_k", top_k, 1), ("workers", workers, 1), ("threads", threads, 1),
    ):  # fmt: skip
        names.require_count(name, given, least)
    if time_budget is not None:
        deadline = Deadline(parse_budget(time_budget), started)
    require_backend()
    from tuning.search import usual_resources

    resources = usual_resources(workers, threads, cluster)
    workspace = place.workspace
    with workspace.lock(workspace.tuning):
        found = _search(
            place,
            preset,
            seed,
            strategy=strategy,
            space=space,
            portfolio=portfolio,
            trials=trials,
            max_epochs=max_epochs,
            deadline=deadline or Deadline(None, started),
            folds=folds or 0,
            race=race,
            diverse=diverse,
            top_k=top_k,
            rare=rare,
            metric=metric,
            class_weights=class_weights,
            resources=resources,
            tensorboard=tensorboard,
            fresh=fresh,
            keep_other=keep_other,
        )
        found_files = _written(workspace, export, plot, tensorboard)
    tuned = Tuned(
        trials=tuple(found.trials),
        best=tuple(found.best),
        rejected=found.rejected,
        raced=found.raced,
        strategy=strategy,
        path=ranking_path(workspace),
        written=found_files,
        seconds=found.seconds,
    )
    place.track(tuned.event(preset.name, seed))
    return tuned


def show(
    workspace: Workspace,
    *,
    export: Path | None = None,
    plot: Path | None = None,
    tensorboard: bool = False,
) -> Study:
    """Return a workspace's study as it is; nothing is held and nothing trained.

    Args:
        workspace: Where it is.
        export: A CSV file for the trials.
        plot: A PNG file for a plot of the study; a page goes beside it.
        tensorboard: Log trials for TensorBoard, in the workspace.

    Raises:
        ArtefactError: There is none, or it is broken.
        ConfigurationError: A file cannot be written there.
    """
    _require_outputs(export, plot)
    from tuning import study as studies
    from tuning.importance import importances
    from tuning.selection import ranked

    study = studies.StudyOnDisk(workspace)
    settings = study.settings()
    trials = study.trials()
    best = ranked(trials, 1)
    found, heading = importances(trials), study.heading()
    return Study(
        settings=settings,
        heading=heading,
        trials=tuple(trials),
        best=best[0] if best else None,
        importances=found,
        written=_written(workspace, export, plot, tensorboard),
    )


def _search(
    place: Place,
    preset: Preset,
    seed: int,
    *,
    strategy: str,
    space: Path | None,
    portfolio: bool,
    trials: int | None,
    max_epochs: int | None,
    deadline: Deadline,
    folds: int,
    race: int | None,
    diverse: bool | None,
    top_k: int | None,
    rare: str | None,
    metric: str | None,
    class_weights: str | None,
    resources: Resources,
    tensorboard: bool,
    fresh: bool,
    keep_other: bool,
) -> Found:
    from kaggle_digits.records.metric import keep_metric, settle_metric
    from tuning.board import log_trial
    from tuning.coordination import Goals
    from tuning.narrowing import read_space
    from tuning.search import SearchSettings, search
    from tuning.space import Space
    from tuning.study import COMPLETED, StudyOnDisk
    from tuning.succession import succeeding

    searched = read_space(space) if space is not None else Space()
    dataset = place.data()
    scored_by = settle_metric(place.workspace, metric, dataset, fresh=fresh)
    planes = dataset.competition.planes
    searched = searched if planes == 1 else searched.in_colour()
    well_tried = load_portfolio(planes) if portfolio else []
    if class_weights is not None:
        searched = searched.fixed("class_weights", class_weights)
        well_tried = [replace(config, class_weights=class_weights) for config in well_tried]
    passes = max_epochs or preset.trial_passes(len(dataset.images))
    wanted = trials if trials is not None or deadline.seconds is not None else preset.trials
    wants_diverse = preset.diverse if diverse is None else diverse
    trained = top_k or preset.top_k
    racers = trained + 2 if race is None else race
    if race is None and wanted is not None:
        racers = min(racers, wanted // 4)
    settings = SearchSettings(
        epochs=passes,
        rows=preset.trial_rows,
        copies=min(preset.copies, passes),
        max_megamacs=preset.max_megamacs,
        seed=seed,
        strategy=strategy,
        folds=folds,
        space=searched,
        portfolio=tuple(well_tried),
        metric=scored_by if scored_by in names.RANKING else None,
    )
    call = typed(
        "tune",
        {
            "preset": preset.name, "seed": seed, "strategy": strategy, "space": space,
            "no_portfolio": not portfolio, "max_epochs": max_epochs, "folds": folds or None,
            "race": racers, "top_k": top_k, "diverse": diverse is True, "by_rank": diverse is False,
            "rare": rare, "metric": scored_by, "class_weights": class_weights,
        },
    )  # fmt: skip
    logs = place.workspace.tuning / "tensorboard"
    with succeeding(
        StudyOnDisk(place.workspace),
        settings.to_json(dataset),
        place.progress.say,
        fresh=fresh,
        keep_other=keep_other,
    ) as settle:

        def watch(trial: Trial) -> None:
            if trial.state == COMPLETED:
                settle()
                keep_metric(place.workspace, scored_by)
            if tensorboard:
                log_trial(trial, logs)

        return search(
            dataset,
            place.workspace,
            settings,
            Goals(wanted, racers),
            deadline,
            place.progress,
            resources,
            averaged=trained if wants_diverse else 0,
            rare=rare,
            watcher=watch,
            call=call,
        )


def _require_outputs(export: Path | None, plot: Path | None) -> None:
    if export is not None:
        require_output(export, "--export")
    if plot is not None:
        from tuning.plotting import require_plot

        require_plot(plot)


def _written(
    workspace: Workspace, export: Path | None, plot: Path | None, tensorboard: bool
) -> dict[str, Path]:
    if export is None and plot is None and not tensorboard:
        return {}
    from tuning import board, plotting, showing
    from tuning.study import StudyOnDisk

    study = StudyOnDisk(workspace)
    trials = study.trials()
    written: dict[str, Path] = {}
    if export is not None:
        showing.export(trials, export)
        written["trials"] = export
    if plot is not None:
        written["plot"], written["page"] = plotting.plot(trials, plot)
    if tensorboard:
        logs = study.folder / "tensorboard"
        for trial in trials:
            board.log_trial(trial, logs)
        written["TensorBoard logs in"] = logs
    return written
