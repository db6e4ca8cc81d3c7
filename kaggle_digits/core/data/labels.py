"""The form of labels: numbers compare as numbers, and the sample submission says how they look."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from kaggle_digits.ground.competition import as_number

_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?", re.ASCII)
_BREAKS = frozenset("\u2028\u2029")
_MISSING = frozenset({"", "nan", "na", "null"})


def class_of(label: str, classes: Iterable[str]) -> str | None:
    """Return the class that a label means: the same text, else the same number; None for none."""
    known = list(classes)
    if label in known:
        return label
    value = as_number(label)
    alike = [name for name in known if value is not None and as_number(name) == value]
    return alike[0] if len(alike) == 1 else None


def is_missing(text: str) -> bool:
    """Say whether a field of the label column holds none: nothing, or what is written for that."""
    return text.strip().lower() in _MISSING


def is_writable(text: str) -> bool:
    """Say whether a field can stand in a submission: one line, no control characters."""
    return not any(unicodedata.category(letter) == "Cc" or letter in _BREAKS for letter in text)


def in_sample_form(labels: Sequence[str], sample: Iterable[str]) -> tuple[list[str], str | None]:
    """Return train's labels as the sample submission writes its own, where both are numbers.

    Where train has `5.0` and the sample `0`, `5` is written. Labels that are words, numbers with
    fractions, or written like the sample's stay as they are.

    Args:
        labels: As they stand in train.csv.
        sample: The sample submission's labels; none where there is no sample.

    Returns:
        The labels, and what is to be said of them.
    """
    distinct = sorted(set(labels))
    forms = {_decimals(label) for label in distinct}
    if None in forms:
        return list(labels), None
    wanted = {_decimals(label) for label in set(sample)}
    if len(wanted) == 1 and None not in wanted:
        (decimals,) = wanted
    elif len(forms) > 1:
        # Train itself writes one number in two ways: the shorter is the class.
        decimals = min(form for form in forms if form is not None)
    else:
        return list(labels), None
    if forms == {decimals}:
        return list(labels), None
    assert decimals is not None
    written = {label: _write(label, decimals) for label in distinct}
    changed = next(label for label in distinct if written[label] != label)
    reason = "as the sample submission has them" if wanted else "one form for one number"
    return (
        [written[label] for label in labels],
        f"labels such as {changed} are written as {written[changed]}, {reason}",
    )


def _decimals(label: str) -> int | None:
    """Return how many digits stand after a whole number's point, -1 for no point; else None."""
    found = _DECIMAL.fullmatch(label)
    if found is None or (found[1] or "").strip(".0"):
        return None
    return -1 if found[1] is None else len(found[1]) - 1


def _write(label: str, decimals: int) -> str:
    whole = label.partition(".")[0]
    return whole if decimals < 0 else f"{whole}.{'0' * decimals}"
