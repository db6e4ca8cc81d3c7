"""The command `tune`."""

from __future__ import annotations

import click

from kaggle_digits.ground.ranking import Ranked, ranking_path
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome

_SHOWN = 5


@command("tune", short_help="Search configurations with Keras Tuner.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Configurations to try, the default one first.  [default: by preset]",
)
@click.option(
    "--max-epochs",
    type=click.IntRange(1),
    help="Passes over a trial's rows.  [default: by preset]",
)
def tune(
    session: Session,
    *,
    trials: int | None = None,
    max_epochs: int | None = None,
) -> Outcome:
    """Search depth, filters, dropout and their companions with Keras Tuner.

    Each trial trains for the same fixed number of epochs and is scored by log-loss on the same
    held-out rows. The study and best.json, the ranked distinct configurations, are in the
    workspace's tuning folder. Called again, it goes on; a finished search runs nothing.
    """
    preset = session.preset
    with session.workspace.lock(session.workspace.tuning):
        from tuning.search import SearchSettings, search
        from tuning.study import COMPLETED, Study

        if session.fresh:
            Study(session.workspace).clear()
        dataset = session.dataset()
        epochs = max_epochs or preset.trial_passes(len(dataset.images))
        done, best = search(
            dataset,
            session.workspace,
            SearchSettings(
                epochs=epochs,
                rows=preset.trial_rows,
                copies=min(preset.copies, epochs),
                max_megamacs=preset.max_megamacs,
                seed=session.seed,
            ),
            trials or preset.trials,
            session.console,
        )
    path = ranking_path(session.workspace)
    completed = sum(trial.state == COMPLETED for trial in done)
    return Outcome(
        values={
            "trials": len(done),
            "completed": completed,
            "best": str(path),
            "best_log_loss": best[0].log_loss,
            "best_accuracy": best[0].accuracy,
            "configurations": [entry.config.to_json() for entry in best],
            "seconds": round(session.seconds, 1),
        },
        rows=[_HEADER, *(_row(place, entry) for place, entry in enumerate(best[:_SHOWN], start=1))],
        facts={
            "trials": f"{completed} completed of {len(done)}",
            "best trial": f"log-loss {best[0].log_loss:.4f}, accuracy {best[0].accuracy:.4f} "
            "on its held-out rows (the best of several: flattered)",
        },
        written={"configurations": str(path)},
        next_command=session.hint("cv-train"),
    )


_HEADER = (
    "place", "trial", "log-loss", "accuracy", "family", "depth", "filters", "growth", "kernel",
    "dropout", "learning rate", "augmentation",
)  # fmt: skip


def _row(place: int, entry: Ranked) -> tuple[str, ...]:
    config = entry.config
    return (
        str(place),
        str(entry.trial),
        f"{entry.log_loss:.4f}",
        f"{entry.accuracy:.4f}",
        config.family,
        str(config.depth),
        str(config.filters),
        f"{config.growth:g}",
        str(config.kernel_size),
        f"{config.dropout:g}",
        f"{config.learning_rate:.2g}",
        config.augmentation,
    )
