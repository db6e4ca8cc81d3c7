"""kill −9 at every step of a submission: the next call mends it, none is doubled, none is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def kill_at(
    server: Any, content: bytes, folder: Path, first: int, last: int, stride: int
) -> tuple[int, bool, set[int]]:
    """Kill at places and check each; return how many, if the end was seen, and creations."""
    (folder / "s.csv").write_bytes(content)
    words = [str(folder / "w"), str(folder / "s.csv"), str(first), str(last), str(stride)]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "crash.py"), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
    )
    assert process.stdin is not None and process.stdout is not None
    tried, doubted, ended, held = 0, 0, False, set()
    for line in process.stdout:
        told = json.loads(line)
        if told.get("end"):
            ended = True
            break
        tried += 1
        assert told["killed"], told
        if not server.entries:
            # Killed after the row was written and before anything was asked for: it is in doubt.
            assert [state for state, _ in told["states"]] == ["unknown"], told
            assert told["again"] != 0 and server.count("CreateSubmission") == 0, told
            server.requests.clear()
            process.stdin.write("\n")
            process.stdin.flush()
            doubted += 1
            continue
        assert told["again"] == 0, told
        assert len(server.entries) == 1, told
        alive = [(state, ref) for state, ref in told["states"] if state != "failed"]
        assert alive == [("complete", server.entries[0].ref)], told
        held.add(server.count("CreateSubmission"))
        server.entries.clear()
        server.requests.clear()
        process.stdin.write("\n")
        process.stdin.flush()
    process.stdin.close()
    process.stdout.close()
    assert process.wait(60) == 0
    assert doubted <= tried / 4
    return tried, ended, held


def test_kills_at_some_places(
    server: Any, dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    tried, ended, held = kill_at(server, csv_of(dataset), tmp_path, 5, 10**6, 89)
    assert ended and tried >= 8
    assert held == {1}


@pytest.mark.slow
def test_kills_at_every_line(
    server: Any, dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    tried, ended, held = kill_at(server, csv_of(dataset), tmp_path, 1, 10**6, 1)
    assert ended and tried >= 500
    assert held == {1}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "method",
    [
        pytest.param("ListSubmissions", marks=pytest.mark.slow),
        pytest.param("GetSubmissionLimits", marks=pytest.mark.slow),
        pytest.param("StartSubmissionUpload", marks=pytest.mark.slow),
        "PUT",
        "CreateSubmission",
    ],
)
def test_kills_while_the_server_is_at_work(
    server: Any, command_line: Callable[..., Any], csv_of: Callable[..., bytes], dataset: Any,
    tmp_path: Path, method: str, when: str,
) -> None:  # fmt: skip
    """The whole command, killed while a request is under way, on either side of its effect."""
    content = csv_of(dataset)
    (tmp_path / "s.csv").write_bytes(content)
    script = (
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        f"sys.argv[1:] = [{str(tmp_path / 'w')!r}, {str(tmp_path / 's.csv')!r}, '0', '0', '1']\n"
        "import runpy\n"
        f"crash = runpy.run_path({str(HERE / 'crash.py')!r})\n"
        "content = Path(sys.argv[2]).read_bytes()\n"
        "ids, labels = zip(*[line.split(',') for line in content.decode().split()[1:]])\n"
        "print(os.getpid(), flush=True)\n"
        "crash['once'](Path(sys.argv[1]), crash['SubmissionFile']('s', content, ids, labels, ()))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert pid == process.pid
    struck = threading.Event()

    def hook(called: str, at: str) -> None:
        if (called, at) == (method, when) and not struck.is_set():
            struck.set()
            process.kill()
            process.wait()

    server.hook = hook
    process.communicate(timeout=60)
    assert struck.is_set() and process.returncode == -9
    server.hook = None
    again = subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=False)
    assert again.returncode == 0
    assert len(server.entries) == 1
    assert server.count("CreateSubmission") == 1
