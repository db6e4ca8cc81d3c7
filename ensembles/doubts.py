"""What speaks against predictions made elsewhere: rows in another order, columns, a constant.

Such files have the right form, and spoil a blend without an error. Their out-of-fold part is held
against the labels, their test part against our own members' answers.
"""

from __future__ import annotations

import numpy as np

from ensembles.extra import Extra
from ensembles.pool import Pool
from kaggle_digits.core.predictions import score
from kaggle_digits.ground.errors import DataError

_MEND = (
    "Give probabilities in the order of the rows of train.csv and test.csv, and of the classes; a "
    "CSV with a header of classes and a column of ids is put into order."
)
_NOISE = 5.0
"""Standard errors that two agreements may differ by."""

_LEAST_DIFFERENCE = 0.1


def refuse_unsound(pool: Pool, labels: np.ndarray) -> list[str]:
    """Refuse extras that say nothing of their rows, and return remarks on those in doubt.

    Args:
        pool: What is joined; our own entries come first.
        labels: int64 [rows], of the pool's rows.

    Raises:
        DataError: An extra is the same in every row, no better than guessing on the training rows,
            or agrees with our own members on the test rows no more than guessing does.
    """
    own = len(pool.names) - len(pool.extras)
    mean = pool.oof[:own].mean(axis=0).argmax(axis=1), pool.test[:own].mean(axis=0).argmax(axis=1)
    remarks = []
    for extra in pool.extras:
        for values, rows in ((extra.oof, "training"), (extra.test, "test")):
            if len(values) > 1 and float(np.ptp(values, axis=0).max()) < 1e-6:
                raise DataError(
                    f"--extra {extra.name} has the same probabilities in all {len(values)} {rows} "
                    "rows; expected predictions.",
                    mend=_MEND,
                )
        _require_better_than_guessing(extra, pool, labels)
        expected = _agreement(extra.oof[pool.rows], mean[0])
        found = _agreement(extra.test, mean[1])
        noise = _NOISE * (0.25 / len(extra.test)) ** 0.5
        if found >= expected - max(_LEAST_DIFFERENCE, noise):
            continue
        said = (
            f"{extra.name} names the same class as our own members in {expected:.1%} of the "
            f"training rows, but in {found:.1%} of the test rows"
        )
        if found <= _guessing(mean[1]):
            raise DataError(
                f"--extra {said}, no more than by chance: its second file's rows are in another "
                "order.",
                mend=_MEND,
            )
        remarks.append(f"warning: {said}; are its rows those of test.csv in their order?")
    return remarks


def _require_better_than_guessing(extra: Extra, pool: Pool, labels: np.ndarray) -> None:
    accuracy = score(extra.oof[pool.rows], labels).accuracy
    if accuracy <= _guessing(labels):
        raise DataError(
            f"--extra {extra.name} is right on {accuracy:.1%} of the training rows, no better than "
            "guessing: its first file's rows or columns are in another order.",
            mend=_MEND,
        )


def _guessing(labels: np.ndarray) -> float:
    """Return how often naming the most frequent class is right, and three standard errors more."""
    share = float(np.bincount(labels).max() / len(labels))
    return float(share + 3 * (share * (1 - share) / len(labels)) ** 0.5)


def _agreement(probabilities: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == answers))
