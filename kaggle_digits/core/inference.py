"""Softmax of trained networks on images as they are, or averaged over small views of them."""

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

_CPU_BATCH = 512
_GPU_BATCH = 4096
_CHANNELS = 4
_OF_MEMBER = "Delete its member and call `kaggle-digits cv-train --keep-weights` again."
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
    model: keras.Model, images: np.ndarray, views: int = 1, normalisation: str = "none"
) -> np.ndarray:
    """Return softmax, averaged over views.

    By single calls: Keras' own `predict` sets up a pipeline for each call, which costs more.

    Args:
        model: From uint8 [batch, height, width, planes] to logits.
        images: uint8 [n, height, width], in colour [n, height, width, 3], as they came.
        views: How many views of each image are averaged; the image itself is the first.
        normalisation: What the network was trained on; the views are of the normalised images.

    Returns:
        float32 [n, classes].
    """
    total: Any = 0.0
    images = normalise(images, normalisation)
    for view in range(views):
        seen = images if view == 0 else _moved(images, *_MOVES[view - 1])
        total = total + softmax(outputs(model, seen))
    mean: np.ndarray = (total / np.float32(views)).astype(np.float32)
    return mean


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
