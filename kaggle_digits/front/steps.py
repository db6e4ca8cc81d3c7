"""The steps on this machine: tune, cross_validate, blend, predict, distil, and `run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ensembles import api as ensembles
from ensembles.results import Blended, CrossValidated, Distilled, Members, Predicted
from kaggle_digits.front.loading import Loaded, path_of, working
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.shell import chain
from kaggle_digits.shell.chain import Ran
from kaggle_digits.shell.command import command_line
from kaggle_digits.shell.report import making
from kaggle_digits.shell.report.making import Reported
from tuning import api as tuning
from tuning.results import Study, Tuned

if TYPE_CHECKING:
    from ensembles.carried import Carried


def tune(
    competition: Loaded,
    *,
    strategy: str = "hyperband",
    space: str | Path | None = None,
    portfolio: bool = True,
    trials: int | None = None,
    max_epochs: int | None = None,
    time_budget: str | float | None = None,
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
    export: str | Path | None = None,
    plot: str | Path | None = None,
    tensorboard: bool = False,
    fresh: bool = False,
) -> Tuned:
    """Search configurations with Keras Tuner; called again, it goes on.

    Args:
        competition: From `load`.
        strategy: `hyperband`, `bayesian`, `random` or `grid`.
        space: A TOML file that narrows the space; None for all of it.
        portfolio: Try the bundled configurations first.
        trials: Trials of the study, failed ones included; None for the preset's, or for as many as
            fit into the time budget.
        max_epochs: Passes over a whole trial's rows; None for the preset's.
        time_budget: Seconds, or a text such as `20m`, after which it ends with what is complete.
        folds: Score trials on so many folds; None for one fixed holdout.
        race: Best configurations that are scored again fold by fold; None for what suits.
        diverse: Put those first whose average is the best, `top_k` of them, each in the order of
            what it adds, not by rank alone; None for as in the preset.
        top_k: How many `cross_validate` will take of it; None for the preset's number.
        rare: `keep-in-train` or `drop`, for classes too rare to hold out some; None to refuse them.
        metric: What the competition is scored by: `accuracy`, `log-loss`, `macro-f1`, `auc` or
            `qwk`; the last three rank trials and choose how to blend, for the others log-loss does.
            None for what the workspace keeps, at first accuracy and log-loss.
        class_weights: `balanced` lets rows of rare classes count more, `none` all the same; None
            for none.
        workers: Trials at a time on this machine; None for one.
        threads: Threads each computes with; None for all cores' share.
        cluster: Address of a Ray cluster; None for this machine alone.
        export: A CSV file for the trials.
        plot: A PNG file for a plot of the study; a page goes beside it.
        tensorboard: Log trials for TensorBoard, in the workspace.
        fresh: Start anew; the study that is there goes once a trial is completed.

    Raises:
        ConfigurationError: A value is unknown or out of its range.
        DataError: A class has too few rows.
        ArtefactError: The study that is there has other settings.
        InUseError: Another process searches in this workspace.
        TrainingError: Too many trials in a row failed.

    Example:
        >>> tuned = kd.tune(competition, trials=1, max_epochs=1)
        >>> len(tuned.best)
        1
    """
    with working(competition) as place:
        return tuning.tune(
            place,
            competition.preset,
            competition.seed,
            strategy=strategy,
            space=path_of(space),
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
            export=path_of(export),
            plot=path_of(plot),
            tensorboard=tensorboard,
            fresh=fresh,
        )


def study(competition: Loaded) -> Study:
    """Return the study as it is, with what mattered in it; a search may be at work meanwhile.

    Args:
        competition: From `load`.

    Raises:
        ArtefactError: There is none, or it is broken.

    Example:
        >>> kd.study(competition).best.trial
        0
    """
    with working(competition) as place:
        return tuning.show(place.workspace)


def cross_validate(
    competition: Loaded,
    *,
    top_k: int | None = None,
    config: TrainingConfig | str | Path | Sequence[TrainingConfig | str | Path] = (),
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
) -> CrossValidated:
    """Train members: configurations × stratified folds × seeds; called again, it goes on.

    Args:
        competition: From `load`.
        top_k: Configurations taken from the search; None for the preset's number.
        config: Configurations of your own, or TOML or JSON files of them, instead of the search's.
        folds: Stratified folds; None for the preset's.
        epochs: Passes over the training part; None for the preset's.
        seeds: Trainings of each configuration; None for one.
        add: Add to the planned members instead of planning anew.
        keep_weights: Keep the networks, for `predict`.
        workers: Members at a time on this machine; None for what suits it.
        threads: Threads each computes with; None for what suits machine and data.
        cluster: Address of a Ray cluster; None for this machine alone.
        time_budget: Seconds, or a text such as `20m`, for which whole fold sets are trained.
        pseudo_label: Train once more with test predictions as labels.
        pseudo_threshold: Least probability of such a label; None for 0.01.
        pseudo_share: Part of the test images at most; None for all.
        pseudo_rounds: How many times; None for once.
        pseudo_targets: `soft` or `hard`; None for soft.
        rare: `keep-in-train` or `drop`, for classes of fewer rows than folds; None to refuse them.
        class_weights: `balanced` lets rows of rare classes count more, `none` all the same; None
            for as the configurations say.
        refit: Members of all rows beside each fold set, for the test images alone; None for none.
        fresh: Start anew; the members that are there go once a new one is trained.

    Raises:
        ConfigurationError: A value is unknown or out of its range, or values do not go together.
        DataError: A class has fewer rows than folds.
        ArtefactError: There was no search, or a member is broken or of other data.
        InUseError: Another process trains or blends in this workspace.
        TrainingError: A member diverged or ran out of memory.

    Example:
        >>> small = kd.TrainingConfig(filters=4, depth=1, augmentation="none")
        >>> kd.cross_validate(competition, config=small, folds=2, epochs=1).folds
        2
    """
    given = [config] if isinstance(config, TrainingConfig | str | Path) else config
    with working(competition) as place:
        return ensembles.cross_validate(
            place,
            competition.preset,
            competition.seed,
            top_k=top_k,
            config=[Path(one) if isinstance(one, str) else one for one in given],
            folds=folds,
            epochs=epochs,
            seeds=seeds,
            add=add,
            keep_weights=keep_weights,
            workers=workers,
            threads=threads,
            cluster=cluster,
            time_budget=time_budget,
            pseudo_label=pseudo_label,
            pseudo_threshold=pseudo_threshold,
            pseudo_share=pseudo_share,
            pseudo_rounds=pseudo_rounds,
            pseudo_targets=pseudo_targets,
            rare=rare,
            class_weights=class_weights,
            refit=refit,
            fresh=fresh,
        )


def members(competition: Loaded, *, all: bool = False) -> Members:
    """Return the members as they are: how good, how long, what is missing.

    Where the workspace keeps a metric, how good they are by it too.

    Args:
        competition: From `load`.
        all: Also those that are not in the plan.

    Raises:
        ArtefactError: There is no plan, or a member is broken.

    Example:
        >>> len(kd.members(competition).trained)
        2
    """
    with working(competition) as place:
        return ensembles.members(place, all=all)


def blend(
    competition: Loaded,
    *,
    method: str = "mean",
    temperature: bool = False,
    neighbours: bool | None = None,
    compare: bool = False,
    extras: Sequence[str] = (),
    metric: str | None = None,
    output: str | Path | None = None,
) -> Blended:
    """Join the members' probabilities into a submission.

    Args:
        competition: From `load`.
        method: `mean`, `geometric`, `vote`, `power`, `weighted`, `greedy`, `stack`, or `auto` for
            the simplest that is not worse than the best beyond noise.
        temperature: Calibrate the blend by a temperature.
        neighbours: Ask the nearest training images about the rows it is least sure of; what they
            say counts where the log-loss falls beyond noise, and the blend is calibrated then.
            None to ask where images are grey and small.
        compare: Judge all methods, and what each member set brings.
        extras: Probabilities made elsewhere, each as `OOF,TEST[,NAME]`: files for the training and
            the test rows.
        metric: What the competition is scored by: `accuracy`, `log-loss`, `macro-f1`, `auc` or
            `qwk`; the last three rank trials and choose how to blend, for the others log-loss does.
            None for what the workspace keeps, at first accuracy and log-loss.
        output: A second place for the submission; None for none.

    Raises:
        ConfigurationError: The method is unknown, or a file cannot be written there.
        ArtefactError: There are no members, or they are of other data.
        DataError: Predictions made elsewhere do not fit.
        InUseError: Another process trains or blends in this workspace.

    Example:
        >>> blended = kd.blend(competition)
        >>> blended.oof.shape, blended.test.shape
        ((1198, 10), (599, 10))
    """
    with working(competition) as place:
        return ensembles.blend(
            place,
            method=method,
            temperature=temperature,
            neighbours=neighbours,
            compare=compare,
            extras=extras,
            metric=metric,
            output=path_of(output),
        )


@overload
def predict(
    competition: Loaded,
    images: str | Path | Sequence[str | Path],
    *,
    model: str | Path | None = None,
    output: str | Path = "predictions.csv",
    invert: str = "auto",
) -> Predicted: ...


@overload
def predict(
    competition: Loaded, *, weights: str | Path, output: str | Path = "predictions.csv"
) -> Carried: ...


def predict(
    competition: Loaded,
    images: str | Path | Sequence[str | Path] = (),
    *,
    model: str | Path | None = None,
    output: str | Path = "predictions.csv",
    invert: str = "auto",
    weights: str | Path | None = None,
) -> Predicted | Carried:
    """Label new images by the members whose weights were kept, or by one network.

    With `weights` in place of `images`, the networks in that folder label the competition's test
    images, joined as the blend they are of, and `output` is a submission.

    Args:
        competition: From `load`.
        images: An image file, a folder of them, or a CSV in the form of test.csv; or several of
            these.
        model: A network's file as `distil` writes it, .keras or .onnx; None for the members.
        output: The CSV file for labels and probabilities.
        invert: `auto` inverts images that are like the training images only so; `yes`, `no`.
        weights: A folder of networks, as `kernel_weights` gathers them.

    Raises:
        ConfigurationError: A value is unknown, or the file cannot be written there.
        DataError: Images cannot be read, are of another size, or none is like the training images.
        ArtefactError: No network was kept, or one is broken, or of other images or classes.

    Example:
        >>> predicted = kd.predict(competition, "new.png")  # doctest: +SKIP
        >>> predicted.labels  # doctest: +SKIP
        ('7',)
    """
    from ensembles.carried import predict_test, require_one_source

    given = [images] if isinstance(images, str | Path) else images
    with working(competition) as place:
        require_one_source(given, weights, model, invert)
        if weights is not None:
            return predict_test(place, Path(weights), Path(output))
        return ensembles.predict(
            place,
            [Path(one) for one in given],
            model=path_of(model),
            output=Path(output),
            invert=invert,
        )


def report(competition: Loaded, *, output: str | Path | None = None) -> Reported:
    """Make one HTML page of all that the workspace holds.

    Scores, search, training, members and blend, errors with their images, labels that look wrong,
    data, leaderboard, provenance; it needs no network and no other file.

    Args:
        competition: From `load`.
        output: Where the page goes; None for report.html in the workspace.

    Raises:
        ConfigurationError: No file can be written there.
        ArtefactError: The page cannot be written.

    Example:
        >>> kd.report(competition).path
        PosixPath('demo/report.html')
    """
    with working(competition) as place:
        return making.report(
            place,
            lambda words: command_line(words, competition.workspace),
            output=path_of(output),
        )


def distil(
    competition: Loaded,
    *,
    config: TrainingConfig | str | Path | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    output: str | Path | None = None,
) -> Distilled:
    """Train one small network that says what the blend says; called again, it goes on.

    Args:
        competition: From `load`.
        config: What it is, or a TOML or JSON file of it; None for a small one.
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

    Example:
        >>> distilled = kd.distil(competition, config=small, epochs=1)
        >>> distilled.oof.shape, distilled.test.shape
        ((1198, 10), (599, 10))
    """
    with working(competition) as place:
        return ensembles.distil(
            place,
            competition.preset,
            competition.seed,
            config=Path(config) if isinstance(config, str) else config,
            epochs=epochs,
            workers=workers,
            threads=threads,
            cluster=cluster,
            output=path_of(output),
        )


def run(
    competition: Loaded,
    *,
    trials: int | None = None,
    top_k: int | None = None,
    folds: int | None = None,
    epochs: int | None = None,
    rare: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    time_budget: str | float | None = None,
    metric: str | None = None,
    class_weights: str | None = None,
    output: str | Path | None = None,
    fresh: bool = False,
) -> Ran:
    """Do all of it: search, train, blend, and check the submission; called again, it goes on.

    Args:
        competition: From `load`.
        trials: As in `tune`.
        top_k: As in `cross_validate`.
        folds: Likewise.
        epochs: Likewise.
        rare: As in both.
        workers: As in both.
        threads: As in both.
        cluster: As in both.
        time_budget: Seconds, or a text such as `1h30m`, for all of it.
        metric: As in `tune` and `blend`.
        class_weights: As in `tune` and `cross_validate`.
        output: A second place for the submission; None for none.
        fresh: Start search and training anew.

    Raises:
        KaggleDigitsError: What the steps raise.

    Example:
        >>> kd.run(competition, trials=1, folds=2, epochs=1).submission  # doctest: +SKIP
        PosixPath('demo/submissions/submission.csv')
    """
    with working(competition) as place:
        return chain.run(
            place,
            competition.preset,
            competition.seed,
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
            output=path_of(output),
            fresh=fresh,
        )
