"""Softmax of trained networks on images as they are, or averaged over small views of them.

Images that a network is sure of after a few views are not shown to it again: on the digits that is
nine of ten, whose softmax further views do not move (`benchmarks/ideas.md`, "More views").
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.normalisation import normalise
from kaggle_digits.core.predictions import softmax
from kaggle_digits.ground.errors import ArtefactError

if TYPE_CHECKING:
    import keras

    from kaggle_digits.ground.config import TrainingConfig

_CPU_BATCH = 512
_GPU_BATCH = 4096
_CHANNELS = 4
_FIRST_VIEWS = 3
"""Views every image is seen by; a turn to either side is among them."""
_SURE = 0.99
"""Probability from which on an image needs no further views."""
_OF_MEMBER = "Delete its member and call `kaggle-digits cv-train --add --keep-weights`."
_MOVES: tuple[tuple[float, float, float, float], ...] = tuple(
    # Degrees, relative size, shift right and shift down in shares of the side. In an order in which
    # every beginning of the list is balanced as far as it can be.
    (sign * degrees, 1 + sign * size, sign * right, sign * down)
    for degrees, size, right, down in (
        (6.0, 0.0, 0.0, 0.0),
        (0.0, 0.06, 0.0, 0.0),
        (0.0, 0.0, 0.035, 0.0),
        (0.0, 0.0, 0.0, 0.035),
        (6.0, 0.06, 0.0, 0.0),
        (6.0, -0.06, 0.0, 0.0),
        (0.0, 0.0, 0.035, 0.035),
        (0.0, 0.0, 0.035, -0.035),
        (10.0, 0.0, 0.0, 0.0),
        (0.0, 0.1, 0.0, 0.0),
        (10.0, 0.06, 0.0, 0.0),
        (10.0, -0.06, 0.0, 0.0),
    )
    for sign in (1, -1)
)


def load(path: Path, mend: str = _OF_MEMBER) -> keras.Model:
    """Read a trained network from its Keras file.

    Args:
        path: The file.
        mend: What the message says can be done.

    Raises:
        ArtefactError: It is not there or cannot be read.
    """
    hardware.prepare()
    import keras

    # Imported for its layers' registration.
    from kaggle_digits.core import networks  # noqa: F401

    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{path} cannot be read as a network: {str(error).splitlines()[0]}",
            mend=mend,
        ) from error


def predict(
    model: keras.Model, images: np.ndarray, config: TrainingConfig | None = None
) -> np.ndarray:
    """Return softmax, averaged over views; what is said of an image depends on itself alone.

    By single calls: Keras' own `predict` sets up a pipeline for each call, which costs more.

    Args:
        model: From uint8 [batch, height, width, planes] to logits.
        images: uint8 [n, height, width], in colour [n, height, width, 3], as they came.
        config: What the network was trained by. It says how many views are averaged at most (the
            image itself is the first), of images normalised as those of training were; None for
            one view of the images as they came.

    Returns:
        float32 [n, classes].
    """
    if config is None:
        return softmax(outputs(model, images))
    images = normalise(images, config.normalisation)
    first = min(config.views, _FIRST_VIEWS)
    total = _seen(model, images, range(first))
    mean = total / np.float32(first)
    unsure = np.flatnonzero(_confidence(mean, config.label_smoothing) < _SURE)
    if config.views > first and len(unsure):
        total = total[unsure] + _seen(model, images[unsure], range(first, config.views))
        mean[unsure] = total / np.float32(config.views)
    return mean


def _seen(model: keras.Model, images: np.ndarray, views: range) -> np.ndarray:
    """Return the sum of what a network says of views, float32 [n, classes]."""
    total: Any = 0.0
    for view in views:
        moved = images if view == 0 else _moved(images, *_MOVES[view - 1])
        total = total + softmax(outputs(model, moved))
    return np.asarray(total)


def _confidence(probabilities: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the largest probability of each image, without the smoothing of labels, [n]."""
    # A network trained towards 1 - s + s/k and s/k says the former of what it is sure of.
    top = probabilities.max(axis=1)
    alone: np.ndarray = (top - smoothing / probabilities.shape[1]) / (1 - smoothing)
    return alone


def images_per_call() -> int:
    """Return how many images this machine predicts at a time."""
    return _CPU_BATCH if hardware.prepare().device == "cpu" else _GPU_BATCH


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return what a network itself gives for images, float32 [n, classes].

    Args:
        model: From uint8 [batch, height, width, 1].
        images: uint8 [n, height, width].
    """
    size = images_per_call()
    found = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        batch = batch[..., None] if batch.ndim == 3 else batch
        rows = len(batch)
        if size == _GPU_BATCH and rows < size:
            # Of one size all of them: a backend that compiles would compile for each size.
            batch = np.pad(batch, ((0, size - rows), (0, 0), (0, 0), (0, 0)))
        found.append(np.asarray(model.predict_on_batch(batch))[:rows])
    if not found:
        return np.zeros((0, model.output_shape[-1]), dtype=np.float32)
    return np.concatenate(found)


def _moved(
    images: np.ndarray, degrees: float, size: float, right: float, down: float
) -> np.ndarray:
    """Return all images turned, scaled and shifted alike; what comes in from outside is black."""
    import cv2

    height, width = images.shape[1:3]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, size)
    turn[:, 2] += (right * width, down * height)
    moved = np.empty_like(images)
    if images.ndim == 4:
        for row, image in enumerate(images):
            moved[row] = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_CUBIC)
        return moved
    # As the channels of one picture, the most that OpenCV takes: the same pixels in two thirds of
    # the time.
    for start in range(0, len(images), _CHANNELS):
        channels = np.moveaxis(images[start : start + _CHANNELS], 0, -1)
        warped = cv2.warpAffine(
            np.ascontiguousarray(channels), turn, (width, height), flags=cv2.INTER_CUBIC
        )
        moved[start : start + _CHANNELS] = np.moveaxis(warped.reshape(channels.shape), -1, 0)
    return moved
