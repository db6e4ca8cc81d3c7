"""The command `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import SHORTEST, parse_budget
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.files import require_output
from kaggle_digits.records.ranking import Ranked, ranking_path
from kaggle_digits.shell.command import Session, command, fresh_option, resource_options
from kaggle_digits.shell.console import Outcome

if TYPE_CHECKING:
    from kaggle_digits.engine import Resources
    from tuning.study import Study, Trial

from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.ground.figures import accuracy_text

_SHOWN = 5
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
    "than the preset's --top-k, at most a quarter of the trials]",
)
@click.option(
    "--diverse", is_flag=True, help="Order best.json by different errors, not by rank alone."
)
@click.option(
    "--rare", type=click.Choice(names.RARE), help="As in cv-train; a search trains on them."
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
    diverse: bool = False,
    rare: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    show: bool = False,
    export: Path | None = None,
    plot: Path | None = None,
    tensorboard: bool = False,
    keep_other: bool = False,
    deadline: Deadline | None = None,
) -> Outcome:
    """Search families, sizes, learning rates and their companions with Keras Tuner.

    Trials share rows, seed and fixed epochs, and are scored by log-loss on rows held out; then the
    best race on common folds. best.json holds the ranked distinct configurations. The search ends
    when its trials are done, its time is over, or 3 trials in a row fail. Called again, it goes on
    from the last epoch; a finished search runs nothing.
    """
    from tuning.search import usual_resources

    if session.fresh and show:
        raise ConfigurationError(
            "--fresh was given with --show, which begins no study.",
            mend="Leave out --fresh.",
        )
    if export is not None:
        require_output(export, "--export")
    if plot is not None:
        from tuning.plotting import require_plot

        require_plot(plot)
    searches = (
        space_file, trials, max_epochs, time_budget, folds, race, workers, threads, cluster,
        strategy != "hyperband", not portfolio, diverse, session.fresh,
    )  # fmt: skip
    if (export is not None or plot is not None) and not any(
        one not in (None, False) for one in searches
    ):
        # Only to be seen, whatever made it: `run` searches by other settings than these defaults.
        show = show or (session.workspace.tuning / "study.json").exists()
    if not show:
        require_backend()
    if time_budget is not None:
        deadline = Deadline(parse_budget(time_budget), session.started)
    resources = usual_resources(workers, threads, cluster)
    if show:
        # Nothing is held: it can be called while a search runs, and where nothing can be written.
        return _written(session, _show(session), export, plot, tensorboard)
    with session.workspace.lock(session.workspace.tuning):
        from tuning.study import Study

        outcome = _search(
            session,
            Study(session.workspace),
            strategy=strategy,
            space_file=space_file,
            portfolio=portfolio,
            trials=trials,
            epochs=max_epochs,
            deadline=deadline or Deadline(None, session.started),
            folds=folds or 0,
            race=race,
            diverse=diverse,
            rare=rare,
            resources=resources,
            tensorboard=tensorboard,
            keep_other=keep_other,
        )
        return _written(session, outcome, export, plot, tensorboard)


def _search(
    session: Session,
    study: Study,
    *,
    strategy: str,
    space_file: Path | None,
    portfolio: bool,
    trials: int | None,
    epochs: int | None,
    deadline: Deadline,
    folds: int,
    race: int | None,
    diverse: bool,
    rare: str | None,
    resources: Resources,
    tensorboard: bool,
    keep_other: bool,
) -> Outcome:
    from kaggle_digits.ground.config import load_portfolio
    from tuning.board import log_trial
    from tuning.budget import SearchTime
    from tuning.coordination import Goals
    from tuning.narrowing import read_space
    from tuning.search import SearchSettings, search
    from tuning.space import Space
    from tuning.study import COMPLETED
    from tuning.succession import succeeding

    preset, workspace = session.preset, session.workspace
    space = read_space(space_file) if space_file is not None else Space()
    dataset = session.dataset()
    passes = epochs or preset.trial_passes(len(dataset.images))
    wanted = trials if trials is not None or deadline.seconds is not None else preset.trials
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
    logs = workspace.tuning / "tensorboard"
    asked = settings.to_json(dataset)
    with succeeding(
        study, asked, session.console.say, fresh=session.fresh, keep_other=keep_other
    ) as settle:

        def watch(trial: Trial) -> None:
            if trial.state == COMPLETED:
                settle()
            if tensorboard:
                log_trial(trial, logs)

        found = search(
            dataset,
            workspace,
            settings,
            Goals(wanted, racers),
            lambda spent: SearchTime(deadline.seconds, spent, deadline.started, races=racers >= 2),
            session.console,
            resources,
            wants_diverse=diverse,
            rare=rare,
            watcher=watch,
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
            f"{accuracy_text(best[0].accuracy, best[0].accuracy_se, best[0].rows)} {flattered}",
            "searched for": duration(found.seconds),
        },
        written={"configurations": str(path)},
        next_command=session.hint("cv-train"),
    )


def _show(session: Session) -> Outcome:
    from tuning.importance import importances
    from tuning.selection import ranked
    from tuning.showing import table, values
    from tuning.study import Study

    study = Study(session.workspace)
    settings = study.settings()
    trials = study.trials()
    best = ranked(trials, 1)
    facts = {"study": study.heading()}
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


def _written(
    session: Session, outcome: Outcome, export: Path | None, plot: Path | None, tensorboard: bool
) -> Outcome:
    if export is None and plot is None and not tensorboard:
        return outcome
    from tuning import board, plotting, showing
    from tuning.study import Study

    study = Study(session.workspace)
    trials = study.trials()
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
    outcome.values |= {"written": written}
    return outcome


_HEADER = ("place", "trial", "log-loss", "accuracy", "folds", "values")


def _row(place: int, entry: Ranked) -> tuple[str, ...]:
    from tuning.showing import values

    return (
        str(place),
        str(entry.trial),
        f"{entry.log_loss:.4f} ± {entry.log_loss_se:.4f}",
        accuracy_text(entry.accuracy, entry.accuracy_se, entry.rows),
        str(entry.folds or "-"),
        values(entry.config),
    )
