"""How weights are moved: the schedule, the optimizers, and the average that predicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.ground.config import TrainingConfig

if TYPE_CHECKING:
    import keras

_WARM_UP = 0.2
_START_SHARE = 0.04
_MOMENTUM = 0.9


def make_optimizer(config: TrainingConfig, batch: int, steps: int) -> Any:
    """Return a Keras optimizer with its schedule.

    Args:
        config: Names the optimizer, its peak rate, decay and averaging.
        batch: Images per step; where it is less than the configuration's, the rate is lowered.
        steps: Length of the whole run.
    """
    import keras

    ratio = batch / config.batch_size
    shared = {"weight_decay": config.weight_decay}
    if config.weight_averaging:
        shared |= {"use_ema": True, "ema_momentum": config.weight_averaging}
    if config.optimizer == "sgd":
        rate = one_cycle(config.learning_rate * ratio, steps)
        optimizer = keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True, **shared)
    else:
        # Adam's steps keep their noise when the rate follows the root of the batch size.
        rate = one_cycle(config.learning_rate * ratio**0.5, steps)
        if config.optimizer == "muon":
            from kaggle_digits.core.muon import KernelMuon

            optimizer = KernelMuon(rate, **shared)
        else:
            optimizer = keras.optimizers.AdamW(rate, **shared)
    # Decay pulls kernels only: a norm's scale or a bias has no reason to be near zero.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def one_cycle(peak: float, steps: int) -> Any:
    """Return a schedule: linear warm-up to the peak, then a cosine to nearly zero.

    Args:
        peak: Highest learning rate, after a fifth of the steps.
        steps: Length of the whole run.

    Source: Smith & Topin 2017, "Super-Convergence", with a cosine in place of the second line as
    in torch.optim.lr_scheduler.OneCycleLR.
    """
    import keras
    from keras import ops

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> Any:
            done = ops.cast(step, "float32") / steps
            rising = _START_SHARE + (1 - _START_SHARE) * done / _WARM_UP
            falling = 0.5 * (1 + ops.cos(np.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
            return peak * ops.where(done < _WARM_UP, rising, ops.maximum(falling, 1e-4))

        def get_config(self) -> dict[str, Any]:
            return {}

    return OneCycle()


def take_average(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Put the averaged weights in place, with batch-norm statistics that are theirs.

    The moving statistics belong to the weights as they were trained; the averaged ones make other
    maps. So the statistics are measured anew: the mean over some training batches.

    Args:
        model: Trained by an optimizer that keeps an average. Called again, it changes nothing but
            the statistics' last digits.
        batches: uint8 [batch, height, width, 1] each.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", section 3.2.
    """
    import keras

    model.optimizer.finalize_variable_values(model.trainable_variables)
    for variable in model.trainable_variables:
        # A copy: on JAX, weight and average would share memory that a call may give away.
        variable.assign(keras.ops.convert_to_numpy(variable).copy())
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    kept = [layer.momentum for layer in norms]
    sums: list[Any] = []
    count = 0
    for layer in norms:
        layer.momentum = 0.0  # so that a moving statistic is the last batch's own
    for images in batches:
        model(images, training=True)
        found = [
            keras.ops.convert_to_numpy(v) for norm in norms for v in norm.non_trainable_variables
        ]
        sums = [s + f for s, f in zip(sums, found, strict=True)] if sums else found
        count += 1
    for layer, momentum in zip(norms, kept, strict=True):
        layer.momentum = momentum
    statistics = [v for norm in norms for v in norm.non_trainable_variables]
    for variable, total in zip(statistics, sums, strict=True):
        variable.assign(total / count)
