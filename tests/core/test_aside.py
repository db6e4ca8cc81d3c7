"""What new work replaces: aside until that has a result, and never lost, whenever a kill comes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kaggle_digits.ground import aside
from kaggle_digits.ground.aside import Contents, put_aside, recover_workspace, take_up
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.workspace import Workspace

CONTENTS = Contents(("plan.json", "members", "race"), "the members (2)", "new member")
WITH_PATTERN = replace(CONTENTS, results="members/*/member.json")


@pytest.fixture
def area(workspace: Workspace) -> Path:
    """An area with old work, and something that is none of it."""
    write_json(workspace.ensembles / "plan.json", "old plan")
    for number in range(2):
        write_json(workspace.ensembles / "members" / str(number) / "member.json", "old")
    write_json(workspace.ensembles / "folds" / "f.json", "folds")
    return workspace.ensembles


def files(area: Path) -> dict[str, str]:
    """Return all files of an area but its lock, and what they hold."""
    return {
        str(path.relative_to(area)): json.loads(path.read_text())
        for path in sorted(area.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def work(area: Path) -> None:
    """Begin new work: it has no result yet."""
    write_json(area / "plan.json", "new plan")
    write_json(area / "race" / "0.json", "new")


NEW = {"folds/f.json": "folds", "plan.json": "new plan", "race/0.json": "new"}


@pytest.mark.parametrize("end", [ArtefactError("it failed"), KeyboardInterrupt(), None])
def test_without_a_result_the_old_work_is_back(area, end) -> None:
    before, told = files(area), []

    def begin() -> None:
        with put_aside(area, CONTENTS, told.append):
            assert not (area / "members").exists() and not (area / "plan.json").exists()
            work(area)
            if end is not None:
                raise end

    if end is None:
        begin()
    else:
        with pytest.raises(type(end)):
            begin()
    assert files(area) == before
    assert "put aside" in told[0] and "the members (2)" in told[0] and "back" in told[1]


def test_with_a_result_the_old_work_goes_whatever_comes_after(area) -> None:
    with pytest.raises(KeyboardInterrupt), put_aside(area, CONTENTS, print) as settle:
        work(area)
        settle()
        settle()
        assert files(area) == NEW
        raise KeyboardInterrupt
    assert files(area) == NEW


def test_a_result_of_a_process_that_could_not_tell_of_it_counts(area) -> None:
    with pytest.raises(KeyboardInterrupt), put_aside(area, WITH_PATTERN, print):
        write_json(area / "members" / "9" / "member.json", "new")
        raise KeyboardInterrupt
    assert files(area) == {"folds/f.json": "folds", "members/9/member.json": "new"}


def test_what_is_kept_can_be_taken_up(area) -> None:
    before = files(area)
    kept = area / "earlier" / "one"
    write_json(kept / "older.json", "its predecessor of the same name")
    with put_aside(area, CONTENTS, print, keep=kept) as settle:
        settle()
    assert not (area / "plan.json").exists() and (kept / "plan.json").exists()
    assert not (kept / "older.json").exists()
    take_up(area, kept)
    assert files(area) == before


def test_nothing_is_said_where_there_is_nothing_to_put_aside(workspace) -> None:
    told: list[str] = []
    with put_aside(workspace.ensembles, CONTENTS, told.append) as settle:
        work(workspace.ensembles)
        settle()
    assert told == [] and (workspace.ensembles / "plan.json").exists()


def test_an_area_in_use_is_left_alone(area, workspace) -> None:
    with workspace.lock(area), put_aside(area, CONTENTS, print) as settle:
        recover_workspace(workspace, pytest.fail)
        assert (area / "aside" / "plan.json").exists()
        settle()


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from kaggle_digits.ground import aside
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.workspace import Workspace

left = int(sys.argv[2])
def counted(step):
    def call(*given):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*given)
    return call
aside._rename, aside.remove = counted(aside._rename), counted(aside.remove)
aside.write_json = counted(aside.write_json)
area = Workspace(Path(sys.argv[1])).ensembles
contents = aside.Contents(("plan.json", "members", "race"), "the members (2)", "new member")
with aside.put_aside(area, contents, print) as settle:
    print("begun", flush=True)
    write_json(area / "plan.json", "new plan")
    write_json(area / "race" / "0.json", "new")
    if sys.argv[3] == "result":
        settle()
print("ended", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("way", ["result", "none"])
def test_a_kill_at_any_step_leaves_the_old_work_or_the_new_one(
    area, workspace, way, tmp_path
) -> None:
    before = files(area)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    outcomes = []
    for step in range(1, 30):
        ended = subprocess.run(
            [sys.executable, script, workspace.root, str(step), way], capture_output=True, text=True
        )
        recover_workspace(workspace, print)
        found = files(area)
        assert found in (before, NEW), step
        outcomes.append(found == NEW)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        if found == NEW:
            # The old work again, for the next step.
            for name in ("plan.json", "race"):
                aside.remove(area / name)
            write_json(area / "plan.json", "old plan")
            for number in range(2):
                write_json(area / "members" / str(number) / "member.json", "old")
    assert ended.returncode == 0, "every step was tried"
    assert outcomes[-1] == (way == "result") and not outcomes[0]
