"""The pixel columns of a table, found by their names and put into image order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.errors import ConfigurationError, DataError, shorten
from kaggle_digits.ground.shapes import COLOUR, ImageShape

_SINGLE = re.compile(r"(.*?)(\d{1,9})", re.ASCII | re.DOTALL)
_PAIR = re.compile(r"(\D*)(\d{1,9})(\D+)(\d{1,9})", re.ASCII)
_MOST_PIXELS = 1 << 20
_LEAST_PLANE = 4
_COLOURS = (("r", "g", "b"), ("red", "green", "blue"))

Family = tuple[str, ...]
"""What the names of pixel columns share: what is no number in them."""


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixel columns of train.

    Args:
        families: What their names share; with a group of columns for each colour, three.
        names: In the order of their numbers; with a group for each colour, in image order.
        shape: Of an image, and the order of its planes in the names.
        named: Whether the names give row and column, so that no other shape could be meant.
        guessed: Whether the order of the planes is a mere default: neither the names give it, nor
            the user.
    """

    families: tuple[Family, ...]
    names: tuple[str, ...]
    shape: ImageShape
    named: bool
    guessed: bool = False

    def in_image_order(self) -> tuple[str, ...]:
        """Return the names row by row of the image, the three of a pixel beside one another."""
        if not self.shape.planar:
            return self.names
        size = self.shape.height * self.shape.width
        return tuple(self.names[place + size * plane] for place, plane in _interleaved(size))


def _interleaved(size: int) -> Iterable[tuple[int, int]]:
    return ((place, plane) for place in range(size) for plane in range(COLOUR))


def find_grid(header: tuple[str, ...], file: str, shape: ImageShape | None = None) -> PixelGrid:
    """Find the pixel columns in a header: the largest group of names alike but for numbers.

    One number (`pixel0`, `12`) counts the pixels of an image, two (`1x1`, `r0c0`) give row and
    column; they count from 0 or 1, in any order. Three groups that are named by red, green and blue
    (`r0`, `g0`, `b0`) are one image in colour, as are three times a square number of columns.

    Args:
        header: Names that occur once each.
        file: How messages name the file.
        shape: Of the image; None for a square one where the names do not give it.

    Raises:
        DataError: There are none, some are missing or doubled, or they make no rectangle.
        ConfigurationError: They are not of the shape that was asked for.
    """
    members = _members(header)
    if not members:
        raise DataError(
            f"{file} has no pixel columns; expected names that end in a number, such as pixel0, "
            f"found {shorten(header, 3)}."
        )
    families = _largest(members)
    if len(families) == COLOUR:
        return _in_colour(families, members, file, shape)
    (family,) = families
    return _one_group(family, members[family], file, shape)


def count_numbered(header: tuple[str, ...]) -> int:
    """Return how many columns `find_grid` would take for pixels, whether they make an image or not.

    Args:
        header: Names that occur once each.
    """
    members = _members(header)
    return sum(len(members[family]) for family in _largest(members)) if members else 0


def _members(header: tuple[str, ...]) -> dict[Family, dict[str, tuple[int, ...]]]:
    """Return the groups of names alike but for numbers: the numbers of each name."""
    members: dict[Family, dict[str, tuple[int, ...]]] = {}
    for name in header:
        for family, numbers in _families(name):
            members.setdefault(family, {})[name] = numbers
    return members


def _largest(members: Mapping[Family, Mapping[str, tuple[int, ...]]]) -> tuple[Family, ...]:
    """Return the group that is the pixels; in colour three of them."""
    colours = _colour_families(members)
    if colours is not None:
        return colours
    # On a draw the reading with one number wins: `v2_0`, `v2_1` count pixels, not rows.
    return (max(members, key=lambda key: (len(members[key]), -len(key))),)


def _one_group(
    family: Family, names: Mapping[str, tuple[int, ...]], file: str, shape: ImageShape | None
) -> PixelGrid:
    at: dict[tuple[int, ...], str] = {}
    for name, place in names.items():
        if place in at:
            raise DataError(
                f"{file} has doubled pixel columns: {at[place]} and {name} are the same pixel.",
                mend="Remove one of the two.",
            )
        at[place] = name
    wanted: list[tuple[int, ...]]
    is_guessed = False
    if len(family) == 2:
        rows = _span(row for row, _ in at)
        columns = _span(column for _, column in at)
        found = ImageShape(len(rows), len(columns))
        _require_sane(found.count, file)
        wanted = [(row, column) for row in rows for column in columns]
        if shape is not None and shape != found:
            raise ConfigurationError(
                f"--image-shape is {shape}, but the pixel columns of {file} are named by row and "
                f"column, {found} of them.",
                mend="Leave --image-shape out.",
            )
    elif shape is not None:
        found = shape
        wanted = [(number,) for number in _counted([number for (number,) in at], shape, file)]
    else:
        wanted = [(number,) for number in _whole([number for (number,) in at], family[0], file)]
        side = math.isqrt(len(wanted))
        is_guessed = side * side != len(wanted)
        side = math.isqrt(len(wanted) // COLOUR) if is_guessed else side
        found = ImageShape(side, side, COLOUR if is_guessed else 1)
    missing = [_spell(family, place) for place in wanted if place not in at]
    if missing:
        raise DataError(
            f"{file} has missing pixel columns {shorten(missing, 3)}; expected all {len(wanted)} "
            f"of {found.height}×{found.width} pixels{' in colour' * (found.planes > 1)}.",
            mend="Download it again, or put the columns back.",
        )
    ordered = tuple(at[place] for place in wanted)
    return PixelGrid((family,), ordered, found, named=len(family) == 2, guessed=is_guessed)


def _in_colour(
    colours: tuple[Family, ...],
    members: Mapping[Family, Mapping[str, tuple[int, ...]]],
    file: str,
    shape: ImageShape | None,
) -> PixelGrid:
    if shape is not None and shape.planes == 1:
        raise ConfigurationError(
            f"--image-shape is {shape}, but the pixel columns of {file} are named by colours.",
            mend=f"Give --image-shape {shape}x3, or leave it out.",
        )
    of_plane = None if shape is None else ImageShape(shape.height, shape.width)
    planes = [_one_group(family, members[family], file, of_plane) for family in colours]
    grey = planes[0].shape
    if any(plane.shape != grey for plane in planes) or grey.planes > 1:
        raise DataError(
            f"{file} has a group of pixel columns for each of red, green and blue, of other sizes: "
            f"{', '.join(str(plane.shape) for plane in planes)}; expected one size.",
            mend="Put the missing columns back.",
        )
    names = tuple(planes[plane].names[place] for place, plane in _interleaved(len(planes[0].names)))
    found = ImageShape(grey.height, grey.width, COLOUR)
    return PixelGrid(colours, names, found, named=planes[0].named)


def shape_of(count: int, shape: ImageShape | None, what: str) -> ImageShape:
    """Return the shape of images of so many numbers: as asked for, else square, grey or in colour.

    Args:
        count: Numbers of an image.
        shape: What was asked for.
        what: How messages name the pixels' place.

    Raises:
        DataError: They make no square.
        ConfigurationError: They are not of the shape that was asked for.
    """
    if shape is not None:
        _require_count(count, shape, what)
        return shape
    if _is_square(count):
        return ImageShape(math.isqrt(count), math.isqrt(count))
    if _is_colour(count):
        side = math.isqrt(count // COLOUR)
        return ImageShape(side, side, COLOUR)
    raise _not_square(count, f"{what} holds {count} pixels")


def other_shapes(height: int, width: int) -> list[ImageShape]:
    """Return the other shapes that as many pixels could have, the nearest to a square first."""
    count = height * width
    found = [
        ImageShape(rows, count // rows)
        for rows in range(2, count // 2 + 1)
        if count % rows == 0 and rows != height
    ]
    return sorted(
        found, key=lambda shape: (abs(math.log(shape.height / shape.width)), shape.height)
    )


def looks_planar(images: Sequence[Sequence[float]], shape: ImageShape) -> bool:
    """Say whether rows of numbers look like one plane of colour after another.

    Args:
        images: Of each image its numbers, three planes of them.
        shape: Of a plane.
    """
    rough = {True: 0.0, False: 0.0}
    sides = shape.height, shape.width
    for numbers in images:
        flat = np.asarray(numbers, dtype=np.float64)
        for planar in rough:
            image = flat.reshape(COLOUR, *sides) if planar else flat.reshape(*sides, COLOUR)
            for axis in (1, 2) if planar else (0, 1):
                rough[planar] += float(np.abs(np.diff(image, axis=axis)).mean())
    return rough[True] < rough[False]


def require_same_pixels(
    grid: PixelGrid, test: tuple[str, ...], train_name: str, test_name: str
) -> None:
    """Refuse a test file whose pixel columns are not those of train.

    Args:
        grid: The pixel columns of train.
        test: The other file's header.
        train_name: How messages name the first file.
        test_name: How messages name the second file.

    Raises:
        DataError: The first differences are named.
    """
    known = frozenset(grid.names)
    present = frozenset(test)
    missing = [name for name in grid.names if name not in present]
    surplus = [
        name
        for name in test
        if name not in known and any(family in grid.families for family, _ in _families(name))
    ]
    if not missing and not surplus:
        return
    parts = []
    if missing:
        parts.append(f"it lacks {shorten(missing, 3)}")
    if surplus:
        parts.append(f"it has {shorten(surplus, 3)}, which {train_name} has not")
    raise DataError(
        f"{test_name} has other pixel columns than {train_name}: {'; '.join(parts)}.",
        mend="Check that both files are from the same competition; download them again.",
    )


def _families(name: str) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Return the ways to read a name as a pixel's: what is not number in it, and the numbers."""
    ways: list[tuple[tuple[str, ...], tuple[int, ...]]] = []
    if single := _SINGLE.fullmatch(name):
        ways.append(((single[1],), (int(single[2]),)))
    if pair := _PAIR.fullmatch(name):
        ways.append(((pair[1], pair[3]), (int(pair[2]), int(pair[4]))))
    return ways


def _span(numbers: Iterable[int]) -> range:
    found = set(numbers)
    return range(0 if 0 in found else 1, max(found) + 1)


def _whole(numbers: Sequence[int], prefix: str, file: str) -> range:
    """Return the numbers that the pixels of a square image would have, counted from 0 or 1."""
    last, count = max(numbers), len(numbers)
    # Counted from 1 unless there is a 0, or a 0 alone is what an image lacks.
    start = 0 if 0 in numbers or (_is_whole(last + 1) and not _is_whole(last)) else 1
    wanted = range(start, last + 1)
    _require_sane(len(wanted), file)
    if _is_whole(len(wanted)):
        return wanted
    first, final = (shorten([f"{prefix}{number}"]) for number in (min(numbers), last))
    raise _not_square(count, f"{file} has {count} pixel columns, {first} to {final}")


def _counted(numbers: Sequence[int], shape: ImageShape, file: str) -> range:
    """Return the numbers that the pixels of a given shape have, counted from 0 or 1."""
    count = shape.count
    start = max(numbers) + 1 - count
    if start not in (0, 1):
        _require_count(len(numbers), shape, file)
    return range(max(start, 0), max(start, 0) + count)


def _require_count(count: int, shape: ImageShape, what: str) -> None:
    if count != shape.count:
        unit = "pixels" if shape.planes == 1 else "numbers"
        raise ConfigurationError(
            f"--image-shape is {shape}, {shape.count} {unit}, but {what} has {count}.",
            mend="Give height x width (x 3 in colour) so that their product is that number.",
        )


def _not_square(count: int, found: str) -> DataError:
    side = max(1, round(math.sqrt(count)))
    shapes = [
        str(ImageShape(rows, count // rows))
        for rows in range(math.isqrt(count), 1, -1)
        if count % rows == 0
    ]
    also = f", or give their shape: --image-shape {shapes[0]}" if shapes else ""
    return DataError(
        f"{found}; expected a square number, such as {side * side} ({side}×{side}).",
        mend=f"Look for missing pixel columns, or others whose names end in a number{also}.",
    )


def _colour_families(
    members: Mapping[Family, Mapping[str, tuple[int, ...]]],
) -> tuple[Family, ...] | None:
    """Return the three groups of columns of an image in colour, such as r0, g0, b0 and so on."""
    groups: dict[Family, dict[str, Family]] = {}
    for family, names in members.items():
        for colour in (word for words in _COLOURS for word in words):
            where = next((n for n, part in enumerate(family) if colour in _words(part)), None)
            if where is not None and len(names) >= _LEAST_PLANE:
                rest = tuple(_words_without(part, colour) for part in family)
                groups.setdefault(rest, {})[colour] = family
    whole = [
        tuple(found[colour] for colour in colours)
        for found in groups.values()
        for colours in _COLOURS
        if found.keys() == set(colours)
    ]
    # By row and column before the columns of each row: `r_0_0` to `r_5_5` are more than `r_5_`.
    return max(whole, key=lambda three: len(members[three[0]]), default=None)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.casefold())


def _words_without(text: str, word: str) -> str:
    return " ".join(part for part in _words(text) if part != word)


def _require_sane(pixels: int, file: str) -> None:
    """Refuse a stray large number in a name before it is counted up to."""
    if pixels > _MOST_PIXELS:
        raise DataError(
            f"{file} has pixel columns numbered as if images had {pixels:,} pixels; expected at "
            f"most {_MOST_PIXELS:,}.",
            mend="Look for columns that are no pixels but whose names end in a number.",
        )


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _is_colour(number: int) -> bool:
    """Say whether so many numbers are three square planes of a size that images have."""
    side = math.isqrt(number // COLOUR)
    return number == COLOUR * side * side and side >= _LEAST_PLANE


def _is_whole(number: int) -> bool:
    return _is_square(number) or _is_colour(number)


def _spell(family: tuple[str, ...], place: tuple[int, ...]) -> str:
    return "".join(f"{text}{number}" for text, number in zip(family, place, strict=True))
