"""What a submission can bring, told before it is sent: differences, bounds, an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_digits.ground.competition import read_labels
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.workspace import Workspace
from submissions.account import About, cv_of
from submissions.lattice import count_errors
from submissions.ledger import Record
from submissions.noise import Band, Interval, predict, predict_by_error, public_rows
from submissions.sending import sent_copy
from submissions.validation import SubmissionFile


@dataclass(frozen=True, slots=True)
class Change:
    """One row that two submissions predict differently.

    Args:
        row: Its place among the test images, from 0.
        id: Its id.
        before: The earlier label.
        now: The new label.
    """

    row: int
    id: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A new submission against an earlier one.

    Args:
        record: The earlier one.
        changes: The rows that differ, d of them.
        rows: Public rows, m.
        low: Lowest public score the new one can have, 0 to 1; None if the earlier has none.
        high: Highest public score.
        is_bounded: Whether a changed label moves the score by one in m at most: it is the share of
            right labels, of rows that are here. A kernel is scored on others.
    """

    record: Record
    changes: tuple[Change, ...]
    rows: int
    low: float | None
    high: float | None
    is_bounded: bool = True

    @property
    def largest(self) -> float | None:
        """Largest change of the public score: all rows that differ are public, min(d, m) / m.

        None where the score is no accuracy.
        """
        if not self.is_bounded:
            return None
        return min(len(self.changes), self.rows) / self.rows


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a submission's public score beforehand.

    Args:
        rows: Public rows.
        differences: Against each earlier submission whose predictions are known, newest first.
        unknown: Earlier submissions whose predictions are not known (made elsewhere).
        interval: From CV and its noise; None without a CV score.
        low: Lowest score that all earlier scores allow; None where the score is no accuracy, or of
            rows that are not here.
        high: Highest.
        metric: What the competition is scored by; None where nobody said: accuracy.
        is_hidden: Whether it is a kernel's, which is scored on images that are not here.
    """

    rows: int
    differences: tuple[Difference, ...]
    unknown: int
    interval: Interval | Band | None
    low: float | None
    high: float | None
    metric: str | None = None
    is_hidden: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a dictionary that JSON can hold."""
        return {
            "public_rows": None if self.is_hidden else self.rows,
            "metric": self.metric,
            "interval": [self.interval.low, self.interval.high] if self.interval else None,
            "bounds": [self.low, self.high],
            "earlier_unknown": self.unknown,
            "differences": [
                {
                    "id": one.record.id,
                    "ref": one.record.ref,
                    "public_score": one.record.public_score,
                    "rows": len(one.changes),
                    "largest_change": one.largest,
                    "ids": [change.id for change in one.changes],
                }
                for one in self.differences
            ],
        }


def forecast(
    submission: SubmissionFile,
    about: About,
    earlier: Sequence[Record],
    workspace: Workspace,
    share: float,
    metric: str | None = None,
) -> Forecast:
    """Tell what can be told before sending.

    Args:
        submission: The checked file.
        about: What `blend` says of it.
        earlier: What was submitted before, the oldest first.
        workspace: Where the earlier predictions are kept.
        share: Part of the test rows that is public, above 0 to 1.
        metric: What the competition is scored by; None for accuracy.
    """
    rows = public_rows(len(submission.ids), share)
    is_accuracy = metric == "accuracy" or (metric is None and not submission.values)
    is_hidden = submission.kernel is not None
    differences = []
    unknown = 0
    for record in reversed(earlier):
        if record.state == "failed":
            continue
        labels = _kept(workspace, record, submission)
        if labels is None:
            unknown += 1
            continue
        is_bounded = is_accuracy and not is_hidden and record.kernel is None
        differences.append(_difference(submission, record, labels, rows, is_bounded))
    lows = [one.low for one in differences if one.low is not None]
    highs = [one.high for one in differences if one.high is not None]
    interval: Interval | Band | None = None
    cv = cv_of(about, metric)
    if cv is not None and about.cv_rows and not is_hidden:
        value, se = cv
        if is_accuracy:
            interval = predict(value, se, about.cv_rows, rows)
        elif metric is not None and se is not None:
            interval = predict_by_error(metric, value, se, about.cv_rows, rows)
    low = high = None
    if is_accuracy and not is_hidden:
        low, high = max(lows, default=0.0), min(highs, default=1.0)
    return Forecast(rows, tuple(differences), unknown, interval, low, high, metric, is_hidden)


def _difference(
    submission: SubmissionFile,
    record: Record,
    labels: Sequence[str],
    rows: int,
    is_bounded: bool,
) -> Difference:
    changes = tuple(
        Change(row, key, before, now)
        for row, (key, before, now) in enumerate(
            zip(submission.ids, labels, submission.labels, strict=True)
        )
        if before != now
    )
    low = high = None
    if record.public_score is not None and is_bounded:
        most = min(len(changes), rows)
        errors = count_errors(record.public_score, rows)
        if errors is None:
            score = float(record.public_score)
            low, high = max(0.0, score - most / rows), min(1.0, score + most / rows)
        else:
            low = 1 - min(rows, errors + most) / rows
            high = 1 - max(0, errors - most) / rows
    return Difference(record, changes, rows, low, high, is_bounded)


def _kept(workspace: Workspace, record: Record, submission: SubmissionFile) -> list[str] | None:
    """Return an earlier submission's labels; None if they are not there or of other rows."""
    if record.digest is None:
        return None
    path = sent_copy(workspace, record.digest)
    try:
        content, ids = path.read_bytes(), submission.ids
        if submission.competition is None:
            labels = read_labels(content, str(path))
        else:
            labels = submission.competition.answers(content, str(path))
    except (OSError, DataError):
        return None
    return [labels[key] for key in ids] if labels.keys() == set(ids) else None
