"""The command `run`: the whole chain, tune → cv-train → blend → check."""

from __future__ import annotations

from pathlib import Path

import click

from kaggle_digits.ground.budgets import SHORTEST
from kaggle_digits.shell import chain
from kaggle_digits.shell.command import (
    Session,
    class_weights_option,
    command,
    fresh_option,
    metric_option,
    rare_option,
    resource_options,
    track_option,
)
from kaggle_digits.shell.console import Outcome
from kaggle_digits.shell.report.command import make_report


@command("run", short_help="All of it: tune, cv-train, blend, check.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Configurations that the search tries.  [default: by preset]",
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help="Best configurations that become members.  [default: by preset]",
)
@click.option("--folds", type=click.IntRange(2), help="Stratified folds.  [default: by preset]")
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Passes over the training part, for each member.  [default: by preset]",
)
@metric_option
@class_weights_option
@rare_option
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
@track_option
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
    metric: str | None,
    class_weights: str | None,
    output: Path | None,
) -> Outcome:
    """Do all of it: search, train, blend, check the submission, and make the report.

    Called again, it goes on from what is complete. With another --preset it searches and trains by
    that one; the study and the members that are there are kept, and taken up again when they are
    asked for.
    """
    ran = chain.run(
        session.place,
        session.preset,
        session.seed,
        trials=trials,
        top_k=top_k,
        folds=folds,
        epochs=epochs,
        rare=rare,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=time_budget,
        metric=metric,
        class_weights=class_weights,
        output=output,
        fresh=session.fresh,
        started=session.started,
    )
    blended, local = ran.blended, ran.checked.local
    page = make_report(session)
    return Outcome(
        values={
            "submission": str(ran.submission),
            "oof_accuracy": ran.oof_accuracy,
            "oof_log_loss": ran.oof_log_loss,
            "oof_accuracy_se": ran.oof_accuracy_se,
            "oof_log_loss_se": ran.oof_log_loss_se,
            "oof_metric": None if ran.oof_metric is None else ran.oof_metric.to_json(),
            "local_accuracy": None if local is None else local.accuracy,
            "members": len(ran.trained.keys),
            "trials": len(ran.tuned.trials) if ran.tuned else 0,
            "preset": session.preset.name,
            "seed": session.seed,
            "report": None if page is None else str(page),
            "seconds": round(session.seconds, 1),
        },
        facts=dict(ran.facts()),
        written=({"configurations": str(ran.tuned.path)} if ran.tuned else {})
        | {"submission": f"{ran.submission} ({len(blended.dataset.test_ids)} rows)"}
        | ({} if page is None else {"report": str(page)}),
        next_command=session.hint("run --preset medium")
        if session.preset.name == "quick"
        else None,
    )
