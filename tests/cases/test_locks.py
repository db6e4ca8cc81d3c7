"""File systems without locks (network shares, FUSE), and workspaces that several hosts share."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from kaggle_digits.core.data import cache, load
from kaggle_digits.ground import locks
from kaggle_digits.ground.errors import ArtefactError, InUseError
from kaggle_digits.ground.files import HOST, write_bytes

fcntl = pytest.importorskip("fcntl")

LOCK_ELSEWHERE = """
import fcntl, pathlib, sys
def flock(*_): raise OSError(38, "Function not implemented")
fcntl.flock = flock
from kaggle_digits.ground.workspace import Workspace
workspace = Workspace(pathlib.Path(sys.argv[1]))
with workspace.lock(workspace.tuning):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def lock_file(workspace):
    return workspace.tuning / ".lock-file"


def test_a_command_works_on_a_file_system_without_locks_and_says_so_once(no_locks, made, call):
    workspace = made.folder.parent / "w"
    made.sample([str(i) for i in range(1, 13)])
    sample = made.folder / "sample_submission.csv"
    code, out, err = call("check", sample, "--data", made.folder, "--workspace", workspace)
    assert code == 0 and "valid, 12 rows" in out
    assert err.count("this file system keeps no locks") == 1
    code, _, err = call("clean", "--workspace", workspace)  # two folders are held
    assert code == 0 and err.count("this file system keeps no locks") == 1
    assert list(workspace.rglob(".lock-file*")) == []


def test_who_holds_a_folder_without_locks_is_named(no_locks, workspace):
    with workspace.lock(workspace.tuning):
        named = json.loads(lock_file(workspace).read_text())
        assert (named["host"], named["process"]) == (HOST, os.getpid())
        assert named["since"].endswith("+00:00")
        with pytest.raises(InUseError) as error, workspace.lock(workspace.tuning):
            pass
        assert f"in use by process {os.getpid()} on {HOST} since 20" in str(error.value)
        assert str(lock_file(workspace)) in str(error.value.mend)
    assert not lock_file(workspace).exists()


def test_two_processes_exclude_each_other_without_locks(no_locks, workspace):
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_ELSEWHERE, str(workspace.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InUseError, match=f"in use by process {other.pid} on"),
            workspace.lock(workspace.tuning),
        ):
            pass
        other.kill()  # it leaves its lock file
        other.wait()
        assert lock_file(workspace).exists()
        with workspace.lock(workspace.tuning):
            assert json.loads(lock_file(workspace).read_text())["process"] == os.getpid()


def test_a_process_number_that_was_given_out_again_holds_nothing(no_locks, workspace):
    workspace.tuning.mkdir(parents=True)
    left = {"host": HOST, "process": os.getppid(), "started": 1, "since": "2026-01-01"}
    lock_file(workspace).write_text(json.dumps(left))
    with workspace.lock(workspace.tuning):
        pass


def test_another_hosts_lock_file_is_respected(no_locks, workspace):
    workspace.tuning.mkdir(parents=True)
    theirs = {"host": "elsewhere", "process": 99999999, "started": 1, "since": "2026-01-01"}
    lock_file(workspace).write_text(json.dumps(theirs))
    with (
        pytest.raises(InUseError, match="process 99999999 on elsewhere"),
        workspace.lock(workspace.tuning),
    ):
        pass
    assert json.loads(lock_file(workspace).read_text()) == theirs


@pytest.mark.parametrize("words", ["", "null", '{"host": 1}'])
def test_a_lock_file_cut_off_in_writing_counts_for_a_minute(no_locks, workspace, words):
    workspace.tuning.mkdir(parents=True)
    lock_file(workspace).write_text(words)
    with pytest.raises(InUseError), workspace.lock(workspace.tuning):
        pass
    old = time.time() - 61
    os.utime(lock_file(workspace), (old, old))
    with workspace.lock(workspace.tuning):
        pass


def test_a_lock_file_that_two_want_to_take_away_goes_once(no_locks, workspace):
    """A takeover under way by another process is not repeated over what it makes."""
    workspace.tuning.mkdir(parents=True)
    left = {"host": HOST, "process": 99999999, "started": 1, "since": "2026-01-01"}
    lock_file(workspace).write_text(json.dumps(left))
    breaking = workspace.tuning / ".lock-file.breaking"
    breaking.write_text("")
    with pytest.raises(InUseError, match="that begins"), workspace.lock(workspace.tuning):
        pass
    assert lock_file(workspace).exists()


def test_a_held_lock_is_in_use_and_says_by_whom(workspace):
    with (
        workspace.lock(workspace.tuning),
        pytest.raises(InUseError, match=f"in use by process {os.getpid()} on {HOST}"),
        workspace.lock(workspace.tuning),
    ):
        pass


def test_a_disk_error_is_not_taken_for_a_busy_cache(made, workspace, monkeypatch):
    """It used to be waited for five minutes, in silence."""

    def full(*_: object) -> None:
        raise locks.disk_error(OSError(errno.ENOSPC, "No space left"), workspace.cache)

    monkeypatch.setattr(locks, "make_folder", full)
    monkeypatch.setattr(cache, "_PATIENCE", 20.0)
    began = time.monotonic()
    with pytest.raises(ArtefactError, match="No room on the disk"):
        load(made.folder, workspace)
    assert time.monotonic() - began < 10


def test_temporaries_of_another_host_stay_until_they_are_old(workspace):
    workspace.tuning.mkdir(parents=True)
    names = {
        "young-elsewhere": workspace.tuning / "a.json.part-elsewhere-99999999",
        "old-elsewhere": workspace.tuning / "b.json.part-elsewhere-99999999",
        "left-here": workspace.tuning / f"c.json.part-{HOST}-99999999",
        "at-work-here": workspace.tuning / f"d.json.part-{HOST}-{os.getpid()}",
        "young-nameless": workspace.tuning / "e.json.part-99999999",
    }
    for path in names.values():
        path.write_text("{")
    old = time.time() - 90_000
    os.utime(names["old-elsewhere"], (old, old))
    with workspace.lock(workspace.tuning):
        left = {name for name, path in names.items() if path.exists()}
    assert left == {"young-elsewhere", "at-work-here", "young-nameless"}


def test_a_temporary_carries_its_host(workspace, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(a.name), replace(a, b)))
    write_bytes(workspace.root / "a.json", b"{}")
    assert seen == [f"a.json.part-{HOST}-{os.getpid()}"]
