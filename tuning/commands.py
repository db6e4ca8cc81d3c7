"""The command `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaggle_digits.ground.durations import parse_duration
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.ranking import Ranked, ranking_path
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome, duration

if TYPE_CHECKING:
    from tuning.study import Study, Trial

_SHOWN = 5
_FILE = click.Path(path_type=Path, dir_okay=False)


@command("tune", short_help="Search configurations with Keras Tuner.")
@click.option(
    "--strategy",
    type=click.Choice(["hyperband", "bayesian", "random", "grid"]),
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
@click.option("--time-budget", help="End after this time with what is complete, as 20m or 1h30m.")
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="Score trials on so many folds.  [default: one fixed holdout]",
)
@click.option(
    "--race",
    type=click.IntRange(0),
    help="Best configurations that are scored again fold by fold; 0 for none.  [default: two more "
    "than the preset's --top-k, at most a quarter of the trials]",
)
@click.option(
    "--diverse", is_flag=True, help="Order best.json by different errors, not by rank alone."
)
@click.option("--workers", type=click.IntRange(1), help="Processes here, each with its cores.")
@click.option("--chief", metavar="HOST:PORT", help="Serve this search to workers elsewhere.")
@click.option("--worker", metavar="HOST:PORT", help="Work for the chief that serves there.")
@click.option("--show", is_flag=True, help="Show the study as it is; train nothing.")
@click.option("--export", type=_FILE, help="Write the study's trials to this CSV file.")
@click.option("--plot", type=_FILE, help="Draw the study into this PNG file, and HTML beside it.")
@click.option("--tensorboard", is_flag=True, help="Log trials for TensorBoard.")
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
    diverse: bool = False,
    workers: int | None = None,
    chief: str | None = None,
    worker: str | None = None,
    show: bool = False,
    export: Path | None = None,
    plot: Path | None = None,
    tensorboard: bool = False,
) -> Outcome:
    """Search families, sizes, learning rates and their companions with Keras Tuner.

    Trials share rows, seed and fixed epochs, and are scored by log-loss on rows held out; then the
    best race on common folds. best.json holds the ranked distinct configurations. The search ends
    when its trials are done, its time is over, or 3 trials in a row fail. Called again, it goes on
    from the last epoch; a finished search runs nothing.
    """
    if worker is not None:
        if chief is not None or workers is not None or show:
            raise ConfigurationError(
                "--worker was given with --chief, --workers or --show; a worker only does what "
                "its chief says.",
                mend="Give --worker alone, with --data and --workspace.",
            )
        return _work(session, worker)
    seconds = parse_duration(time_budget) if time_budget is not None else None
    with session.workspace.lock(session.workspace.tuning):
        from tuning.study import Study

        study = Study(session.workspace)
        if show:
            outcome = _show(session, study)
        else:
            if session.fresh:
                study.clear()
            outcome = _search(
                session,
                strategy=strategy,
                space_file=space_file,
                portfolio=portfolio,
                trials=trials,
                epochs=max_epochs,
                seconds=seconds,
                folds=folds or 0,
                race=race,
                diverse=diverse,
                workers=workers,
                chief=chief,
                tensorboard=tensorboard,
            )
        _write(study, outcome, export, plot, tensorboard)
    return outcome


def _search(
    session: Session,
    *,
    strategy: str,
    space_file: Path | None,
    portfolio: bool,
    trials: int | None,
    epochs: int | None,
    seconds: float | None,
    folds: int,
    race: int | None,
    diverse: bool,
    workers: int | None,
    chief: str | None,
    tensorboard: bool,
) -> Outcome:
    from kaggle_digits.ground.config import load_portfolio
    from tuning.board import log_trial
    from tuning.budget import Budget
    from tuning.coordination import Goals
    from tuning.crew import Crew
    from tuning.distribution import parse_address
    from tuning.narrowing import read_space
    from tuning.search import SearchSettings, search
    from tuning.space import Space

    preset, workspace = session.preset, session.workspace
    address = parse_address(chief, "--chief") if chief is not None else None
    space = read_space(space_file) if space_file is not None else Space()
    dataset = session.dataset()
    passes = epochs or preset.trial_passes(len(dataset.images))
    wanted = trials if trials is not None or seconds is not None else preset.trials
    racers = preset.top_k + 2 if race is None else race
    if race is None and wanted is not None:
        racers = min(racers, wanted // 4)
    settings = SearchSettings(
        epochs=passes,
        rows=preset.trial_rows,
        copies=min(preset.copies, passes),
        max_megamacs=preset.max_megamacs,
        seed=session.seed,
        strategy=strategy,
        folds=folds,
        space=space,
        portfolio=tuple(load_portfolio()) if portfolio else (),
    )
    staff = None
    if workers is not None or address is not None:
        staff = Crew(dataset, settings.scoring, session.data, workspace, workers or 0, address)
    logs = workspace.tuning / "tensorboard"
    found = search(
        dataset,
        workspace,
        settings,
        Goals(wanted, racers),
        lambda spent: Budget(seconds, spent, session.started, races=racers >= 2),
        session.console,
        staff,
        wants_diverse=diverse,
        watcher=(lambda trial: log_trial(trial, logs)) if tensorboard else None,
    )
    path = ranking_path(workspace)
    best = found.best
    completed = [trial for trial in found.trials if trial.log_loss is not None]
    flattered = (
        f"on the race's {best[0].rows} rows" if best[0].folds
        else "on its held-out rows (the best of several: flattered)"
    )  # fmt: skip
    return Outcome(
        values={
            "trials": len(found.trials),
            "completed": len(completed),
            "rejected": found.rejected,
            "raced": found.raced,
            "strategy": strategy,
            "best": str(path),
            "best_log_loss": best[0].log_loss,
            "best_log_loss_se": best[0].log_loss_se,
            "best_accuracy": best[0].accuracy,
            "configurations": [entry.config.to_json() for entry in best],
            "seconds": round(session.seconds, 1),
        },
        rows=[_HEADER, *(_row(place, entry) for place, entry in enumerate(best[:_SHOWN], start=1))],
        facts={
            "trials": f"{len(completed)} completed of {len(found.trials)}; "
            f"{found.rejected} configurations rejected (too dear, or tried before)",
            "best": f"log-loss {best[0].log_loss:.4f} ± {best[0].log_loss_se:.4f}, accuracy "
            f"{best[0].accuracy:.4f} {flattered}",
            "searched for": duration(found.seconds),
        },
        written={"configurations": str(path)},
        next_command=session.hint("cv-train"),
    )


def _work(session: Session, address: str) -> Outcome:
    import os
    import socket

    from tuning.crew import bank_lock
    from tuning.distribution import Worker, parse_address
    from tuning.scoring import Scorer

    host, port = parse_address(address, "--worker")
    dataset = session.dataset()
    done = Worker(
        host,
        port,
        f"{socket.gethostname()}-{os.getpid()}",
        dataset.digest,
        lambda settings: Scorer(
            dataset, session.workspace, settings, lambda: bank_lock(session.workspace)
        ),
        session.console,
    ).work()
    return Outcome(
        values={"worked_for": address, "units": done, "seconds": round(session.seconds, 1)},
        facts={"worked for": f"{address}: {done} trainings"},
    )


def _show(session: Session, study: Study) -> Outcome:
    from tuning.importance import importances
    from tuning.selection import ranked
    from tuning.showing import table, values

    settings = study.settings()
    trials = study.trials()
    best = ranked(trials, 1)
    facts = {
        "study": f"{settings['strategy']}, {settings['epochs']} epochs, seed {settings['seed']}"
    }
    if best:
        facts["best trial"] = (
            f"{best[0].trial}: log-loss {best[0].log_loss:.4f} ± {best[0].log_loss_se:.4f}, "
            f"{values(best[0].config)}"
        )
    drawing = []
    found = importances(trials)
    if found is not None:
        facts["importances"] = (
            "drop of the out-of-bag R² of a random forest on log(log-loss) when a value is "
            f"permuted; R² {found.fit:.2f} on {found.trials} trials"
            + ("; too little to rely on" if found.is_weak else "")
        )
        longest = max(len(name) for name, _ in found.shares)
        most = max(found.shares[0][1], 1e-9)
        drawing = [
            f"{name:<{longest}}  {share:6.3f}  {'█' * round(24 * max(share, 0) / most)}"
            for name, share in found.shares
        ]
    return Outcome(
        values={
            "settings": settings,
            "trials": [trial.to_json() | {"digest": trial.config.digest} for trial in trials],
            "importances": dict(found.shares) if found else {},
        },
        rows=table(trials),
        drawing=drawing,
        facts=facts,
        next_command=session.hint("cv-train") if best else session.hint("tune"),
    )


def _write(
    study: Study, outcome: Outcome, export: Path | None, plot: Path | None, tensorboard: bool
) -> None:
    from tuning import board, plotting, showing

    trials: list[Trial] = study.trials()
    written: dict[str, Any] = {}
    if export is not None:
        showing.export(trials, export)
        written["trials"] = str(export)
    if plot is not None:
        picture, page = plotting.plot(trials, plot)
        written |= {"plot": str(picture), "page": str(page)}
    if tensorboard:
        logs = study.folder / "tensorboard"
        for trial in trials:
            board.log_trial(trial, logs)
        written["TensorBoard logs in"] = str(logs)
    outcome.written |= written
    outcome.values |= {"written": written} if written else {}


_HEADER = (
    "place", "trial", "log-loss", "accuracy", "folds", "family", "depth", "filters", "growth",
    "kernel", "dropout", "learning rate", "augmentation",
)  # fmt: skip


def _row(place: int, entry: Ranked) -> tuple[str, ...]:
    config = entry.config
    return (
        str(place),
        str(entry.trial),
        f"{entry.log_loss:.4f} ± {entry.log_loss_se:.4f}",
        f"{entry.accuracy:.4f}",
        str(entry.folds or "-"),
        config.family,
        str(config.depth),
        str(config.filters),
        f"{config.growth:g}",
        str(config.kernel_size),
        f"{config.dropout:g}",
        f"{config.learning_rate:.2g}",
        config.inputs,
    )
