"""A user's space file: TOML that narrows the declared space, dimension by dimension.

    family = ["strided", "pooled"]                  # of a choice: some of its values
    depth = 2                                       # one value: not searched, fixed
    learning_rate = { low = 0.005, high = 0.02 }    # of a range: a part of it
    dropout = { low = 0.1, high = 0.4 }             # of ordered values: those between
    mixup = [0.0, 0.2]                              # one of those searched on request only

What a file does not name stays as declared. Values outside the declared space are refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kaggle_digits.ground.errors import ConfigurationError, did_you_mean
from kaggle_digits.ground.names import POLICIES
from tuning.space import ON_REQUEST, SPACE, Choice, Dimension, LogRange, Space, Value, reachable


def read_space(path: Path) -> Space:
    """Return the declared space narrowed by a file.

    Raises:
        ConfigurationError: The file cannot be read, names something unknown, or holds a value
            outside the declared space.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"--space was given as {path}, which cannot be read: {error}.",
            mend="Give a TOML file with lines like: depth = [1, 2].",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not TOML: {error}.", mend="Write lines like: depth = [1, 2]."
        ) from error
    return narrow(given, str(path))


def narrow(given: Mapping[str, Any], source: str) -> Space:
    """Return the declared space with some dimensions narrowed.

    Args:
        given: Name of a dimension → a value, a list of values, or a table with low and high.
        source: Where they come from, as messages name it.

    Raises:
        ConfigurationError: A name is unknown or a value lies outside the declared space.
    """
    names = {dimension.name for dimension in (*SPACE, *ON_REQUEST)}
    for name in given:
        if name not in names:
            raise ConfigurationError(
                f"{source} names {name!r}, which is not searched.", mend=did_you_mean(name, names)
            )
    # Requested ones first: conditions look at them.
    declared = [dimension for dimension in ON_REQUEST if dimension.name in given]
    # Photographs in grey are told by nobody but the user.
    declared += [
        replace(dimension, values=POLICIES)
        if dimension.name == "augmentation"
        and isinstance(dimension, Choice)
        and "augmentation" in given
        else dimension
        for dimension in SPACE
    ]
    # Conditions must be known before the dimensions they stand at are narrowed.
    for conditioned in (False, True):
        declared = list(reachable(tuple(declared)))
        for name, wish in given.items():
            own = [dimension for dimension in declared if dimension.name == name]
            if own and (own[0].only is not None) != conditioned:
                continue
            if not own:
                raise ConfigurationError(
                    f"{source} names {name!r}, which is not searched beside its other values.",
                    mend=f"Leave {name} out.",
                )
            place = declared.index(own[0])
            declared = [dimension for dimension in declared if dimension.name != name]
            declared[place:place] = _narrowed(own, wish, source)
    return Space(tuple(declared), frozenset(given))


def _narrowed(dimensions: list[Dimension], wish: Any, source: str) -> list[Dimension]:
    """Return those dimensions of one name that the wish fits, narrowed."""
    found: list[Dimension] = []
    refused: list[ConfigurationError] = []
    for dimension in dimensions:
        try:
            found.append(_narrow(dimension, wish, source))
        except ConfigurationError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _narrow(dimension: Dimension, wish: Any, source: str) -> Dimension:
    expected = f"expected of {dimension.name}: {dimension.describe()}"
    if isinstance(wish, Mapping):
        return _within(dimension, wish, source, expected)
    values = wish if isinstance(wish, list) else [wish]
    if not values:
        raise ConfigurationError(f"{source} leaves no value for {dimension.name}; {expected}.")
    for value in values:
        if not _fits(dimension, value):
            raise ConfigurationError(
                f"{source} gives {dimension.name} {value!r}; {expected}.",
                mend=_mend(dimension, value),
            )
    if isinstance(dimension, LogRange):
        return Choice(dimension.name, tuple(sorted(map(float, values))), dimension.only)
    kept = tuple(known for known in dimension.values if known in values)
    return replace(dimension, values=kept)


def _within(dimension: Dimension, wish: Mapping[str, Any], source: str, expected: str) -> Dimension:
    wrong = ConfigurationError(
        f"{source} gives {dimension.name} {dict(wish)}; {expected}.",
        mend=f"Write {dimension.name} = {{ low = ..., high = ... }} inside it.",
    )
    if set(wish) != {"low", "high"} or not all(
        type(value) in (int, float) for value in wish.values()
    ):
        raise wrong
    low, high = float(wish["low"]), float(wish["high"])
    if low > high:
        raise wrong
    if isinstance(dimension, LogRange):
        if low not in dimension or high not in dimension:
            raise wrong
        if low == high:
            return Choice(dimension.name, (low,), dimension.only)
        return replace(dimension, low=low, high=high)
    numbers = [value for value in dimension.values if type(value) in (int, float)]
    if not numbers or low < float(min(numbers)) or high > float(max(numbers)):
        raise wrong
    kept = tuple(value for value in numbers if low <= float(value) <= high)
    if not kept:
        raise wrong
    return replace(dimension, values=kept)


def _fits(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, LogRange):
        return type(value) in (int, float) and value in dimension
    # True is 1 in Python, but not in a file.
    return any(
        value == known and isinstance(value, bool) == isinstance(known, bool)
        for known in dimension.values
    )


def _mend(dimension: Dimension, value: Value) -> str:
    if isinstance(dimension, Choice) and isinstance(dimension.values[0], str):
        return did_you_mean(str(value), map(str, dimension.values))
    return "Give values of the declared space only."
