"""The pixel columns of a table, found by their names and put into image order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kaggle_digits.ground.errors import DataError

_SINGLE = re.compile(r"(.*?)(\d{1,9})", re.ASCII | re.DOTALL)
_PAIR = re.compile(r"(\D*)(\d{1,9})(\D+)(\d{1,9})", re.ASCII)
_MOST_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixel columns of train: what their names share, and the names in image order."""

    family: tuple[str, ...]
    names: tuple[str, ...]
    height: int
    width: int


def find_grid(header: tuple[str, ...], file: str) -> PixelGrid:
    """Find the pixel columns in a header: the largest group of names alike but for numbers.

    One number (`pixel0`, `12`) counts the pixels of a square image, two (`1x1`, `r0c0`) give row
    and column; they count from 0 or 1, in any order.

    Args:
        header: Names that occur once each.
        file: How messages name the file.

    Raises:
        DataError: There are none, some are missing or doubled, or they make no rectangle.
    """
    members: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
    for name in header:
        for family, numbers in _families(name):
            members.setdefault(family, {})[name] = numbers
    if not members:
        raise DataError(
            f"{file} has no pixel columns; expected names that end in a number, such as pixel0, "
            f"found {shorten(header)}."
        )
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
    else:
        wanted = [(number,) for number in _square([number for (number,) in at], family[0], file)]
        height = width = math.isqrt(len(wanted))
    missing = [_spell(family, place) for place in wanted if place not in at]
    if missing:
        raise DataError(
            f"{file} has missing pixel columns {shorten(missing)}; expected all {len(wanted)} of "
            f"{height}×{width} pixels.",
            mend="Download it again, or put the columns back.",
        )
    return PixelGrid(family, tuple(at[place] for place in wanted), height, width)


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
        parts.append(f"it lacks {shorten(missing)}")
    if surplus:
        parts.append(f"it has {shorten(surplus)}, which {train_name} has not")
    raise DataError(
        f"{test_name} has other pixel columns than {train_name}: {'; '.join(parts)}.",
        mend="Check that both files are from the same competition; download them again.",
    )


def shorten(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, comma-separated, and how many more there are."""
    more = f" (+{len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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
    side = max(1, round(math.sqrt(count)))
    raise DataError(
        f"{file} has {count} pixel columns, {prefix}{min(numbers)} to {prefix}{last}; expected a "
        f"square number, such as {side * side} ({side}×{side}).",
        mend="Look for missing pixel columns, or others whose names end in a number.",
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
