"""The search space, declared once: what is searched, in which range, from which default.

Keras Tuner sees it through `Space.hyperparameters`; beyond this wing only frozen
`TrainingConfig`s go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaggle_digits.core import hardware
from kaggle_digits.ground import names
from kaggle_digits.ground.config import TrainingConfig

if TYPE_CHECKING:
    import keras_tuner

Value = str | int | float | bool
_DEFAULT = TrainingConfig()
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Only:
    """The condition of a dimension: it is searched only beside these values of another one.

    Args:
        name: The other dimension, declared before.
        values: Its values.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values.

    Args:
        name: A field of `TrainingConfig`.
        values: All values, in order.
        only: Where it is searched; None for everywhere.
    """

    name: str
    values: tuple[Value, ...]
    only: Only | None = None

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def nearest(self, value: Any) -> Value:
        """Return the value of this dimension that is nearest to another one."""
        if value in self.values or isinstance(value, str):
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda known: abs(float(known) - float(value)))

    def describe(self) -> str:
        """Return the dimension in words."""
        return ", ".join(map(str, self.values)) + _condition(self.only)


@dataclass(frozen=True, slots=True)
class LogRange:
    """A number whose logarithm is uniform.

    Args:
        name: A field of `TrainingConfig`.
        low: Smallest value, above 0.
        high: Largest value.
        only: Where it is searched; None for everywhere.
    """

    name: str
    low: float
    high: float
    only: Only | None = None

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def nearest(self, value: Any) -> Value:
        """Return the value of this dimension that is nearest to another one."""
        return min(max(float(value), self.low), self.high)

    def describe(self) -> str:
        """Return the dimension in words."""
        return f"{self.low:g} to {self.high:g}, logarithmic" + _condition(self.only)


Dimension = Choice | LogRange


def steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """Return the numbers of a grid from low to high, without the noise of binary fractions.

    Grids are `Choice`s: Keras Tuner's own stepped floats lose a step on the way from a value to
    its place in the unit interval (0.3 // 0.1 is 2).
    """
    count = int((high - low) / step + 1e-9) + 1
    return tuple(rounded(low + index * step) for index in range(count))


def rounded(value: float) -> float:
    """Return a float of six significant digits, so that digests do not depend on the last bit."""
    return float(f"{value:.{_DIGITS}g}")


_STAGED = Only("family", tuple(name for name in names.FAMILIES if name != "valid"))
"""The family `valid` takes as many convolutions as its kernels need."""

SPACE: tuple[Dimension, ...] = (
    Choice("family", names.FAMILIES),
    Choice("depth", (1, 2, 3), only=_STAGED),
    Choice("filters", (16, 24, 32, 48, 64)),
    Choice("growth", (1.25, 1.5, 1.75, 2.0)),
    Choice("kernel_size", (3, 5, 7)),
    Choice("dense_units", (0, 64, 128)),
    Choice("batch_norm", (False, True)),
    Choice("spatial_dropout", steps(0, 0.2, 0.05)),
    Choice("dropout", steps(0, 0.6, 0.1)),
    Choice("batch_size", (128, 256, 512)),
    LogRange("learning_rate", 3e-3, 3e-2, only=Only("optimizer", ("adamw",))),
    LogRange("learning_rate", 3e-3, 3e-2, only=Only("optimizer", ("muon",))),
    LogRange("learning_rate", 6e-2, 6e-1, only=Only("optimizer", ("sgd",))),
    LogRange("weight_decay", 0.005, 0.2),
    Choice("label_smoothing", (0.0, 0.05, 0.1)),
    Choice("augmentation", names.INK_POLICIES),
)

_IN_COLOUR = Choice("augmentation", ("none", "light", *names.PHOTO_POLICIES))

ON_REQUEST: tuple[Dimension, ...] = (
    Choice("optimizer", names.OPTIMIZERS),
    Choice("mixup", (0.0, 0.1, 0.2, 0.4, 1.0)),
    Choice("cutmix", (0.0, 0.5, 1.0)),
    Choice("weight_averaging", (0.0, 0.99, 0.995, 0.998, 0.999)),
    Choice("views", (1, 5, 9)),
    Choice("normalisation", names.NORMALISATIONS),
    Choice("class_weights", names.CLASS_WEIGHTS),
)
"""Searched only where a space file names them: what they bring shows in runs that are longer than
a trial, so a search over all of them would mostly compare noise."""


@dataclass(frozen=True, slots=True)
class Space:
    """What one search searches.

    Args:
        dimensions: In an order in which a condition's dimension comes before the conditioned one.
        narrowed: Names that a space file has narrowed.
    """

    dimensions: tuple[Dimension, ...] = field(default_factory=lambda: reachable(SPACE))
    narrowed: frozenset[str] = frozenset()

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Return the space in Keras Tuner's form, its defaults nearest to the default config."""
        import contextlib

        hardware.prepare()  # Keras Tuner imports Keras
        import keras_tuner

        space = keras_tuner.HyperParameters()
        for dimension in self.dimensions:
            default = dimension.nearest(getattr(_DEFAULT, dimension.name))
            only = dimension.only
            scope: Any = contextlib.nullcontext()
            if only is not None and self._has(only.name):
                scope = space.conditional_scope(only.name, list(only.values))
            with scope:
                match dimension:
                    case Choice(name=name, values=values):
                        plain = [_plain(value) for value in values]
                        space.Choice(name, plain, default=_plain(default))
                    case LogRange(name=name, low=low, high=high):
                        space.Float(name, low, high, sampling="log", default=default)
        return space

    def to_config(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration that the oracle's values stand for.

        Fields outside the space, and those not searched beside the values given, have their
        defaults. Floats are rounded to six significant digits.

        Raises:
            ConfigurationError: A value is out of a field's range.
        """
        return TrainingConfig.from_json(
            {
                name: _typed(name, values[name])
                for name in {dimension.name for dimension in self.dimensions}
                if name in values
            }
        )

    def to_values(self, config: TrainingConfig) -> dict[str, Any]:
        """Return the oracle's values nearest to a configuration: the inverse of `to_config`."""
        return {
            dimension.name: _plain(dimension.nearest(getattr(config, dimension.name)))
            for dimension in self.dimensions
            if self._is_active(dimension, config)
        }

    def admits(self, config: TrainingConfig) -> bool:
        """Say whether a configuration lies within what a space file has narrowed.

        Dimensions that nobody narrowed admit every value: a well-tried configuration may lie
        between the values that are searched.
        """
        return all(
            getattr(config, dimension.name) in dimension
            for dimension in self.dimensions
            if dimension.name in self.narrowed and self._is_active(dimension, config)
        )

    def in_colour(self) -> Space:
        """Return the space for images in colour, whose augmentation is that of photographs.

        What a space file has narrowed stays.
        """
        if _IN_COLOUR.name in self.narrowed:
            return self
        return dataclasses.replace(
            self,
            dimensions=tuple(
                _IN_COLOUR if dimension.name == _IN_COLOUR.name else dimension
                for dimension in self.dimensions
            ),
        )

    def fixed(self, name: str, value: Value) -> Space:
        """Return the space with one value of a dimension, whatever it had."""
        others = tuple(dimension for dimension in self.dimensions if dimension.name != name)
        return dataclasses.replace(
            self,
            dimensions=(*others, Choice(name, (value,))),
            narrowed=self.narrowed | {name},
        )

    def size(self) -> float:
        """Return how many configurations there are at most; infinite where a range is searched."""
        size = 1.0
        for dimension in self.dimensions:
            size *= len(dimension.values) if isinstance(dimension, Choice) else float("inf")
        return size

    def settings(self) -> dict[str, str]:
        """Return the declaration in words, for the study's settings."""
        found: dict[str, str] = {}
        for dimension in self.dimensions:
            name = f"space {dimension.name}"
            found[name] = "; ".join(filter(None, [found.get(name), dimension.describe()]))
        return found

    def _has(self, name: str) -> bool:
        return any(dimension.name == name for dimension in self.dimensions)

    def _is_active(self, dimension: Dimension, config: TrainingConfig) -> bool:
        return dimension.only is None or getattr(config, dimension.only.name) in (
            dimension.only.values
        )


def reachable(dimensions: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """Return the dimensions whose condition can be met, a missing one standing at its default."""
    values: dict[str, set[Value]] = {}
    for dimension in dimensions:
        if isinstance(dimension, Choice):
            values.setdefault(dimension.name, set()).update(dimension.values)
    return tuple(
        dimension
        for dimension in dimensions
        if dimension.only is None
        or values.get(dimension.only.name, {getattr(_DEFAULT, dimension.only.name)})
        & set(dimension.only.values)
    )


def _plain(value: Value) -> Value:
    # Keras Tuner makes whole numbers of truth values by itself; then it does not find its default.
    return int(value) if isinstance(value, bool) else value


def _typed(name: str, value: Any) -> Value:
    kind = _KINDS[name]
    if kind == "float":
        return rounded(float(value))
    return bool(value) if kind == "bool" else value


def _condition(only: Only | None) -> str:
    return f" ({only.name} {' or '.join(only.values)})" if only else ""


_KINDS = {field.name: str(field.type) for field in dataclasses.fields(TrainingConfig)}
