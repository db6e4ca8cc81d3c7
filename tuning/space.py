"""The search space, declared once: what is searched, in which range, from which default.

Keras Tuner sees it through `hyperparameters`; beyond this wing only frozen `TrainingConfig`s go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaggle_digits.core.architecture import FAMILIES
from kaggle_digits.ground.config import TrainingConfig

if TYPE_CHECKING:
    import keras_tuner

_DEFAULT = TrainingConfig()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values.

    Args:
        name: A field of `TrainingConfig`.
        values: All values, in order.
    """

    name: str
    values: tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LogRange:
    """A number whose logarithm is uniform.

    Args:
        name: A field of `TrainingConfig`.
        low: Smallest value.
        high: Largest value.
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Range:
    """A uniform number on a grid.

    Args:
        name: A field of `TrainingConfig`.
        low: Smallest value.
        high: Largest value.
        step: Distance of neighbours.
    """

    name: str
    low: float
    high: float
    step: float


Dimension = Choice | LogRange | Range

SPACE: tuple[Dimension, ...] = (
    Choice("family", tuple(sorted(FAMILIES))),
    Choice("depth", (1, 2, 3)),
    Choice("filters", (16, 24, 32, 48, 64)),
    Choice("growth", (1.25, 1.5, 1.75, 2.0)),
    Choice("kernel_size", (3, 5)),
    Range("spatial_dropout", 0.0, 0.2, 0.05),
    Range("dropout", 0.0, 0.6, 0.1),
    Choice("dense_units", (0, 64, 128)),
    LogRange("learning_rate", 3e-3, 3e-2),
    LogRange("weight_decay", 0.005, 0.2),
    Choice("label_smoothing", (0.0, 0.05, 0.1)),
    Choice("augmentation", ("light", "standard", "elastic")),
)


def hyperparameters() -> keras_tuner.HyperParameters:
    """Return the space in Keras Tuner's form, with the default configuration as its default."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    for dimension in SPACE:
        default = getattr(_DEFAULT, dimension.name)
        match dimension:
            case Choice(name=name, values=values):
                space.Choice(name, list(values), default=default)
            case LogRange(name=name, low=low, high=high):
                space.Float(name, low, high, sampling="log", default=default)
            case Range(name=name, low=low, high=high, step=step):
                space.Float(name, low, high, step=step, default=default)
    return space


def to_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration that the oracle's values stand for.

    Floats are rounded to six significant digits, so that the JSON round trip and the digest do not
    hang on the last bit.

    Raises:
        ConfigurationError: A value is out of a field's range.
    """
    return TrainingConfig.from_json(
        {
            dimension.name: _rounded(values[dimension.name])
            for dimension in SPACE
            if dimension.name in values
        }
    )


def to_values(config: TrainingConfig) -> dict[str, Any]:
    """Return the oracle's values for a configuration: the inverse of `to_config` on the space."""
    return {dimension.name: getattr(config, dimension.name) for dimension in SPACE}


def settings() -> list[dict[str, Any]]:
    """Return the declaration as JSON-able values, for the study's settings."""
    return [
        {"kind": type(dimension).__name__}
        | {name: _plain(getattr(dimension, name)) for name in dimension.__slots__}
        for dimension in SPACE
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
