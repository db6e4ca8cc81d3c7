"""Streams that are closed, broken or full, --json in every case, and lines that can be pasted."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import kaggle_digits.core.data as data
from kaggle_digits.ground.errors import DataError
from kaggle_digits.shell import cli as cli_module


@pytest.fixture
def odd(make):
    """A competition in a folder whose name a shell would take apart."""
    made = make("my data")
    made.sample([str(number) for number in range(1, 13)])
    return made


def test_the_next_line_can_be_pasted(odd, call, tmp_path):
    workspace, sample = tmp_path / "w 19#a", odd.folder / "sample_submission.csv"
    code, out, _ = call("check", sample, "--data", odd.folder, "--workspace", workspace)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("next: ")]
    assert shlex.split(line.removeprefix("next: "), comments=True) == [
        "kaggle-digits", "submit", str(sample), "--data", str(odd.folder),
        "--workspace", str(workspace),
    ]  # fmt: skip


def test_a_reader_who_goes_ends_it_quietly(start, tmp_path):
    with start("clean", "--json", "--workspace", tmp_path / "w") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_progress_nobody_reads_ends_nothing(start, odd, tmp_path):
    sample = odd.folder / "sample_submission.csv"
    words = ("check", sample, "--data", odd.folder, "--workspace", tmp_path / "w")
    with start(*words) as process:
        process.stderr.close()
        assert "valid, 12 rows" in process.stdout.read()
        assert process.wait() == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed, tmp_path, odd):
    program = f"{shlex.quote(sys.executable)} -m kaggle_digits check"
    sample = shlex.quote(str(odd.folder / "sample_submission.csv"))
    given = f"--data {shlex.quote(str(odd.folder))} --workspace {tmp_path / 'w'}"
    done = subprocess.run(
        f"{program} {sample} {given} {closed}",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(cli_module.__file__).parents[2])},
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "error" not in done.stderr
    # Nothing that is opened may take a closed stream's place and be written into.
    for file in (tmp_path / "w").rglob("*"):
        assert file.is_dir() or b"valid, 12 rows" not in file.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["clean"], ["clean", "--json"], ["--help"]])
def test_a_result_that_cannot_be_written_is_one_line(words, start, tmp_path):
    given = [] if words == ["--help"] else ["--workspace", tmp_path / "w"]
    with open("/dev/full", "w") as full, start(*words, *given, stdout=full) as process:
        err = process.stderr.read()
    assert process.returncode == 1
    assert "No space left on device" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["members", "--json", "--bogus"], "--bogus"),
        (["cvtrain", "--json"], "cv-train"),
        (["run", "--json", "--preset", "huge"], "huge"),
        (["kernel", "bild", "--json"], "bild"),
    ],
)
def test_wrong_usage_is_a_json_object_too(call, words, says):
    code, out, err = call(*words)
    assert code == 2 and says in err
    values = json.loads(out)
    assert out.count("\n") == 1 and set(values) == {"error", "mend", "exit_code"}
    assert says in values["error"] and "--help" in values["mend"] and values["exit_code"] == 2


def test_without_json_wrong_usage_leaves_stdout_empty(call):
    code, out, _ = call("members", "--bogus")
    assert (code, out) == (2, "")


def test_sigterm_has_its_own_code_and_a_json_object(call, odd, tmp_path, monkeypatch):
    def ended(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(data, "load", ended)
    before = signal.getsignal(signal.SIGTERM)
    code, out, err = call("tune", "--json", "--data", odd.folder, "--workspace", tmp_path / "w")
    assert code == 143
    assert json.loads(out)["exit_code"] == 143
    assert err == "error: ended by SIGTERM; what is finished is kept, the same command goes on.\n"
    assert signal.getsignal(signal.SIGTERM) == before
    assert "143" in call("--help")[1]


def test_it_works_when_called_from_a_thread(capfd, odd, tmp_path):
    ended = []

    def work() -> None:
        try:
            cli_module.cli(
                ["check", str(odd.folder / "sample_submission.csv"), "--data", str(odd.folder),
                 "--workspace", str(tmp_path / "w")],
            )  # fmt: skip
        except SystemExit as error:
            ended.append(error.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [0]
    assert "valid, 12 rows" in capfd.readouterr().out


NOISY = """
import os, sys, warnings
import kaggle_digits.core.data as data
from kaggle_digits.ground.errors import DataError
from kaggle_digits.shell import cli
def noisy(path, workspace, say, *_, **__):
    with say.__self__.task("work", 2) as task:
        task.advance()
        print("WORDS of a library", file=sys.stderr)
        print("WORDS of a library")
        warnings.warn("WORDS of a warning")
        os.write(2, b"WORDS from C\\n")
        task.advance()
    raise DataError("the point of it")
data.load = noisy
cli.cli(["tune", "--workspace", sys.argv[1], "--data", "x"], prog_name="kaggle-digits")
"""


def test_no_librarys_words_stand_between_the_bars_in_a_terminal(tmp_path):
    """rich takes over what is printed while its bars are drawn, unless it is told not to."""
    ours, theirs = pty.openpty()
    path = str(Path(cli_module.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", NOISY, str(tmp_path / "w")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={
            **os.environ,
            "TERM": "xterm",
            "PYTHONPATH": path,
        },
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the last writer has gone
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(ours)
    assert process.returncode == DataError.exit_code
    assert b"work" in shown and b"the point of it" in shown
    assert b"WORDS" not in shown
    log = (tmp_path / "w" / "log.txt").read_text()
    assert log.count("WORDS") >= 4
