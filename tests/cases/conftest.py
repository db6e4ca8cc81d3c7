"""The command line as a user calls it: in this process, or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kaggle_digits.shell import cli as cli_module

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process; gives exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_module.cli([str(word) for word in words], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), out, err

    return call


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line as a process of its own; what it is given goes to `Popen`."""

    def start(*words: object, **given: object) -> subprocess.Popen[str]:
        own = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "kaggle_digits", *map(str, words)],
            **(own | pipes | given),  # type: ignore[call-overload]
        )

    return start
