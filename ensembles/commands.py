"""The commands `cv-train`, `members`, `blend`, `predict` and `distil`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ensembles import api
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import SHORTEST
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


@command("cv-train", short_help="Train the best configurations by cross-validation.")
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help="Configurations taken from best.json.  [default: by preset]",
)
@click.option(
    "--config",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A configuration in a TOML or JSON file, instead of best.json; can be repeated.",
)
@click.option("--folds", type=click.IntRange(2), help="Stratified folds.  [default: by preset]")
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the training part.  [default: by preset]"
)
@click.option(
    "--seeds", type=click.IntRange(1, 100), help="Trainings of each configuration.  [default: 1]"
)
@click.option("--add", is_flag=True, help="Add to the planned members instead of planning anew.")
@click.option("--keep-weights", is_flag=True, help="Keep the networks, for `predict`.")
@resource_options(
    "Members trained at a time.  [default: 1 to 4 for each GPU, else one a core up to 8; on "
    "small data one, or one for each GPU]"
)
@click.option(
    "--time-budget",
    help=f"Train as many whole fold sets as fit, as in 1h30m, 40m, 90s; {SHORTEST:.0f}s or more, "
    "and 3s for each 1,000 images.",
)
@click.option(
    "--pseudo-label",
    is_flag=True,
    help="Train once more with test predictions as labels, fold-safe.",
)
@click.option(
    "--pseudo-threshold", type=float, help="Least probability of such a label.  [default: 0.01]"
)
@click.option(
    "--pseudo-share",
    type=float,
    help="Part of the test images at most, the most confident first.  [default: 1.0]",
)
@click.option("--pseudo-rounds", type=click.IntRange(1, 10), help="How many times.  [default: 1]")
@click.option(
    "--pseudo-targets",
    type=click.Choice(names.PSEUDO_TARGETS),
    help="The probabilities, or the class alone.  [default: soft]",
)
@click.option(
    "--refit",
    type=click.IntRange(0, 100),
    metavar="N",
    help="Train so many members on all rows too, beside each fold set; they predict the test "
    "images alone.  [default: 0]",
)
@rare_option
@class_weights_option
@track_option
@fresh_option
def cv_train(
    session: Session,
    *,
    top_k: int | None = None,
    files: tuple[Path, ...] = (),
    folds: int | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    add: bool = False,
    keep_weights: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    time_budget: str | None = None,
    pseudo_label: bool = False,
    pseudo_threshold: float | None = None,
    pseudo_share: float | None = None,
    pseudo_rounds: int | None = None,
    pseudo_targets: str | None = None,
    refit: int | None = None,
    rare: str | None = None,
    class_weights: str | None = None,
) -> Outcome:
    """Train members: configurations × folds × seeds, augmented by albumentations.

    Only the training part is augmented; each member predicts its own fold and the test images as
    they are. All folds of the best configuration come first, so that a blend is possible early.
    Called again, it goes on; finished members are never trained again.
    """
    done = api.cross_validate(
        session.place,
        session.preset,
        session.seed,
        top_k=top_k,
        config=files,
        folds=folds,
        epochs=epochs,
        seeds=seeds,
        add=add,
        keep_weights=keep_weights,
        workers=workers,
        threads=threads,
        cluster=cluster,
        time_budget=time_budget,
        started=session.started,
        pseudo_label=pseudo_label,
        pseudo_threshold=pseudo_threshold,
        pseudo_share=pseudo_share,
        pseudo_rounds=pseudo_rounds,
        pseudo_targets=pseudo_targets,
        rare=rare,
        class_weights=class_weights,
        refit=refit,
        fresh=session.fresh,
    )
    return Outcome(
        values={
            "members": len(done.keys),
            "trained": done.trained,
            "known": done.known,
            "configurations": done.configurations,
            "folds": done.folds,
            "fold_sets": done.fold_sets,
            "names": list(done.names),
            "weights_bytes": done.weights_bytes,
            "path": str(done.path),
            "augmentation_seconds": round(done.augmenting, 1),
            "seconds": round(session.seconds, 1),
        },
        facts=dict(done.facts()),
        written={"members in": str(done.path)},
        next_command=session.hint("blend"),
    )


@command("members", short_help="List the members: how good, how long, what is missing.")
@click.option("--all", "everything", is_flag=True, help="Also those that are not in the plan.")
def members(session: Session, *, everything: bool = False) -> Outcome:
    """List the planned members with accuracy, log-loss, seconds and state.

    Where the workspace keeps a metric, its figure on each member's fold stands beside them.

    A member is trained, resumable (a checkpoint is there to go on from) or missing. It can be
    called while cv-train is at work.
    """
    found = api.members(session.place, all=everything)
    trained = len(found.trained)
    return Outcome(
        values={
            "members": [one.to_json() for one in found.listed],
            "planned": found.planned,
            "trained": trained,
            "training_seconds": round(found.training_seconds, 1),
            "weights_bytes": found.weights_bytes,
        },
        rows=found.table(),
        facts=dict(found.facts()),
        next_command=session.hint("blend" if trained == len(found.listed) else found.going_on),
    )


@command("predict", short_help="Label new images by the members whose weights were kept.")
@click.option(
    "--images",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="A folder of image files, an image, or a CSV in the form of test.csv; can be repeated.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("predictions.csv"),
    show_default=True,
    help="Where the labels and probabilities go.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="One network as `distil` writes it, .keras or .onnx, in place of the members.",
)
@click.option(
    "--invert",
    type=click.Choice(names.INVERT),
    default="auto",
    show_default=True,
    help="Invert the images; auto: those that are like the training images only so.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Networks gathered by `kernel weights`: label the test images into a submission.",
)
def predict(
    session: Session,
    *,
    paths: tuple[Path, ...] = (),
    model: Path | None = None,
    output: Path = Path("predictions.csv"),
    invert: str = "auto",
    weights: Path | None = None,
) -> Outcome:
    """Write the probabilities of each class for new images, averaged over the planned members.

    The images must have the competition's height and width, or are scaled where its own were. They
    become grey or colour as the competition's are, transparent parts the training images'
    background. Images that are not like the training images are named; if none is, nothing is
    predicted. The networks are there if members were trained with `cv-train --keep-weights`;
    --model takes the one network that `distil` made in their place.

    With --weights, in place of --images, the networks in FOLDER label the test images of --data,
    joined as the blend that they are of, and --output is a submission. The test images may be
    others than those that the blend was made with, as on Kaggle's machines.
    """
    from ensembles.carried import require_one_source

    require_one_source(paths, weights, model, invert)
    if weights is not None:
        return _predict_test(session, weights, output)
    found = api.predict(session.place, paths, model=model, output=output, invert=invert)
    images, looks = len(found.names), found.looks
    return Outcome(
        values={
            "predictions": str(output),
            "images": images,
            "members": found.members,
            "model": None if model is None else str(model),
            "inverted": list(looks.inverted),
            "scaled": list(looks.scaled),
            "unlike_training": list(looks.odd),
            "labels": dict(zip(found.names, found.labels, strict=True)) if found.table() else {},
            "seconds": round(session.seconds, 1),
        },
        rows=found.table(),
        facts=dict(found.facts()),
        written={"predictions": f"{output} ({images} images)"},
    )


def _predict_test(session: Session, weights: Path, output: Path) -> Outcome:
    from ensembles.carried import predict_test

    found = predict_test(session.place, weights, output)
    return Outcome(
        values={
            "submission": str(output),
            "rows": found.rows,
            "members": found.members,
            "weights": found.digest,
            "seconds": round(session.seconds, 1),
        },
        facts=dict(found.facts()),
        written={"submission": str(output)},
        next_command=session.hint(f"submit {shlex.quote(str(output))}"),
    )


@command("blend", short_help="Average the members into a submission.")
@click.option(
    "--method",
    type=click.Choice((*names.METHODS, names.AUTO)),
    default="mean",
    show_default=True,
    help="How members' softmax outputs are joined; auto: the simplest way that is not worse than "
    "the best beyond noise.",
)
@click.option("--temperature", is_flag=True, help="Calibrate the blend by a temperature.")
@click.option(
    "--neighbours/--no-neighbours",
    default=None,
    help="Ask the nearest training images about the rows the blend is least sure of; their answer "
    "counts where it helps beyond noise.  [default: for small grey images]",
)
@click.option("--compare", is_flag=True, help="Show all methods, and what each member set brings.")
@click.option(
    "--extra",
    "extras",
    multiple=True,
    metavar="OOF,TEST[,NAME]",
    help="Probabilities made elsewhere for the rows of train.csv and of test.csv, as .npy or .csv; "
    "can be repeated. The figures are honest only if the first are out-of-fold.",
)
@metric_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the submission goes as well as into the workspace.",
)
@track_option
def blend(
    session: Session,
    *,
    method: str = "mean",
    temperature: bool = False,
    neighbours: bool | None = None,
    compare: bool = False,
    extras: tuple[str, ...] = (),
    metric: str | None = None,
    output: Path | None = None,
) -> Outcome:
    """Join the members' softmax outputs into a submission.

    Accuracy and log-loss are honest: each training row is judged by members that never saw it, and
    joined by weights that were fitted without its fold.
    """
    found = api.blend(
        session.place,
        method=method,
        temperature=temperature,
        neighbours=neighbours,
        compare=compare,
        extras=extras,
        metric=metric,
        output=output,
    )
    path, rows, shown = found.submission, len(found.dataset.test_ids), found.compared
    return Outcome(
        values={
            "submission": str(path),
            "predictions": str(found.predictions),
            **found.about,
            "members": len(found.members),
            "rows": rows,
            "doubts": list(found.doubts),
            "seconds": round(session.seconds, 1),
        }
        | (shown.values if shown else {}),
        facts=dict(found.facts()),
        rows=found.table(),
        drawing=shown.lines if shown else (),
        written={"submission": f"{path} ({rows} rows)"},
        next_command=session.hint("check"),
    )


@command("distil", short_help="One small network that says what the blend says.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The network as a configuration in a TOML or JSON file.  [default: a small one]",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Passes over training and test images.  [default: by preset]",
)
@resource_options(
    "Students trained at a time.  [default: 1 to 4 for each GPU, else one a core up to 8; on "
    "small data one, or one for each GPU]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the network goes as well, a name that ends in .keras or .onnx.",
)
@track_option
def distil(
    session: Session,
    *,
    file: Path | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    output: Path | None = None,
) -> Outcome:
    """Train one small network on the blend's probabilities, for use after the competition.

    Its accuracy is honest: for each fold a student learns from the members that never saw that
    fold, and is judged on it. Members whose networks are kept (`cv-train --keep-weights`) tell of
    the training images too; else these teach by their labels. Called again, it goes on.
    """
    found = api.distil(
        session.place,
        session.preset,
        session.seed,
        config=file,
        epochs=epochs,
        workers=workers,
        threads=threads,
        cluster=cluster,
        output=output,
    )
    files = {"network": str(found.path)}
    if found.onnx is not None:
        files["as ONNX"] = str(found.onnx)
    if output is not None:
        files["copy"] = str(output)
    return Outcome(
        values={
            "network": str(found.path),
            "onnx": None if found.onnx is None else str(found.onnx),
            "trained": found.trained,
            **found.about,
            "seconds": round(session.seconds, 1),
        },
        facts=dict(found.facts()),
        rows=found.table(),
        written=files,
    )
