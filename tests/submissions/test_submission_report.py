"""The report's section about the leaderboard: whose board it shows, and what counts as sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell.report.parts import Section, Subject, Table
from submissions.ledger import Ledger, Record
from submissions.report import leaderboard
from submissions.validation import SubmissionFile, validate

LOCAL = {"service": "local", "competition": "d" * 16}


@pytest.fixture
def blend(dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path) -> SubmissionFile:
    """The submission that is ready to be sent."""
    path = tmp_path / "workspace" / "submissions" / "submission.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(csv_of(dataset))
    return validate(path.read_bytes(), str(path), dataset)


@pytest.fixture
def section_of(dataset: Any, tmp_path: Path) -> Callable[..., Section]:
    """Make the section of a ledger with rows that differ in some fields, a day apart."""

    def make(*rows: dict[str, Any], truth: bool = False) -> Section:
        workspace = Workspace(tmp_path / "workspace")
        with Ledger(workspace.submissions / "ledger.sqlite") as ledger:
            for number, fields in enumerate(rows, start=1):
                usual = {"service": "kaggle", "competition": "kannada-mnist", "state": "complete"}
                usual |= {"ref": number, "public_score": f"0.9{number}000", "rows": 200}
                ledger.add(Record(**(usual | fields), created=f"2026-01-0{number}T10:00:00"))
        data = dataset if truth else dataclasses.replace(dataset, truth=None)
        return leaderboard(Subject(workspace, lambda: data, lambda words: words))

    return make


def scores(section: Section) -> list[str]:
    """Return the public scores in the table of submissions."""
    (table,) = [part for part in section.parts if isinstance(part, Table)]
    assert table.title == "Our submissions"
    return [cell for row in table.rows for cell in row if cell.startswith("0.9") and len(cell) == 7]


def test_kaggles_board_is_shown_whatever_was_scored_here_since(
    section_of: Callable[..., Section],
) -> None:
    """Kaggle was asked for the newest one's competition, the local board's: it was empty."""
    assert scores(section_of({"competition": "other"}, {}, LOCAL)) == ["0.92000"]


def test_the_local_board_is_shown_where_all_was_scored_here(
    section_of: Callable[..., Section], blend: SubmissionFile
) -> None:
    section = section_of(LOCAL, LOCAL | {"digest": blend.digest}, truth=True)
    assert scores(section) == ["0.91000", "0.92000"]
    assert section.top == {"submission": "sent, complete, public score 0.92000"}


@pytest.mark.parametrize(
    ("fields", "is_sent"),
    [
        ({}, True),
        ({"state": "pending"}, True),
        ({"state": "unknown"}, True),
        ({"state": "failed"}, False),
        (LOCAL, False),
        ({"competition": "other"}, False),
    ],
)
def test_what_never_arrived_or_was_scored_here_alone_is_not_sent(
    section_of: Callable[..., Section],
    blend: SubmissionFile,
    fields: dict[str, Any],
    is_sent: bool,
) -> None:
    """One that never arrived was "sent, failed"."""
    same = {"digest": blend.digest, "file_sha256": blend.sha256, "public_score": None} | fields
    section = section_of(same, {})
    state = same.get("state", "complete")
    told = f"sent, {state}" if is_sent else "valid, not sent (200 rows)"
    assert section.top == {"submission": told}
    wanted = None if is_sent else "submit --wait --competition kannada-mnist"
    assert section.next_words == wanted


def test_what_another_workspace_sent_is_sent(
    section_of: Callable[..., Section], blend: SubmissionFile
) -> None:
    section = section_of({"message": f"kd-{blend.digest[:12]}-c0ffee | mean of 2"})
    assert section.top == {"submission": "sent, complete, public score 0.91000"}
