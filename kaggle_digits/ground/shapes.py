"""The shape of an image, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from kaggle_digits.ground.errors import ConfigurationError

_FORM = re.compile(r"(\d{1,5})[x×*](\d{1,5})(?:[x×*](\d{1,2}))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Height and width of a grey image in pixels."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `28x28`, `4×16` or `28x28x1`.

        Raises:
            ConfigurationError: It is none of these, or it has several planes of colour.
        """
        found = _FORM.fullmatch("".join(text.split()))
        if found is None or 0 in (height := int(found[1]), width := int(found[2])):
            raise ConfigurationError(
                f"--image-shape was given as {text!r}; expected height x width, such as 28x28 or "
                "4x16."
            )
        if found[3] is not None and int(found[3]) != 1:
            raise ConfigurationError(
                f"--image-shape was given as {text!r}, {int(found[3])} planes; only grey images, "
                "of one plane, are supported yet.",
                mend="Turn the images into grey, and give the height and the width.",
            )
        return cls(height, width)

    def __str__(self) -> str:
        """Return it as an option's value, and as messages show it."""
        return f"{self.height}x{self.width}"
