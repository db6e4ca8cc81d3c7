"""The commands `cv-train`, `members`, `blend` and `predict`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import SHORTEST, parse_budget, require_budget
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.ground.progress import Silent, counted
from kaggle_digits.records.plan import plan_path, read_plan
from kaggle_digits.records.ranking import ranking_path
from kaggle_digits.shell.command import Session, command, fresh_option, resource_options
from kaggle_digits.shell.console import Outcome

_SHOWN = 20


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
@resource_options("Members trained at a time.  [default: 1 to 4 for each GPU, else one a core]")
@click.option(
    "--time-budget",
    help=f"Train as many whole fold sets as fit, as in 1h30m, 40m, 90s; {SHORTEST:.0f}s or more, "
    "and 3s for each 1,000 images.",
)
@click.option(
    "--pseudo-label/--no-pseudo-label",
    default=None,
    help="Train once more with test predictions as labels, fold-safe.  [default: by preset]",
)
@click.option(
    "--pseudo-threshold", type=float, help="Least probability of such a label.  [default: 0.01]"
)
@click.option(
    "--pseudo-share",
    type=float,
    help="Part of the test images at most, the most confident first.  [default: 1.0]",
)
@click.option(
    "--pseudo-rounds", type=click.IntRange(1, 10), help="How many times.  [default: by preset or 1]"
)
@click.option(
    "--pseudo-targets",
    type=click.Choice(names.PSEUDO_TARGETS),
    help="The probabilities, or the class alone.  [default: soft]",
)
@click.option(
    "--rare",
    type=click.Choice(names.RARE),
    help="Classes of fewer rows than folds: train on them in every fold and never judge them, or "
    "leave them out.  [default: refuse them]",
)
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
    pseudo_label: bool | None = None,
    rare: str | None = None,
    deadline: Deadline | None = None,
    instead: tuple[TrainingConfig, ...] = (),
    **pseudo: float | int | str | None,
) -> Outcome:
    """Train members: configurations × folds × seeds, augmented by albumentations.

    Only the training part is augmented; each member predicts its own fold and the test images as
    they are. All folds of the best configuration come first, so that a blend is possible early.
    Called again, it goes on; finished members are never trained again.
    """
    if session.fresh and add:
        raise ConfigurationError(
            "--fresh was given with --add; one drops the members that the other adds to.",
            mend="Give one of them.",
        )
    require_backend()
    preset, workspace = session.preset, session.workspace
    budget = None if time_budget is None else parse_budget(time_budget)
    with workspace.lock(workspace.ensembles):
        from ensembles.configurations import choose
        from ensembles.cross_validation import CrossValidationSettings, cross_validate
        from ensembles.lengthening import enough_epochs, may_lengthen
        from ensembles.pseudo_labels import make_rule
        from kaggle_digits.core.folds import make_folds
        from kaggle_digits.engine import Resources
        from kaggle_digits.records.members import MemberStore

        rule = make_rule(pseudo, wanted=pseudo_label, usual=preset.pseudo_rounds)
        store = MemberStore(workspace)
        dataset = session.dataset()
        if time_budget is not None:
            require_budget(time_budget, len(dataset.images) + len(dataset.test_images))
            deadline = deadline or Deadline(budget, session.started)
        own: str | None = None
        if add and store.has_plan():
            before = read_plan(plan_path(workspace))
            own = make_folds(dataset, before.folds, before.seed, workspace).digest
        configs = list(instead) or choose(
            store,
            ranking_path(workspace),
            dataset.digest,
            files=files,
            top_k=top_k,
            usual=preset.top_k,
            add=add,
            folds=own,
            say=session.console.say,
        )
        rows = len(dataset.images)
        usual = preset.member_passes(rows) if budget is None else enough_epochs(rows)
        passes = epochs or usual
        settings = CrossValidationSettings(
            folds=folds or preset.folds,
            epochs=passes,
            copies=min(preset.copies, passes),
            seed=session.seed,
            seeds=seeds or 1,
            add=add,
            keep_weights=keep_weights,
            pseudo=rule,
            budget=budget,
            may_lengthen=epochs is None and may_lengthen(rows),
            resources=Resources(workers, threads, cluster),
            rare=rare,
        )
        if add and store.has_plan():
            # What is not asked for is as in the plan, so that what is added fits to it.
            settings = settings.following(store.read_plan()[0], folds, epochs, seeds)
        with store.put_aside(session.console.say) if session.fresh else nullcontext() as settle:
            done = cross_validate(
                configs, dataset, workspace, settings, session.console,
                made=settle, deadline=deadline,
            )  # fmt: skip
        weights = sum(store.model_path(k).stat().st_size for k in done.keys if store.has_weights(k))
    sets = len({(key.fold_set, key.folds) for key in done.keys})
    equal = len({key.folds for key in done.keys}) == 1
    return Outcome(
        values={
            "members": len(done.keys),
            "trained": done.trained,
            "known": done.known,
            "configurations": len({key.config for key in done.keys}),
            "folds": settings.folds,
            "fold_sets": sets,
            "names": [key.name for key in done.keys],
            "weights_bytes": weights,
            "path": str(store.folder),
            "augmentation_seconds": round(done.augmenting, 1),
            "seconds": round(session.seconds, 1),
        },
        facts={
            "members": f"{len(done.keys)} ({counted(sets, 'fold set')}"
            + (f" × {settings.folds} folds)" if equal else ")"),
            "trained": f"{done.trained} now, {done.known} were there already",
        }
        | ({"augmented copies": duration(done.augmenting)} if done.augmenting >= 1 else {})
        | ({"weights": f"{weights / 1e6:.1f} MB"} if weights else {}),
        written={"members in": str(store.folder)},
        next_command=session.hint("blend"),
    )


@command("members", short_help="List the members: how good, how long, what is missing.")
@click.option("--all", "everything", is_flag=True, help="Also those that are not in the plan.")
def members(session: Session, *, everything: bool = False) -> Outcome:
    """List the planned members with accuracy, log-loss, seconds and state.

    A member is trained, resumable (a checkpoint is there to go on from) or missing. It can be
    called while cv-train is at work.
    """
    from ensembles.listing import HEADER, TRAINED, list_members
    from kaggle_digits.records.members import MemberStore

    store = MemberStore(session.workspace)
    # Without a plan there may still be members on disk.
    planned = store.read_plan()[1] if store.has_plan() or not everything else []
    listed = list_members(store, planned, everything=everything)
    trained = [one for one in listed if one.state == TRAINED]
    seconds = sum(one.record["seconds"] for one in trained)
    weights = sum(one.weights for one in listed)
    return Outcome(
        values={
            "members": [one.to_json() for one in listed],
            "planned": len(planned),
            "trained": len(trained),
            "training_seconds": round(seconds, 1),
            "weights_bytes": weights,
        },
        rows=[HEADER, *(one.row() for one in listed)],
        facts={
            "trained": f"{len(trained)} of {len(listed)}, in {duration(seconds)}",
            "weights": f"{sum(one.weights > 0 for one in listed)} networks, {weights / 1e6:.1f} MB",
        },
        next_command=session.hint("blend" if len(trained) == len(listed) else "cv-train"),
    )


@command("predict", short_help="Label new images by the members whose weights were kept.")
@click.option(
    "--images",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="PATH",
    help="A folder of PNG files, a PNG, or a CSV in the form of test.csv; can be repeated.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("predictions.csv"),
    show_default=True,
    help="Where the labels and probabilities go.",
)
@click.option(
    "--invert",
    type=click.Choice(names.INVERT),
    default="auto",
    show_default=True,
    help="Invert the images; auto: those that are like the training images only so.",
)
def predict(
    session: Session,
    *,
    paths: tuple[Path, ...],
    output: Path = Path("predictions.csv"),
    invert: str = "auto",
) -> Outcome:
    """Write the probabilities of each class for new images, averaged over the planned members.

    The images must have the competition's height and width; colours are turned into grey,
    transparent parts into the training images' background. Images that are not like the training
    images are named; if none is, nothing is predicted. The networks are there if members were
    trained with `cv-train --keep-weights`.
    """
    require_backend()
    from ensembles.likeness import Training, fit
    from ensembles.prediction import predict_images, read_images, render, with_weights
    from kaggle_digits.records.members import MemberStore

    require_output(output, "--output")
    dataset = session.dataset()
    competition = dataset.competition
    store = MemberStore(session.workspace)
    planned = store.read_plan()[1]
    kept = with_weights(store, planned, dataset.digest)
    new = read_images(paths, competition, session.console.say)
    seen = fit(new.names, new.grey, new.opaque, Training(dataset.images), invert)
    for remark in seen.remarks():
        session.console.say(f"predict: {remark}")
    if len(kept) < len(planned):
        session.console.say(f"predict: {len(kept)} of {len(planned)} planned members have weights")
    classes = competition.classes
    found = predict_images(store, kept, seen.images, len(classes), session.console)
    write_bytes(output, render(new, found, classes))
    best = found.argmax(axis=1).tolist()
    table = [
        [name, classes[index], f"{row[index]:.4f}"]
        for name, index, row in zip(new.names, best, found, strict=True)
    ]
    return Outcome(
        values={
            "predictions": str(output),
            "images": len(new.names),
            "members": len(kept),
            "inverted": list(seen.inverted),
            "scaled": list(seen.scaled),
            "unlike_training": list(seen.odd),
            "labels": {} if len(table) > _SHOWN else {name: label for name, label, _ in table},
            "seconds": round(session.seconds, 1),
        },
        rows=[["image", "label", "probability"], *table] if len(table) <= _SHOWN else (),
        facts={"members": f"{len(kept)} of {len(planned)}"}
        | {
            name: f"{len(found)} of {len(new.names)} images"
            for name, found in (
                ("inverted", seen.inverted),
                ("scaled", seen.scaled),
                ("unlike training", seen.odd),
            )
            if found
        },
        written={"predictions": f"{output} ({len(new.names)} images)"},
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
    "--neighbours",
    is_flag=True,
    help="Ask the nearest training images about the rows the blend is least sure of, which takes "
    "some minutes; with a temperature.",
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
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the submission goes as well as into the workspace.",
)
def blend(
    session: Session,
    *,
    method: str = "mean",
    temperature: bool = False,
    neighbours: bool = False,
    compare: bool = False,
    extras: tuple[str, ...] = (),
    output: Path | None = None,
) -> Outcome:
    """Join the members' softmax outputs into a submission.

    Accuracy and log-loss are honest: each training row is judged by members that never saw it, and
    joined by weights that were fitted without its fold.
    """
    if output is not None:
        require_output(output, "--output")
    workspace, console = session.workspace, session.console
    with workspace.lock(workspace.ensembles):
        from ensembles.blending import (
            account,
            evaluate_methods,
            make_blend,
            write_predictions,
            write_submission,
        )
        from ensembles.doubts import refuse_unsound
        from ensembles.extra import parse_extra, read_extra
        from ensembles.pool import make_pool, other_folds
        from ensembles.tables import blend_facts, compared
        from kaggle_digits.core.folds import make_folds
        from kaggle_digits.records.members import MemberStore

        files = [parse_extra(text) for text in extras]
        dataset = session.dataset()
        store = MemberStore(workspace)
        settings, keys = store.read_plan()
        folds = make_folds(
            dataset, settings["folds"], settings["seed"], workspace, settings.get("rare")
        )
        brought = [read_extra(entry, dataset) for entry in files]
        others = other_folds(keys, folds, dataset, workspace)
        pool, missing = make_pool(keys, store, dataset, folds, brought, others)
        if missing:
            console.say(f"blend: {len(missing)} of {len(keys)} planned members are not trained yet")
        labels = dataset.labels[pool.rows]
        if len(labels) < len(dataset.labels):
            console.say(
                f"blend: {counted(len(dataset.labels) - len(labels), 'row')} of rare classes in no "
                "fold; the figures are of the others"
            )
        doubts = refuse_unsound(pool, labels)
        for doubt in doubts:
            console.say(f"blend: {doubt}")
        judged = names.METHODS if compare or method == names.AUTO else (method,)
        progress = console if len(judged) > 1 else Silent()
        evaluations = evaluate_methods(judged, pool, labels, folds, progress)
        made = make_blend(method, evaluations, pool, labels, temperature=temperature or neighbours)
        shown = compared(evaluations, made, pool, labels) if compare else None
        asked: dict[str, object] = {}
        told = {}
        if neighbours:
            from ensembles.neighbours import with_neighbours

            if len(labels) < len(dataset.labels):
                raise ConfigurationError(
                    "--neighbours was given for members whose folds leave rare classes out.",
                    mend="Leave out --neighbours, or --rare where the members are trained.",
                )
            made, found = with_neighbours(made, dataset, folds, console)
            asked, told = {"neighbours": found.to_json()}, {"neighbours": found.verdict()}
        about = account(made, pool, dataset, folds) | asked
        predictions = write_predictions(made, about, pool.rows, dataset, workspace)
        path = write_submission(made, about, dataset, workspace, output)
    return Outcome(
        values={
            "submission": str(path),
            "predictions": str(predictions),
            **about,
            "members": len(pool.members),
            "rows": len(dataset.test_ids),
            "doubts": doubts,
            "seconds": round(session.seconds, 1),
        }
        | (shown.values if shown else {}),
        facts=blend_facts(made, pool) | told | ({"doubt": "; ".join(doubts)} if doubts else {}),
        rows=shown.rows if shown else (),
        drawing=shown.lines if shown else (),
        written={"submission": f"{path} ({len(dataset.test_ids)} rows)"},
        next_command=session.hint("check"),
    )
