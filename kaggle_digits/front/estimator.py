"""A cross-validated ensemble of networks as one scikit-learn estimator."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ensembles import api as ensembles
from kaggle_digits.core.data import Dataset, cache
from kaggle_digits.core.data.reading import Parsed
from kaggle_digits.core.place import Place
from kaggle_digits.front.images import ArrayError, Scaling, as_images
from kaggle_digits.front.loading import shape_of
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import parse_budget
from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell import chain
from kaggle_digits.shell.console import Console

if TYPE_CHECKING:
    import keras
    from numpy.typing import ArrayLike

SEARCH = "search"
_LEAST_SIDE = 4
"""Pixels that networks need of a side; smaller images get a margin."""


class DigitsClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify images by an ensemble of networks that is cross-validated while it is fitted.

    Each of the folds' networks is trained on the other folds' rows, so that `oof_score_` is honest;
    new images get the mean of all networks' probabilities. All networks are within the estimator:
    pickled, it predicts the same in another process.

    Args:
        configuration: What is trained: a `TrainingConfig`, a dictionary of its fields, or several
            of them; `"search"` to search first, or to train the first bundled configuration where
            the time budget is too short for a search (less than 3 min 20 s); None for the default
            configuration.
        folds: Stratified folds; fewer where a class has fewer rows.
        epochs: Passes over the training part; None for the preset's.
        seeds: Trainings of each configuration.
        trials: Trials of the search; None for the preset's.
        time_budget: Seconds, or a text such as `20m`, for search and training; None for no limit.
        preset: `quick`, `medium` or `best`: how much is searched and trained, where nothing else is
            said.
        image_shape: Height and width of flat rows, as (4, 16) or "4x16", of colour (32, 32, 3), or
            (3, 32, 32) for one plane after another; None for square ones. Rows that fill no square
            are laid into the next larger one, line by line.
        random_state: Fixes all that is drawn. With a workspace, None is 0: a fit of new draws would
            have nothing to go on with.
        workspace: A folder to keep members in, so that a fit that was interrupted goes on; None
            for a temporary one.
        workers: Networks trained at a time; None for what suits machine and data.
        verbose: Tell of progress on stderr.

    Attributes:
        classes_: The labels, [classes].
        n_features_in_: Pixels of an image, channels included.
        oof_proba_: Each training row's probabilities by networks that never saw it, float64
            [rows, classes].
        oof_score_: Their accuracy.
        oof_score_se_: Its standard error.
        members_: The networks' names.
        scaling_: The range of values that was found in the training images.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> images, labels = load_digits(return_X_y=True)
        >>> small = kd.TrainingConfig(filters=8, depth=1, augmentation="none")
        >>> model = kd.DigitsClassifier(small, folds=2, epochs=1, random_state=0)
        >>> model.fit(images[:200], labels[:200]).predict_proba(images[200:203]).shape
        (3, 10)
    """

    def __init__(
        self,
        configuration: TrainingConfig
        | Mapping[str, Any]
        | Sequence[TrainingConfig | Mapping[str, Any]]
        | str
        | None = None,
        *,
        folds: int = 5,
        epochs: int | None = None,
        seeds: int = 1,
        trials: int | None = None,
        time_budget: str | float | None = None,
        preset: str = "quick",
        image_shape: str | tuple[int, int] | tuple[int, int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        workspace: str | Path | None = None,
        workers: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.configuration = configuration
        self.folds = folds
        self.epochs = epochs
        self.seeds = seeds
        self.trials = trials
        self.time_budget = time_budget
        self.preset = preset
        self.image_shape = image_shape
        self.random_state = random_state
        self.workspace = workspace
        self.workers = workers
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> DigitsClassifier:
        """Train the ensemble.

        Args:
            X: Images, [n, height, width], [n, height, width, channels] of 1, 3 or 4 channels, or
                [n, pixels]; bytes or other numbers.
            y: Labels of any kind, [n].

        Raises:
            ArrayError: The arrays cannot be used (a `ValueError`).
            ConfigurationError: A parameter is unknown or out of its range.
            TrainingError: A network diverged or ran out of memory.
        """
        names.require_known("preset", self.preset, names.PRESETS)
        names.require_count("folds", self.folds, 2)
        progress: Progress = Silent()
        if self.verbose:
            progress = Console(sys.stdout, sys.stderr, quiet=False, as_json=False)
        values, labels = self._validated(X, y)
        check_classification_targets(labels)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        folds = _possible_folds(self.classes_, indices, self.folds, progress)
        found = self._as_images(values)
        self.scaling_ = Scaling.of(found)
        if (self.scaling_.low, self.scaling_.high) != (0.0, 255.0):
            progress.say(f"images: {self.scaling_}")
        images = _laid_out(self.scaling_.apply(found))
        self.image_shape_ = images.shape[1:]
        with ExitStack() as stack:
            folder = self.workspace
            if folder is None:
                folder = stack.enter_context(
                    TemporaryDirectory(prefix="kaggle-digits-", ignore_cleanup_errors=True)
                )
            dataset, workspace = _dataset(images, indices, len(self.classes_), Path(folder))
            self._train(Place(workspace, lambda: dataset, progress), folds)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probability of each class, float64 [n, classes].

        Args:
            X: Images in the form of those it was fitted on.

        Raises:
            ArrayError: They have another form (a `ValueError`).
        """
        check_is_fitted(self)
        from kaggle_digits.core import inference

        images = _laid_out(self.scaling_.apply(self._as_images(self._validated(X)[0])))
        if images.shape[1:] != self.image_shape_:
            raise ArrayError(
                f"X has images of {images.shape[1:]} pixels (height, width); {type(self).__name__} "
                f"was fitted on {self.image_shape_}."
            )
        total = np.zeros((len(images), len(self.classes_)))
        for content, config in self._networks:
            total += inference.predict(_network(content), images, config)
        mean: np.ndarray = total / total.sum(axis=1, keepdims=True)
        return mean

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the most probable label of each image, [n].

        Args:
            X: Images in the form of those it was fitted on.

        Raises:
            ArrayError: They have another form (a `ValueError`).
        """
        check_is_fitted(self)
        found: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    def _train(self, place: Place, folds: int) -> None:
        preset = load_presets()[self.preset]
        until = Deadline(None if self.time_budget is None else parse_budget(self.time_budget))
        state = self.random_state
        if state is None and self.workspace is not None:
            state = 0
        seed = int(check_random_state(state).randint(2**31 - 1))
        configs: Sequence[TrainingConfig] | None = _configurations(self.configuration)
        if configs is None:
            found = chain.search(
                place, preset, seed, until, trials=self.trials, race=0, workers=self.workers
            )
            if found is None:
                configs = chain.without_ranking(place)
            else:
                configs = [one.config for one in found.best[: preset.top_k]]
        trained = ensembles.cross_validate(
            place, preset, seed, config=configs, folds=folds, epochs=self.epochs,
            seeds=self.seeds, keep_weights=True, time_budget=self.time_budget,
            deadline=None if until.seconds is None else until, workers=self.workers,
        )  # fmt: skip
        # New images are labelled by the networks alone, so they alone are judged.
        blended = ensembles.blend(place, neighbours=False)
        store = MemberStore(place.workspace)
        self.oof_proba_ = blended.oof
        self.oof_score_ = blended.oof_accuracy
        self.oof_score_se_ = blended.oof_accuracy_se
        # A set that the time cut is neither judged nor asked.
        keys = [key for key in trained.keys if key.name in blended.members]
        self.members_ = tuple(key.name for key in keys)
        self._networks = [(store.checked_model(key).read_bytes(), key.config) for key in keys]

    def _validated(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Any, Any]:
        """Return checked arrays; what is fitted on, and no other form, is taken later."""
        fitting = y is not None
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        if len(shape) > 2:
            values = check_array(X, allow_nd=True, estimator=self)
            if fitting:
                # As scikit-learn counts: what one row has.
                self.n_features_in_ = int(np.prod(values.shape[1:]))
                _, y = _validate(self, X=np.zeros((len(values), 1)), y=y, features=False)
            return values, y
        if fitting:
            return tuple(_validate(self, X=X, y=y, reset=True))
        return _validate(self, X=X, reset=False), None

    def _as_images(self, values: np.ndarray) -> np.ndarray:
        shape = shape_of(self.image_shape)
        pixels = values.shape[1]
        if values.ndim == 2 and shape is None and math.isqrt(pixels) ** 2 != pixels:
            return values
        return as_images(values, shape)


def _validate(estimator: Any, *, features: bool = True, **given: Any) -> Any:
    """Check arrays as the installed scikit-learn does; before 1.6 it is a method."""
    if not features:
        from sklearn.utils import check_X_y

        return check_X_y(given["X"], given["y"], estimator=estimator)
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:
        return estimator._validate_data(**given)
    return validate_data(estimator, **given)


def _configurations(given: Any) -> list[TrainingConfig] | None:
    """Return what is to be trained; None to search for it.

    Raises:
        ConfigurationError: It is neither, or a field is unknown or out of its range.
    """
    if given is None:
        return [TrainingConfig()]
    if isinstance(given, str):
        if given != SEARCH:
            raise ConfigurationError(
                f'configuration was given as {given!r}; expected "search", a TrainingConfig, a '
                "dictionary of its fields, or several of them."
            )
        return None
    several = [given] if isinstance(given, TrainingConfig | Mapping) else list(given)
    return [
        one if isinstance(one, TrainingConfig) else TrainingConfig.from_json(one) for one in several
    ]


def _possible_folds(
    classes: np.ndarray, indices: np.ndarray, wanted: int, progress: Progress
) -> int:
    if len(classes) < 2:
        raise ArrayError(
            f"y holds one class, {classes[0]!r}, in {len(indices)} rows; expected two at least."
        )
    rows = np.bincount(indices)
    if rows.min() < 2:
        raise ArrayError(
            f"y holds the class {classes[rows.argmin()]!r} once; expected two rows of each class "
            "at least."
        )
    folds = min(wanted, int(rows.min()))
    if folds < wanted:
        progress.say(f"{folds} folds: the rarest class has no more rows")
    return folds


def _laid_out(scaled: np.ndarray) -> np.ndarray:
    """Return images of a size that networks can take, uint8 [n, height, width] or with planes.

    Args:
        scaled: Images, or flat rows that fill no square.
    """
    if scaled.ndim == 2:
        side = math.isqrt(scaled.shape[1]) + 1
        spare = side * side - scaled.shape[1]
        scaled = np.pad(scaled, ((0, 0), (0, spare))).reshape(-1, side, side)
    margins = [(0, max(_LEAST_SIDE - side, 0)) for side in scaled.shape[1:3]]
    around = [(0, 0), *margins, *[(0, 0)] * (scaled.ndim - 3)]
    return np.ascontiguousarray(np.pad(scaled, around))


def _dataset(
    images: np.ndarray, labels: np.ndarray, classes: int, folder: Path
) -> tuple[Dataset, Workspace]:
    """Keep the images where workers find them, each data in a workspace of its own."""
    _, height, width, *planes = images.shape
    numbered = tuple(str(place) for place in range(classes))
    # A competition has test images; one of the training images stands in for them.
    parsed = Parsed(
        Competition(height, width, numbered, SubmissionFormat(), *planes),
        images,
        labels.astype(np.int64),
        images[:1],
        ("1",),
    )
    digest = cache.digest_of(parsed)
    workspace = Workspace(folder / digest)
    with cache.alone(workspace, lambda text: None):
        if cache.fetch(digest, workspace) is None:
            cache.store(parsed, digest, workspace)
        kept = cache.fetch(digest, workspace)
    assert kept is not None
    return Dataset.of(kept, digest, "the training images"), workspace


@lru_cache(maxsize=64)
def _network(content: bytes) -> keras.Model:
    """Return the network of a Keras file's bytes, loaded once in a process."""
    from kaggle_digits.core import inference

    with TemporaryDirectory(prefix="kaggle-digits-") as folder:
        path = Path(folder) / "network.keras"
        path.write_bytes(content)
        return inference.load(path)
