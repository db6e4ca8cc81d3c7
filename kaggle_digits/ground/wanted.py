"""What a user asks for of the way data are read: beside the path, what decides what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.shapes import ImageShape, parse_size


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a competition's files are to be read; each None or False for what they show.

    Args:
        shape: Of images in pixel columns.
        size: Height and width that image files are scaled to.
        skip_broken: Whether image files that cannot be read are left out.
        groups: The column of train.csv whose equal values stand in one fold.
        fold_column: The column of train.csv that gives the fold.
    """

    shape: ImageShape | None = None
    size: tuple[int, int] | None = None
    skip_broken: bool = False
    groups: str | None = None
    fold_column: str | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigurationError: Folds are given, and groups to draw them by.
        """
        if self.groups is not None and self.fold_column is not None:
            raise ConfigurationError(
                f"--groups {self.groups} was given with --fold-column {self.fold_column}, which "
                "says the folds already.",
                mend="Give one of them.",
            )

    def or_else(self, other: Self) -> Self:
        """Return these settings, and another's where one is not given."""
        return type(self)(
            self.shape or other.shape,
            self.size or other.size,
            self.skip_broken or other.skip_broken,
            self.groups or (None if self.fold_column else other.groups),
            self.fold_column or (None if self.groups else other.fold_column),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of train.csv that are for folds: one or none."""
        return tuple(name for name in (self.groups, self.fold_column) if name is not None)

    @property
    def words(self) -> tuple[str, ...]:
        """The options that say the same on a command line."""
        given = {
            "--image-shape": str(self.shape) if self.shape else None,
            "--image-size": _written(self.size) or None,
            "--groups": self.groups,
            "--fold-column": self.fold_column,
        }
        words = [word for name, value in given.items() if value for word in (name, value)]
        return (*words, *(["--skip-broken"] if self.skip_broken else []))

    @property
    def suffix(self) -> str:
        """What sets data read like this apart from others, in words; empty for nothing."""
        words = [
            f"as {self.shape}" if self.shape else "",
            f"scaled to {_written(self.size)}" if self.size else "",
            "without broken" if self.skip_broken else "",
            f"in groups of {self.groups}" if self.groups else "",
            f"with the folds of {self.fold_column}" if self.fold_column else "",
        ]
        return "".join(f" {word}" for word in words if word)

    def to_json(self) -> dict[str, Any]:
        """Return all but the shape as a dictionary for JSON, without what is not given."""
        values = {
            "size": _written(self.size),
            "skip_broken": self.skip_broken,
            "groups": self.groups,
            "fold_column": self.fold_column,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make the value from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
            ConfigurationError: The size cannot be one.
        """
        fields = Fields(values)
        size = fields.text_or_none("size") if "size" in fields else None
        return cls(
            size=None if size is None else parse_size(size),
            skip_broken=fields.flag("skip_broken", False),
            groups=fields.text_or_none("groups") if "groups" in fields else None,
            fold_column=fields.text_or_none("fold_column") if "fold_column" in fields else None,
        )


PLAIN = Wanted()
"""Nothing is asked for."""


def _written(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"
