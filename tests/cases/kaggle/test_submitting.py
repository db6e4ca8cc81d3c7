"""A submission whose answer was lost: in doubt it is not sent again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import submissions.ledger as ledger_module
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience
from submissions.account import About
from submissions.ledger import Ledger, Record
from submissions.sending import Submitted, catch_up, submit
from submissions.validation import SubmissionFile, validate


class Heard:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def task(self, label: str, total: int, unit: str = "") -> Any:
        raise AssertionError("no task is opened here")


@dataclass
class Desk:
    """Someone who submits one file from one workspace."""

    workspace: Workspace
    server: Any
    file: SubmissionFile
    service: KaggleClient

    def __post_init__(self) -> None:
        self.heard = Heard()

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.workspace.submissions / "ledger.sqlite")

    def submit(self, *, force: bool = False) -> Submitted:
        with self.ledger as ledger:
            return submit(
                self.service, ledger, self.workspace, self.file, About(), message="",
                force=force, progress=self.heard,
            )  # fmt: skip

    def records(self) -> list[Record]:
        with self.ledger as ledger:
            return ledger.all()

    def age(self, seconds: float) -> None:
        """Make the last row that old."""
        with self.ledger as ledger:
            old = datetime.now(UTC) - timedelta(seconds=seconds)
            ledger.change(ledger.all()[-1], created=old.strftime("%Y-%m-%dT%H:%M:%S"))


@pytest.fixture
def desk(server: Any, tmp_path: Path, dataset: Any, csv_of: Callable[..., bytes]) -> Desk:
    return Desk(
        Workspace(tmp_path / "workspace"),
        server,
        validate(csv_of(dataset, 5), "s.csv", dataset),
        KaggleClient("digit-recognizer", Patience(timeout=1.5, wait=0.002, tries=2)),
    )


def lose_the_answer(desk: Desk, standing: Any) -> None:
    """Submit, with the answer lost and nothing recorded while it is looked for."""
    desk.server.order("CreateSubmission", standing.Fault("drop"))
    with pytest.raises(CallError, match="not known whether submission 1 of .* UTC arrived") as told:
        desk.submit()
    assert "It was not sent again." in told.value.message
    assert "From " in str(told.value.mend) and "--force" in str(told.value.mend)
    assert [record.state for record in desk.records()] == ["unknown"]
    assert desk.server.count("CreateSubmission") == 1


def record_it_late(desk: Desk) -> int:
    """Let Kaggle record the lost submission now; return its reference."""
    (lost,) = [one for one in desk.records() if one.state == "unknown"]
    ref: int = desk.server.create(desk.file.content, lost.message, "submission.csv")
    return ref


def test_a_submission_recorded_later_than_we_look_is_sent_once(desk: Desk, standing: Any) -> None:
    lose_the_answer(desk, standing)
    with pytest.raises(CallError, match="not sent again"):
        desk.submit()
    ref = record_it_late(desk)
    done = desk.submit()
    assert not done.sent and done.record.ref == ref
    assert (len(desk.server.entries), desk.server.count("CreateSubmission")) == (1, 1)
    assert [(record.state, record.error) for record in desk.records()] == [("pending", None)]


def test_every_later_call_looks_for_it_and_says_until_when(desk: Desk, standing: Any) -> None:
    lose_the_answer(desk, standing)
    desk.heard.said.clear()
    with desk.ledger as ledger:
        catch_up(desk.service, ledger, desk.workspace, desk.heard)  # as `submissions` does
    (said,) = desk.heard.said
    until = datetime.fromisoformat(desk.records()[0].created) + timedelta(hours=1)
    assert f"From {until:%Y-%m-%d %H:%M} UTC on" in said
    assert [record.state for record in desk.records()] == ["unknown"]


def test_it_is_sent_again_only_after_its_time(desk: Desk, standing: Any) -> None:
    lose_the_answer(desk, standing)
    desk.age(3500)
    with pytest.raises(CallError, match="not sent again"):
        desk.submit()
    desk.age(3601)
    done = desk.submit()
    assert done.sent and len(desk.server.entries) == 1
    assert [record.state for record in desk.records()] == ["failed", "pending"]


def test_force_sends_it_again_and_the_first_is_still_looked_for(desk: Desk, standing: Any) -> None:
    lose_the_answer(desk, standing)
    done = desk.submit(force=True)
    assert done.sent
    record_it_late(desk)
    with desk.ledger as ledger:
        catch_up(desk.service, ledger, desk.workspace, desk.heard)
    first, second = sorted(desk.records(), key=lambda record: record.id)
    assert {first.ref, second.ref} == {entry.ref for entry in desk.server.entries}
    assert "unknown" not in (first.state, second.state)


def test_the_days_count_keeps_a_submission_that_no_list_shows(desk: Desk, standing: Any) -> None:
    """Kaggle counts it but does not list it: whatever the time, it is not sent again."""
    desk.server.order("CreateSubmission", standing.Fault("drop", act=True))
    desk.server.hidden_lists = 500
    with pytest.raises(CallError, match="not known"):
        desk.submit()
    desk.age(100_000)
    with pytest.raises(CallError, match="not sent again"):
        desk.submit()
    assert any("counts one submission more than it lists" in said for said in desk.heard.said)
    assert len(desk.server.entries) == 1


def test_a_submission_by_a_colleague_meanwhile_is_not_taken_for_it(
    desk: Desk, standing: Any
) -> None:
    """One more is counted and one more is listed: nothing is hidden."""
    lose_the_answer(desk, standing)
    desk.server.create(desk.file.content[:40] + b"\r\n", "by hand", "x.csv")
    desk.age(3601)
    assert desk.submit().sent
    assert [record.state for record in desk.records()].count("failed") == 1


def test_what_is_in_doubt_is_shown_and_other_content_may_go(
    server: Any, session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes],
    standing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from submissions.commands import submissions
    from submissions.commands import submit as submit_command

    monkeypatch.setenv("KAGGLE_DIGITS_WAIT", "0.002")
    dataset = type(dataset)(**{
        name: getattr(dataset, name) for name in dataset.__slots__ if name != "truth"
    }, truth=None)  # fmt: skip
    session = session_on(dataset)
    path = tmp_path / "s.csv"
    path.write_bytes(csv_of(dataset, 5))
    server.order("CreateSubmission", standing.Fault("drop"))
    with pytest.raises(CallError, match="not known"):
        submit_command.body(session, file=path)
    planned = submit_command.body(session, file=path, dry_run=True)
    assert planned.values["would_send"] is False
    assert "not known whether the same content" in planned.facts["dry run"]
    shown = submissions.body(session)
    header, row = shown.rows
    assert row[header.index("state")] == "unknown"
    assert "answer was lost" in row[header.index("message")]
    assert shown.values["submissions"][0]["state"] == "unknown"
    json.dumps(shown.values)
    path.write_bytes(csv_of(dataset, 9))
    assert submit_command.body(session, file=path).values["sent"] is True
    assert len(server.entries) == 1


def test_a_ledger_of_before_takes_the_new_state_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, every = tmp_path / "ledger.sqlite", ledger_module._MIGRATIONS
    monkeypatch.setattr(ledger_module, "_MIGRATIONS", every[:2])
    later = ("metric", "cv_metric", "cv_metric_se", "kernel")
    fields = [
        name for name in ledger_module._FIELDS if not name.endswith("_before") and name not in later
    ]
    old = Record(
        service="kaggle", competition="c", state="sending", tag="t", members=("a",), rank=3,
        teams=9, public_score="0.5", created="2026-01-01T00:00:00",
    )  # fmt: skip
    monkeypatch.setattr(ledger_module, "_FIELDS", tuple(fields))
    with Ledger(path) as ledger:
        ledger.add(old)
    monkeypatch.undo()
    broken = (every[2][0], (*every[2][1], "INSERT INTO nowhere VALUES (1)"))
    monkeypatch.setattr(ledger_module, "_MIGRATIONS", (*every[:2], broken))
    with pytest.raises(ArtefactError, match="cannot be used"):
        Ledger(path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as base:
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
        assert "submissions" in tables and "doubted" not in tables
    for _ in range(2):
        with Ledger(path) as ledger:
            (found,) = ledger.all()
        assert (found.rank, found.teams, found.public_score) == (3, 9, "0.5")
        assert (found.members, found.listed_before) == (("a",), None)
    with Ledger(path) as ledger:
        assert ledger.change(found, state="unknown").state == "unknown"
