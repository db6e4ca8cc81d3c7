"""The pixel columns of a table, found by their names and put into image order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kaggle_digits.ground.errors import ConfigurationError, DataError, shorten
from kaggle_digits.ground.shapes import ImageShape

_SINGLE = re.compile(r"(.*?)(\d{1,9})", re.ASCII | re.DOTALL)
_PAIR = re.compile(r"(\D*)(\d{1,9})(\D+)(\d{1,9})", re.ASCII)
_MOST_PIXELS = 1 << 20
_LEAST_PLANE = 4
_COLOURS: tuple[set[str], ...] = ({"r", "g", "b"}, {"red", "green", "blue"})


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixel columns of train.

    Args:
        family: What their names share.
        names: In image order.
        height: Image height in pixels.
        width: Image width in pixels.
        named: Whether the names give row and column, so that no other shape could be meant.
    """

    family: tuple[str, ...]
    names: tuple[str, ...]
    height: int
    width: int
    named: bool


def find_grid(header: tuple[str, ...], file: str, shape: ImageShape | None = None) -> PixelGrid:
    """Find the pixel columns in a header: the largest group of names alike but for numbers.

    One number (`pixel0`, `12`) counts the pixels of an image, two (`1x1`, `r0c0`) give row and
    column; they count from 0 or 1, in any order.

    Args:
        header: Names that occur once each.
        file: How messages name the file.
        shape: Of the image; None for a square one where the names do not give it.

    Raises:
        DataError: There are none, some are missing or doubled, they make no rectangle, or they
            are planes of colour.
        ConfigurationError: They are not of the shape that was asked for.
    """
    members: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
    for name in header:
        for family, numbers in _families(name):
            members.setdefault(family, {})[name] = numbers
    if not members:
        raise DataError(
            f"{file} has no pixel columns; expected names that end in a number, such as pixel0, "
            f"found {shorten(header, 3)}."
        )
    _require_one_plane(members, file)
    # On a draw the reading with one number wins: `v2_0`, `v2_1` count pixels, not rows.
    family = max(members, key=lambda key: (len(members[key]), -len(key)))
    at: dict[tuple[int, ...], str] = {}
    for name, place in members[family].items():
        if place in at:
            raise DataError(
                f"{file} has doubled pixel columns: {at[place]} and {name} are the same pixel.",
                mend="Remove one of the two.",
            )
        at[place] = name
    wanted: list[tuple[int, ...]]
    if len(family) == 2:
        rows = _span(row for row, _ in at)
        columns = _span(column for _, column in at)
        height, width = len(rows), len(columns)
        _require_sane(height * width, file)
        wanted = [(row, column) for row in rows for column in columns]
        if shape is not None and shape != ImageShape(height, width):
            raise ConfigurationError(
                f"--image-shape is {shape}, but the pixel columns of {file} are named by row and "
                f"column, {height}x{width} of them.",
                mend="Leave --image-shape out.",
            )
    elif shape is not None:
        height, width = shape.height, shape.width
        counted = _counted([number for (number,) in at], shape, file)
        wanted = [(number,) for number in counted]
    else:
        wanted = [(number,) for number in _square([number for (number,) in at], family[0], file)]
        height = width = math.isqrt(len(wanted))
    missing = [_spell(family, place) for place in wanted if place not in at]
    if missing:
        raise DataError(
            f"{file} has missing pixel columns {shorten(missing, 3)}; expected all {len(wanted)} "
            f"of {height}×{width} pixels.",
            mend="Download it again, or put the columns back.",
        )
    names = tuple(at[place] for place in wanted)
    return PixelGrid(family, names, height, width, named=len(family) == 2)


def shape_of(count: int, shape: ImageShape | None, what: str) -> ImageShape:
    """Return the shape of images of so many pixels: as asked for, else square.

    Args:
        count: Pixels of an image.
        shape: What was asked for.
        what: How messages name the pixels' place.

    Raises:
        DataError: They make no square, or are planes of colour.
        ConfigurationError: They are not of the shape that was asked for.
    """
    if shape is not None:
        _require_count(count, shape, what)
        return shape
    if _is_square(count):
        return ImageShape(math.isqrt(count), math.isqrt(count))
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
        if name not in known and any(family == grid.family for family, _ in _families(name))
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


def _square(numbers: Sequence[int], prefix: str, file: str) -> range:
    """Return the numbers that the pixels of a square image would have, counted from 0 or 1."""
    last, count = max(numbers), len(numbers)
    # Counted from 1 unless there is a 0, or a 0 alone is what a square lacks.
    start = 0 if 0 in numbers or (_is_square(last + 1) and not _is_square(last)) else 1
    wanted = range(start, last + 1)
    _require_sane(len(wanted), file)
    if _is_square(len(wanted)):
        return wanted
    first, final = (shorten([f"{prefix}{number}"]) for number in (min(numbers), last))
    raise _not_square(count, f"{file} has {count} pixel columns, {first} to {final}")


def _counted(numbers: Sequence[int], shape: ImageShape, file: str) -> range:
    """Return the numbers that the pixels of a given shape have, counted from 0 or 1."""
    count = shape.height * shape.width
    start = max(numbers) + 1 - count
    if start not in (0, 1):
        _require_count(len(numbers), shape, file)
    return range(max(start, 0), max(start, 0) + count)


def _require_count(count: int, shape: ImageShape, what: str) -> None:
    wanted = shape.height * shape.width
    if count != wanted:
        raise ConfigurationError(
            f"--image-shape is {shape}, {wanted} pixels, but {what} has {count}.",
            mend="Give height x width so that their product is the number of pixels.",
        )


def _not_square(count: int, found: str) -> DataError:
    side = math.isqrt(count // 3)
    if count == 3 * side * side and side >= _LEAST_PLANE:
        return _colour(f"{found}: three planes of {side}×{side} pixels (colour)")
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


def _require_one_plane(
    members: Mapping[tuple[str, ...], Mapping[str, tuple[int, ...]]], file: str
) -> None:
    """Refuse columns in three groups, one for each colour, such as r0, g0, b0 and so on."""
    groups: dict[tuple[tuple[str, ...], int], set[str]] = {}
    for family, names in members.items():
        for colours in _COLOURS:
            for colour in colours:
                where = next((n for n, part in enumerate(family) if colour in _words(part)), None)
                if where is not None and len(names) >= _LEAST_PLANE:
                    rest = tuple(_words_without(part, colour) for part in family)
                    groups.setdefault((rest, len(names)), set()).add(colour)
    for (_, count), found in groups.items():
        if found in _COLOURS:
            raise _colour(
                f"{file} has three times {count} pixel columns, one group for each of red, green "
                "and blue (colour)"
            )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.casefold())


def _words_without(text: str, word: str) -> str:
    return " ".join(part for part in _words(text) if part != word)


def _colour(found: str) -> DataError:
    return DataError(
        f"{found}. Only grey images, of one plane, are supported yet.",
        mend="Turn them into grey; if they are grey, give their shape: --image-shape HEIGHTxWIDTH.",
    )


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


def _spell(family: tuple[str, ...], place: tuple[int, ...]) -> str:
    return "".join(f"{text}{number}" for text, number in zip(family, place, strict=True))
