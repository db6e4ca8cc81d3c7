"""`run`: the whole chain, tune → cv-train → blend → check, by the commands' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from kaggle_digits.ground.config import RARE
from kaggle_digits.ground.durations import parse_duration
from kaggle_digits.shell.cli import load_command
from kaggle_digits.shell.command import Command, Session, command
from kaggle_digits.shell.console import Outcome, duration

_SEARCH_SHARE = 0.15
_TRAINING_SHARE = 0.97
"""Of the time that the search leaves; the rest is for blend and check."""


@command("run", short_help="All of it: tune, cv-train, blend, check.")
@click.option("--trials", type=click.IntRange(1), help="As in tune.  [default: by preset]")
@click.option("--top-k", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--folds", type=click.IntRange(2), help="As in cv-train.  [default: by preset]")
@click.option("--epochs", type=click.IntRange(1), help="As in cv-train.  [default: by preset]")
@click.option("--rare", type=click.Choice(RARE), help="As in cv-train.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Trials and members trained at a time.  [default: one trial; members as in cv-train]",
)
@click.option(
    "--time-budget",
    help="Plan search and members for this time, as 40m or 1h30m; kept within a tenth.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the submission goes as well as into the workspace.",
)
def run(
    session: Session,
    *,
    trials: int | None,
    top_k: int | None,
    folds: int | None,
    epochs: int | None,
    rare: str | None,
    workers: int | None,
    time_budget: str | None,
    output: Path | None,
) -> Outcome:
    """Do all of it: search, train, blend, and check the submission.

    Called again, it goes on from what is complete.
    """
    from kaggle_digits.core.folds import require_rows_per_class

    preset = session.preset
    seconds = parse_duration(time_budget) if time_budget is not None else None
    # What the members will refuse is refused before the search.
    require_rows_per_class(session.dataset(), folds or preset.folds, rare)
    session.console.say("tune: searching configurations")
    tuned = _body("tune")(
        session,
        strategy=preset.strategy,
        trials=trials or preset.trials,
        workers=workers,
        time_budget=_share(seconds, _SEARCH_SHARE),
        rare=rare,
        # What would race is trained and scored on all rows right after.
        race=0,
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
        time_budget=_share(left, _TRAINING_SHARE),
    )
    session.console.say("blend: averaging members")
    blended = _body("blend")(session, output=output)
    submission = Path(blended.values["submission"])
    checked = _body("check")(session, file=submission)
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
            "seconds": seconds,
        },
        facts=tuned.facts
        | trained.facts
        | blended.facts
        | checked.facts
        | {"time": duration(seconds)},
        written=tuned.written | blended.written,
        next_command=session.hint("run --preset medium --fresh")
        if session.preset.name == "quick"
        else None,
    )


def _share(seconds: float | None, share: float) -> str | None:
    return None if seconds is None else f"{seconds * share:.0f}s"


def _body(name: str) -> Any:
    return cast(Command, load_command(name)).body
