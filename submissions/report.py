"""The report's section about the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaggle_digits.core.place import Place
from kaggle_digits.ground.competition import competition_option
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.metric import kept_metric, scored
from kaggle_digits.shell.report.parts import Facts, Part, Section, Subject, Table, Text
from submissions import api
from submissions.account import read_about
from submissions.api import SHARE
from submissions.drawing import NO_SCORE, charts_of
from submissions.forecast import forecast
from submissions.ledger import Record
from submissions.sameness import last_same
from submissions.scoreboard import LocalScoreboard
from submissions.tables import board_facts, board_rows, forecast_facts, forecast_rows
from submissions.validation import read_file, validate

_WIDE = 1000
"""Columns of a page; nothing of a table gives way."""


def leaderboard(subject: Subject) -> Section:
    """Return our submissions on the board, and what the next one can bring; nobody is asked.

    Raises:
        ArtefactError: The ledger or the submission is broken.
        DataError: The data cannot be read.
    """
    place = Place(subject.workspace, subject.data, Silent())
    path = api.blended(subject.workspace)
    records = _records(place)
    parts: list[Part] = []
    if not records:
        words = _submit_words(subject, records)
        parts.append(subject.missing("Nothing has been submitted from here yet.", words))
    else:
        last = records[-1]
        service = api.open_service(
            place,
            local=last.service == LocalScoreboard.name,
            competition=last.competition,
            scoring=False,
        )
        summary = api.leaderboard(place, service, ask=False)
        parts += [Facts(board_facts(summary))] if board_facts(summary) else []
        parts += charts_of(summary) or [Text(NO_SCORE)]
        header, *rows = board_rows(summary, _WIDE)
        parts.append(Table("Our submissions", header, rows))
    state = "not made yet"
    next_words = None
    if path.is_file():
        state, next_words = _state(subject, path, records, parts)
    return Section(parts, top={"submission": state}, next_words=next_words)


def _records(place: Place) -> list[Record]:
    """Return what arrived, or may have, where the newest did: at Kaggle if any is there."""
    if not (place.workspace.submissions / "ledger.sqlite").exists():
        return []
    with api.open_ledger(place, reading=True) as ledger:
        known = [record for record in ledger.all() if record.state != "failed"]
    sent = [record for record in known if record.service != LocalScoreboard.name] or known
    return [
        record
        for record in sent
        if (record.service, record.competition) == (sent[-1].service, sent[-1].competition)
    ]


def _state(
    subject: Subject, path: Path, records: Sequence[Record], parts: list[Part]
) -> tuple[str, str | None]:
    """Add the forecast of what is ready to be sent; return its state, and what to call for it."""
    dataset, metric = subject.data(), kept_metric(subject.workspace)
    try:
        submission = validate(read_file(path), str(path), scored(dataset, metric))
    except DataError as error:
        parts.append(Text(error.message, is_warning=True))
        return "not valid", "blend"
    same = last_same(records, submission)
    if same is not None:
        score = f", public score {same.public_score}" if same.public_score else ""
        return f"sent, {same.state}{score}", None
    about = read_about(path, submission)
    ahead = forecast(submission, about, records, subject.workspace, SHARE, metric or about.metric)
    parts.append(Text("The submission that is ready has not been sent. What it can bring:"))
    parts.append(Facts(forecast_facts(ahead)))
    header_and_rows = forecast_rows(ahead)
    if header_and_rows:
        header, *rows = header_and_rows
        parts.append(Table("Against earlier submissions", header, rows))
    return f"valid, not sent ({len(submission.ids):,} rows)", _submit_words(subject, records)


def _submit_words(subject: Subject, records: Sequence[Record]) -> str:
    """Return what submits: here where the truth is known, else where the last one went."""
    if subject.data().truth is not None:
        return "submit --local"
    if records and records[-1].service != LocalScoreboard.name:
        return f"submit --wait{competition_option(records[-1].competition)}"
    return "submit --wait"
