"""Boards, tables and drawings of submissions: strange scores, narrow terminals, any label."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console as RichConsole

from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.errors import DataError
from kaggle_digits.shell.console import Console, Outcome
from submissions import drawing, tables
from submissions.commands import check, leaderboard, submit
from submissions.download import download
from submissions.forecast import Change, Difference, Forecast
from submissions.leaderboard import Board, read_board, summarise
from submissions.ledger import Record
from submissions.validation import validate

LABELS = ("$\\frac$", "=1+1", "a, b", '"quoted"', "@x", "ü", "$_$", "plain", "[red]", "-3")


def record(number: int, cv: float = 0.996, public: str = "0.99600", **fields: Any) -> Record:
    base: dict[str, Any] = {
        "id": number, "ref": 30_000_000 + number, "service": "kaggle", "competition": "c",
        "state": "complete", "date": f"2026-01-{1 + number % 28:02d}T10:00:00", "tag": "x",
        "cv_accuracy": cv, "cv_accuracy_se": 0.0003, "cv_log_loss": 0.0123,
        "cv_log_loss_se": 0.001, "public_score": public, "rank": 123, "teams": 1500,
        "method": "mean", "members": ("a",) * 12, "message": "kd-x | mean of 12 | " + "word " * 12,
    }  # fmt: skip
    return Record(**base | fields)


def board_of(*scores: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        rows = "".join(f"{rank},team {rank},{score}\n" for rank, score in enumerate(scores, 1))
        archive.writestr("board.csv", "Rank,TeamName,Score\n" + rows)
    return out.getvalue()


@pytest.mark.parametrize("odd", ["nan", "NaN", "", "inf", "1e5", "n/a"])
def test_one_score_that_is_no_number_does_not_cost_the_board(odd: str) -> None:
    board = read_board(board_of("0.99900", "0.99800", odd, "0.99000"))
    assert board.place(0.9985, "us") == (2, 5)  # the team is there all the same
    assert board.scores == ("0.99900", "0.99800", None, "0.99000")
    assert summarise([record(1)], board, 7000).teams == 4


def test_a_score_below_0_is_a_score_and_no_count_of_errors() -> None:
    """A kappa may be; on a board of accuracies it is somebody's broken file."""
    board = read_board(board_of("0.99900", "0.99800", "-1", "0.99000"))
    assert board.place(0.9985, "us") == (2, 5) and board.scores[2] == "-1"
    one = record(1, public_score="0.99900")
    assert summarise([one], board, 1000).rows == 1000


def test_a_board_with_a_nan_is_shown(
    server: Any, session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    fields = {name: getattr(dataset, name) for name in dataset.__slots__}
    session = session_on(type(dataset)(**fields | {"truth": None}))
    (tmp_path / "s.csv").write_bytes(csv_of(dataset, 5))
    submit.body(session, file=tmp_path / "s.csv")
    server.board_zip = board_of("0.99900", "nan", "0.10000")
    leaderboard.body(session)  # the first look makes it scored
    shown = leaderboard.body(session)
    assert shown.values["teams"] == 3 and shown.values["submissions"][0]["rank"] == 2


def test_a_failed_submissions_reason_stands_on_the_board() -> None:
    refused = record(2, public_score=None, state="error", error="Evaluation: wrong columns")
    rows = tables.board_rows(summarise([record(1), refused], Board(("t",), ("0.9",)), 7000), 160)
    assert [row[-1] for row in rows] == ["", "best", "Evaluation: wrong columns"]


def test_the_local_board_before_any_submission_says_what_to_do(
    session_on: Callable[..., Any], dataset: Any
) -> None:
    shown = leaderboard.body(session_on(dataset), local=True)
    assert shown.facts["submissions"] == "none yet"
    assert "submit --local" in str(shown.next_command)


def widths(rows: Sequence[Sequence[str]]) -> list[str]:
    out = io.StringIO()
    console = Console(out, io.StringIO(), quiet=False, as_json=False)
    console._rich = lambda stream: RichConsole(file=out, width=80)  # type: ignore[method-assign]
    console.finish(Outcome(values={}, rows=rows))
    return out.getvalue().splitlines()


def test_tables_fit_a_terminal_and_use_a_wide_one() -> None:
    records = [record(number) for number in range(12)] + [
        record(13, state="unknown", error="its answer was lost, and it is not listed yet")
    ]
    summary = summarise(records, Board(("t",), ("0.9",)), 7000)
    for make in (
        lambda width: tables.ledger_rows(records, width),
        lambda width: tables.board_rows(summary, width),
    ):
        shown = [len(make(width)[0]) for width in (80, 110, 140, 200)]
        assert shown == sorted(shown) and shown[0] < shown[-1]
        narrow = make(80)
        assert all(name in narrow[0] for name in ("date (UTC)", "ref", "CV", "public"))
        lines = widths(narrow)
        assert all(len(line) <= 80 for line in lines)
        # No cell but the last column's is folded.
        for row in narrow[1:]:
            assert any(all(cell in line for cell in row[:-1]) for line in lines), row
    assert "CV" in tables.ledger_rows(records, 200)[0]
    assert "log-loss" in tables.ledger_rows(records, 200)[0]


Box = tuple[float, float, float, float]


def texts_of(chart: Any) -> list[tuple[str, Box]]:
    """Return a drawing's texts with the room they take."""
    found = []
    for text in ElementTree.fromstring(chart.svg).iter("text"):
        x, y, wide = float(text.get("x")), float(text.get("y")), 6.6 * len(text.text)
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[text.get("text-anchor")]
        found.append((text.text, (left, y - 10, left + wide, y + 2)))
    return found


def overlapping(texts: Sequence[tuple[str, Box]]) -> list[tuple[str, str]]:
    return [
        (name, other)
        for place, (name, one) in enumerate(texts)
        for other, two in texts[:place]
        if one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
    ]


PLOTS = {
    "many": [(0.9960 + 0.00007 * (n % 9), f"{0.9955 + 0.0001 * (n % 11):.5f}") for n in range(24)],
    "at one": [(1.0, "1.00000"), (0.9999, "0.99900")],
    "at zero": [(0.30, "0.02000"), (0.02, "0.00000")],
    "one": [(0.996, "0.99600")],
    "the same": [(0.9966, "0.99657")] * 5,
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_stay_within_0_and_1_and_labels_apart(name: str, tmp_path: Path) -> None:
    records = [record(n, cv, public) for n, (cv, public) in enumerate(PLOTS[name])]
    summary = summarise(records, Board(("t",), ("0.9",)), 150)
    by_date, against = drawing.charts_of(summary)
    for chart in (by_date, against):
        texts = texts_of(chart)
        assert overlapping(texts) == []
        numbers = [float(text) for text, _ in texts if re.fullmatch(r"-?[0-9.]+", text)]
        assert len(numbers) >= 2 and all(0 <= number <= 1 for number in numbers)
        wide, high = map(float, ElementTree.fromstring(chart.svg).get("viewBox").split()[2:])
        for text, box in texts:
            assert box[0] >= -8 and box[2] <= wide + 8 and box[1] >= 0 and box[3] <= high, text
    named = [text for text, _ in texts_of(against) if text.startswith("#")]
    assert named
    if name == "the same":
        assert named == ["#30000000 and 4 more"]
    drawing.draw_plot(tmp_path / "x.png", summary)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_labels_of_any_kind_are_drawn_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = tuple(
        Change(n, f"images/number_{n:05d}.png", LABELS[n % 10], LABELS[(n + 1) % 10])
        for n in range(30)
    )
    one = Difference(record(1), changes, 50, 0.9, 1.0)
    ahead = Forecast(50, (one,), 0, None, 0.0, 1.0)
    images = np.zeros((30, 8, 8), dtype=np.uint8)
    drawing.draw_sheet(tmp_path / "sheet.png", ahead, images)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    kept: list[Any] = []
    monkeypatch.setattr(drawing, "_save", lambda figure, path: kept.append(figure))
    drawing.draw_sheet(tmp_path / "x.png", ahead, images)
    titles = [axes.title for axes in kept[0].axes]
    assert titles[0].get_text() == "…_00000.png\n$\\fr…→=1+1"
    boxes = [title.get_window_extent() for title in titles]
    assert not any(one.overlaps(two) for n, one in enumerate(boxes) for two in boxes[:n])


def with_labels(dataset: Any) -> Any:
    """The same competition with labels that spell trouble."""
    fields = {name: getattr(dataset, name) for name in dataset.__slots__}
    names = dict(zip("0123456789", LABELS, strict=True))
    fields["competition"] = Competition(8, 8, LABELS, SubmissionFormat())
    fields["truth"] = {key: names[label] for key, label in dataset.truth.items()}
    return type(dataset)(**fields)


def test_labels_of_any_kind_go_through_check_submit_and_forecast(
    dataset: Any, session_on: Callable[..., Any], tmp_path: Path
) -> None:
    troubled = with_labels(dataset)
    truth = list(troubled.truth.values())
    session = session_on(troubled)
    for number in (0, 7):
        labels = [LABELS[(LABELS.index(x) + (i < number)) % 10] for i, x in enumerate(truth)]
        path = tmp_path / f"{number}.csv"
        path.write_bytes(troubled.competition.form.render(troubled.test_ids, labels))
        assert list(validate(path.read_bytes(), "s", troubled).labels) == labels
        assert check.body(session, file=path).values["local_errors"] == number
        done = submit.body(session, file=path, local=True, message="=1+1, $x$\nnext")
        assert done.values["sent"] is True
    assert len(done.values["forecast"]["differences"][0]["ids"]) == 7
    assert (session.workspace.submissions / "forecast.png").is_file()


def test_messages_of_any_kind_go_into_exports_as_one_field_each() -> None:
    texts = ["a,b", 'say "x"', "two\nlines", "$x$", "ü"]
    records = [record(n, message=text, tag=None) for n, text in enumerate(texts)]
    rows = list(csv.DictReader(io.StringIO(tables.export(records, "csv").decode(), newline="")))
    assert [row["message"] for row in rows] == texts
    risky = tables.export([record(1, message="=HYPERLINK(1)", tag=None)], "csv").decode()
    (row,) = csv.DictReader(io.StringIO(risky, newline=""))
    assert row["message"] == "'=HYPERLINK(1)"  # a spreadsheet must not run what others wrote


@pytest.mark.parametrize("label", ["a\nb", "a\rb", "a\0b"])
def test_a_label_that_cannot_stand_in_a_submission_is_refused_with_the_data(label: str) -> None:
    with pytest.raises(DataError, match="cannot stand in a submission"):
        Competition(8, 8, ("x", label), SubmissionFormat())


class Bars:
    """Counts what a task was told."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int, str]] = []
        self.done = 0

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Any:
        self.opened.append((label, total, unit))
        yield self

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self.done += by


def test_a_download_has_a_bar_that_comes_to_its_end(server: Any, tmp_path: Path) -> None:
    from kaggle_digits.kaggle_service.client import KaggleClient

    noise = np.random.default_rng(0).bytes(400_000)
    server.files = {"train.csv": noise, "test.csv": noise[:1000]}
    bars = Bars()
    download(KaggleClient("digit-recognizer"), tmp_path / "data", bars, replace=False)
    ((label, total, unit),) = bars.opened
    assert (label, unit) == ("download", "kB") and 400 <= total <= 410
    assert bars.done == total
