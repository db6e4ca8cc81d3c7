"""What a user asks for of the way data are read: beside the path, what decides what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.shapes import ImageShape, parse_size


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a competition's files are to be read; each None or False for what they show.

    Args:
        shape: Of images in pixel columns.
        size: Height and width that image files are scaled to.
        skip_broken: Whether image files that cannot be read are left out.
    """

    shape: ImageShape | None = None
    size: tuple[int, int] | None = None
    skip_broken: bool = False

    def or_else(self, other: Self) -> Self:
        """Return these wishes, and another's where there is none."""
        return type(self)(
            self.shape or other.shape,
            self.size or other.size,
            self.skip_broken or other.skip_broken,
        )

    @property
    def suffix(self) -> str:
        """What sets these wishes apart from others; empty for none."""
        words = [f"as {self.shape}"] if self.shape else []
        words += self._of_files()
        return "".join(f" {word}" for word in words)

    def _of_files(self) -> list[str]:
        words = [f"scaled to {_written(self.size)}"] if self.size else []
        return [*words, "without broken"] if self.skip_broken else words

    def to_json(self) -> dict[str, Any]:
        """Return what concerns image files as a dictionary that JSON can hold."""
        size = {"size": _written(self.size)} if self.size else {}
        return size | ({"skip_broken": True} if self.skip_broken else {})

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
        )


def _written(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"
