"""`run`: the whole chain, tune → cv-train → blend → check, by the commands' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import SHORTEST, parse_budget, require_budget
from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.files import require_output
from kaggle_digits.records.ranking import ranking_path
from kaggle_digits.shell.cli import load_command
from kaggle_digits.shell.command import Command, Session, command, fresh_option, resource_options
from kaggle_digits.shell.console import Outcome

_SEARCH_SHARE = 0.15
_LEAST_SEARCH = 30.0
"""Seconds; in less, hardly a trial is completed: the time is better spent on members."""

_ENDING = 3.0
_ENDING_PER_IMAGE = 1e-4
"""Seconds of blend and check."""


@command("run", short_help="All of it: tune, cv-train, blend, check.")
@click.option("--trials", type=click.IntRange(1), help="As in tune.  [default: by preset]")
@click.option("--top-k", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--folds", type=click.IntRange(2), help="As in cv-train.  [default: by preset]")
@click.option("--epochs", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--rare", type=click.Choice(names.RARE), help="As in cv-train.")
@resource_options("Trials and members at a time.  [default: one trial; members as in cv-train]")
@click.option(
    "--time-budget",
    help="Plan search and members for this time, as 40m or 1h30m: it ends within it with a "
    f"submission. {SHORTEST:.0f}s or more, and 3s for each 1,000 images.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the submission goes as well as into the workspace.",
)
@fresh_option
def run(
    session: Session,
    *,
    trials: int | None,
    top_k: int | None,
    folds: int | None,
    epochs: int | None,
    rare: str | None,
    workers: int | None,
    threads: int | None,
    cluster: str | None,
    time_budget: str | None,
    output: Path | None,
) -> Outcome:
    """Do all of it: search, train, blend, and check the submission.

    Called again, it goes on from what is complete. With another --preset it searches and trains by
    that one; the study and the members that are there are kept, and taken up again when they are
    asked for.
    """
    from kaggle_digits.core.folds import require_rows_per_class

    if output is not None:
        require_output(output, "--output")
    require_backend()
    preset = session.preset
    time = Deadline(None if time_budget is None else parse_budget(time_budget), session.started)
    dataset = session.dataset()
    images = len(dataset.images) + len(dataset.test_images)
    if time_budget is not None:
        require_budget(time_budget, images)
    # What the members will refuse is refused before a search, which may take the place of another.
    require_rows_per_class(dataset, folds or preset.folds, rare)
    tuned = _search(
        session,
        time,
        strategy=preset.strategy,
        trials=trials or preset.trials,
        workers=workers,
        threads=threads,
        cluster=cluster,
        rare=rare,
        # What would race is trained and scored on all rows right after.
        race=0,
        keep_other=True,
    )
    session.console.say("cv-train: training members")
    ending = _ENDING + _ENDING_PER_IMAGE * images
    trained = _body("cv-train")(
        session,
        top_k=top_k,
        folds=folds,
        epochs=epochs,
        rare=rare,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=time_budget,
        deadline=None if time_budget is None else time.part(time.left - ending),
        instead=() if tuned else _without_ranking(session),
    )
    session.console.say("blend: averaging members")
    blended = _body("blend")(session, output=output)
    checked = _body("check")(session)
    seconds = round(session.seconds, 1)
    return Outcome(
        values={
            "submission": blended.values["submission"],
            "oof_accuracy": blended.values["oof_accuracy"],
            "oof_log_loss": blended.values["oof_log_loss"],
            "oof_accuracy_se": blended.values["oof_accuracy_se"],
            "oof_log_loss_se": blended.values["oof_log_loss_se"],
            "local_accuracy": checked.values["local_accuracy"],
            "members": trained.values["members"],
            "trials": tuned.values["trials"] if tuned else 0,
            "preset": session.preset.name,
            "seed": session.seed,
            "seconds": seconds,
        },
        facts=(tuned.facts if tuned else {"trials": "none in this time"})
        | trained.facts
        | blended.facts
        | checked.facts
        | {"time": duration(seconds)},
        written=(tuned.written if tuned else {}) | blended.written,
        next_command=session.hint("run --preset medium")
        if session.preset.name == "quick"
        else None,
    )


def _search(session: Session, time: Deadline, **options: Any) -> Outcome | None:
    """Search in its share of the time; None if there is too little for a trial."""
    part = None
    if time.seconds is not None:
        part = time.part(time.left * _SEARCH_SHARE)
        if time.seconds * _SEARCH_SHARE < _LEAST_SEARCH:
            least = duration(_LEAST_SEARCH / _SEARCH_SHARE)
            session.console.say(f"tune: nothing is searched in less than {least}")
            return None
    session.console.say("tune: searching configurations")
    try:
        return cast(Outcome, _body("tune")(session, deadline=part, **options))
    except OutOfTimeError:
        session.console.say("tune: no trial was completed in its share of the time")
        return None


def _without_ranking(session: Session) -> tuple[TrainingConfig, ...]:
    """Return what is trained if no search has ranked anything: the first bundled configuration."""
    if ranking_path(session.workspace).exists():
        session.console.say("tune: the best of an earlier search is trained")
        return ()
    session.console.say("tune: the first bundled configuration is trained")
    return (load_portfolio()[0],)


def _body(name: str) -> Any:
    return cast(Command, load_command(name)).body
