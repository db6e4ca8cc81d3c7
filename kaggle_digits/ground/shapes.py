"""The shape of an image, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from kaggle_digits.ground.errors import ConfigurationError

COLOUR = 3
"""Planes of an image in colour: red, green, blue."""

_FORM = re.compile(r"(\d{1,5})[x×*](\d{1,5})(?:[x×*](\d{1,5}))?", re.ASCII | re.IGNORECASE)

_SIZE = re.compile(r"(\d{1,4})(?:[x×*](\d{1,4}))?", re.ASCII | re.IGNORECASE)
_LEAST_SIDE, _MOST_SIDE = 4, 512


@dataclass(frozen=True, slots=True)
class ImageShape:
    """The shape of images, and how a row of numbers holds one.

    Args:
        height: In pixels.
        width: In pixels.
        planes: 1 for grey, 3 for red, green and blue.
        planar: In a row of numbers, whether the planes stand one after another; else the three
            numbers of a pixel stand beside one another.
    """

    height: int
    width: int
    planes: int = 1
    planar: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `28x28`, `4×16`, `28x28x1`; in colour `32x32x3` or, planes first, `3x32x32`.

        Raises:
            ConfigurationError: It is none of these, or has another number of planes.
        """
        found = _FORM.fullmatch("".join(text.split()))
        numbers = [int(part) for part in found.groups() if part] if found else [0]
        if 0 in numbers:
            raise ConfigurationError(
                f"--image-shape was given as {text!r}; expected height x width, such as 28x28 or "
                "4x16, in colour 32x32x3, or 3x32x32 where a row holds one plane after another."
            )
        if len(numbers) == 2:
            return cls(numbers[0], numbers[1])
        first, second, third = numbers
        if third in (1, COLOUR):
            return cls(first, second, third)
        if first in (1, COLOUR):
            return cls(second, third, first, planar=first > 1)
        raise ConfigurationError(
            f"--image-shape was given as {text!r}, {third} planes; expected one plane (grey) or "
            "three (red, green and blue).",
            mend="Give height x width, or height x width x 3.",
        )

    @property
    def count(self) -> int:
        """How many numbers an image is made of."""
        return self.height * self.width * self.planes

    @property
    def sides(self) -> tuple[int, ...]:
        """The shape of one image's array: (height, width), in colour (height, width, 3)."""
        grey = self.height, self.width
        return grey if self.planes == 1 else (*grey, self.planes)

    def __str__(self) -> str:
        """Return it as an option's value, and as messages show it."""
        sides = [self.height, self.width]
        if self.planes > 1:
            sides = [self.planes, *sides] if self.planar else [*sides, self.planes]
        return "x".join(map(str, sides))


def parse_size(text: str) -> tuple[int, int]:
    """Read `64` or `48x64`, height x width.

    Raises:
        ConfigurationError: It is neither, or out of range.
    """
    found = _SIZE.fullmatch("".join(text.split()))
    height = int(found[1]) if found else 0
    width = int(found[2] or height) if found else 0
    if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in (height, width)):
        raise ConfigurationError(
            f"--image-size was given as {text!r}; expected pixels such as 64, or height x width "
            f"such as 48x64, {_LEAST_SIDE} to {_MOST_SIDE} each."
        )
    return height, width
