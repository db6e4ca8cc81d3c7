"""The command `tune`."""

from __future__ import annotations

from pathlib import Path

import click

from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import SHORTEST
from kaggle_digits.ground.events import ignore
from kaggle_digits.shell.command import (
    Session,
    command,
    fresh_option,
    metric_option,
    resource_options,
    track_option,
)
from kaggle_digits.shell.console import Outcome
from tuning import api
from tuning.results import Study, Tuned

_FILE = click.Path(path_type=Path, dir_okay=False)


@command("tune", short_help="Search configurations with Keras Tuner.")
@click.option(
    "--strategy",
    type=click.Choice(names.STRATEGIES),
    default="hyperband",
    show_default=True,
    help="Which of Keras Tuner's oracles proposes.",
)
@click.option("--space", "space_file", type=_FILE, help="TOML file that narrows the space.")
@click.option(
    "--portfolio/--no-portfolio",
    default=True,
    show_default=True,
    help="Try the bundled, well-tried configurations first.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Trials of the study, failed ones included.  [default: by preset; with --time-budget as "
    "many as fit]",
)
@click.option(
    "--max-epochs",
    type=click.IntRange(1),
    help="Passes over a whole trial's rows; hyperband's early rounds have fewer.  [default: by "
    "preset]",
)
@click.option(
    "--time-budget",
    help=f"End after this time with what is complete, as 20m or 1h30m; {SHORTEST:.0f}s or more.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="Score trials on so many folds.  [default: one fixed holdout]",
)
@click.option(
    "--race",
    type=click.IntRange(0),
    help="Best configurations that are scored again fold by fold; 0 for none.  [default: two more "
    "than --top-k, at most a quarter of the trials]",
)
@click.option(
    "--diverse/--by-rank",
    default=None,
    help="Put those first in best.json whose average is the best, --top-k of them, each in the "
    "order of what it adds, or order by rank alone.  [default: as in the preset]",
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help="How many cv-train shall take of it.  [default: by preset]",
)
@click.option(
    "--rare", type=click.Choice(names.RARE), help="As in cv-train; a search trains on them."
)
@metric_option
@click.option(
    "--class-weights",
    type=click.Choice(names.CLASS_WEIGHTS),
    help="As in cv-train, for all trials.",
)
@resource_options("Trials trained at a time.  [default: 1, with all cores]")
@click.option("--show", is_flag=True, help="Show the study as it is; train nothing.")
@click.option(
    "--export",
    type=_FILE,
    help="Write the trials of the study to this CSV file: of the one that is there, unless "
    "another option asks for a search.",
)
@click.option(
    "--plot",
    type=_FILE,
    help="Draw it into this PNG file, and HTML beside it; of which study, as with --export.",
)
@click.option("--tensorboard", is_flag=True, help="Log trials for TensorBoard.")
@track_option
@fresh_option
def tune(
    session: Session,
    *,
    strategy: str = "hyperband",
    space_file: Path | None = None,
    portfolio: bool = True,
    trials: int | None = None,
    max_epochs: int | None = None,
    time_budget: str | None = None,
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
    show: bool = False,
    export: Path | None = None,
    plot: Path | None = None,
    tensorboard: bool = False,
) -> Outcome:
    """Search families, sizes, learning rates and their companions with Keras Tuner.

    Trials share rows, seed and fixed epochs, and are scored on rows held out, by log-loss or by
    --metric; then the best race on common folds, where there are enough. best.json holds the ranked
    distinct configurations. The search ends when its trials are done, its time is over, or 3 trials
    in a row fail. Called again, it goes on from the last epoch; a finished search runs nothing.
    """
    values = {
        "--space": space_file, "--trials": trials, "--max-epochs": max_epochs,
        "--time-budget": time_budget, "--folds": folds, "--race": race,
        "--by-rank" if diverse is False else "--diverse": diverse, "--rare": rare, "--top-k": top_k,
        "--metric": metric, "--class-weights": class_weights, "--workers": workers,
        "--threads": threads, "--cluster": cluster,
    }  # fmt: skip
    searches = {name: value is not None for name, value in values.items()} | {
        "--strategy": strategy != "hyperband",
        "--no-portfolio": not portfolio,
        "--track": session.track is not ignore,
        "--fresh": session.fresh,
    }
    if show:
        names.require_apart("--show", "begins no study", searches)
    if (export is not None or plot is not None) and not any(searches.values()):
        # Only to be seen, whatever made it: `run` searches by other settings than these defaults.
        show = show or (session.workspace.tuning / "study.json").exists()
    if show:
        return _show(
            session,
            api.show(session.workspace, export=export, plot=plot, tensorboard=tensorboard),
        )
    found = api.tune(
        session.place,
        session.preset,
        session.seed,
        strategy=strategy,
        space=space_file,
        portfolio=portfolio,
        trials=trials,
        max_epochs=max_epochs,
        time_budget=time_budget,
        folds=folds,
        race=race,
        diverse=diverse,
        top_k=top_k,
        rare=rare,
        metric=metric,
        class_weights=class_weights,
        workers=workers,
        threads=threads,
        cluster=cluster,
        export=export,
        plot=plot,
        tensorboard=tensorboard,
        fresh=session.fresh,
        started=session.started,
    )
    best = found.leader
    return Outcome(
        values={
            "trials": len(found.trials),
            "completed": found.completed,
            "rejected": found.rejected,
            "raced": found.raced,
            "strategy": strategy,
            "best": str(found.path),
            "best_log_loss": best.log_loss,
            "best_log_loss_se": best.log_loss_se,
            "best_accuracy": best.accuracy,
            "best_metric": None if best.metric is None else best.metric.to_json(),
            "configurations": [entry.config.to_json() for entry in found.best],
            "seconds": round(session.seconds, 1),
        }
        | _written(found),
        rows=found.table(),
        facts=dict(found.facts()),
        written={"configurations": str(found.path)} | _paths(found),
        next_command=session.hint(_training(session, top_k)),
    )


def _training(session: Session, top_k: int | None = None) -> str:
    """Return the call that trains what was found, as much as was asked for here."""
    words = "cv-train"
    if session.preset.name != names.PRESETS[0]:
        words += f" --preset {session.preset.name}"
    if session.seed:
        words += f" --seed {session.seed}"
    return words if top_k is None else f"{words} --top-k {top_k}"


def _show(session: Session, study: Study) -> Outcome:
    drawing = []
    found = study.importances
    if found is not None:
        longest = max(len(name) for name, _ in found.shares)
        most = max(found.shares[0][1], 1e-9)
        drawing = [
            f"{name:<{longest}}  {share:6.3f}  {'█' * round(24 * max(share, 0) / most)}"
            for name, share in found.shares
        ]
    return Outcome(
        values={
            "settings": study.settings,
            "trials": [trial.to_json() | {"digest": trial.config.digest} for trial in study.trials],
            "importances": dict(found.shares) if found else {},
        }
        | _written(study),
        rows=study.table(),
        drawing=drawing,
        facts=dict(study.facts()),
        written=_paths(study),
        next_command=session.hint(_training(session)) if study.best else session.hint("tune"),
    )


def _written(found: Tuned | Study) -> dict[str, dict[str, str]]:
    return {"written": _paths(found)} if found.written else {}


def _paths(found: Tuned | Study) -> dict[str, str]:
    return {name: str(path) for name, path in found.written.items()}
