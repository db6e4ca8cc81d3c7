"""Nearest neighbours where a blend is unsure: another kind of learner, asked about few rows.

Networks that learn alike err alike, however many are averaged. What makes a handwritten image
ambiguous to them is often plain to its nearest neighbours. So the least sure rows get
p^a / (d^b e^c), normalised, in place of the blend's probabilities p, with d and e the distances to
the nearest training image of a class: as the images are, and normalised.

Why the figures stay honest: a row's neighbours come from the folds whose labels its members have
seen, never from its own fold; its exponents are fitted on the rows of the other folds; which rows
are unsure depends on no label. Where the gain cannot be told from noise, the blend stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ensembles.blending import Blend
from ensembles.evaluation import PairedDifference, compare, one_blas_thread, row_results
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.neighbours import References
from kaggle_digits.core.predictions import logarithm, row_losses, score, softmax64
from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.names import DISTANCES
from kaggle_digits.ground.progress import Progress, Task

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_SHARE = 0.05
"""Of the rows, the least sure ones, that are asked about."""
_ASKED = 4
"""Classes that neighbours are looked for in: the most probable ones."""
_FEWEST = 50
"""Unsure rows that exponents are fitted on at least."""
_PULL = 0.01
_MOST_PIXELS = 1600


@dataclass(frozen=True, slots=True)
class Asked:
    """What neighbours were asked, and what they brought.

    Args:
        rows: Training rows asked about.
        test_rows: Test rows asked about; 0 where neighbours were left out.
        exponents: a, b and c of p^a / (d^b e^c), fitted on all unsure rows; None with too few of
            them.
        effect: The blend with them minus the blend without, out-of-fold; None likewise.
        without: Classes whose images were not looked at: no member was trained on them.
    """

    rows: int
    test_rows: int
    exponents: tuple[float, ...] | None
    effect: PairedDifference | None
    without: tuple[str, ...] = ()

    @property
    def helps(self) -> bool:
        """Whether the log-loss falls beyond noise."""
        return self.effect is not None and self.effect.log_loss_high < 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        effect = self.effect
        return {
            "rows": self.rows,
            "test_rows": self.test_rows,
            "exponents": self.exponents,
            "distances": DISTANCES,
            "helps": self.helps,
            "log_loss": effect and [effect.log_loss, effect.log_loss_low, effect.log_loss_high],
            "images": effect and [effect.images, effect.images_low, effect.images_high],
            "without": list(self.without),
        }

    @classmethod
    def from_json(cls, values: Fields) -> Self:
        """Return what `to_json` made a dictionary of.

        Raises:
            FormError: A field is missing or of another kind.
        """
        effect = exponents = None
        if "images" in values:
            images, low, high = values.numbers("images")
            effect = PairedDifference(int(images), low, high, *values.numbers("log_loss"))
            exponents = tuple(values.numbers("exponents"))
        without = tuple(values.texts("without")) if "without" in values else ()
        return cls(values.whole("rows"), values.whole("test_rows"), exponents, effect, without)

    @classmethod
    def of(cls, account: Mapping[str, Any]) -> Self | None:
        """Return what a blend's account says of it; None where neighbours were not asked.

        Raises:
            FormError: A field is missing or of another kind.
        """
        found = account.get("neighbours")
        return cls.from_json(Fields(found)) if found else None

    def verdict(self) -> str:
        """Say in a line what they brought."""
        if self.effect is None:
            return f"left out: {self.rows} unsure rows are too few to fit them"
        found = (
            f"{self.effect.images:+d} images, log-loss {self.effect.log_loss:+.5f} "
            f"[{self.effect.log_loss_low:+.5f}, {self.effect.log_loss_high:+.5f}] "
            f"on {self.rows} unsure rows"
        )
        return found if self.helps else f"left out, no gain shown: {found}"


def suits_neighbours(images: np.ndarray) -> bool:
    """Say whether images are grey and of 1,600 pixels at most.

    A colour photograph's neighbours say little of its class, and the time grows with the pixels.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
    """
    return images.ndim == 3 and images[0].size <= _MOST_PIXELS


def with_neighbours(
    blend: Blend,
    dataset: Dataset,
    folds: Folds,
    progress: Progress,
    judged: np.ndarray | None = None,
) -> tuple[Blend, Asked]:
    """Ask the nearest neighbours of the rows a blend is least sure of.

    Args:
        blend: Calibrated by a temperature.
        dataset: Its images and labels.
        folds: The folds its members were trained on.
        progress: Told of every image, class and distance.
        judged: Places in train.csv of the blend's out-of-fold rows, int64; None for all rows.

    Returns:
        The blend that comes of it, or the same if it is not shown to be better; and what was found.
    """
    judged = np.arange(len(dataset.labels)) if judged is None else judged
    labels, known = dataset.labels[judged], References(dataset.images, dataset.labels)
    of_row = folds.of_row[judged]
    in_folds = [np.flatnonzero(of_row == fold) for fold in range(folds.count)]
    unsure = [rows[least_sure(blend.oof[rows])] for rows in in_folds]
    rows = np.concatenate(unsure)
    if len(rows) < _FEWEST or min(map(len, unsure)) == len(rows):
        return blend, Asked(len(rows), 0, None, None)
    test_rows = least_sure(blend.test)
    work = _comparisons(len(rows) + len(test_rows), blend.oof)
    with one_blas_thread(), progress.task("neighbours", work, "comparisons") as task:
        features = []
        for fold, chosen in enumerate(unsure):
            asked = most_probable(blend.oof[chosen])
            allowed = folds.training_rows(fold)
            near = known.distances(dataset.images[judged[chosen]], asked, allowed, task)
            features.append(as_features(blend.oof[chosen], asked, near))
        oof = blend.oof.copy()
        for fold, chosen in enumerate(unsure):
            others = [place for place in range(folds.count) if place != fold]
            exponents = fit(
                np.concatenate([features[place] for place in others]),
                labels[np.concatenate([unsure[place] for place in others])],
            )
            oof[chosen] = softmax64(features[fold] @ exponents)
        groups = dataset.groups_of(judged)
        effect = compare(row_results(oof, labels), row_results(blend.oof, labels), groups)
        exponents = fit(np.concatenate(features), labels[rows])
        of_all = tuple(exponents.tolist())
        found = Asked(len(rows), 0, of_all, effect, _untrained(dataset, folds))
        if not found.helps:
            return blend, found
        images, allowed = dataset.test_images, _looked_at(dataset, found)
        test = _moved(blend.test, test_rows, images, known, allowed, exponents, task)
    fitted = blend.oof.copy()
    fitted[rows] = softmax64(np.concatenate(features) @ exponents)
    made = replace(
        blend, oof=oof, test=test, honest=score(oof, labels, groups), fitted=score(fitted, labels)
    )
    return made, replace(found, test_rows=len(test_rows))


def asked_again(
    probabilities: np.ndarray, found: Asked, dataset: Dataset, progress: Progress
) -> np.ndarray:
    """Ask the neighbours of test images about what a blend that asked them said of others.

    Args:
        probabilities: What the blend's rule says of the data's test images.
        found: What was found when the blend was made.
        dataset: Its images and labels.
        progress: Told of every image, class and distance.
    """
    if not found.helps:
        return probabilities
    rows, known = least_sure(probabilities), References(dataset.images, dataset.labels)
    work = _comparisons(len(rows), probabilities)
    with one_blas_thread(), progress.task("neighbours", work, "comparisons") as task:
        exponents = np.array(found.exponents)
        images, allowed = dataset.test_images, _looked_at(dataset, found)
        return _moved(probabilities, rows, images, known, allowed, exponents, task)


def _comparisons(rows: int, probabilities: np.ndarray) -> int:
    """Return how many images are looked for the neighbours of, in each class and normalisation."""
    return rows * min(_ASKED, int(probabilities.shape[1])) * len(DISTANCES)


def _untrained(dataset: Dataset, folds: Folds) -> tuple[str, ...]:
    """Return the classes that no fold trains on, as rare ones that were dropped."""
    there = set(dataset.labels[folds.training_rows(None)].tolist())
    classes = enumerate(dataset.competition.classes)
    return tuple(name for index, name in classes if index not in there)


def _looked_at(dataset: Dataset, found: Asked) -> np.ndarray:
    """Return the training rows that the neighbours of test images are looked for among, int64."""
    classes = enumerate(dataset.competition.classes)
    left_out = [index for index, name in classes if name in found.without]
    kept = dataset.kept
    return kept[~np.isin(dataset.labels[kept], left_out)]


def _moved(
    probabilities: np.ndarray,
    rows: np.ndarray,
    images: np.ndarray,
    known: References,
    allowed: np.ndarray,
    exponents: np.ndarray,
    task: Task,
) -> np.ndarray:
    """Return probabilities with those of some rows moved by their neighbours."""
    made = probabilities.copy()
    asked = most_probable(made[rows])
    near = known.distances(images[rows], asked, allowed, task)
    made[rows] = softmax64(as_features(made[rows], asked, near) @ exponents)
    return made


def least_sure(probabilities: np.ndarray) -> np.ndarray:
    """Return the rows whose largest probability is among the smallest, ascending, int64."""
    count = round(_SHARE * len(probabilities))
    found: np.ndarray = np.sort(
        np.argsort(probabilities.max(axis=1), kind="stable")[:count].astype(np.int64)
    )
    return found


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """Return each row's most probable classes, the first one first, int64 [rows, 4 or fewer]."""
    found: np.ndarray = np.argsort(-probabilities, axis=1, kind="stable")[:, :_ASKED]
    return found


def as_features(probabilities: np.ndarray, asked: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return ln p and the -ln d of all distances of each class, float64 [rows, classes, features].

    A class that was not asked for is as far as the farthest that was.

    Args:
        probabilities: float [rows, classes].
        asked: int64 [rows, k], classes.
        near: Their distances, float64 [rows, k, distances].
    """
    far = np.repeat(near.max(axis=1, keepdims=True), probabilities.shape[1], axis=1)
    np.put_along_axis(far, asked[..., np.newaxis], near, axis=1)
    known = logarithm(probabilities.astype(np.float64))[..., np.newaxis]
    made: np.ndarray = np.concatenate([known, -np.log(far)], axis=2)
    return made


def fit(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the exponents with the lowest log-loss, float64 [features], by Newton's steps.

    The log-loss is convex in them; a weak pull towards the blend as it is, 1 and zeros, keeps them
    finite where the rows can be told apart without an error.

    Args:
        features: float64 [rows, classes, features].
        labels: int64 [rows].
    """
    start = np.zeros(features.shape[2])
    start[0] = 1.0
    found = start.copy()
    own = features[np.arange(len(labels)), labels]

    def loss(values: np.ndarray) -> float:
        losses = row_losses(softmax64(features @ values), labels)
        return float(losses.sum() + _PULL * ((values - start) ** 2).sum() / 2)

    for _ in range(50):
        outputs = softmax64(features @ found)
        mean = np.einsum("rc,rcf->rf", outputs, features)
        slope = (mean - own).sum(axis=0) + _PULL * (found - start)
        bend = np.einsum("rc,rcf,rcg->fg", outputs, features, features) - mean.T @ mean
        step = np.linalg.solve(bend + _PULL * np.eye(len(start)), slope)
        # Halved until it goes down: far from the lowest point a whole step may lead past it.
        while loss(found - step) > loss(found) and np.abs(step).max() > 1e-9:
            step /= 2
        found = found - step
        if np.abs(step).max() < 1e-8:
            break
    return found
