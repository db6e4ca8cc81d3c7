"""Members and blends in Python: typed functions that return values and print nothing.

place = Place(Workspace(Path("workspace")), lambda: dataset, Silent())
cross_validate(place, load_presets()["quick"], 0, folds=5)
blended = blend(place)
blended.oof_accuracy, blended.oof_accuracy_se
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ensembles.results import Blended, CrossValidated, Distilled, Members, Predicted
from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import parse_budget, require_budget
from kaggle_digits.ground.calls import typed
from kaggle_digits.ground.config import Preset, TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.ground.progress import Silent, counted
from kaggle_digits.records.ranking import ranking_path


def cross_validate(
    place: Place,
    preset: Preset,
    seed: int,
    *,
    top_k: int | None = None,
    config: Sequence[Path | TrainingConfig] = (),
    folds: int | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    add: bool = False,
    keep_weights: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    time_budget: str | float | None = None,
    pseudo_label: bool = False,
    pseudo_threshold: float | None = None,
    pseudo_share: float | None = None,
    pseudo_rounds: int | None = None,
    pseudo_targets: str | None = None,
    rare: str | None = None,
    class_weights: str | None = None,
    refit: int | None = None,
    fresh: bool = False,
    started: float | None = None,
    deadline: Deadline | None = None,
) -> CrossValidated:
    """Train members: configurations × folds × seeds; called again, it goes on.

    Args:
        place: Gives data and workspace.
        preset: How much is trained, where nothing else is said.
        seed: Fixes folds, augmented copies, and each member's own seed.
        top_k: Configurations taken from `best.json`; None for the preset's number.
        config: Configurations, or TOML or JSON files of them, instead of `best.json`.
        folds: Stratified folds; None for the preset's.
        epochs: Passes over the training part; None for the preset's.
        seeds: Trainings of each configuration; None for one.
        add: Add to the planned members instead of planning anew.
        keep_weights: Keep the networks, for `predict`.
        workers: Members at a time on this machine; None for what suits it.
        threads: Threads each computes with; None for what suits machine and data.
        cluster: Address of a Ray cluster; None for this machine alone.
        time_budget: Seconds, or a text such as `20m`, for which whole fold sets are trained; None
            for no limit.
        pseudo_label: Train once more with test predictions as labels.
        pseudo_threshold: Least probability of such a label; None for 0.01.
        pseudo_share: Part of the test images at most; None for all.
        pseudo_rounds: How many times; None for once.
        pseudo_targets: One of `names.PSEUDO_TARGETS`; None for the probabilities.
        rare: What to do with classes of fewer rows than folds, one of `names.RARE`; None to refuse
            them.
        class_weights: How much rows of each class count, one of `names.CLASS_WEIGHTS`; None for as
            the configurations say.
        refit: Members of all rows beside each fold set, for the test images alone; None for none.
        fresh: Start anew; the members that are there go once a new one is trained.
        started: `time.monotonic()` at which the time budget began; None for now.
        deadline: When the members have to be there, where that is before the budget's end.

    Raises:
        ConfigurationError: A value is out of its range or unknown, or values do not go together.
        DataError: A class has fewer rows than folds.
        ArtefactError: There is no `best.json`, or a member is broken or of other data.
        InUseError: Another process trains or blends in this workspace.
        TrainingError: A member diverged or ran out of memory.
    """
    if add:
        names.require_apart("--add", "adds to the members that are there", {"--fresh": fresh})
    if class_weights is not None:
        names.require_known("class_weights", class_weights, names.CLASS_WEIGHTS)
    if rare is not None:
        names.require_known("rare", rare, names.RARE)
    for name, given, least, most in (
        ("top_k", top_k, 1, None), ("folds", folds, 2, None), ("epochs", epochs, 1, None),
        ("seeds", seeds, 1, 100), ("workers", workers, 1, None), ("threads", threads, 1, None),
        ("refit", refit, 0, 100),
    ):  # fmt: skip
        names.require_count(name, given, least, most)
    budget = None if time_budget is None else parse_budget(time_budget)
    require_backend()
    workspace = place.workspace
    with workspace.lock(workspace.ensembles):
        from ensembles.configurations import choose
        from ensembles.cross_validation import CrossValidationSettings
        from ensembles.cross_validation import cross_validate as train
        from ensembles.lengthening import enough_epochs, may_lengthen
        from ensembles.pool import planned_folds
        from ensembles.pseudo_labels import make_rule
        from kaggle_digits.core.folds import fold_count
        from kaggle_digits.engine import Resources
        from kaggle_digits.records.members import MemberStore

        pseudo = {
            "pseudo_threshold": pseudo_threshold, "pseudo_share": pseudo_share,
            "pseudo_rounds": pseudo_rounds, "pseudo_targets": pseudo_targets,
        }  # fmt: skip
        rule = make_rule(pseudo, wanted=pseudo_label)
        store = MemberStore(workspace)
        dataset = place.data()
        rows = len(dataset.images)
        if time_budget is not None:
            require_budget(time_budget, rows + len(dataset.test_images))
            deadline = deadline or Deadline(budget, started)
        before = store.read_plan()[0] if add and store.has_plan() else None
        own = None if before is None else planned_folds(before, dataset, workspace).digest
        configs = choose(
            store,
            ranking_path(workspace),
            dataset.digest,
            given=config,
            top_k=top_k,
            usual=preset.top_k,
            add=add,
            folds=own,
            say=place.progress.say,
        )
        if class_weights is not None:
            weighted = (replace(one, class_weights=class_weights) for one in configs)
            configs = list(dict.fromkeys(weighted))
        passes = epochs or (preset.member_passes(rows) if budget is None else enough_epochs(rows))
        options = pseudo | {
            "preset": preset.name, "seed": seed, "top_k": top_k, "config": config, "folds": folds,
            "epochs": epochs, "seeds": seeds, "add": add, "keep_weights": keep_weights,
            "pseudo_label": pseudo_label,
            "refit": refit, "rare": rare, "class_weights": class_weights,
            "time_budget": None if budget is None else f"{round(budget)}s",
        }  # fmt: skip
        in_files = not any(isinstance(one, TrainingConfig) for one in config)
        settings = CrossValidationSettings(
            folds=fold_count(dataset, folds, preset.folds),
            epochs=passes,
            copies=min(preset.copies, passes),
            seed=seed,
            seeds=seeds or 1,
            add=add,
            keep_weights=keep_weights,
            pseudo=rule,
            budget=budget,
            may_lengthen=epochs is None and may_lengthen(rows),
            resources=Resources(workers, threads, cluster),
            rare=rare,
            refit=refit or 0,
            call=typed("cv-train", options) if in_files else None,
        )
        if before is not None:
            # What is not asked for is as in the plan, so that what is added fits to it.
            settings = settings.following(before, folds, epochs, seeds)
        with store.put_aside(place.progress.say) if fresh else nullcontext() as settle:
            done = train(
                configs, dataset, workspace, settings, place.progress,
                made=settle, deadline=deadline,
            )  # fmt: skip
        weights = sum(store.model_path(k).stat().st_size for k in done.keys if store.has_weights(k))
    found = CrossValidated(
        keys=tuple(done.keys),
        trained=done.trained,
        known=done.known,
        folds=settings.folds,
        augmenting=done.augmenting,
        weights_bytes=weights,
        path=store.folder,
    )
    from ensembles import events

    place.track(events.of_members(found, store, preset.name, seed))
    return found


def members(place: Place, *, all: bool = False) -> Members:
    """Return a workspace's members as they are; nothing is held.

    Args:
        place: Gives the workspace, and the data where a metric needs them.
        all: Also those that are not in the plan.

    Raises:
        ArtefactError: There is no plan, or a member is broken.
        DataError: The data that they are to be judged on cannot be read.
    """
    from ensembles.listing import list_members

    return list_members(place, everything=all)


def blend(
    place: Place,
    *,
    method: str = "mean",
    temperature: bool = False,
    neighbours: bool | None = None,
    compare: bool = False,
    extras: Sequence[str] = (),
    metric: str | None = None,
    output: Path | None = None,
) -> Blended:
    """Join the members' softmax outputs into a submission.

    Args:
        place: Gives data and workspace.
        method: How they are joined, one of `names.METHODS`, or `auto`.
        temperature: Calibrate the blend by a temperature.
        neighbours: Ask the nearest training images about the rows it is least sure of; what they
            say counts where the log-loss falls beyond noise, and the blend is calibrated then.
            None to ask where images are grey and small.
        compare: Judge all methods, and what each member set brings.
        extras: Probabilities made elsewhere, each as `OOF,TEST[,NAME]`: files for the rows of
            train.csv and of test.csv.
        metric: What the competition is scored by, one of `names.METRICS`: those of `names.RANKING`
            rank trials and choose how to blend, for the others log-loss does. None for what the
            workspace keeps, at first accuracy and log-loss.
        output: A second place for the submission; None for none.

    Raises:
        ConfigurationError: The method or the metric is unknown, the workspace keeps another metric,
            or a file cannot be written there.
        ArtefactError: There are no members, or they are of other data.
        DataError: Predictions made elsewhere do not fit.
        InUseError: Another process trains or blends in this workspace.
    """
    names.require_known("method", method, (*names.METHODS, names.AUTO))
    if output is not None:
        require_output(output, "--output")
    workspace, progress = place.workspace, place.progress
    with workspace.lock(workspace.ensembles):
        from ensembles.blending import (
            account,
            chosen_of,
            evaluate_methods,
            make_blend,
            scored_by,
            submission_path,
            write_predictions,
            write_submission,
        )
        from ensembles.by_metric import judge_of
        from ensembles.doubts import refuse_unsound
        from ensembles.extra import parse_extra, read_extra
        from ensembles.neighbours import suits_neighbours, with_neighbours
        from ensembles.pool import make_pool, other_folds, planned_folds
        from ensembles.tables import compared
        from kaggle_digits.records.members import MemberStore
        from kaggle_digits.records.metric import scored, settle_metric

        files = [parse_extra(text) for text in extras]
        dataset = place.data()
        metric = settle_metric(workspace, metric, dataset)
        dataset = scored(dataset, metric)
        if metric in names.OF_PROBABILITIES and not dataset.competition.form.values:
            progress.say(
                f"blend: the sample submission asks for labels, of which {metric} says little"
            )
        store = MemberStore(workspace)
        settings, keys = store.read_plan()
        folds = planned_folds(settings, dataset, workspace)
        brought = [read_extra(entry, dataset) for entry in files]
        others = other_folds(keys, folds, dataset, workspace)
        pool, missing = make_pool(keys, store, dataset, folds, brought, others)
        if missing:
            progress.say(
                f"blend: {len(missing)} of {len(keys)} planned members are not trained yet"
            )
        labels = dataset.labels[pool.rows]
        rare = len(dataset.kept) - len(labels)
        if rare:
            progress.say(
                f"blend: {counted(rare, 'row')} of rare classes in no fold; the figures are of the "
                "others"
            )
        doubts = refuse_unsound(pool, labels)
        for doubt in doubts:
            progress.say(f"blend: {doubt}")
        judged = names.METHODS if compare or method == names.AUTO else (method,)
        told = progress if len(judged) > 1 else Silent()
        evaluations = evaluate_methods(judged, pool, labels, folds, told)
        groups = dataset.groups_of(pool.rows)
        evaluations = [one.in_groups(labels, groups) for one in evaluations]
        judge = judge_of(metric, labels, folds.of_row[pool.rows], groups)
        chosen = chosen_of(method, evaluations, labels, judge, groups)
        made = make_blend(chosen, pool, temperature=temperature)
        shown = compared(evaluations, made, pool, labels, judge, groups) if compare else None
        asked: dict[str, object] = {}
        verdict = ""
        if suits_neighbours(dataset.images) if neighbours is None else neighbours:
            calibrated = make_blend(chosen, pool, temperature=True)
            better, near = with_neighbours(calibrated, dataset, folds, progress, pool.rows)
            made = better if near.helps else made
            if near.effect is not None or neighbours:
                asked, verdict = {"neighbours": near.to_json()}, near.verdict()
        if metric is not None:
            made = scored_by(metric, made, labels, folds.of_row[pool.rows], groups)
        call = {"neighbours": neighbours, "no_neighbours": neighbours is False, "extra": extras}
        call |= {"method": method, "temperature": temperature, "metric": metric}
        about = account(made, pool, dataset, folds) | asked | {"call": typed("blend", call)}
        predictions = write_predictions(made, about, pool.rows, dataset, workspace)
        path = write_submission(made, about, dataset, workspace, output)
        found = Blended(
            blend=made,
            pool=pool,
            about=about,
            submission=path,
            predictions=predictions,
            doubts=tuple(doubts),
            compared=shown,
            neighbours=verdict,
            dataset=dataset,
        )
    from ensembles import events

    place.track(events.of_blend(found, folds.seed, submission_path(workspace)))
    return found


def predict(
    place: Place,
    images: Sequence[Path],
    *,
    model: Path | None = None,
    output: Path = Path("predictions.csv"),
    invert: str = "auto",
) -> Predicted:
    """Label new images by the members whose weights were kept, or by one network.

    Args:
        place: Gives data and workspace.
        images: Each an image file, a folder of them, or a CSV in the form of test.csv.
        model: A network's file as `distil` writes it, .keras or .onnx; None for the members.
        output: The CSV file for labels and probabilities.
        invert: One of `names.INVERT`; auto inverts images that are like the training images only
            so.

    Raises:
        ConfigurationError: A value is unknown, or the file cannot be written there.
        DataError: Images cannot be read, are of another size, or none is like the training images.
        ArtefactError: No network was kept, or one is broken, or of other images or classes.
    """
    names.require_known("invert", invert, names.INVERT)
    require_backend()
    require_output(output, "--output")
    from ensembles.prediction import label

    return label(place, images, model=model, output=output, invert=invert)


def distil(
    place: Place,
    preset: Preset,
    seed: int,
    *,
    config: Path | TrainingConfig | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    output: Path | None = None,
) -> Distilled:
    """Train one small network that says what the blend says; called again, it goes on.

    Args:
        place: Gives data and workspace.
        preset: How long it learns, where nothing else is said.
        seed: Fixes each student's own seed.
        config: What it is, or a TOML or JSON file of it; None for `distilling.STUDENT`.
        epochs: Passes over training and test images; None for the preset's.
        workers: Students at a time on this machine; None for what suits it.
        threads: Threads each computes with; None for what suits machine and data.
        cluster: Address of a Ray cluster; None for this machine alone.
        output: A second place for the network, a name that ends in .keras or .onnx; None for none.

    Raises:
        ConfigurationError: A value is unknown or out of its range, the file cannot be written
            there, or what writes ONNX is not installed.
        ArtefactError: There is no blend, or it, a member, or the student that is there is broken.
        InUseError: Another process trains or blends in this workspace.
        TrainingError: A student diverged or ran out of memory.
    """
    for name, count in (("epochs", epochs), ("workers", workers), ("threads", threads)):
        names.require_count(name, count, 1)
    require_backend()
    from ensembles import student

    if output is not None:
        require_output(output, "--output")
        student.require_form(output)
    workspace, progress = place.workspace, place.progress
    with workspace.lock(workspace.ensembles):
        from ensembles.configurations import read_config
        from ensembles.distilling import (
            STUDENT,
            Course,
            Distillation,
            find_teachers,
            made_by,
            require_teachable,
        )
        from ensembles.pool import planned_folds
        from ensembles.stored import read_blend
        from kaggle_digits.engine import Resources, Site, open_engine
        from kaggle_digits.records.blend import has_blend
        from kaggle_digits.records.members import MemberStore

        given = read_config(config) if isinstance(config, Path) else config
        config = require_teachable(given or STUDENT)
        if not has_blend(workspace):
            raise ArtefactError(
                f"{workspace.root} has no blend yet; there is nothing to learn.",
                mend="Call `kaggle-digits blend` first.",
            )
        dataset = place.data()
        blend = read_blend(workspace, dataset)
        store = MemberStore(workspace)
        settings, keys = store.read_plan()
        folds = planned_folds(settings, dataset, workspace)
        teachers = find_teachers(keys, store, dataset, folds)
        for remark in student.remarks(teachers, blend, keys):
            progress.say(f"distil: {remark}")
        passes = epochs or preset.member_passes(len(dataset.images))
        course = Course(
            config, passes, min(preset.copies, passes), seed, blend.about["method"],
            blend.about["temperature"] is not None,
        )  # fmt: skip
        about = student.read(workspace)
        trained = about is None or about["made_by"] != made_by(teachers, course)
        if about is None or trained:
            resources = Resources(workers, threads, cluster)
            with open_engine(Site(dataset, workspace, progress), resources) as engine:
                lesson = Distillation(teachers, course, engine)
                oof, network = lesson.learn()
            about = student.publish(
                workspace, dataset, teachers, course, blend, oof, network, progress
            )
            lesson.forget()
        else:
            about = student.take_up(workspace, about, dataset, teachers, blend, progress)
        found = student.value(workspace, about, dataset, trained=trained)
        if output is not None:
            write_bytes(output, student.content(workspace, output))
    from ensembles import events

    place.track(events.of_student(found))
    return found
