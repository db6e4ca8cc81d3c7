"""Public scores as counts: an accuracy on m rows is one of m + 1 values, a lattice.

With five decimals and 7,000 rows (steps of 0.00014) each score stands for one count of errors.
Kaggle has cut decimals off and has rounded them: both are understood.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

_ENOUGH = 8


def count_errors(score: str, rows: int) -> int | None:
    """Decode an accuracy into its count of errors.

    Args:
        score: As shown, with all its decimals.
        rows: Rows it was taken on.

    Returns:
        The count; None where no count or more than one gives this score.
    """
    fitting = _fitting(score, rows)
    return fitting[0] if len(fitting) == 1 else None


def find_rows(scores: Iterable[str], expected: int, tolerance: float = 0.1) -> int | None:
    """Find on how many rows scores were taken: the number whose lattice holds all of them.

    Args:
        scores: Accuracies as shown.
        expected: The number that the public share gives; it is taken if it fits.
        tolerance: How far off the number may be, as part of it.

    Returns:
        The number; None where none fits, or several do and not the expected one, or there are
        fewer than 8 different scores to tell another number by.
    """
    distinct = sorted(set(scores))
    if all(_fitting(score, expected) for score in distinct):
        return expected
    if len(distinct) < _ENOUGH:
        return None
    reach = int(expected * tolerance)
    found = [
        rows
        for rows in range(max(1, expected - reach), expected + reach + 1)
        if all(_fitting(score, rows) for score in distinct)
    ]
    return found[0] if len(found) == 1 else None


def _fitting(score: str, rows: int) -> list[int]:
    """Return the counts of errors whose accuracy, cut or rounded, is shown as `score`."""
    decimals = len(score.partition(".")[2])
    scale: int = 10**decimals
    shown = int(Decimal(score).scaleb(decimals))
    middle = round(rows * (1 - shown / scale))
    reach = rows // scale + 2
    counts = []
    for errors in range(max(0, middle - reach), min(rows, middle + reach) + 1):
        whole, rest = divmod((rows - errors) * scale, rows)
        if shown == whole or (shown == whole + 1 and 2 * rest >= rows):
            counts.append(errors)
    return counts
