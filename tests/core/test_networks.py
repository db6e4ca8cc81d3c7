"""The contract every network family keeps, and the fused batch norm against Keras' own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from kaggle_digits.core import architecture, hardware
from kaggle_digits.core.architecture import FAMILIES, Convolution, blocks_of, megamacs
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError

SIZES = [(28, 28), (32, 32), (8, 8), (5, 7), (64, 48)]


@pytest.fixture(scope="module")
def keras():
    hardware.prepare()
    import keras

    return keras


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_no_map_vanishes(family, size, kernel_size, depth):
    config = TrainingConfig(family=family, depth=depth, kernel_size=kernel_size, filters=8)
    assert any(isinstance(block, Convolution) for block in blocks_of(config, *size))
    here = size
    for block in blocks_of(config, *size):
        here = architecture._after(block, *here)
        assert min(here) >= 1
    assert min(here) <= 8
    assert megamacs(config, *size, 10) > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [{}, {"dense_units": 16, "spatial_dropout": 0.1, "depth": 1}, {"batch_norm": False}],
)
def test_built_networks_are_what_the_plan_counts(keras, family, change):
    from kaggle_digits.core.networks import build

    config = dataclasses.replace(TrainingConfig(family=family, filters=8), **change)
    model = build(config, 28, 28, 7, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    logits = np.asarray(model.predict_on_batch(images))
    assert logits.shape == (3, 7) and logits.dtype == np.float32
    counted = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            counted += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            counted += int(np.prod(layer.kernel.shape))
    assert counted / 1e6 == pytest.approx(megamacs(config, 28, 28, 7))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert bool(norms) == config.batch_norm


def test_the_all_valid_family_is_that_of_its_paper():
    blocks = blocks_of(TrainingConfig(family="valid", kernel_size=5, filters=32, growth=2), 28, 28)
    assert blocks == tuple(Convolution(32 * n, 5, padded=False) for n in range(1, 6))
    blocks = blocks_of(
        TrainingConfig(family="valid", kernel_size=3, filters=32, growth=1.5), 28, 28
    )
    assert [block.filters for block in blocks] == list(range(32, 192, 16))


def test_the_stepped_family_is_the_reference_network():
    def step(filters: int) -> tuple[Convolution, ...]:
        small = Convolution(filters, 3, padded=False)
        return small, small, Convolution(filters, 5, stride=2)

    blocks = blocks_of(TrainingConfig(family="stepped", growth=2), 28, 28)
    assert blocks == (*step(32), *step(64), Convolution(128, 4, padded=False))


def test_the_seed_fixes_the_weights(keras):
    from kaggle_digits.core.networks import build

    def weights(seed: int) -> list[bytes]:
        model = build(TrainingConfig(filters=8), 8, 8, 3, seed)
        return [np.asarray(weight).tobytes() for weight in model.weights]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


@pytest.fixture
def float32(keras):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.fixture
def numbers(keras):
    """Make NumPy arrays, of torch's tensors that are trained as well."""
    return keras.ops.convert_to_numpy


def test_fused_batch_norm_computes_what_keras_does(keras, float32, numbers):
    from kaggle_digits.core.networks import FusedBatchNormalization

    random = np.random.default_rng(0)
    maps = (random.normal(size=(64, 6, 6, 5)) * 3 + 1).astype(np.float32)
    fused, plain = (
        FusedBatchNormalization(momentum=0.9),
        keras.layers.BatchNormalization(momentum=0.9),
    )
    for _ in range(3):
        trained = numbers(fused(maps, training=True)), numbers(plain(maps, training=True))
        np.testing.assert_allclose(*trained, atol=1e-4)
    np.testing.assert_allclose(numbers(fused.moving_mean), numbers(plain.moving_mean), rtol=1e-4)
    # The fused kernel's variance is the unbiased one: n / (n - 1) with n = 64 · 6 · 6.
    np.testing.assert_allclose(
        numbers(fused.moving_variance), numbers(plain.moving_variance), rtol=1e-3
    )
    np.testing.assert_allclose(numbers(fused(maps)), numbers(plain(maps)), atol=5e-3)


def test_fused_batch_norm_keeps_its_moments_in_float32(keras, numbers):
    from kaggle_digits.core.networks import FusedBatchNormalization

    layer = FusedBatchNormalization(momentum=0.9, dtype="mixed_bfloat16")
    maps = np.full((4, 3, 3, 2), 1.0, dtype=np.float32)
    layer(maps, training=True)
    # 0.1 is not a bfloat16; a moving mean kept in one would have 0.1001.
    np.testing.assert_allclose(numbers(layer.moving_mean), 0.1, rtol=1e-6)


def test_a_convolution_over_the_whole_map_computes_what_keras_does(keras, float32, numbers):
    from kaggle_digits.core.networks import WholeMapConv2D

    maps = np.random.default_rng(0).normal(size=(7, 4, 4, 3)).astype(np.float32)
    whole, plain = WholeMapConv2D(5, 4), keras.layers.Conv2D(5, 4)
    whole.build(maps.shape)
    plain.build(maps.shape)
    plain.set_weights(whole.get_weights())
    assert whole.compute_output_shape(maps.shape) == (7, 1, 1, 5)
    np.testing.assert_allclose(numbers(whole(maps)), numbers(plain(maps)), atol=1e-5)


@pytest.mark.parametrize("side", [28, 8])
def test_only_the_last_convolution_covers_its_map(keras, side):
    from kaggle_digits.core.networks import WholeMapConv2D, build

    model = build(TrainingConfig(family="stepped", filters=8), side, side, 3, seed=0)
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    whole = [
        layer.input.shape[1:3] == layer.kernel_size and layer.padding == "valid" for layer in found
    ]
    assert [isinstance(layer, WholeMapConv2D) for layer in found] == whole
    assert whole[-1] == any(whole), "where one does, it is the last"
    assert any(whole) or side != 28


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_saved_loaded_and_cloned(keras, tmp_path, family):
    from kaggle_digits.core.networks import FusedBatchNormalization, build

    model = build(TrainingConfig(family=family, filters=8, depth=1), 8, 8, 3, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert any(isinstance(layer, FusedBatchNormalization) for layer in loaded.layers)
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    wanted = np.asarray(model.predict_on_batch(images))
    assert np.array_equal(np.asarray(loaded.predict_on_batch(images)), wanted)
    assert np.array_equal(np.asarray(cloned.predict_on_batch(images)), wanted)


@pytest.mark.parametrize(
    ("backend", "accelerator", "capability", "flags", "policy"),
    [
        ("tensorflow", None, None, {"amx_bf16"}, "mixed_bfloat16"),
        ("tensorflow", None, None, {"avx512_bf16"}, "mixed_bfloat16"),
        ("tensorflow", None, None, {"avx2"}, "float32"),
        ("tensorflow", "T4", (7, 5), {"amx_bf16"}, "mixed_float16"),
        ("tensorflow", "P100", (6, 0), {"amx_bf16"}, "float32"),
        ("tensorflow", "H200", (9, 0), set(), "mixed_bfloat16"),
        ("tensorflow", "?", None, set(), "float32"),
        ("torch", None, None, {"amx_bf16"}, "mixed_bfloat16"),
        ("jax", None, None, {"amx_bf16"}, "float32"),
        ("jax", "H200", (9, 0), {"amx_bf16"}, "mixed_bfloat16"),
    ],
)
def test_precision_by_hardware(backend, accelerator, capability, flags, policy):
    chosen, reason = hardware.choose_precision(backend, accelerator, capability, frozenset(flags))
    assert chosen == policy and reason


def test_precision_by_name():
    assert hardware.named_precision("float16") == "mixed_float16"
    with pytest.raises(ConfigurationError, match="precision was given as 'bfloat'") as caught:
        hardware.named_precision("bfloat")
    assert "bfloat16" in str(caught.value.mend)


def test_precision_by_name_reaches_keras():
    asked = "from kaggle_digits.core import hardware as h; print(h.begin_network()); import keras; "
    asked += "print(keras.mixed_precision.dtype_policy().name)"
    told = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "KAGGLE_DIGITS_PRECISION": "float16"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "precision='mixed_float16', reason='asked for by name'" in told
    assert told.splitlines()[-1] == "mixed_float16"
