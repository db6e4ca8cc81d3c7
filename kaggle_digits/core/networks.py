"""Keras models built from blocks. Importing this imports Keras: call `hardware.prepare` first."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from kaggle_digits.core.architecture import (
    ChannelDropout,
    Convolution,
    Pooling,
    Residual,
    blocks_of,
)
from kaggle_digits.ground.config import TrainingConfig


@keras.saving.register_keras_serializable(package="kaggle_digits")
class WholeMapConv2D(layers.Conv2D):  # type: ignore[misc]
    """A convolution whose kernel covers the whole map, computed as one product of matrices.

    On CPUs that takes a tenth of the time of the convolution's own kernels, forward and backward.
    Weights, saving and output shape are those of the parent.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Return float [batch, 1, 1, filters] of maps of the kernel's size."""
        flat = keras.ops.reshape(inputs, (-1, math.prod(inputs.shape[1:])))
        columns = keras.ops.reshape(kernel, (-1, self.filters))
        return keras.ops.reshape(keras.ops.matmul(flat, columns), (-1, 1, 1, self.filters))


@keras.saving.register_keras_serializable(package="kaggle_digits")
class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Batch norm over the last axis of image maps, by TensorFlow's fused kernel where that runs.

    Keras' own layer computes the moments with separate operations, which doubles the time of a
    training step on CPUs. Weights, saving and inference are those of the parent, which also serves
    every other backend.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise a map.

        Args:
            inputs: float [batch, height, width, channels].
            training: Use and update the batch's own moments.
            mask: Not supported by the fused kernel; the parent handles it.
        """
        if keras.backend.backend() != "tensorflow" or mask is not None or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow

        moments = [
            tensorflow.cast(tensorflow.convert_to_tensor(variable), tensorflow.float32)
            for variable in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        ]
        gamma, beta, mean, variance = moments
        if not (training and self.trainable):
            normalised, *_ = tensorflow.compat.v1.nn.fused_batch_norm(
                inputs, gamma, beta, mean, variance, epsilon=self.epsilon, is_training=False
            )
            return normalised
        normalised, batch_mean, batch_variance = tensorflow.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, epsilon=self.epsilon, is_training=True
        )
        keep = self.momentum
        self.moving_mean.assign(mean * keep + batch_mean * (1 - keep))
        self.moving_variance.assign(variance * keep + batch_variance * (1 - keep))
        return normalised


def build(
    config: TrainingConfig, height: int, width: int, classes: int, seed: int, planes: int = 1
) -> keras.Model:
    """Build an untrained network.

    Args:
        config: What to build.
        height: Image height in pixels.
        width: Image width in pixels.
        classes: Number of classes.
        seed: Fixes the initial weights and the dropout masks.
        planes: Of an image: 1 for grey, 3 for colour.

    Returns:
        A model from uint8 [batch, height, width, planes] to float32 logits [batch, classes].
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((height, width, planes), dtype="uint8")
    maps = layers.Rescaling(1 / 255)(inputs)
    for block in blocks_of(config, height, width):
        match block:
            case Convolution():
                maps = layers.ReLU()(_convolved(maps, config, block))
            case Residual(filters=filters, kernel=kernel):
                one = Convolution(filters, kernel)
                added = layers.ReLU()(_convolved(maps, config, one))
                added = _convolved(added, config, one)
                if maps.shape[-1] != filters:
                    maps = layers.Conv2D(filters, 1, use_bias=False)(maps)
                maps = layers.ReLU()(layers.Add()([maps, added]))
            case Pooling():
                maps = layers.MaxPooling2D()(maps)
            case ChannelDropout(rate=rate):
                maps = layers.SpatialDropout2D(rate)(maps)
    features = layers.Flatten()(maps)
    if config.dense_units:
        features = layers.Dense(config.dense_units, activation="relu")(features)
    features = layers.Dropout(config.dropout)(features)
    # Logits in float32: bfloat16 has too few digits for a softmax near 0 and 1.
    logits = layers.Dense(classes, dtype="float32")(features)
    return keras.Model(inputs, logits)


def _convolved(maps: Any, config: TrainingConfig, block: Convolution) -> Any:
    # Keras' default start (Glorot), not He: before a batch norm the weights' size only sets how far
    # a step turns them, and the larger start cost 0.004 of log-loss.
    is_whole = not block.padded and maps.shape[1:3] == (block.kernel, block.kernel)
    maps = (WholeMapConv2D if is_whole else layers.Conv2D)(
        block.filters,
        block.kernel,
        strides=block.stride,
        padding="same" if block.padded else "valid",
        use_bias=not config.batch_norm,
    )(maps)
    return FusedBatchNormalization(momentum=0.9)(maps) if config.batch_norm else maps
