"""The report's section about the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaggle_digits.core.place import Place
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.charts import Axis, Series
from kaggle_digits.shell.report.parts import Chart, Facts, Part, Section, Subject, Table, Text
from submissions import api
from submissions.api import SHARE
from submissions.forecast import forecast
from submissions.leaderboard import Standing, Summary
from submissions.ledger import Record
from submissions.scoreboard import LocalScoreboard
from submissions.sending import read_about
from submissions.tables import board_facts, board_rows, forecast_facts, forecast_rows
from submissions.validation import read_file, validate

_Z95 = 1.959964
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
    shown = [record for record in records if record.state != "failed"]
    local = all(record.service == LocalScoreboard.name for record in shown)
    if not shown:
        is_embedded = subject.data().truth is not None
        words = "submit --local" if is_embedded else "submit --wait"
        parts.append(subject.missing("Nothing has been submitted from here yet.", words))
    else:
        competition = shown[-1].competition
        service = api.open_service(place, local=local, competition=competition, scoring=False)
        summary = api.leaderboard(place, service, ask=False)
        parts += [Facts(board_facts(summary))] if board_facts(summary) else []
        parts += _charts(summary)
        header, *rows = board_rows(summary, _WIDE)
        parts.append(Table("Our submissions", header, rows))
    state = "not made yet"
    next_words = None
    if path.is_file():
        state, next_words = _state(subject, path, records, parts)
    return Section(parts, top={"submission": state}, next_words=next_words)


def _records(place: Place) -> list[Record]:
    if not (place.workspace.submissions / "ledger.sqlite").exists():
        return []
    with api.open_ledger(place, reading=True) as ledger:
        return ledger.all()


def _state(
    subject: Subject, path: Path, records: Sequence[Record], parts: list[Part]
) -> tuple[str, str | None]:
    """Add the forecast of what is ready to be sent; return its state, and what to call for it."""
    dataset = subject.data()
    try:
        submission = validate(read_file(path), str(path), dataset)
    except DataError as error:
        parts.append(Text(error.message, is_warning=True))
        return "not valid", "blend"
    same = [record for record in records if record.digest == submission.digest]
    if same:
        last = same[-1]
        return f"sent, {last.state}" + (
            f", public score {last.public_score}" if last.public_score else ""
        ), None
    earlier = [record for record in records if record.state != "failed"]
    ahead = forecast(submission, read_about(path, submission), earlier, subject.workspace, SHARE)
    parts.append(Text("The submission that is ready has not been sent. What it can bring:"))
    parts.append(Facts(forecast_facts(ahead)))
    header_and_rows = forecast_rows(ahead)
    if header_and_rows:
        header, *rows = header_and_rows
        parts.append(Table("Against earlier submissions", header, rows))
    return f"valid, not sent ({len(submission.ids):,} rows)", (
        "submit --local" if dataset.truth is not None else "submit --wait"
    )


def _charts(summary: Summary) -> list[Part]:
    standings = [one for one in summary.standings if one.record.public is not None]
    if not standings:
        return [Text("No submission has a public score yet.")]
    parts: list[Part] = [_by_date(standings)]
    both = [one for one in standings if one.gap is not None]
    if both:
        parts.append(_against(both))
    return parts


def _by_date(standings: Sequence[Standing]) -> Chart:
    names = [f"#{one.record.ref} {one.record.when[5:10]}" for one in standings]
    points, ends, public = [], [], []
    for index, one in enumerate(standings):
        public.append((float(index), one.record.public or 0.0))
        if one.gap is not None:
            points.append((float(index), one.record.cv_accuracy or 0.0))
            ends.append(_band(one))
    return charts.plot(
        "Scores by date",
        Axis("submission", names=names),
        Axis("accuracy"),
        [Series("CV, with 95 % of the noise", points, ends), Series("public", public)],
        note="Where the public score is within the noise, chance explains its distance from CV.",
    )


def _against(standings: Sequence[Standing]) -> Chart:
    points = [(one.record.cv_accuracy or 0.0, one.record.public or 0.0) for one in standings]
    ends = []
    for one in standings:
        half = _Z95 * (one.gap.sd if one.gap else 0.0)
        ends.append(
            ((one.record.public or 0.0) - half, min((one.record.public or 0.0) + half, 1.0))
        )
    return charts.plot(
        "CV against public score",
        Axis("CV accuracy"),
        Axis("public score"),
        [Series("", points, ends, [f"#{one.record.ref}" for one in standings])],
        note="With 95 % of the noise; on the broken line both are equal.",
        equal=True,
    )


def _band(one: Standing) -> tuple[float, float]:
    cv, half = one.record.cv_accuracy or 0.0, _Z95 * (one.gap.sd if one.gap else 0.0)
    return max(cv - half, 0.0), min(cv + half, 1.0)
