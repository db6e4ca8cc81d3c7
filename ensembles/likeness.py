"""Whether new images look like those that networks were trained on: background, range and ink.

A network answers whatever it is shown. Black ink on white, where it learnt white on black, is
answered wrongly and without a doubt; so new images are compared first, and turned round where that
makes them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.core.arrays import luminance
from kaggle_digits.core.data.decoding import laid_on
from kaggle_digits.ground.errors import DataError, shorten

_SAMPLE = 5000
_EDGE = 0.5
"""Percent of the training images on either side that count as odd ones there, too."""

_BACKGROUND_MARGIN = 48.0
_RANGE_SHARE = 0.5
_INK_FACTOR = 3.0
_INK_MARGIN = 5.0
"""How far outside the training images' own span an image may lie, in grey levels or as a factor:
wide, so that thin and bold writing and grey paper pass, and inverted or 0/1 images do not."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What images look like, each.

    Args:
        background: Median of the pixels at the edge, 0 to 255, float64 [n].
        range: Brightest less darkest pixel, float64 [n].
        ink: Mean distance of the pixels from the training images' background, float64 [n].
    """

    background: np.ndarray
    range: np.ndarray
    ink: np.ndarray


class Training:
    """What training images look like; those in colour by their luminance.

    Args:
        images: uint8 [rows, height, width] or [rows, height, width, 3].
    """

    def __init__(self, images: np.ndarray) -> None:
        sample = luminance(images[:: max(1, len(images) // _SAMPLE)])
        self.background = round(float(np.median(_edges(sample))))
        looks = self.look(sample)
        self._backgrounds = _span(looks.background)
        self._ranges = _span(looks.range)
        self._inks = _span(looks.ink)

    def look(self, images: np.ndarray) -> Looks:
        """Return what images look like; uint8 [n, height, width] or [n, height, width, 3]."""
        images = luminance(images)
        flat = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
        return Looks(
            background=np.median(_edges(images), axis=1),
            range=flat.max(axis=1) - flat.min(axis=1),
            ink=np.abs(flat - self.background).mean(axis=1),
        )

    def oddities(self, images: np.ndarray) -> list[str]:
        """Say of each image how it is not like the training images; empty where it is.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3].
        """
        looks = self.look(images)
        found = []
        for background, span, ink in zip(looks.background, looks.range, looks.ink, strict=True):
            low, high = self._backgrounds
            reason = ""
            if not low - _BACKGROUND_MARGIN <= background <= high + _BACKGROUND_MARGIN:
                reason = f"its background is {background:.0f}, in training {_words(low, high)}"
            elif span < _RANGE_SHARE * self._ranges[0]:
                reason = f"its pixels span {span:.0f} levels, in training {_words(*self._ranges)}"
            elif not (
                self._inks[0] / _INK_FACTOR - _INK_MARGIN
                <= ink
                <= self._inks[1] * _INK_FACTOR + _INK_MARGIN
            ):
                reason = f"its ink is {ink:.0f} levels on average, in training " + _words(
                    *self._inks
                )
            found.append(reason)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """New images, as the networks are to see them.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
        inverted: Names of those that were inverted.
        scaled: Names of those whose pixels were 0 and 1 and were multiplied by 255.
        odd: Names of those that are not like the training images.
        reason: What is odd about the first of them.
    """

    images: np.ndarray
    inverted: tuple[str, ...]
    scaled: tuple[str, ...]
    odd: tuple[str, ...]
    reason: str

    def remarks(self) -> list[str]:
        """Return what a user is to be told."""
        found = []
        if self.scaled:
            found.append(f"pixels of 0 and 1 were multiplied by 255 in {_listed(self.scaled)}")
        if self.inverted:
            found.append(f"inverted, to be like the training images: {_listed(self.inverted)}")
        if self.odd:
            found.append(
                f"warning: not like the training images: {_listed(self.odd)}; of the first, "
                f"{self.reason}"
            )
        return found


def fit(
    names: Sequence[str],
    pixels: np.ndarray,
    opaque: np.ndarray,
    training: Training,
    invert: str,
) -> Fitted:
    """Lay images on the training images' background, and make them alike where that is exact.

    Args:
        names: Of the images, n of them.
        pixels: uint8 [n, height, width] or [n, height, width, 3].
        opaque: How much each pixel covers the background, 255 for all of it; uint8 [n, height,
            width].
        training: What the networks were trained on.
        invert: `yes` or `no` for all; `auto` for those that are like the training images inverted
            and not like them as they are.

    Raises:
        DataError: With `auto`, none of the images is like the training images.
    """
    ways = [
        (is_inverted, is_scaled)
        for is_inverted in {"auto": (False, True), "yes": (True,), "no": (False,)}[invert]
        for is_scaled in (False, True)
    ]
    brightest = pixels.reshape(len(pixels), -1).max(axis=1)
    of_0_and_1 = (brightest <= 1) & (opaque.min(axis=(1, 2)) == 255)
    images = _take(pixels, opaque, training.background, ways[0])
    oddities = training.oddities(images)
    chosen = np.zeros(len(names), dtype=np.int64)
    for number, way in enumerate(ways[1:], start=1):
        is_odd = np.array([bool(reason) for reason in oddities])
        rows = np.flatnonzero(is_odd & of_0_and_1 if way[1] else is_odd)
        tried = _take(pixels[rows], opaque[rows], training.background, way)
        for row, image, reason in zip(rows, tried, training.oddities(tried), strict=True):
            if not reason:
                images[row], chosen[row], oddities[row] = image, number, ""
    odd = [name for name, reason in zip(names, oddities, strict=True) if reason]
    first = next((reason for reason in oddities if reason), "")
    if invert == "auto" and len(odd) == len(names):
        raise DataError(
            f"None of the images is like the training images: {_listed(odd)}; of the first, "
            f"{first}.",
            mend="Give images as those in train.csv; --invert no takes them as they are, --invert "
            "yes inverts them all.",
        )
    return Fitted(
        images=images,
        inverted=tuple(name for name, way in zip(names, chosen, strict=True) if ways[way][0]),
        scaled=tuple(name for name, way in zip(names, chosen, strict=True) if ways[way][1]),
        odd=tuple(odd),
        reason=first,
    )


def _take(
    pixels: np.ndarray, opaque: np.ndarray, background: int, way: tuple[bool, bool]
) -> np.ndarray:
    """Return images inverted, multiplied by 255 or neither, laid on the background."""
    is_inverted, is_scaled = way
    values = pixels * np.uint8(255) if is_scaled else pixels
    return laid_on(255 - values if is_inverted else values, opaque, background)


def _edges(images: np.ndarray) -> np.ndarray:
    """Return the pixels at the edge of each image, [n, pixels]."""
    return np.concatenate(
        [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1
    )


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [_EDGE, 100 - _EDGE])
    return float(low), float(high)


def _words(low: float, high: float) -> str:
    return f"{low:.0f} to {high:.0f}" if round(low) != round(high) else f"{low:.0f}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({shorten(list(names))})"
