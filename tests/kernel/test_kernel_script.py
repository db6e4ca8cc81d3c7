"""The script as Kaggle's machine would run it: to its submission, or to one clear line."""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kaggle_digits.core.data.source import find
from kaggle_digits.ground.errors import DataError, KaggleDigitsError
from kernel import machine
from kernel.bundle import code_digest
from kernel.onboard import Run


def errors(ended: Any) -> list[str]:
    return [line for line in ended.stderr.splitlines() if line.startswith("kernel: error:")]


@pytest.fixture
def module(tools: Any, tmp_path: Path) -> ModuleType:
    """A script as a module: nothing of it runs."""
    path = tools.script(tmp_path / "as_module", tools.plan())
    spec = importlib.util.spec_from_file_location("kernel_script_under_test", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def make_run(tmp_path: Path, plan: Any, code: str = "c" * 16) -> Run:
    return Run("1.0", code, plan.for_script(), tmp_path, tmp_path / "working", lambda line: None)


def test_a_run_ends_with_a_valid_submission(ran: Any) -> None:
    assert ran.ended.returncode == 0, ran.ended.stdout + ran.ended.stderr
    rows = list(csv.reader((ran.working / "submission.csv").read_text().splitlines()))
    assert rows[0] == ["ImageId", "Label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 16)]
    assert {row[1] for row in rows[1:]} <= {"0", "1", "2"}
    assert "submission  valid, 15 rows" in ran.ended.stdout


def test_versions_and_devices_come_first(ran: Any) -> None:
    lines = ran.ended.stdout.splitlines()
    devices = next(i for i, line in enumerate(lines) if line.startswith("kernel: devices:"))
    assert devices < 16
    assert lines[0].startswith("kernel: kaggle-digits ") and ran.code in lines[0]
    assert f"Python {sys.version.split()[0]}" in lines[1]
    told = " ".join(lines[:devices])
    for name in ("numpy", "tensorflow", "keras", "keras_tuner", "albumentations", "sklearn"):
        assert f"  {name} " in told
    examined = next(i for i, line in enumerate(lines) if line.startswith("devices  "))
    assert examined < next(i for i, line in enumerate(lines) if "kaggle-digits tune" in line)


def test_what_stays_is_small_and_named_with_its_checksum(ran: Any) -> None:
    state = ran.working / "kaggle-digits"
    about = json.loads((state / "kernel.json").read_text())
    assert about["finished"] is True and about["code"] == ran.code
    assert [words[0] for words in about["done"]] == ["tune", "cv-train", "blend", "check"]
    names = set(about["files"])
    assert "tuning/best.json" in names and "tuning/trials/0000.json" in names
    assert "ensembles/plan.json" in names and "submissions/submission.json" in names
    assert len([name for name in names if name.endswith("/held_out.npy")]) == 2
    for name, sums in about["files"].items():
        content = (state / name).read_bytes()
        assert sums == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    content = (ran.working / "submission.csv").read_bytes()
    assert about["submission"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert not (state / "cache").exists() and not (state / "cache").is_symlink()
    assert sum(len(content) for content in ran.output().values()) < 100_000
    assert sorted(path.name for path in ran.working.iterdir()) == [
        "kaggle-digits", "submission.csv",
    ]  # fmt: skip


def test_nothing_is_left_elsewhere(ran: Any) -> None:
    assert list((ran.base / "empty").iterdir()) == []
    left = [path.name for path in (ran.base / "temporary").iterdir()]
    assert [name for name in left if name.startswith("kaggle-digits")] == []
    assert sorted(path.name for path in ran.data.iterdir()) == ["test.csv", "train.csv"]
    assert [path.name for path in (ran.base / "src").iterdir()] == ["kaggle_digits_kernel.py"]


def test_a_machine_without_packages_is_told_so_in_one_line(tools: Any, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    script = tools.script(tmp_path / "src", tools.plan())
    ended = tools.run(script, tmp_path / "kaggle", python=str(python))
    assert ended.returncode == 1
    (line,) = errors(ended)
    assert line.startswith("kernel: error: not installed on this machine: numpy, pandas,")
    assert "keras_tuner" in line and "albumentations" in line
    assert "Traceback" not in ended.stderr
    assert "devices:" in ended.stdout


def test_an_unfit_albumentations_ends_the_run_in_one_line(tools: Any, tmp_path: Path) -> None:
    old = tmp_path / "old" / "albumentations"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text(
        "__version__ = '1.3.0'\nclass Affine:\n    def __init__(self, rotate): pass\n"
        "class Compose:\n    pass\nclass ElasticTransform:\n    pass\n"
    )
    plan = tools.plan()
    script = tools.script(tmp_path / "src", plan)
    tools.competition(tmp_path / "kaggle" / "input" / "digit-recognizer")
    ended = tools.run(script, tmp_path / "kaggle", path=tmp_path / "old")
    assert ended.returncode == 1
    assert "error: The installed albumentations does not fit: the policy 'light'" in ended.stderr
    assert errors(ended) == ["kernel: error: `kaggle-digits kernel examine` ended with exit code 2"]
    assert not (tmp_path / "kaggle" / "working" / "submission.csv").exists()


def test_without_inputs_it_says_what_to_do(tools: Any, tmp_path: Path) -> None:
    script = tools.script(tmp_path / "src", tools.plan())
    ended = tools.run(script, tmp_path / "kaggle")
    assert ended.returncode == 1
    (line,) = errors(ended)
    assert "no folder with train.csv and test.csv" in line and "digit-recognizer" in line
    assert "Traceback" not in ended.stderr


def test_a_failing_command_ends_the_run_with_1(tools: Any, tmp_path: Path) -> None:
    plan = tools.plan(rehearse=False)
    script = tools.script(tmp_path / "src", plan)
    data = tools.competition(tmp_path / "kaggle" / "input" / "digit-recognizer")
    (data / "test.csv").write_text("pixel0\nx\n")
    commands = [["check", "{submission}"]]
    ended = tools.run(script, tmp_path / "kaggle", {"examine": [], "commands": commands})
    assert ended.returncode == 1
    assert "ended with exit code 3" in errors(ended)[0]
    assert not (tmp_path / "kaggle" / "working" / "kaggle-digits" / "cache").exists()


def test_what_was_done_before_a_failure_is_noted(tools: Any, tmp_path: Path) -> None:
    script = tools.script(tmp_path / "src", tools.plan())
    tools.competition(tmp_path / "kaggle" / "input" / "digit-recognizer")
    best = tmp_path / "kaggle" / "working" / "kaggle-digits" / "tuning" / "best.json"
    best.parent.mkdir(parents=True)
    best.write_text("{}")
    changes = {"examine": [], "rehearsal": [], "commands": [["check", "{submission}"]]}
    ended = tools.run(script, tmp_path / "kaggle", changes)
    assert ended.returncode == 1
    about = json.loads((best.parents[1] / "kernel.json").read_text())
    assert (about["finished"], about["done"], about["submission"]) == (False, [], None)
    assert "tuning/best.json" in about["files"]


def test_a_failure_after_the_first_fold_set_keeps_its_submission(
    ran: Any, tools: Any, tmp_path: Path
) -> None:
    script = tools.script(tmp_path / "src", tools.plan(rehearse=False))
    shutil.copytree(ran.data, tmp_path / "kaggle" / "input" / "digit-recognizer")
    state = tmp_path / "kaggle" / "working" / "kaggle-digits"
    shutil.copytree(ran.working / "kaggle-digits", state)
    commands = [["blend", "--output", "{submission}"], ["check", "nothing.csv"]]
    ended = tools.run(script, tmp_path / "kaggle", {"examine": [], "commands": commands})
    assert ended.returncode == 1 and "`kaggle-digits check nothing.csv`" in errors(ended)[0]
    submission = (state.parent / "submission.csv").read_bytes()
    assert submission == (ran.working / "submission.csv").read_bytes()
    about = json.loads((state / "kernel.json").read_text())
    assert about["finished"] is False and about["done"] == [commands[0]]
    assert about["submission"]["sha256"] == hashlib.sha256(submission).hexdigest()


@pytest.mark.parametrize(("device", "code"), [("cpu", 2), ("Tesla T4", 0)])
def test_a_gpu_that_was_asked_for_must_be_there(
    call: Any, monkeypatch: pytest.MonkeyPatch, device: str, code: int
) -> None:
    from kaggle_digits.core import hardware

    found = hardware.Hardware("jax", device, "float32", "for a test", 4)
    monkeypatch.setattr(hardware, "prepare", lambda: found)
    ended, values, _ = call("examine", "--gpu")
    assert ended == code
    assert code == 0 or "there is none on this machine" in values["error"]
    assert call("examine")[1]["devices"] == [device]


def test_commands_that_leave_no_submission_are_no_success(tools: Any, tmp_path: Path) -> None:
    script = tools.script(tmp_path / "src", tools.plan(rehearse=False))
    tools.competition(tmp_path / "kaggle" / "input" / "digit-recognizer")
    ended = tools.run(script, tmp_path / "kaggle", {"examine": [], "commands": []})
    assert ended.returncode == 1
    assert "there is no submission.csv" in errors(ended)[0]


def test_inputs_are_found_at_both_mounts_and_by_search(tools: Any, tmp_path: Path) -> None:
    inputs = tmp_path / "input"
    tools.competition(inputs / "deep" / "somewhere")
    (inputs / "no-test").mkdir()
    (inputs / "no-test" / "train.csv").write_text("x")
    found = machine.find_inputs(inputs, "digit-recognizer").path
    assert found.is_relative_to(inputs / "deep")
    old = tools.competition(inputs / "digit-recognizer")
    assert machine.find_inputs(inputs, "digit-recognizer").path == old
    new = tools.competition(inputs / "competitions" / "digit-recognizer")
    assert machine.find_inputs(inputs, "digit-recognizer").path == new
    with pytest.raises(machine.Stop, match="several folders"):
        machine.find_inputs(inputs, "another")
    with pytest.raises(machine.Stop, match="no folder"):
        machine.find_inputs(tmp_path / "nothing", "another")
    (new / "test.csv").unlink()
    with pytest.raises(DataError, match=r"competitions.digit-recognizer has no test\.csv"):
        machine.find_inputs(inputs, "digit-recognizer")


def test_the_source_unpacked_is_the_source_packed(module: ModuleType, tmp_path: Path) -> None:
    assert module.unpack(tmp_path / "code")
    unpacked = {
        path.relative_to(tmp_path / "code").as_posix(): path.read_bytes()
        for path in (tmp_path / "code").rglob("*")
        if path.is_file()
    }
    assert code_digest(unpacked) == module.CODE


@pytest.mark.parametrize("damage", ["digest", "cut", "changed", "no text"])
def test_a_damaged_script_ends_in_one_line(tools: Any, tmp_path: Path, damage: str) -> None:
    script = tools.script(tmp_path / "src", tools.plan())
    text = script.read_text()
    start = text.index('ARCHIVE = """\n') + 13
    changed = {
        "digest": text.replace('CODE = "', 'CODE = "0'),
        "cut": text[:start] + text[start + 970 :],
        "changed": text[: start + 500] + ("A" if text[start + 500] != "A" else "B")
        + text[start + 501 :],
        "no text": text[:start] + text[text.index('"""\n\nif __name__') :],
    }  # fmt: skip
    script.write_text(changed[damage])
    ended = tools.run(script, tmp_path / "kaggle")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    (line,) = errors(ended)
    assert line == (
        "kernel: error: the source this script carries is damaged; build and push it again"
    )


def test_an_old_python_is_told_so_in_one_line(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert "is too old; 3.11 to 3.13 were tried" in module.main()


def test_the_loader_can_be_read_by_an_older_python(tools: Any, tmp_path: Path) -> None:
    """Else a user of one would see a syntax error instead of the line above."""
    text = tools.script(tmp_path / "src", tools.plan()).read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    top = {
        alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert top and top <= sys.stdlib_module_names


def test_what_tells_of_versions_loads_the_standard_library_alone() -> None:
    """Numpy and its like may be missing or broken: nothing may load them before that is told."""
    shown = subprocess.run(
        [sys.executable, "-c", "import sys, kernel.onboard; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    own = {"kaggle_digits", "kernel", "__main__"}
    loaded = {name.split(".")[0] for name in shown}
    packages = {package.module for package in machine.PACKAGES}
    assert "kernel" in loaded and loaded & packages == set()
    assert loaded & {"yaml", "requests", "kaggle", "matplotlib"} == set()
    assert own <= loaded


def test_the_rehearsal_sample_is_spread_over_the_file(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test file and the sample submission lose the same rows."""
    data = tools.competition(tmp_path / "data")
    sample = ["Id,Digit", *(f"n{row},0" for row in range(15))]
    (data / "my_sample_submission.csv").write_text("\n".join(sample) + "\n")
    (data / "train.csv").rename(data / "my_train.csv")
    given = tools.plan().for_script() | {"rehearsal_rows": 8}
    run = Run("1.0", "c" * 16, given, tmp_path, tmp_path / "working", lambda line: None)
    seen = {}

    def call(words: list[str], data: Path, workspace: Path, ignore: int | None = None) -> int:
        if words[0] == "tune":
            seen.update({path.name: path.read_text().splitlines() for path in data.iterdir()})
        return 0

    monkeypatch.setattr(run, "call", call)
    run.rehearse(find(data))
    rows = (data / "my_train.csv").read_text().splitlines()
    assert seen["train.csv"] == [rows[0], *rows[1::7]]
    tests = (data / "test.csv").read_text().splitlines()
    assert seen["test.csv"] == [tests[0], *tests[1::2]]
    assert seen["sample_submission.csv"] == [sample[0], *sample[1::2]]


def test_untried_versions_are_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {package.module: package for package in machine.PACKAGES}
    found = [(known["keras"], "3.7.0"), (known["numpy"], "2.4.6")]
    monkeypatch.setattr(machine, "installed", lambda: found)
    lines: list[str] = []
    machine.report(lines.append, {})
    assert "  keras 3.7.0  (not tried: 3.8 to below 3.16 were)" in lines
    assert "  numpy 2.4.6" in lines


def test_keras_tuner_is_needed_for_a_search_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = next(package for package in machine.PACKAGES if package.module == "keras_tuner")
    monkeypatch.setattr(machine, "installed", lambda: [(tuner, None)])
    machine.report(lambda line: None, {"keras_tuner": "the configurations are given"})
    with pytest.raises(machine.Stop, match="not installed on this machine: keras_tuner"):
        machine.report(lambda line: None, {})


@pytest.mark.parametrize("change", ["code", "content", "missing", "outside", "two"])
def test_an_earlier_output_that_does_not_fit_is_not_gone_on_from(
    tools: Any, ran: Any, tmp_path: Path, change: str
) -> None:
    for name, content in ran.output().items():
        path = tmp_path / "input" / "earlier" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    place = tmp_path / "input" / "earlier" / "kaggle-digits"
    about = json.loads((place / "kernel.json").read_text())
    if change == "code":
        about["code"] = "f" * 16
    elif change == "content":
        (place / "tuning" / "best.json").write_text("{}")
    elif change == "missing":
        (place / "tuning" / "best.json").unlink()
    elif change == "outside":
        about["files"]["../../x"] = about["files"].pop("tuning/best.json")
    else:
        other = tmp_path / "input" / "other" / "kaggle-digits"
        other.mkdir(parents=True)
        (other / "kernel.json").write_text("{}")
    (place / "kernel.json").write_text(json.dumps(about))
    run = make_run(tmp_path, tools.plan(goes_on="me/earlier"), ran.code)
    says = {
        "code": "other code", "content": "damaged", "missing": "best.json of the earlier run",
        "outside": "points outside", "two": "2 outputs",
    }  # fmt: skip
    with pytest.raises(KaggleDigitsError, match=says[change]):
        run.take_up(tmp_path / "input")
    assert not (tmp_path / "x").exists()


def test_members_are_softmax_of_the_right_shape(ran: Any) -> None:
    for folder in (ran.working / "kaggle-digits" / "ensembles" / "members").iterdir():
        for name, rows in (("held_out.npy", 30), ("test.npy", 15)):
            array = np.load(folder / name)
            assert array.shape == (rows, 3)
            np.testing.assert_allclose(array.sum(axis=1), 1, atol=1e-5)
