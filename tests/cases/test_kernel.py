"""What users met on the way to Kaggle's machines."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.data.source import find
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import Ranked
from kaggle_digits.shell import cli
from kernel import api, verification
from kernel.bundle import read_sources, render
from kernel.machine import find_inputs
from kernel.metadata import Kernel
from kernel.plan import Plan

Call = Callable[..., tuple[int, dict[str, Any]]]
PAGE = Path(__file__).resolve().parents[2] / "docs/kernel.md"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> Call:
    """Call `kaggle-digits kernel …` in an empty folder; return exit code and JSON object."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            cli.cli(["kernel", *words, "--json"], prog_name="kaggle-digits")
        out, _ = capfd.readouterr()
        return int(ended.value.code or 0), json.loads(out)

    return call


def named_otherwise(made: Any) -> None:
    """Give the files the names of a competition that has others."""
    for name in ("train.csv", "test.csv"):
        (made.folder / name).rename(made.folder / f"sign_mnist_{name}")


def test_the_script_takes_files_that_are_named_otherwise_as_run_does(
    made: Any, tmp_path: Path
) -> None:
    """The script ended with "no folder with train.csv and test.csv"; `run` read the same files."""
    named_otherwise(made)
    plan = Plan("quick", 0, 1, "sign-language", ranked=(Ranked(TrainingConfig(), 0, 0.1, 0.9),))
    (tmp_path / "src").mkdir()
    script = tmp_path / "src" / "script.py"
    script.write_bytes(render(plan, read_sources()))
    root = tmp_path / "kaggle"
    (root / "working").mkdir(parents=True)
    inputs = root / "input" / "competitions" / "sign-language"
    inputs.parent.mkdir(parents=True)
    made.folder.rename(inputs)
    # Up to the first command that reads the data; what follows is training.
    given = {"examine": [], "rehearsal": [], "commands": [["kernel", "adopt", "{ranking}"]]}
    ended = subprocess.run(
        [sys.executable, "-I", str(script)],
        cwd=tmp_path / "src",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KAGGLE_DIGITS_KERNEL_ROOT": str(root),
            "KAGGLE_DIGITS_KERNEL_PLAN": json.dumps(given),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"kernel: inputs: {inputs}" in ended.stdout, ended.stderr
    best = json.loads((root / "working" / "kaggle-digits" / "tuning" / "best.json").read_text())
    assert best["configurations"][0]["config"]["family"] == "strided"
    assert ended.stderr.strip().endswith("all commands ended, but there is no submission.csv")


@pytest.mark.parametrize("zipped", [False, True])
def test_verify_takes_what_run_takes(made: Any, tmp_path: Path, zipped: bool) -> None:
    """It asked for a folder with train.csv and test.csv, of a zip too."""
    named_otherwise(made)
    made.sample([str(number) for number in range(1, 13)])
    data = made.zipped(tmp_path / "data.zip") if zipped else made.folder
    inputs = tmp_path / "kaggle" / "input" / "sign-language"
    script = Kernel("me", "digits", {}, b"", tmp_path)
    verification._lay_out(tmp_path / "kaggle", inputs, data, script)
    found = find_inputs(tmp_path / "kaggle" / "input", "sign-language")
    assert set(found.members) == {"train", "test", "sample"}
    given = find(data)
    for role in found.members:
        assert found.name(role) == given.name(role)
        with found.open(role) as theirs, given.open(role) as ours:
            assert theirs.read() == ours.read()


def test_verify_takes_the_workspaces_data_where_the_digits_cannot_stand_for_them(
    made: Any, pictures: Path, workspace: Workspace, tmp_path: Path
) -> None:
    """A script for image files in groups was tried on the digits, which have neither."""
    plain = Plan("quick", 0, 1, "mine")
    grouped = dataclasses.replace(plain, reading="--groups site")
    digits = workspace.cache / "embedded" / "competition"
    assert verification.files_for(plain, None, workspace) == (digits, None)
    with pytest.raises(ConfigurationError, match="reads its data with --groups site") as told:
        verification.files_for(grouped, None, workspace)
    assert told.value.mend == "Give --data the competition's files."
    load(made.folder, workspace)
    assert verification.files_for(plain, None, workspace) == (digits, None)
    own = made.folder, str(made.folder)
    predicting = dataclasses.replace(plain, weights="me/weights")
    for plan in (grouped, predicting):
        assert verification.files_for(plan, None, workspace) == own
    of_files = Workspace(tmp_path / "files")
    load(pictures, of_files)
    assert verification.files_for(plain, None, of_files) == (pictures, str(pictures))
    assert verification.files_for(plain, made.folder, of_files) == own
    shutil.rmtree(pictures)
    assert verification.files_for(plain, None, of_files)[1] is None
    with pytest.raises(DataError, match="no longer there"):
        verification.files_for(grouped, None, of_files)
    shapes = Workspace(tmp_path / "shapes")
    load(Path("shapes"), shapes)
    found, name = verification.files_for(plain, None, shapes)
    assert found.name == "shapes.zip" and name == "embedded shapes"


def test_what_comes_next_is_on_the_same_data_and_workspace(
    pictures: Path, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    """It said `kernel verify` alone, which tried another competition's files."""
    monkeypatch.chdir(tmp_path)
    words = ["kernel", "build", "--data", pictures.name, "--workspace", "w", "--groups", "site"]
    cli.cli.main(words, standalone_mode=False)
    wanted = "next: kaggle-digits kernel verify --data pictures --workspace w"
    assert wanted in capfd.readouterr().out.splitlines()


@pytest.mark.parametrize("name", ["digit-recognizer", "kannada-mnist"])
def test_a_kernel_is_submitted_to_its_own_competition(
    tmp_path: Path, monkeypatch: Any, capfd: Any, name: str
) -> None:
    """What comes next was `submit --kernel`, which goes to digit-recognizer."""
    made = api.Pushed("me/digits", "address", 1, "complete", "c" * 16, name, predicts=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "push", lambda *_, **__: made)
    cli.cli.main(["kernel", "push", "--wait", "--workspace", "w"], standalone_mode=False)
    own = "" if name == "digit-recognizer" else f" --competition {name}"
    wanted = f"next: kaggle-digits submit --kernel me/digits{own} --workspace w"
    assert wanted in capfd.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("slug", "mend"),
    [
        ("MySlug_One", "Give --slug myslug-one, or --title alone."),
        ("my--digits", "Give --slug my-digits, or --title alone."),
        ("-digits-", "Give --slug digits, or --title alone."),
        ("my digits", "Give --slug my-digits, or --title alone."),
        ("zwölf-ziffern", "Give --slug zwolf-ziffern, or --title alone."),
        ("数字认识", "Give --title alone."),
        ("", "Give --title alone."),
    ],
)
def test_a_slug_that_cannot_be_one_is_named_as_such(
    call: Call, tmp_path: Path, slug: str, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It said "give --title or --slug alone" to those who had given --slug alone."""
    code, values = call("build", "--owner", "tester", "--slug", slug, "--dir", "d")
    assert code == 2 and not (tmp_path / "d").exists()
    assert values["error"].startswith(f"The slug {slug!r} cannot be one; expected small letters")
    words = ["kernel", "build", "--owner", "tester", "--slug", slug, "--dir", "d"]
    with pytest.raises(SystemExit) as ended:
        cli.cli(words, prog_name="kaggle-digits")
    assert ended.value.code == 2 and mend in capfd.readouterr().err
    mended = re.search(r"--slug (\S+),", mend)
    if mended:
        assert call("build", "--owner", "tester", "--slug", mended[1], "--dir", "d")[0] == 0


@pytest.mark.parametrize("option", ["--continue", "--kernel"])
def test_a_kernels_name_that_cannot_be_one_is_refused(call: Call, option: str) -> None:
    words = ["build", "--dir", "d"] if option == "--continue" else ["status"]
    code, values = call(*words, option, "tester/MySlug_One")
    assert code == 2 and "'tester/MySlug_One' is no kernel's name" in values["error"]


BROKEN = ["null", "[]", "{}", '"x"', '{"id": "me/kag', "\u00ff"]


@pytest.mark.parametrize("content", BROKEN)
def test_broken_metadata_are_named_with_the_mend(call: Call, tmp_path: Path, content: str) -> None:
    assert call("build", "--owner", "tester", "--dir", "d")[0] == 0
    (tmp_path / "d" / "kernel-metadata.json").write_bytes(content.encode("latin-1"))
    for words in (["push"], ["verify"], ["status"]):
        code, values = call(*words, "--dir", "d")
        assert code in (2, 4) and "kernel-metadata.json" in values["error"]
        assert "internal error" not in values["error"]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_of_configurations_is_named(call: Call, tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.json").write_bytes(content.encode("latin-1"))
    for words in (["build", "--best", "mine.json", "--dir", "d"], ["adopt", "mine.json"]):
        code, values = call(*words)
        assert code in (2, 4) and "mine.json" in values["error"]
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "better"}, {"preset": None}, {"seed": "0"}, {"top_k": None}, {"ranked": [1]},
        {"ranked": None}, {"budget": "8h"}, {"gpu": "no"}, {"goes_on": 1}, {"colour": 1},
    ],
)  # fmt: skip
def test_a_script_whose_plan_was_changed_by_hand_is_refused(
    call: Call, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert call("build", "--owner", "tester", "--preset", "quick", "--dir", "d")[0] == 0
    script = tmp_path / "d" / "kaggle_digits_kernel.py"
    head, given, tail = script.read_text().partition("PLAN = r'''")
    plan, close, rest = tail.partition("'''")
    changed = json.dumps(json.loads(plan) | change, indent=1, sort_keys=True)
    script.write_text(head + given + changed + close + rest)
    code, values = call("verify", "--dir", "d")
    assert code in (1, 4) and "kaggle_digits_kernel.py" in values["error"]
    assert "internal error" not in values["error"]


def test_the_page_gives_the_size_that_a_build_has() -> None:
    """It said 170 KB of a script of 283."""
    size = len(render(Plan("best", 0, 2, "digit-recognizer"), read_sources()))
    (shown,) = re.findall(r"one script \(about (\d+) KB\)", PAGE.read_text("utf-8"))
    assert abs(1000 * int(shown) - size) < 0.2 * size, f"a build has {size:,} bytes"
