"""The public leaderboard: read whole, and our submissions placed on it."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_digits.ground.figures import higher_is_better
from kaggle_digits.kaggle_service.transport import CallError, clean
from submissions.account import cv_of
from submissions.lattice import count_errors, find_rows
from submissions.ledger import Record
from submissions.noise import Correlation, Gap, correlate, gap, gap_by_error

_LARGEST = 200_000_000


@dataclass(frozen=True, slots=True)
class Board:
    """A public leaderboard.

    Args:
        teams: Names, in the board's order.
        scores: Their scores as text; None where the board has no number, which ranks last.
    """

    teams: tuple[str, ...]
    scores: tuple[str | None, ...]

    def place(self, score: float, team: str, metric: str | None = None) -> tuple[int, int]:
        """Return the rank that a team has with a score, from 1, and how many teams there are.

        Args:
            score: The public score.
            team: The team that has it; its own line on the board does not count against it.
            metric: What the score is, which says whether more is better; None for accuracy.
        """
        sign = 1 if higher_is_better(metric) else -1
        others = [
            given for name, given in zip(self.teams, self.scores, strict=True) if name != team
        ]
        better = sum(sign * float(given) > sign * score for given in others if given is not None)
        return 1 + better, len(others) + 1


@dataclass(frozen=True, slots=True)
class Standing:
    """One of our submissions on the board.

    Args:
        record: Its row in the ledger.
        cv: The out-of-fold value of what the competition is scored by, and its standard error;
            None where it is not known.
        gap: Public against CV score; None where one of them is not known.
        errors: Its public score as a count; None where the lattice does not allow it.
    """

    record: Record
    cv: tuple[float, float | None] | None
    gap: Gap | None
    errors: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All our submissions.

    Args:
        standings: By date, the oldest first.
        rows: Public rows that scores are decoded on; None where no lattice holds all scores.
        expected: Public rows that the public share gives.
        best: The best public score's submission; None before there is one.
        correlation: Of CV and public score; None with fewer than three.
        teams: Teams on the board; None where it was not read.
        metric: What the competition is scored by; None where nobody said: accuracy.
    """

    standings: tuple[Standing, ...]
    rows: int | None
    expected: int
    best: Record | None
    correlation: Correlation | None
    teams: int | None
    metric: str | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether a score is a share of right labels, and so a count of errors."""
        return self.metric in (None, "accuracy")

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a dictionary that JSON can hold."""
        rho = self.correlation
        return {
            "submissions": [
                one.record.to_json()
                | {
                    "errors": one.errors,
                    "cv": one.cv[0] if one.cv else None,
                    "cv_se": one.cv[1] if one.cv else None,
                    "gap": one.gap.value if one.gap else None,
                    "gap_sd": one.gap.sd if one.gap else None,
                    "gap_within_noise": one.gap.within if one.gap else None,
                }
                for one in self.standings
            ],
            "metric": self.metric,
            "public_rows": self.rows,
            "best": self.best.to_json() if self.best else None,
            "rank_correlation": None
            if rho is None
            else {"rho": rho.rho, "low": rho.low, "high": rho.high, "p": rho.p, "n": rho.pairs},
            "teams": self.teams,
        }


def read_board(content: bytes) -> Board:
    """Read the zip that the leaderboard comes as.

    Raises:
        CallError: It is not a zip with one CSV of teams and scores.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (member,) = [one for one in archive.infolist() if one.filename.endswith(".csv")]
            if member.file_size > _LARGEST:
                raise _broken("it unpacks to more than 200 MB")
            text = archive.read(member).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        teams = tuple(clean(row["TeamName"]) for row in rows)
        scores = tuple(_number(row["Score"]) for row in rows)
    except CallError:
        raise
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        csv.Error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:
        raise _broken(f"{type(error).__name__}") from None
    if not teams:
        raise _broken("it has no teams")
    if not any(scores):
        raise _broken("no score is a number")
    return Board(teams, scores)


def summarise(
    records: Sequence[Record], board: Board | None, expected: int, metric: str | None = None
) -> Summary:
    """Put our submissions and the board together.

    Args:
        records: Ours, the oldest first; those that never arrived are left out.
        board: The public leaderboard; None where it was not read.
        expected: Public rows that the public share gives.
        metric: What the competition is scored by; None for accuracy.
    """
    is_accuracy = metric in (None, "accuracy")
    shown = [record for record in records if record.state != "failed"]
    ours = [record.public_score for record in shown if record.public_score is not None]
    told = [] if board is None else board.scores
    theirs = [score for score in told if score is not None and not score.startswith("-")]
    rows = find_rows([*ours, *theirs], expected) if is_accuracy else None
    if rows is None and is_accuracy and board is not None:
        rows = find_rows(ours, expected)  # a board may hold scores of an older public part
    standings = tuple(_standing(record, rows, expected, metric) for record in shown)
    scored = [record for record in shown if record.public is not None]
    pairs = [
        (one.cv[0], one.record.public)
        for one in standings
        if one.cv is not None and one.record.public is not None
    ]
    sign = 1 if higher_is_better(metric) else -1
    return Summary(
        standings=standings,
        rows=rows if ours else None,
        expected=expected,
        best=max(scored, key=lambda record: sign * (record.public or 0.0), default=None),
        correlation=correlate([cv for cv, _ in pairs], [public for _, public in pairs]),
        teams=len(board.teams) if board else None,
        metric=metric,
    )


def _standing(record: Record, rows: int | None, expected: int, metric: str | None) -> Standing:
    public, found, cv = record.public, None, cv_of(record, metric)
    if public is not None and cv is not None:
        value, se = cv
        # How many images a kernel is scored on is not told by those that are here.
        known = rows if record.kernel is not None else rows or expected
        if metric in (None, "accuracy"):
            found = gap(value, se, public, known) if known else None
        elif record.kernel is not None:
            found = None
        elif se is not None and record.cv_rows:
            found = gap_by_error(value, se, record.cv_rows, public, expected)
    errors = None
    if record.public_score is not None and rows is not None:
        errors = count_errors(record.public_score, rows)
    return Standing(record, cv, found, errors)


def _number(given: str) -> str | None:
    """Return a score that is a number as its text; None for `nan` and the like."""
    text = given.strip()
    return text if re.fullmatch(r"-?\d{1,9}(\.\d{1,12})?", text) else None


def _broken(why: str) -> CallError:
    return CallError(
        f"Kaggle's leaderboard did not come as a zip of teams and scores ({why}); nothing was "
        "overwritten.",
        mend="Try again later.",
    )
