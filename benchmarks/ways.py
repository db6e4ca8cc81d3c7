"""What a set of `ideas.toml` may say that no configuration has a word for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from kaggle_digits.core import batches, hardware, training
from kaggle_digits.core.augmentation import POLICIES, Bank, Policy
from kaggle_digits.core.jobs import TrainingJob

SURE_SHARE = 0.6
SMALL_SIDE = 25  # the stepped family's last map is as large as that of 28 pixels
SMALL_SHARE = 0.4
PATCHES = 100_000


@dataclass(frozen=True, slots=True)
class Ink:
    """Ways to bend ink that no named policy has, each added to the policy `elastic`.

    Args:
        turns: Standard deviation of a turn in degrees, in place of an even chance.
        squeeze: Pixels that are taken from the width at most.
        erased: Side of the largest patch made black, in pixels.
    """

    turns: float = 0.0
    squeeze: float = 0.0
    erased: int = 0

    def compose(self, seed: int) -> Callable[..., dict[str, Any]]:
        """Return a pipeline with its own random stream, as a policy's."""
        import cv2

        random = np.random.default_rng(seed)
        base = POLICIES["elastic"]
        assert isinstance(base, Policy)
        if self.turns:
            base = Policy(0.0, base.scale, base.shift, base.shear, base.elastic)
        pipeline = base.compose(seed)

        def bend(image: np.ndarray) -> dict[str, Any]:
            height, width = image.shape[:2]
            turn = random.normal(0, self.turns) if self.turns else 0.0
            along = 1 - random.uniform(0, self.squeeze) / width
            middle = ((width - 1) / 2, (height - 1) / 2)
            there = cv2.getRotationMatrix2D(middle, turn, 1.0)
            there[0] *= along
            there[0, 2] += middle[0] * (1 - along)
            if self.turns or self.squeeze:
                moved = cv2.warpAffine(image, there, (width, height), flags=cv2.INTER_CUBIC)
                image = moved.reshape(image.shape)
            made = pipeline(image=image)["image"]
            if self.erased and random.random() < 0.5:
                high, wide = random.integers(2, self.erased + 1, 2)
                top, left = random.integers(height - high), random.integers(width - wide)
                made = made.copy()
                made[top : top + high, left : left + wide] = 0
            return {"image": made}

        return bend


TRIED: dict[str, Any] = {
    "elastic40": Policy(rotation=12, scale=0.12, shift=0.08, shear=8, elastic=40, elastic_share=1),
    "elastic80": Policy(
        rotation=12, scale=0.12, shift=0.08, shear=8, elastic=80, elastic_share=0.8
    ),
    "normal-turns": Ink(turns=8),
    "squeezed": Ink(squeeze=7),
    "erased": Ink(erased=6),
}
"""Policies that the product does not have."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a set's members are trained, where a configuration has no word for it.

    Args:
        times: Of the epochs that the others have.
        folds: Of the folds that the others have.
        soft: Share of the targets that the control's member of the same fold and seed gives, which
            has not seen that fold either; the label has the rest.
        rarely: From the second third on, the rows that this member finds the least hard are taken
            half as often, in as many steps.
        whitened: The first convolution is fixed: it whitens patches of the rows that train.
        small: In the first 40 % of the epochs images are smaller.
    """

    times: float = 1
    folds: int = 1
    soft: float = 0.0
    rarely: bool = False
    whitened: bool = False
    small: bool = False

    @property
    def teacher(self) -> bool:
        """Whether the control's members are asked about the rows that train."""
        return bool(self.soft) or self.rarely

    def epochs(self, usual: int) -> int:
        """Return for how many epochs its members are trained."""
        return round(usual * self.times)

    @contextmanager
    def in_force(self, images: np.ndarray, told: np.ndarray | None) -> Iterator[None]:
        """Let `training.train` train in this way.

        Args:
            images: uint8 [rows, height, width], grey, those that train.
            told: Probability that the teacher gives the label of each, [rows]; None without one.
        """
        with ExitStack() as until:
            if self.rarely and told is not None:
                rarely = _rarely(told >= np.quantile(told, 1 - SURE_SHARE))
                until.enter_context(mock.patch.object(training, "Batches", rarely))
            if self.whitened:
                hardware.prepare()
                from kaggle_digits.core import networks

                until.enter_context(
                    mock.patch.object(networks, "build", _whitened(images, networks.build))
                )
            if self.small:
                until.enter_context(mock.patch.object(training, "_Run", Growing))
            yield


def _rarely(sure: np.ndarray) -> type[batches.Batches]:
    """Return batches that take sure rows half as often once a third of the epochs is over.

    Args:
        sure: Which of the job's rows, bool.
    """

    class Rarely(batches.Batches):
        def _order(self, epoch: int, random: np.random.Generator) -> np.ndarray:
            order = super()._order(epoch, random)
            if epoch < self._job.epochs // 3:
                return order

            def some(order: np.ndarray) -> np.ndarray:
                return order[~sure[order] | (random.random(len(sure)) < 0.5)]

            # Twice, since an epoch has as many steps as ever.
            return np.concatenate([some(order), some(random.permutation(len(sure)))])

    return Rarely


def _whitened(images: np.ndarray, build: Callable[..., Any]) -> Callable[..., Any]:
    """Return a builder of networks whose first convolution is fixed, without a batch norm.

    Its kernels are the principal directions of 3×3 patches, scaled to a variance of one, and
    their opposites, as in Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU".

    Args:
        images: uint8 [rows, height, width], grey, those that train.
        build: Builds a network as usual.
    """
    random = np.random.default_rng(0)
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    which = (random.integers(side, size=PATCHES) for side in patches.shape[:3])
    chosen = patches[tuple(which)].reshape(PATCHES, 9) / 255
    variances, directions = np.linalg.eigh(chosen.T @ chosen / PATCHES)
    kernels = directions / np.sqrt(variances + 5e-4)
    both = np.concatenate([kernels, -kernels], axis=1).reshape(3, 3, 1, 18).astype(np.float32)

    def made(*given: Any) -> Any:
        import keras

        usual = build(*given)
        inputs, scaled, first, _norm, *others = usual.layers
        assert first.kernel_size == (3, 3)
        stem = keras.layers.Conv2D(18, 3, use_bias=False, trainable=False)
        maps = stem(scaled(inputs.output))
        stem.set_weights([both])
        for layer in others:
            maps = type(layer).from_config(layer.get_config())(maps)
        return keras.Model(inputs.output, maps)

    return made


USUAL = training._Run


class Growing(USUAL):
    """A run whose first epochs are of smaller images, by the same weights."""

    def __init__(self, job: TrainingJob, dataset: Any, made: batches.Batches) -> None:
        super().__init__(job, dataset, made)
        form = dataset.competition
        self._less = (
            dataset,
            SimpleNamespace(
                height=SMALL_SIDE, width=SMALL_SIDE, classes=form.classes, planes=form.planes
            ),
        )

    def fit(self, *given: Any) -> None:
        """Train on smaller images, hand weights and optimizer on, and train as ever."""
        dataset, form = self._less
        early = round(SMALL_SHARE * self.job.epochs)
        if len(self.state.history) < early:
            began = time.monotonic()
            fed = Small(self.job, dataset, self.batches._bank)
            small = USUAL(self.job, SimpleNamespace(competition=form), fed)  # type: ignore[arg-type]
            told = small.model.fit(
                small.batches.stream(0), epochs=early, steps_per_epoch=small.batches.steps,
                shuffle=False, verbose=0,
            )  # fmt: skip
            here = [*self.model.weights, *self.model.optimizer.variables]
            there = [*small.model.weights, *small.model.optimizer.variables]
            for variable, value in zip(here, there, strict=True):
                variable.assign(value)
            self.state.history = [float(loss) for loss in told.history["loss"]]
            self.state.seconds = time.monotonic() - began
        super().fit(*given)


class Small(batches.Batches):
    """Batches of the same rows, smaller."""

    def __init__(self, job: TrainingJob, dataset: Any, bank: Bank) -> None:
        super().__init__(job, dataset, bank)
        self._sides = (SMALL_SIDE, SMALL_SIDE, self._sides[2])

    def _images(self, *given: Any) -> np.ndarray:
        import cv2

        side = (SMALL_SIDE, SMALL_SIDE)
        images = super()._images(*given)
        return np.stack([cv2.resize(one, side, interpolation=cv2.INTER_AREA) for one in images])
