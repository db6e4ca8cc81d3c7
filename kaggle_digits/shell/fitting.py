"""Tables that are wider than the terminal.

What is the same in all rows is said once, and columns that still do not fit go below one another.
No figure is ever broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LONG = 24
"""A cell longer than this is text, which may be wrapped between words."""

_GAP = 2

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A table as it fits.

    Args:
        parts: Tables that go below one another, each with all rows, its header first.
        same: Names and values of the columns that were taken out, being the same in all rows.
    """

    parts: tuple[Rows, ...]
    same: dict[str, str]


def fit(rows: Rows, width: int) -> FittedTable:
    """Fit a table into a width.

    Args:
        rows: Its rows, header first.
        width: Columns of the terminal.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    same: dict[str, str] = {}
    if _width(columns) > width and len(rows) > 2:
        same = {name: cells[0] for name, *cells in columns if len(set(cells)) == 1}
        columns = [column for column in columns if column[0] not in same] or columns[:1]
    parts: list[list[list[str]]] = [[]]
    for column in columns:
        if parts[-1] and _width([*parts[-1], column]) > width:
            parts.append([])
        parts[-1].append(column)
    found = tuple(list(zip(*part, strict=True)) for part in parts)
    return FittedTable(found, {name: value for name, value in same.items() if value})


def least_width(cells: Sequence[str]) -> int:
    """Return the columns that a table's column needs at least, its header among the cells."""
    return max(
        len(cell) if len(cell) <= _LONG else max(_LONG, *map(len, cell.split())) for cell in cells
    )


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(least_width(cells) for cells in columns) + _GAP * (len(columns) - 1)
