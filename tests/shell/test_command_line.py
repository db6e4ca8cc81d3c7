"""The command line: help without numerical libraries, names, streams, exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.shell import cli as cli_module
from kaggle_digits.shell import console as console_module
from kaggle_digits.shell.cli import COMMANDS, load_command
from kaggle_digits.shell.console import Console, Outcome

ROOT = Path(__file__).resolve().parents[2]
NUMERICAL = (
    "albumentations", "cv2", "keras", "keras_tuner", "kaggle", "kagglesdk", "matplotlib", "numpy",
    "pandas", "scipy", "sklearn", "tensorflow",
)  # fmt: skip


def call(capfd, *args: object) -> tuple[int, str, str]:
    """Call the command line in this process; return exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        cli_module.cli([str(arg) for arg in args], prog_name="kaggle-digits")
    out, err = capfd.readouterr()
    code = ended.value.code
    return (0 if code is None else int(code)), out, err


@pytest.mark.parametrize("words", [["--help"], ["tune", "--help"], ["run", "-h"], ["--version"]])
def test_help_loads_no_numerical_library(words):
    code = (
        "import sys\n"
        "from kaggle_digits.shell.cli import cli\n"
        f"try: cli({words!r}, prog_name='kaggle-digits')\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    loaded = out.splitlines()[-1].split()
    assert loaded[0] == "LOADED" and "click" in loaded
    assert [name for name in NUMERICAL if name in loaded] == []


def test_help_names_every_command_and_the_exit_codes(capfd):
    code, out, _ = call(capfd, "--help")
    assert code == 0
    for name, entry in COMMANDS.items():
        assert name in out and entry.short_help.split()[0] in out
    assert "130 interrupted" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name):
    command = load_command(name)
    assert command.name == name
    assert command.help
    assert command.get_short_help_str(200) == COMMANDS[name].short_help


def test_unknown_command_gets_the_nearest(capfd):
    code, out, err = call(capfd, "cvtrain")
    assert code == 2
    assert out == "" and "Did you mean 'cv-train'?" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--preset", "huge"], "quick"),
        (["run", "--seed", "-1"], "seed"),
        (["tune", "--trials", "0"], "trials"),
        (["cv-train", "--folds", "1"], "folds"),
        (["blend", "--method", "magic"], "mean"),
        (["tune", "--wat"], "--wat"),
    ],
)
def test_wrong_usage_ends_with_2(capfd, words, says):
    code, out, err = call(capfd, *words)
    assert code == 2
    assert out == "" and says in err


def test_missing_data_ends_with_3(capfd, tmp_path):
    code, out, err = call(
        capfd, "tune", "--data", tmp_path / "none.zip", "--workspace", tmp_path / "w"
    )
    assert code == 3
    assert out == ""
    assert "none.zip" in err and "Traceback" not in err


def test_an_error_is_json_too(capfd, tmp_path):
    code, out, err = call(
        capfd, "tune", "--json", "--data", tmp_path / "none.zip", "--workspace", tmp_path / "w"
    )
    assert code == 3
    values = json.loads(out)
    assert values["exit_code"] == 3 and "none.zip" in values["error"]
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    ("command", "says"), [("cv-train", "tune"), ("blend", "cv-train"), ("check", "blend")]
)
def test_a_step_too_early_ends_with_4_and_names_the_step_before(
    capfd, made, tmp_path, command, says
):
    code, out, err = call(
        capfd, command, "--data", made.folder, "--workspace", tmp_path / "w", "--quiet"
    )
    assert code == 4
    assert out == ""
    assert f"kaggle-digits {says}" in err or f"{says}" in err.splitlines()[1]


def test_more_folds_than_rows_of_a_class_ends_with_3(capfd, made, tmp_path):
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.config import TrainingConfig
    from kaggle_digits.ground.workspace import Workspace
    from kaggle_digits.records.ranking import Ranked, ranking_path, write_ranking

    workspace = Workspace(tmp_path / "w")
    dataset = load(made.folder, workspace)
    entry = Ranked(TrainingConfig(), 0, 0.1, 0.9)
    write_ranking(ranking_path(workspace), [entry], dataset.digest, 0)
    code, _, err = call(
        capfd, "cv-train", "--data", made.folder, "--workspace", tmp_path / "w", "--folds", "11"
    )
    assert code == 3
    assert "fewer rows than the 11 folds: '0' (10)" in err and "--folds 10" in err


def test_a_workspace_that_cannot_be_written_ends_with_4(capfd, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, out, err = call(capfd, "tune", "--workspace", tmp_path / "file")
    assert code == 4
    assert out == "" and "--workspace" in err


def test_a_workspace_in_use_ends_with_4(capfd, made, tmp_path):
    from kaggle_digits.ground.workspace import Workspace

    workspace = Workspace(tmp_path / "w")
    with workspace.lock(workspace.tuning):
        code, _, err = call(capfd, "tune", "--data", made.folder, "--workspace", workspace.root)
    assert code == 4
    assert "in use by process" in err


def test_unexpected_errors_show_one_line_and_leave_the_rest_in_the_log(
    capfd, made, tmp_path, monkeypatch
):
    import kaggle_digits.core.data as data

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(data, "load", broken)
    code, _, err = call(capfd, "tune", "--data", made.folder, "--workspace", tmp_path / "w")
    assert code == 1
    assert "internal error: RuntimeError: a wheel came off" in err
    assert "Traceback" not in err
    assert "Traceback" in (tmp_path / "w" / "log.txt").read_text()


def test_ctrl_c_ends_with_one_line_and_130(capfd, made, tmp_path, monkeypatch):
    import kaggle_digits.core.data as data

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    code, out, err = call(capfd, "tune", "--data", made.folder, "--workspace", tmp_path / "w")
    assert code == 130
    assert out == ""
    assert err == "error: interrupted; what is finished is kept, the same command goes on.\n"


def test_a_fresh_start_is_gone_on_from_without_fresh(capfd, made, tmp_path, monkeypatch):
    import kaggle_digits.core.data as data

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    words = ["tune", "--fresh", "--data", made.folder, "--workspace", tmp_path / "w"]
    code, _, err = call(capfd, *words)
    assert code == 130 and "without --fresh" in err


def test_what_libraries_write_does_not_reach_the_user(capfd, made, tmp_path, monkeypatch):
    import kaggle_digits.core.data as data

    def noisy(*_: object, **__: object) -> None:
        print("greetings from Python")
        os.write(1, b"greetings from C\n")
        os.write(2, b"warnings from C\n")
        raise DataError("the point of it")

    monkeypatch.setattr(data, "load", noisy)
    code, out, err = call(capfd, "tune", "--data", made.folder, "--workspace", tmp_path / "w")
    assert code == 3
    assert out == "" and err == "error: the point of it\n"
    log = (tmp_path / "w" / "log.txt").read_text()
    for words in ("greetings from Python", "greetings from C", "warnings from C"):
        assert words in log


@pytest.mark.parametrize("own", [None, "elsewhere"])
def test_what_jax_compiles_is_kept_in_the_workspace(capfd, made, tmp_path, monkeypatch, own):
    """Compiling takes longer than training a member on a fast GPU; a user's own folder stays."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", own or "")
    if own is None:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    code, _, _ = call(capfd, "clean", "--workspace", tmp_path / "w")
    assert code == 0
    kept = str(tmp_path / "w" / "cache" / "compiled")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == (own or kept)


def test_json_outcomes_are_one_object(capfd):
    import sys as system

    console = Console(system.stdout, system.stderr, quiet=True, as_json=True)
    console.say("nothing")
    with console.task("nothing", 3) as task:
        task.advance()
    console.finish(Outcome({"a": 1}, facts={"b": "c"}, next_command="more"))
    out, err = capfd.readouterr()
    assert json.loads(out) == {"a": 1} and out.count("\n") == 1
    assert err == ""


def test_progress_without_a_terminal_is_plain_lines(capfd):
    import sys as system

    console = Console(system.stdout, system.stderr, quiet=False, as_json=False)
    with console.task("work", 2, "pieces") as task:
        task.advance(2, "all well")
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "work: 2/2 pieces, in 0 s, all well\n"


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("terminal", [False, True])
def test_what_was_there_already_does_not_shorten_the_time_left(monkeypatch, terminal):
    """Eleven of forty there, and one made in 100 s: 28 to go are 2800 s, not 233."""
    clock = _Clock()
    monkeypatch.setattr(console_module, "time", clock)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    console = Console(io.StringIO(), stream, quiet=False, as_json=False)
    with console.task("members", 40) as task:
        for _ in range(11):
            task.advance(timed=False)
        clock.now = 100.0
        task.advance()
        if terminal:
            clock.now = 160.0  # it counts down until the next is done
            assert console._bars is not None
            console._bars.refresh()
    assert (
        "45 min 40 s left" if terminal else "12/40, about 46 min 40 s left"
    ) in stream.getvalue()


def test_the_time_left_leaves_out_what_it_took_to_get_started(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(console_module, "time", clock)
    stream = io.StringIO()
    console = Console(io.StringIO(), stream, quiet=False, as_json=False)
    with console.task("steps", 100) as task:
        clock.now = 50.0  # traced and compiled
        task.advance(10, timed=False)
        clock.now = 70.0
        task.advance(10)
    assert stream.getvalue().splitlines() == [
        "steps: 20/100, about 2 min 40 s left",
        "steps: 20/100, in 1 min 10 s",
    ]


def test_errors_survive_a_worker_process():
    import pickle

    error = pickle.loads(pickle.dumps(ConfigurationError("what", mend="how")))
    assert (type(error), error.message, error.mend) == (ConfigurationError, "what", "how")
