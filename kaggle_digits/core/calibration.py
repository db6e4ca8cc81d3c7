"""Temperature: how sure predictions are, set right by one number that changes no answer.

Label smoothing makes networks less sure than they could be, so their plain log-loss says more about
the smoothing than about the network. A temperature takes that out (Guo, Pleiss, Sun, Weinberger:
On Calibration of Modern Neural Networks, 2017, section 4.2).
"""

from __future__ import annotations

import numpy as np

from kaggle_digits.core.predictions import logarithm, softmax64


def temper(joined: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities to the power 1/temperature, normalised, float64 [rows, classes]."""
    return softmax64(logarithm(joined) / temperature)


def best_temperature(joined: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest log-loss.

    The log-loss is convex in 1/T: Newton steps, kept within a factor of two each.

    Args:
        joined: float64 [rows, classes], rows that sum to 1.
        labels: int64 [rows].

    Returns:
        The temperature, from 0.1 to 10.
    """
    # Classes first: sums over the rows' few classes then go along whole rows of memory.
    logs = logarithm(np.ascontiguousarray(joined.T, dtype=np.float64))
    highest, own = logs.max(axis=0), logs[labels, np.arange(len(labels))]
    outputs = np.empty_like(logs)
    inverse = 1.0
    for _ in range(60):
        np.subtract(logs, highest, out=outputs)
        np.multiply(outputs, inverse, out=outputs)
        np.exp(outputs, out=outputs)
        total = outputs.sum(axis=0)
        np.multiply(outputs, logs, out=outputs)
        mean = outputs.sum(axis=0) / total
        slope = float((mean - own).mean())
        np.multiply(outputs, logs, out=outputs)
        curvature = float((outputs.sum(axis=0) / total - mean**2).mean())
        wanted = inverse - slope / max(curvature, 1e-12)
        wanted = min(max(wanted, inverse / 2, 0.1), inverse * 2, 10.0)
        if abs(wanted - inverse) < 1e-9:
            break
        inverse = wanted
    return 1 / inverse
