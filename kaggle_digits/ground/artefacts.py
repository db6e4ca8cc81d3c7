"""The one reader of JSON artefacts: what is there and is not what was written is named as that.

A file can be valid JSON and yet be of another form: edited, cut and patched, of another tool, or of
a newer version. `Fields` reads a JSON object by names and types, so that what is made from a file
is valid or an error says which field is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.stamps import versions

Made = TypeVar("Made")

FORM = 1
"""The form of all artefacts so far; a file without a `format` has it. A higher one is newer."""

_OWN = "kaggle-digits"


class FormError(ValueError):
    """A value is not of the form it was written in; the text says where and what was expected."""


class Fields:
    """A JSON object, read by names and types.

    Args:
        values: What JSON gave, whatever it is.
        place: How errors name it; empty for the file's own object.

    Raises:
        FormError: It is no object.
    """

    def __init__(self, values: object, place: str = "") -> None:
        if not isinstance(values, Mapping):
            raise FormError(f"{place or 'its content'} is {_short(values)}; expected an object")
        self._values = values
        self._place = f"{place}." if place else ""

    def __contains__(self, name: str) -> bool:
        """Say whether there is such a field with a value."""
        return self._values.get(name) is not None

    def all(self) -> dict[str, Any]:
        """Return all of it as it is."""
        return dict(self._values)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def whole(self, name: str, default: int | None = None, *, least: int = 0) -> int:
        """Return a whole number, `least` or more."""
        value = self._get(name, default)
        if type(value) is not int or value < least:
            raise self._wrong(name, f"a whole number from {least}")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self._get(name, default)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(name, "a number")
        return float(value)

    def whole_or_null(self, name: str) -> int | None:
        """Return a whole number, or None where the field, which has to be there, is null."""
        return None if self._get(name, None) is None else self.whole(name)

    def number_or_none(self, name: str) -> float | None:
        """Return a finite number, or None where there is none."""
        return self.number(name) if name in self else None

    def text_or_none(self, name: str) -> str | None:
        """Return a text, or None where there is none."""
        return self.text(name) if name in self else None

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return an object as it is."""
        value = self._get(name, default)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object")
        return dict(value)

    def within(self, name: str) -> Fields:
        """Return an object's fields."""
        return Fields(self.mapping(name), f"{self._place}{name}")

    def items(self, name: str) -> list[Any]:
        """Return a list as it is."""
        value = self._get(name, None)
        if not isinstance(value, list | tuple):
            raise self._wrong(name, "a list")
        return list(value)

    def each(self, name: str) -> list[Fields]:
        """Return a list of objects."""
        return [
            Fields(value, f"{self._place}{name}[{index}]")
            for index, value in enumerate(self.items(name))
        ]

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "a list of texts")
        return values

    def wholes(self, name: str) -> list[int]:
        """Return a list of whole numbers."""
        values = self.items(name)
        if not all(type(value) is int for value in values):
            raise self._wrong(name, "a list of whole numbers")
        return values

    def numbers(self, name: str) -> list[float]:
        """Return a list of numbers; a loss may have become infinite."""
        values = self.items(name)
        if not all(type(value) in (int, float) for value in values):
            raise self._wrong(name, "a list of numbers")
        return [float(value) for value in values]

    def require_known(self, *names: str) -> None:
        """Refuse fields of other names.

        Raises:
            FormError: The first one is named.
        """
        for name in self._values:
            if name not in names:
                raise FormError(f"{self._place}{name} is no field that this version knows")

    def _get(self, name: str, default: object) -> Any:
        if default is None and name not in self._values:
            raise FormError(f"{self._place}{name} is missing")
        return self._values.get(name, default)

    def _wrong(self, name: str, expected: str) -> FormError:
        return FormError(
            f"{self._place}{name} is {_short(self._values.get(name))}; expected {expected}"
        )


def read_artefact(path: Path, build: Callable[[Any], Made], what: str, mend: str) -> Made:
    """Read a JSON file of the workspace and make of it what it stands for.

    Args:
        path: The file.
        build: Makes the value, by `Fields` or by what raises ConfigurationError.
        what: What the file should be, as in "a study's settings".
        mend: What to do where it is not.

    Raises:
        ArtefactError: It is not there, is no JSON, was written by a newer version, or is of
            another form.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is not there.", mend=mend) from error
    except OSError as error:
        raise ArtefactError(
            f"{path} cannot be read: {error.strerror or error}.", mend=mend
        ) from error
    return parse_artefact(content, build, str(path), what, mend)


def parse_artefact(
    content: bytes, build: Callable[[Any], Made], name: str, what: str, mend: str
) -> Made:
    """Make of a JSON artefact's bytes what they stand for; as `read_artefact`.

    Args:
        content: The bytes.
        build: As there.
        name: How messages name the file.
        what: As there.
        mend: As there.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{name} cannot be read as JSON: {error}.", mend=mend) from error
    _require_known_form(values, name)
    try:
        return build(values)
    except (FormError, ConfigurationError) as error:
        newer = _newer_version(values)
        raise ArtefactError(
            f"{name} is not {what}: {str(error).rstrip('.')}."
            + (f" It was written by version {newer}; this is {_version()}." if newer else ""),
            mend=_UPGRADE if newer else mend,
        ) from error


_UPGRADE = "Install the newer version, or give another --workspace."


def _require_known_form(values: object, name: str) -> None:
    form = values.get("format", FORM) if isinstance(values, dict) else FORM
    if type(form) is int and form > FORM:
        raise ArtefactError(
            f"{name} was written by a newer version (its form is {form}; this version knows "
            f"{FORM}).",
            mend=_UPGRADE,
        )


def _newer_version(values: object) -> str | None:
    """Return the version that wrote a file, where that is newer than this one."""
    stamped = values.get("versions") if isinstance(values, dict) else None
    theirs = stamped.get(_OWN) if isinstance(stamped, dict) else None
    if isinstance(theirs, str) and _numbers(theirs) > _numbers(_version()):
        return theirs
    return None


def _version() -> str:
    return versions()[_OWN]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _short(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:40]}…"
