"""The commands `cv-train` and `blend`."""

from __future__ import annotations

from pathlib import Path

import click

from kaggle_digits.ground.ranking import ranking_path, read_ranking
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome


@command("cv-train", short_help="Train the best configurations by cross-validation.")
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help="Configurations taken from best.json.  [default: by preset]",
)
@click.option("--folds", type=click.IntRange(2), help="Stratified folds.  [default: by preset]")
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the training part.  [default: by preset]"
)
def cv_train(
    session: Session,
    *,
    top_k: int | None = None,
    folds: int | None = None,
    epochs: int | None = None,
) -> Outcome:
    """Train one member per configuration and fold, augmented by albumentations.

    Only the training part is augmented; each member predicts its own fold and the test images as
    they are. Called again, it goes on; finished members are never trained again.
    """
    preset = session.preset
    workspace = session.workspace
    with workspace.lock(workspace.ensembles):
        from ensembles.cross_validation import CrossValidationSettings, cross_validate
        from ensembles.members import MemberStore

        store = MemberStore(workspace)
        if session.fresh:
            store.clear()
        dataset = session.dataset()
        ranking = read_ranking(ranking_path(workspace), dataset.digest)
        wanted = top_k or preset.top_k
        passes = epochs or preset.member_passes(len(dataset.images))
        if len(ranking) < wanted:
            session.console.say(
                f"cv-train: {wanted} configurations asked for, best.json holds {len(ranking)}"
            )
        keys = cross_validate(
            [entry.config for entry in ranking[:wanted]],
            dataset,
            workspace,
            CrossValidationSettings(
                folds=folds or preset.folds,
                epochs=passes,
                copies=min(preset.copies, passes),
                seed=session.seed,
            ),
            session.console,
        )
    return Outcome(
        values={
            "members": len(keys),
            "configurations": len(ranking[:wanted]),
            "folds": folds or preset.folds,
            "names": [key.name for key in keys],
            "path": str(workspace.ensembles / "members"),
            "seconds": round(session.seconds, 1),
        },
        facts={
            "members": f"{len(keys)} ({len(ranking[:wanted])} configurations × "
            f"{folds or preset.folds} folds)"
        },
        written={"members in": str(workspace.ensembles / "members")},
        next_command=session.hint("blend"),
    )


@command("blend", short_help="Average the members into a submission.")
@click.option(
    "--method",
    type=click.Choice(["mean"]),
    default="mean",
    show_default=True,
    help="How members' softmax outputs are joined.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the submission goes as well as into the workspace.",
)
def blend(session: Session, *, method: str = "mean", output: Path | None = None) -> Outcome:
    """Average the members' softmax outputs into a submission.

    Accuracy and log-loss are those of the out-of-fold predictions: each training row is judged by
    the members that never saw it.
    """
    workspace = session.workspace
    with workspace.lock(workspace.ensembles):
        from ensembles.blending import load_members, mean_blend, write_submission
        from ensembles.members import MemberStore
        from kaggle_digits.core.folds import make_folds

        dataset = session.dataset()
        store = MemberStore(workspace)
        settings, keys = store.read_plan()
        folds = make_folds(dataset, settings["folds"], settings["seed"], workspace)
        members, missing = load_members(keys, store, dataset, folds)
        if missing:
            session.console.say(
                f"blend: {len(missing)} of {len(keys)} planned members are not trained yet"
            )
        blended = mean_blend(members, folds, dataset.labels)
        path = write_submission(blended, dataset, folds, workspace, output)
    judged = blended.score
    return Outcome(
        values={
            "submission": str(path),
            "rows": len(dataset.test_ids),
            "method": blended.method,
            "members": len(members),
            "oof_accuracy": judged.accuracy,
            "oof_accuracy_se": judged.accuracy_se,
            "oof_log_loss": judged.log_loss,
            "oof_log_loss_se": judged.log_loss_se,
            "seconds": round(session.seconds, 1),
        },
        facts={
            "OOF accuracy": f"{judged.accuracy:.5f} ± {judged.accuracy_se:.5f}",
            "OOF log-loss": f"{judged.log_loss:.5f} ± {judged.log_loss_se:.5f}",
        },
        written={"submission": f"{path} ({len(dataset.test_ids)} rows)"},
        next_command=session.hint("check"),
    )
