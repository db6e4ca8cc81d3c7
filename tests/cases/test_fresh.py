"""`--fresh` and its kind: nothing that was made is lost to a typing error, a failure or a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import cli
from kaggle_digits.shell.cli import COMMANDS, load_command

TINY = ("--trials", "1", "--epochs", "1")


@pytest.fixture
def call(capfd, made, workspace, training):
    """Call a command on the small competition; return exit code, stdout and stderr."""

    def call(*words: object, data: object = made.folder) -> tuple[int, str, str]:
        where = ["--data", data, "--workspace", workspace.root]
        with pytest.raises(SystemExit) as ended:
            cli.cli([*map(str, [*words, *where])], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def filled(call, training) -> None:
    """A workspace after `run --preset quick`."""
    code, _, err = call("run", *TINY, "--folds", 2)
    assert code == 0, err
    training.names.clear()


def kept(workspace: Workspace) -> dict[str, bytes]:
    """Return the study's, the members' and the plan's files."""
    places = [workspace.tuning, workspace.ensembles / "members", workspace.ensembles / "plan.json"]
    return {
        str(path.relative_to(workspace.root)): path.read_bytes()
        for place in places
        for path in ([place] if place.is_file() else sorted(place.rglob("*")))
        if path.is_file() and path.name != ".lock"
    }


def is_trial(name: str) -> bool:
    return name.startswith("trial")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tune", "--space", "typo.toml"], 2),
        (["tune", "--time-budget", "soon"], 2),
        (["tune", "--chief", "nowhere"], 2),
        (["tune", "--show"], 2),
        (["tune", "--worker", "host:7000"], 2),
        (["tune", "--folds", "30"], 3),
        (["cv-train", "--config", "typo.toml"], 2),
        (["cv-train", "--folds", "30"], 3),
        (["cv-train", "--add"], 2),
        (["cv-train", "--pseudo-label", "--pseudo-share", "7"], 2),
        (["run", "--time-budget", "soon"], 2),
        (["run", "--folds", "30"], 3),
    ],
)
def test_a_wrong_option_beside_fresh_costs_nothing(call, filled, workspace, words, code) -> None:
    before = kept(workspace)
    got, _, err = call(*words, "--fresh")
    assert got == code, err
    assert kept(workspace) == before


@pytest.mark.parametrize("name", ["run", "tune", "cv-train"])
def test_a_mistyped_data_option_beside_fresh_costs_nothing(call, filled, workspace, name) -> None:
    before = kept(workspace)
    code, _, err = call(name, "--fresh", data="typo")
    assert code == 3 and "There is nothing at typo" in err
    assert kept(workspace) == before


def test_what_fresh_drops_is_said_before_it_goes(call, filled, workspace, training) -> None:
    before = kept(workspace)

    def look(name: str) -> None:
        if len(training.names) > 1:
            return  # there is a first result: it is dropped
        place = "tuning" if is_trial(name) else "ensembles"
        for path, content in before.items():
            if path.startswith(place):
                aside = workspace.root / path.replace(place, f"{place}/aside", 1)
                assert aside.read_bytes() == content, path

    training.end = look
    code, _, err = call("tune", *TINY[:2], "--fresh", "--seed", 3)
    assert code == 0 and "the study (1 trial) in" in err and "dropped once there is a" in err
    assert json.loads((workspace.tuning / "study.json").read_text())["settings"]["seed"] == 3
    training.names.clear()
    code, _, err = call("cv-train", "--epochs", 1, "--folds", 3, "--fresh", "--workers", 1)
    assert code == 0 and "the members (2) and their plan in" in err
    assert len(list((workspace.ensembles / "members").iterdir())) == 3
    assert not (workspace.tuning / "aside").exists()


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [(TrainingError("out of memory"), 1, "out of memory"), (KeyboardInterrupt(), 130, "--fresh")],
)
@pytest.mark.parametrize("name", ["tune", "cv-train"])
def test_a_fresh_start_that_makes_nothing_gives_back_what_was_there(
    call, filled, workspace, training, name, end, code, says
) -> None:
    before = kept(workspace)
    training.end = lambda _: end
    options = ["--trials", 3] if name == "tune" else ["--epochs", 2, "--folds", 3]
    got, _, err = call(name, *options, "--fresh")
    assert got == code and says in err and "in place; there is no" in err
    assert training.names, "it had begun"
    assert kept(workspace) == before
    training.end = lambda _: None
    code, _, err = call("members")
    assert code == 0, err


def test_a_fresh_start_that_is_interrupted_later_keeps_the_new_members(
    call, filled, workspace, training
) -> None:
    training.end = lambda _: KeyboardInterrupt() if len(training.names) == 2 else None
    code, _, err = call("cv-train", "--epochs", 2, "--folds", 3, "--fresh", "--workers", 1)
    assert code == 130 and "without --fresh" in err and "there is no new member" not in err
    members = list((workspace.ensembles / "members").iterdir())
    assert len(members) == 1 and not (workspace.ensembles / "aside").exists()
    code, out, err = call("cv-train", "--epochs", 2, "--folds", 3, "--json")
    assert code == 0 and json.loads(out)["known"] == 1, err


KILLED = """
import os, signal, sys
import kaggle_digits.core.augmentation as augmentation
from ensembles import member_training
from kaggle_digits.shell.cli import main
from tuning import scoring

def train(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

augmentation.Bank.ensure = lambda *_: None
scoring.train = member_training.train = train
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("words", [["tune", "--trials", "2"], ["cv-train", "--workers", "1"]])
def test_a_fresh_start_that_is_killed_gives_back_what_was_there_at_the_next_call(
    call, filled, workspace, made, words, tmp_path
) -> None:
    before = kept(workspace)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    where = ["--data", str(made.folder), "--workspace", str(workspace.root)]
    ended = subprocess.run([sys.executable, script, *words, "--fresh", *where], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert kept(workspace) != before, "put aside"
    code, _, err = call("members")
    assert code == 0 and "back in place, the call that had put it aside was ended" in err, err
    assert kept(workspace) == before


def test_going_from_quick_to_medium_keeps_what_was_made(call, filled, workspace, training) -> None:
    before = kept(workspace)
    code, out, err = call("run", *TINY, "--folds", 3, "--preset", "medium")
    assert code == 0, err
    assert "other settings" in err and "kept in" in err
    members = {path for path in before if path.startswith("ensembles/members")}
    assert members <= kept(workspace).keys()
    assert len(json.loads((workspace.ensembles / "plan.json").read_text())["members"]) == 3
    # And back: nothing is searched or trained a second time.
    training.names.clear()
    code, out, err = call("run", *TINY, "--folds", 2, "--json")
    assert code == 0 and "taken up from" in err, err
    assert json.loads(out)["members"] == 2 and training.names == []
    assert json.loads((workspace.tuning / "study.json").read_text())["settings"]["rows"] == 6000


def test_the_study_stays_when_that_of_another_preset_makes_nothing(
    call, filled, workspace, training
) -> None:
    before = kept(workspace)
    training.end = lambda name: KeyboardInterrupt() if is_trial(name) else None
    assert call("run", *TINY, "--preset", "medium")[0] == 130
    assert kept(workspace) == before


def test_run_with_another_seed_is_refused_and_costs_nothing(call, filled, workspace) -> None:
    before = kept(workspace)
    code, _, err = call("run", *TINY, "--seed", 5, "--preset", "medium")
    assert code == 4 and "seed: 0 → 5" in err and "another --workspace" in err
    assert kept(workspace) == before


def test_the_hint_after_quick_deletes_nothing(call) -> None:
    code, out, err = call("run", *TINY, "--folds", 2)
    assert code == 0 and "run --preset medium" in out and "--fresh" not in out + err


def test_fresh_stands_only_where_it_does_something(call) -> None:
    kernel = load_command("kernel")
    commands = {name: load_command(name) for name in COMMANDS if name != "kernel"}
    commands |= {f"kernel {name}": one for name, one in kernel.commands.items()}
    taking = {
        name
        for name, one in commands.items()
        if any("--fresh" in parameter.opts for parameter in one.params)
    }
    assert taking == {"run", "tune", "cv-train", "download"}
    code, _, err = call("blend", "--fresh")
    assert code == 2 and "No such option" in err and "--fresh" in err


@pytest.mark.parametrize("content", ["null", "[]", '{"settings": {}}', "{"])
def test_a_broken_plan_is_mended_without_losing_members(call, filled, workspace, content) -> None:
    path = workspace.ensembles / "plan.json"
    path.write_text(content)
    code, _, err = call("cv-train", "--epochs", 1, "--folds", 2)
    assert code == 4 and str(path) in err and "--fresh" not in err
    path.unlink()
    code, out, err = call("cv-train", "--epochs", 1, "--folds", 2, "--json")
    assert code == 0 and json.loads(out)["known"] == 2, err


def test_a_broken_ranking_is_mended_without_searching_again(
    call, filled, workspace, training
) -> None:
    path = workspace.tuning / "best.json"
    content = path.read_bytes()
    path.write_text("{}")
    code, _, err = call("cv-train")
    assert code == 4 and "`kaggle-digits tune` again" in err and "--fresh" not in err
    code, _, err = call("run", *TINY, "--folds", 2)
    assert code == 0 and path.read_bytes() == content and training.names == [], err


def test_trials_without_their_settings_are_not_searched_over(call, filled, workspace) -> None:
    (workspace.tuning / "study.json").unlink()
    before = kept(workspace)
    code, _, err = call("tune", "--trials", 1)
    assert code == 4 and "1 trial" in err
    assert kept(workspace) == before
    code, _, err = call("tune", "--trials", 1, "--fresh")
    assert code == 0, err


def test_kernel_build_does_not_replace_what_it_has_not_written(call, tmp_path) -> None:
    words = ["kernel", "build", "--owner", "me", "--dir"]
    own = tmp_path / "own"
    assert call(*words, own)[0] == 0
    assert call(*words, own)[0] == 0, "its own files are built anew"
    script = next(own.glob("*.py"))
    script.write_bytes(script.read_bytes()[:500])
    assert call(*words, own)[0] == 0, "broken ones, too"
    for name, content in (
        ("kernel-metadata.json", '{"id": "me/mine", "code_file": "mine.py"}'),
        (script.name, "print('my own')\n"),
    ):
        other = tmp_path / f"other-{name}"
        other.mkdir()
        (other / name).write_text(content)
        code, _, err = call(*words, other)
        assert code == 2 and str(other / name) in err and "another --dir" in err
        assert [(path.name, path.read_text()) for path in other.iterdir()] == [(name, content)]


def test_clean_drops_a_link_and_not_what_it_leads_to(call, filled, workspace, tmp_path) -> None:
    before = kept(workspace)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    (workspace.cache / "bank-on-another-disk").symlink_to(elsewhere, target_is_directory=True)
    code, _, err = call("clean", "--checkpoints")
    assert code == 0, err
    assert (elsewhere / "mine.txt").read_text() == "mine" and not list(workspace.cache.iterdir())
    assert kept(workspace) == before
