"""`run`: the whole chain, tune → cv-train → blend → check, by the commands' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.ground import names
from kaggle_digits.ground.durations import duration, parse_duration
from kaggle_digits.ground.files import require_output
from kaggle_digits.shell.cli import load_command
from kaggle_digits.shell.command import Command, Session, command, fresh_option, resource_options
from kaggle_digits.shell.console import Outcome
from kaggle_digits.shell.report.command import make_report

_SEARCH_SHARE = 0.15
_TRAINING_SHARE = 0.97
"""Of the time that the search leaves; the rest is for blend and check."""


@command("run", short_help="All of it: tune, cv-train, blend, check.")
@click.option("--trials", type=click.IntRange(1), help="As in tune.  [default: by preset]")
@click.option("--top-k", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--folds", type=click.IntRange(2), help="As in cv-train.  [default: by preset]")
@click.option("--epochs", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--rare", type=click.Choice(names.RARE), help="As in cv-train.")
@resource_options("Trials and members at a time.  [default: one trial; members as in cv-train]")
@click.option(
    "--time-budget",
    help="Plan search and members for this time, as 40m or 1h30m; kept within a tenth.",
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
    """Do all of it: search, train, blend, check the submission, and make the report.

    Called again, it goes on from what is complete. With another --preset it searches and trains by
    that one; the study and the members that are there are kept, and taken up again when they are
    asked for.
    """
    from kaggle_digits.core.folds import require_rows_per_class

    if output is not None:
        require_output(output, "--output")
    require_backend()
    preset = session.preset
    seconds = parse_duration(time_budget) if time_budget is not None else None
    # What the members will refuse is refused before a search, which may take the place of another.
    require_rows_per_class(session.dataset(), folds or preset.folds, rare)
    session.console.say("tune: searching configurations")
    tuned = _body("tune")(
        session,
        strategy=preset.strategy,
        trials=trials or preset.trials,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=_share(seconds, _SEARCH_SHARE),
        rare=rare,
        # What would race is trained and scored on all rows right after.
        race=0,
        keep_other=True,
    )
    session.console.say("cv-train: training members")
    left = None if seconds is None else max(seconds - session.seconds, 1.0)
    trained = _body("cv-train")(
        session,
        top_k=top_k,
        folds=folds,
        epochs=epochs,
        rare=rare,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=_share(left, _TRAINING_SHARE),
    )
    session.console.say("blend: averaging members")
    blended = _body("blend")(session, output=output)
    checked = _body("check")(session)
    page = make_report(session)
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
            "trials": tuned.values["trials"],
            "preset": session.preset.name,
            "seed": session.seed,
            "report": None if page is None else str(page),
            "seconds": seconds,
        },
        facts=tuned.facts
        | trained.facts
        | blended.facts
        | checked.facts
        | {"time": duration(seconds)},
        written=tuned.written | blended.written | ({} if page is None else {"report": str(page)}),
        next_command=session.hint("run --preset medium")
        if session.preset.name == "quick"
        else None,
    )


def _share(seconds: float | None, share: float) -> str | None:
    return None if seconds is None else f"{seconds * share:.0f}s"


def _body(name: str) -> Any:
    return cast(Command, load_command(name)).body
