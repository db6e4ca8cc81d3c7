"""A workspace with all that a report shows, filled with texts that are no HTML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.predictions import score, softmax
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell import cli as cli_module
from submissions.ledger import Ledger, Record
from tuning.study import COMPLETED, StudyOnDisk, Trial

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (SCRIPT, "=1+1&'x'", "\u202eabc", "w" * 90)
"""Class labels: a script, a formula, right to left, very long."""
FAMILIES = ("strided", "pooled", "wide")
WRONG = (3, 17, 40)
"""Rows whose label is not what their image is."""


@dataclass
class Filled:
    """A workspace, and the competition it is of."""

    folder: Path
    workspace: Workspace
    script: str = SCRIPT
    classes: tuple[str, ...] = HOSTILE
    wrong: tuple[int, ...] = WRONG

    @property
    def words(self) -> list[object]:
        """The options that name both."""
        return ["--data", self.folder, "--workspace", self.workspace.root]


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
def filled(make: Callable[..., Any], workspace: Workspace, call: Any) -> Filled:
    """Three sets of three members on 120 rows of four classes, a blend, a study and a ledger."""
    made = make(height=8, width=8, rows=120, test_rows=40, classes=HOSTILE)
    filled = Filled(made.folder, workspace)
    _add_members(filled)
    code, _, err = call("blend", *filled.words)
    assert code == 0, err
    _add_trials(workspace)
    with Ledger(workspace.submissions / "ledger.sqlite") as ledger:
        for ref, (public, cv) in enumerate((("0.97", 0.971), ("0.96", 0.965), ("0.98", 0.98)), 7):
            ledger.add(
                Record(
                    service="kaggle", competition="digit-recognizer", ref=ref, state="complete",
                    public_score=public, rows=40, cv_accuracy=cv, cv_accuracy_se=0.01,
                    cv_rows=120, message=SCRIPT, error=SCRIPT if ref == 7 else None,
                    created=f"2026-01-0{ref}T10:00:00",
                )
            )  # fmt: skip
    return filled


def _add_members(filled: Filled) -> None:
    dataset = load(filled.folder, filled.workspace)
    folds = make_folds(dataset, 3, 0, filled.workspace)
    store, keys = MemberStore(filled.workspace), []
    truth = dataset.labels.copy()
    truth[list(WRONG)] = (truth[list(WRONG)] + 1) % len(HOSTILE)
    for number, family in enumerate(FAMILIES):
        random = np.random.default_rng(number)
        sharp = 4 * np.eye(len(HOSTILE))
        oof = softmax(sharp[truth] + random.normal(size=(120, 4)))
        test = softmax(sharp[np.arange(40) % 4] + random.normal(size=(40, 4)))
        for fold in range(folds.count):
            key = MemberKey(
                TrainingConfig(family=family), fold, number, 3, 1, dataset.digest, folds.digest, "",
            )  # fmt: skip
            rows = folds.held_out_rows(fold)
            judged = score(oof[rows], dataset.labels[rows])
            record = {
                "score": {name: getattr(judged, name) for name in judged.__slots__},
                "history": [2.0, 1.0 + fold / 10, 0.5],
                "seconds": 2.0 + fold,
                "parameters": 1000,
                "images_per_second": 500.0,
                "hardware": {"device": "cpu", "backend": "tensorflow", "precision": "float32"},
            }
            store.add(Member(key, oof[rows], test, record))
            keys.append(key)
    store.write_plan({"folds": 3, "seed": 0, "epochs": 3, "copies": 1, "seeds": 1}, keys)


def _add_trials(workspace: Workspace) -> None:
    study = StudyOnDisk(workspace)
    settings = {"strategy": "random", "epochs": 3, "seed": 0}
    study.open(settings, "tune --preset quick --seed 0 --strategy random")
    for number in range(10):
        config = TrainingConfig(family=FAMILIES[number % 3], dropout=number / 20)
        study.put(
            Trial(
                number, config, 3, COMPLETED, log_loss=0.1 + number / 50, accuracy=0.95,
                log_loss_se=0.01, accuracy_se=0.02, rows=100, seconds=3.0, reason=SCRIPT,
            )
        )  # fmt: skip
