"""The ledger: migrations, many writers, and taking in what the service lists."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import submissions.ledger as module
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.kaggle_service.client import Sent
from submissions.ledger import Ledger, Record

WRITER = """
import sys
from pathlib import Path
from submissions.ledger import Ledger, Record

path, number, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Ledger(path) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(count):
        record = ledger.add(
            Record(service="kaggle", competition="c", state="sending", tag=f"{number}-{index}")
        )
        ledger.change(record, ref=number * 100_000 + index, state="pending")
"""


def entry(**fields: Any) -> Record:
    base: dict[str, Any] = {"service": "kaggle", "competition": "c", "state": "sending"}
    return Record(**(base | fields))


def sent(**fields: Any) -> Sent:
    base: dict[str, Any] = {
        "ref": 1,
        "date": "2026-01-01T00:00:00",
        "message": "",
        "file_name": "f.csv",
        "state": "pending",
        "public_score": None,
        "private_score": None,
        "team": "us",
        "error": "",
    }
    return Sent(**(base | fields))


def test_eight_processes_write_a_thousand_and_none_is_lost(tmp_path: Path) -> None:
    """125 each: 1,000 rows added and 1,000 changed; all open the new file at the same time."""
    path = tmp_path / "ledger.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), "125"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(module.__file__).parents[1],
        )
        for number in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=120)
    assert [writer.returncode for writer in writers] == [0] * 8
    with Ledger(path) as ledger:
        records = ledger.all()
    assert len(records) == 1000
    assert {record.ref for record in records} == {
        number * 100_000 + index for number in range(8) for index in range(125)
    }
    assert {record.state for record in records} == {"pending"}
    with closing(sqlite3.connect(path)) as base, base:
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT count(*) FROM migrations").fetchone() == (5,)
    base.close()


def test_every_field_comes_back(tmp_path: Path) -> None:
    full = entry(
        tag="t",
        ref=5,
        digest="d",
        file_sha256="s",
        file_name="f",
        message="m",
        method="mean",
        members=("a", "b"),
        cv_accuracy=0.9,
        cv_accuracy_se=0.1,
        cv_log_loss=0.2,
        cv_log_loss_se=0.02,
        cv_rows=7,
        rows=8,
        data_digest="x",
        created="2026",
        date="2025",
        public_score="0.90000",
        private_score="0.80000",
        rank=3,
        teams=10,
        error="e",
    )
    with Ledger(tmp_path / "l") as ledger:
        added = ledger.add(full)
    with Ledger(tmp_path / "l") as ledger:
        (found,) = ledger.all()
    assert found == added
    assert found.share == pytest.approx(0.3)
    assert found.to_json()["members"] == ["a", "b"]


def test_migrations_are_applied_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    all_migrations = module._MIGRATIONS
    monkeypatch.setattr(module, "_MIGRATIONS", all_migrations[:1])
    with closing(sqlite3.connect(path)) as base, base:
        pass
    base.close()
    Ledger(path).__exit__()
    broken = (
        *all_migrations[:1],
        ("half", ("ALTER TABLE submissions ADD COLUMN rank", "NONSENSE")),
    )
    monkeypatch.setattr(module, "_MIGRATIONS", broken)
    with pytest.raises(ArtefactError, match="NONSENSE"):
        Ledger(path)
    with closing(sqlite3.connect(path)) as base, base:
        columns = [row[1] for row in base.execute("PRAGMA table_info(submissions)")]
        assert "rank" not in columns
        assert base.execute("SELECT number, name FROM migrations").fetchall() == [
            (1, "submissions")
        ]
    base.close()
    monkeypatch.setattr(module, "_MIGRATIONS", all_migrations)
    for _ in range(2):
        with Ledger(path) as ledger:
            ledger.add(entry(rank=4))
    assert len(all_migrations) == 5


def test_a_newer_ledger_and_a_broken_one_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).__exit__()
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("INSERT INTO migrations VALUES (99, 'later', 'now')")
    base.close()
    with pytest.raises(ArtefactError, match="newer version"):
        Ledger(path)
    path.write_bytes(b"not a ledger at all" * 100)
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match="cannot be used"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_state_that_is_none_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        with pytest.raises(ArtefactError):
            ledger.add(entry(state="melted"))
        assert ledger.all() == []


def test_the_list_completes_what_is_known_and_adds_the_rest(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        mine = ledger.add(entry(tag="abc-1"))
        other = ledger.add(entry(tag="abc-2", state="failed"))
        listed = [
            sent(ref=7, message="kd-abc-1 | words"),
            sent(ref=8, message="by hand", state="complete", public_score="0.5"),
            sent(ref=9, message="", file_name="submission-abc-2.csv"),
        ]
        assert ledger.take_in("kaggle", "c", listed) == 1
        assert ledger.take_in("kaggle", "c", listed) == 0
        assert ledger.get(mine.id).ref == 7
        # One that was thought lost and arrived after all is taken up again.
        assert (ledger.get(other.id).ref, ledger.get(other.id).state) == (9, "pending")
        assert [record.ref for record in ledger.all()] == [7, 8, 9]
        done = [sent(ref=7, state="complete", public_score="0.99000", message="changed")]
        ledger.take_in("kaggle", "c", done)
        assert ledger.get(mine.id).public_score == "0.99000"
        ledger.take_in("kaggle", "c", [sent(ref=7, state="pending")])
        late = ledger.get(mine.id)
        assert (late.state, late.public_score) == ("complete", "0.99000")
        assert ledger.take_in("kaggle", "other", [sent(ref=7)]) == 1
        assert len(ledger.all(competition="c")) == 3


def test_a_failure_while_taking_in_leaves_nothing_half(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        with pytest.raises(ArtefactError):
            ledger.take_in("kaggle", "c", [sent(ref=1), sent(ref=2, state="melted")])
        assert ledger.all() == []


class Turns:
    """Stands in for `time`: no time passes, and each wait gives another one its turn."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self.waits = 0
        self.turn = turn

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.waits += 1
        self.turn()


def test_a_ledger_that_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    turns = Turns(lambda: other.execute("COMMIT") if turns.waits == 3 else None)
    monkeypatch.setattr(module, "time", turns)
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.01)
    with closing(other), Ledger(path) as ledger:
        assert ledger.all("kaggle", "digit-recognizer") == [] and turns.waits == 3


def test_a_file_that_is_no_ledger_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"the table is locked" * 100)
    turns = Turns(lambda: pytest.fail("waited"))
    monkeypatch.setattr(module, "time", turns)
    with pytest.raises(ArtefactError, match="cannot be used"):
        Ledger(path)
