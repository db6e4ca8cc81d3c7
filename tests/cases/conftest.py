"""The command line as a user calls it: in this process, or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ensembles import member_training
from kaggle_digits.shell import cli as cli_module
from tuning import scoring

ROOT = Path(__file__).resolve().parents[2]


class Training:
    """In the place of training: fair guesses, at once; fails or is interrupted when told so."""

    def __init__(self) -> None:
        """Begin with nothing that fails."""
        self.names: list[str] = []
        self.end: Callable[[str], BaseException | None] = lambda name: None

    def __call__(self, job: Any, dataset: Any, bank: Any, checkpoints: Path, *_: Any, **__: Any):
        """Stand in for `kaggle_digits.core.training.train`."""
        self.names.append(job.name)
        end = self.end(job.name)
        if end is not None:
            raise end
        classes = len(dataset.competition.classes)

        def guess(rows: int) -> np.ndarray:
            draw = np.random.default_rng([job.seed, rows]).uniform(0.2, 0.8, (rows, classes))
            return (draw / draw.sum(axis=1, keepdims=True)).astype(np.float32)

        return SimpleNamespace(
            held_out=guess(len(job.held_out_rows)),
            test=guess(len(dataset.test_images)),
            history=[1.0],
            seconds=1.0,
            record={"hardware": {}},
            checkpoint=checkpoints / "none.npz",
        )


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    """Put the stand-in in the place of training, of trials and of members."""
    stand_in = Training()
    monkeypatch.setattr(scoring, "train", stand_in)
    monkeypatch.setattr(member_training, "train", stand_in)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    return stand_in


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
