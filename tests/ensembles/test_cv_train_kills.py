"""Ended at any step and called again: nothing finished is lost or redone, the end is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ensembles import member_training
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.pseudo_labels import PseudoRule
from kaggle_digits.ground import files as ground
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2)]
SETTINGS = CrossValidationSettings(
    folds=3, epochs=2, copies=1, seed=0, keep_weights=True, pseudo=PseudoRule(threshold=0.4)
)


class Killed(BaseException):
    """Like a kill: nothing on the way catches it."""


def as_on_disk(place: Workspace) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time of writing and content of each file of the members that are there."""
    return {
        f"{about.parent.name}/{path.name}": (
            path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes(),
        )
        for about in MemberStore(place).folder.glob("*/member.json")
        if ".part-" not in about.parent.name
        for path in about.parent.iterdir()
    }  # fmt: skip


@pytest.fixture
def killed_at(monkeypatch):
    """Let a numbered write, flush or training not come to its end; return how to set the number."""
    left = [10**9]

    def counted(real):
        def wrapper(*given, **more):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*given, **more)

        return wrapper

    def arm(number: int) -> None:
        left[0] = number

    monkeypatch.setattr(member_training, "train", counted(member_training.train))
    for name in ("replace", "fsync"):
        monkeypatch.setattr(ground.os, name, counted(getattr(os, name)))
    return arm


def test_ended_at_any_step_and_called_again(dataset, tmp_path, planted, killed_at) -> None:
    def run(place: Workspace) -> list[np.ndarray]:
        # A process that was killed can sweep nothing; the next one's lock does.
        with place.lock(place.ensembles):
            done = cross_validate(CONFIGS, dataset, place, SETTINGS, Silent(), planted.clock)
        members = [MemberStore(place).load(key, (10, 12), 3) for key in done.keys]
        return [array for member in members for array in (member.held_out, member.test)]

    wanted = run(Workspace(tmp_path / "quiet"))
    killed, kills, trained = Workspace(tmp_path / "killed"), 0, len(planted.jobs)
    before = as_on_disk(killed)
    # Each call gets a little further, by a different number of steps.
    for number in (1, 2, 3, 5, 6, 7, 9, 11, 13, 16, 17, 18, 19, 23, 29, 31, 37, 41, 43, 47):
        killed_at(number)
        try:
            run(killed)
        except Killed:
            kills += 1
        now = as_on_disk(killed)
        assert {name: now.get(name) for name in before} == before
        before = now
    killed_at(10**9)
    found = run(killed)
    assert kills >= 12 and len(wanted) == len(found) == 24
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
    # Only what a kill cut off in its training or its storing was trained a second time.
    assert len(planted.jobs) - trained <= 12 + kills
    assert {name: as_on_disk(killed).get(name) for name in before} == before


@pytest.mark.slow
def test_killed_with_sigkill(tmp_path) -> None:
    """Three kills of real trainings; `benchmarks/cv_train_kills.py` alone does twenty."""
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "benchmarks" / "cv_train_kills.py"), "--kills", "3",
            "--", "--folds", "2", "--epochs", "6", "--keep-weights",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "3 kills; 0 files of finished members changed, lost or made twice; 0 temporary"
        in done.stdout
    )
    assert "the submissions are the same, byte for byte" in done.stdout
