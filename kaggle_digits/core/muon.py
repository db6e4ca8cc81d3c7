"""Muon for convolutions: steps whose directions all have the same length.

Keras' own Muon gives every variable that is not a matrix to AdamW, which in a network of
convolutions is all but the classifier. Here it is the other way about: a kernel [height, width, in,
out] is taken as the matrix [height × width × in, out], as the author's own code does for images;
the classifier, the norms and the biases are AdamW's.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the length of
a step is that of AdamW (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2), so that
both share rate and decay.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


class KernelMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for the kernels of convolutions, AdamW for everything else.

    Args:
        rate: Learning rate of both, a number or a schedule.
        weight_decay: Decoupled weight decay of both.
        given: What every Keras optimizer takes.
    """

    def __init__(self, rate: Any, weight_decay: float, **given: Any) -> None:
        super().__init__(rate, weight_decay=weight_decay, adam_weight_decay=weight_decay, **given)

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign(m, self.momentum * m + gradient)
        # Nesterov's: as if the next gradient were like this one.
        ahead = gradient + self.momentum * m
        matrix = ops.reshape(ahead, (math.prod(variable.shape[:3]), variable.shape[3]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))
