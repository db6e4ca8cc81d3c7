"""A workspace that may be read and not be written, and a log that cannot be written."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kaggle_digits.core.data as data
from kaggle_digits.core.data import load
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ReadOnlyError
from kaggle_digits.ground.files import write_bytes, write_json
from kaggle_digits.ground.workspace import Workspace
from submissions.ledger import Ledger, Record
from tuning.study import COMPLETED, StudyOnDisk, Trial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what root may do is Linux's here")

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Let permissions count for root too, as they do for everybody else."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write a folder, and all that it holds, away."""
    places = [folder, *folder.rglob("*")]
    modes = {place: stat.S_IMODE(place.stat().st_mode) for place in places}
    for place, mode in modes.items():
        place.chmod(mode & 0o555)
    before = contents(folder)
    try:
        with without_roots_rights():
            yield
    finally:
        for place, mode in modes.items():
            place.chmod(mode)
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.fixture
def filled(made, workspace) -> Workspace:
    """A workspace with parsed data, a study and a ledger."""
    made.sample([str(number) for number in range(1, 13)])
    digest = load(made.folder, workspace).digest
    sent = {"ref": 1, "date": "2026-01-01T00:00:00", "message": "", "file_name": "s.csv"}
    scores = {"public_score": "0.98000", "private_score": None}
    write_json(workspace.submissions / "scoreboard" / "scores.json", {digest: [sent | scores]})
    study = StudyOnDisk(workspace)
    study.open({"strategy": "random", "epochs": 1, "seed": 0})
    study.put(
        Trial(
            0,
            TrainingConfig(),
            1,
            COMPLETED,
            log_loss=0.1,
            accuracy=0.9,
            log_loss_se=0.01,
            accuracy_se=0.01,
            rows=30,
            seconds=1.0,
            history=(1.0,),
        )  # fmt: skip
    )
    with Ledger(workspace.submissions / "ledger.sqlite") as ledger:
        ledger.add(
            Record(
                service="kaggle",
                competition="digit-recognizer",
                ref=7,
                state="complete",
                public_score="0.99",
                rows=12,
                cv_accuracy=0.98,
                cv_accuracy_se=0.01,
            )  # fmt: skip
        )
    return workspace


READING: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "tune --show": (lambda folder: ["tune", "--show"], "0.1000"),
    "submissions --offline": (lambda folder: ["submissions", "--offline"], "0.99"),
    "submissions --local": (lambda folder: ["submissions", "--local"], "0.98000"),
    "leaderboard --offline": (lambda folder: ["leaderboard", "--offline"], "0.99"),
    "leaderboard --local": (lambda folder: ["leaderboard", "--local"], "0.98000"),
    "report --text": (lambda folder: ["report", "--text"], "next: "),
    "report --output": (
        lambda folder: ["report", "--output", folder.parent / "report.html"],
        "report.html",
    ),
    "check": (lambda folder: ["check", folder / "sample_submission.csv"], "valid, 12 rows"),
}


@pytest.mark.parametrize("name", READING)
def test_what_only_reads_works_where_nothing_can_be_written(name, filled, made, call):
    words, says = READING[name]
    given = [*words(made.folder), "--data", made.folder, "--workspace", filled.root]
    with read_only(filled.root):
        code, out, err = call(*given)
        assert code == 0, err
        assert says in out and "Traceback" not in err
        code, out, _ = call(*given, "--json")
        assert code == 0 and isinstance(json.loads(out), dict)


def test_members_are_listed_where_nothing_can_be_written(filled, made, call):
    from kaggle_digits.records.members import MemberStore

    MemberStore(filled).write_plan({"folds": 2, "seed": 0}, [])
    with read_only(filled.root):
        code, out, _ = call("members", "--workspace", filled.root)
    assert code == 0 and "0 of 0" in out


def test_data_are_read_where_the_cache_cannot_be_filled(made, workspace):
    workspace.root.mkdir()
    with read_only(workspace.root):
        found = load(made.folder, workspace)
        embedded = load(None, workspace)
    assert found.digest == load(made.folder, workspace).digest
    assert found.images.tobytes() == made.images.tobytes()
    assert len(embedded.test_images) == 599 and len(embedded.truth) == 599


def test_what_a_killed_process_left_in_the_ledgers_log_is_shown(filled, tmp_path):
    path = filled.submissions / "ledger.sqlite"
    left = tmp_path / "left"
    with Ledger(path) as ledger:  # its write-ahead log is there until it is closed
        ledger.add(Record(service="kaggle", competition="c", ref=8, state="pending"))
        shutil.copytree(path.parent, left)
    assert (left / "ledger.sqlite-wal").stat().st_size > 0
    with read_only(left), Ledger(left / path.name, reading=True) as ledger:
        assert not ledger.is_kept
        assert [record.ref for record in ledger.all()] == [7, 8]


@pytest.mark.parametrize("words", [["tune"], ["cv-train"], ["blend"], ["submit"], ["report"]])
def test_what_writes_is_refused_with_the_place_and_a_mend(words, filled, made, call):
    path = filled.submissions / "submission.csv"
    path.write_bytes((made.folder / "sample_submission.csv").read_bytes())
    given = [*words, "--data", made.folder, "--workspace", filled.root]
    with read_only(filled.root):
        code, out, err = call(*given)
    assert code == 4 and out == ""
    assert str(filled.root) in err and "Traceback" not in err
    assert "cannot be" in err


def in_the_way(root: Path) -> None:
    (root / "log.txt").mkdir()


def unwritable(root: Path) -> None:
    (root / "log.txt").symlink_to("/dev/full")


@pytest.mark.parametrize("spoil", [in_the_way, unwritable])
def test_a_log_that_cannot_be_written_ends_no_command(spoil, filled, made, call, monkeypatch):
    if spoil is unwritable and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    spoil(filled.root)
    given = ["check", made.folder / "sample_submission.csv", "--data", made.folder]

    def chatty(*args: object, **options: object) -> object:
        print("a library's words " * 10_000, flush=True)
        print("a library's words", file=sys.stderr, flush=True)
        os.write(2, b"words from C") if spoil is in_the_way else None
        return load(*args, **options)

    monkeypatch.setattr(data, "load", chatty)
    code, out, err = call(*given, "--workspace", filled.root)
    assert (code, err) == (0, "") and "valid, 12 rows" in out

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(data, "load", broken)
    code, _, err = call(*given, "--workspace", filled.root)
    assert code == 1 and "internal error: RuntimeError: a wheel came off" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_leaves_nothing_half_written(workspace, monkeypatch):
    import builtins

    place = workspace.root / "a.json"
    write_bytes(place, b"whole")
    real = open

    def full(path, mode="r", **given):
        if ".part-" in str(path):
            real(path, mode).close()
            return real("/dev/full", mode, buffering=0)
        return real(path, mode, **given)

    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(Exception, match="No room on the disk while writing .*a.json") as error:
        write_bytes(place, b"other")
    assert not isinstance(error.value, ReadOnlyError)
    assert place.read_bytes() == b"whole" and os.listdir(workspace.root) == ["a.json"]


def test_a_disk_that_refuses_everything_is_read_only_and_no_internal_error(workspace, monkeypatch):
    """A read-only mount refuses even to remove a temporary that is not there."""
    import builtins
    import errno

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    workspace.root.mkdir()
    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ReadOnlyError, match="Read-only file system"):
        write_bytes(workspace.root / "a.json", b"{}")
