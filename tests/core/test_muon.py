"""Muon for convolutions against the algorithm as it is written down, in float64."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kaggle_digits.core.muon import KernelMuon
from kaggle_digits.core.optimization import make_optimizer
from kaggle_digits.ground.config import TrainingConfig

RATE, DECAY = 0.02, 0.1
SHAPES = {"kernel": (3, 3, 2, 4), "wide kernel": (1, 1, 2, 8)}


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """Newton and Schulz' five steps, from the author's text: on the shorter side."""
    found = (matrix.T if matrix.shape[0] > matrix.shape[1] else matrix).astype(np.float64)
    found = found / np.linalg.norm(found)
    for _ in range(5):
        square = found @ found.T
        found = 3.4445 * found + (-4.7750 * square + 2.0315 * square @ square) @ found
    return found.T if matrix.shape[0] > matrix.shape[1] else found


@pytest.mark.parametrize("name", SHAPES)
def test_a_kernel_takes_the_steps_of_the_algorithm(name):
    shape, random = SHAPES[name], np.random.default_rng(1)
    start = random.normal(size=shape)
    gradients = [random.normal(size=shape) for _ in range(4)]
    variable = keras.Variable(start.astype(np.float32), name="kernel")
    optimizer = KernelMuon(RATE, weight_decay=DECAY)
    optimizer.build([variable])
    wanted, momentum = start, np.zeros(shape)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))])
        momentum = 0.95 * momentum + gradient
        ahead = (gradient + 0.95 * momentum).reshape(-1, shape[3])
        length = RATE * 0.2 * max(ahead.shape) ** 0.5
        wanted = wanted * (1 - RATE * DECAY) - length * orthogonal(ahead).reshape(shape)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), wanted, atol=1e-4)
    sizes = np.linalg.svd(orthogonal(ahead), compute_uv=False)
    assert sizes.min() > 0.6 and sizes.max() < 1.3, "no direction is left behind"


def test_what_is_no_kernel_takes_the_steps_of_adamw():
    config = TrainingConfig(learning_rate=RATE, weight_decay=DECAY)
    random, ended = np.random.default_rng(2), []
    shapes = {"kernel": (6, 3), "bias": (3,), "gamma": (5,)}
    starts = {name: random.normal(size=shape) for name, shape in shapes.items()}
    gradients = [[random.normal(size=shape) for shape in shapes.values()] for _ in range(3)]
    for kind in ("adamw", "muon"):
        own = TrainingConfig.from_json(config.to_json() | {"optimizer": kind})
        variables = [keras.Variable(start, name=name) for name, start in starts.items()]
        optimizer = make_optimizer(own, config.batch_size, 10)
        optimizer.build(variables)
        for given in gradients:
            optimizer.apply([keras.ops.cast(one, "float32") for one in given])
        ended.append([keras.ops.convert_to_numpy(variable) for variable in variables])
    for one, other in zip(*ended, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
