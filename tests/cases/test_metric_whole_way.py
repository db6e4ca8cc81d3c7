"""One `run --metric qwk`, and every command after it speaks of qwk without being told again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ensembles import member_training
from kaggle_digits.core.predictions import softmax
from kaggle_digits.shell.cli import cli
from tuning import scoring


def learned(job: Any, dataset: Any, *_: Any, model_file: Path | None = None, **__: Any) -> Any:
    """Stand in for training: how bright an image is tells its grade, more or less."""
    noise = 1.5 / job.config.filters

    def say(images: np.ndarray) -> np.ndarray:
        bright = images.reshape(len(images), -1).mean(axis=1)
        random = np.random.default_rng(job.seed)
        grade = (bright - 60) / 40 + random.normal(0, noise, len(images))
        return softmax(-2 * (grade[:, np.newaxis] - np.arange(3) * 1.2) ** 2)

    return SimpleNamespace(
        held_out=say(dataset.images[job.held_out_rows]), test=say(dataset.test_images),
        history=[1.0] * job.epochs, seconds=1.0, record={"hardware": {}},
        checkpoint=Path("none.npz"),
    )  # fmt: skip


@pytest.fixture
def graded(make, monkeypatch) -> Any:
    """Three grades of brightness, and nothing that trains in earnest."""
    for module in (scoring, member_training):
        monkeypatch.setattr(module, "train", learned)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    made = make(rows=120, test_rows=60, height=6, width=6)
    random = np.random.default_rng(0)
    for name, rows in (("train.csv", 120), ("test.csv", 60)):
        grades = np.arange(rows) % 3
        head, *_ = made.rows_of(name)
        images = (
            60
            + 40 * grades[:, None]
            + random.normal(0, 60, (rows, 36))
            + random.normal(0, 15, (rows, 1))
        )
        lines = [list(map(str, row)) for row in np.clip(images, 0, 255).astype(int)]
        if name == "train.csv":
            lines = [[str(grade), *row] for grade, row in zip(grades, lines, strict=True)]
        made.write(name, [head, *lines])
    truth = made.folder.parent / "truth.csv"
    truth.write_text("id,label\n" + "".join(f"{n},{(n - 1) % 3}\n" for n in range(1, 61)))
    return SimpleNamespace(data=made.folder, truth=truth)


def test_what_run_was_told_holds_for_all_that_follows(graded, tmp_path, capfd) -> None:
    place = tmp_path / "w"

    def call(*words: object, ends: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main(
                [*map(str, words), "--workspace", str(place), "--json"], prog_name="kaggle-digits"
            )
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == ends, err
        return json.loads(out) if out.strip() else err

    ran = call("run", "--data", graded.data, "--metric", "qwk", "--trials", 3, "--folds", 3,
               "--epochs", 1, "--workers", 1)  # fmt: skip
    assert ran["oof_metric"]["name"] == "qwk" and ran["oof_metric"]["se"] > 0
    page = (place / "report.html").read_text()
    assert "OOF qwk" in page and "ranked by qwk" in page
    shown = call("tune", "--show")
    assert shown["settings"]["metric"] == "qwk"
    values = [trial["metric"]["value"] for trial in shown["trials"]]
    ranking = json.loads((place / "tuning" / "best.json").read_text())["configurations"]
    assert [one["metric"]["value"] for one in ranking] == sorted(values, reverse=True)
    blended = call("blend")
    assert blended["metric"]["name"] == "qwk" and len(blended["thresholds"]) == 2
    checked = call("check", "--truth", graded.truth)["local_metric"]
    labels = [line.split(",")[1] for line in (place / "submissions" / "submission.csv")
              .read_text().split()[1:]]  # fmt: skip
    truth = [str((n - 1) % 3) for n in range(1, 61)]
    assert checked["value"] == pytest.approx(
        cohen_kappa_score([int(t) for t in truth], [int(x) for x in labels], weights="quadratic")
    )
    told = call("submit", "--local", "--truth", graded.truth)
    assert told["forecast"]["metric"] == "qwk" and told["forecast"]["bounds"] == [None, None]
    low, high = told["forecast"]["interval"]
    assert low < blended["metric"]["value"] < high and low <= float(told["public_score"]) <= high
    assert (told["metric"], told["cv_metric"]) == ("qwk", blended["metric"]["value"])
    board = call("leaderboard", "--local")
    (one,) = board["submissions"]
    assert board["metric"] == "qwk" and one["cv"] == blended["metric"]["value"]
    assert one["errors"] is None and one["gap_within_noise"]
    assert "is scored by qwk so far" in str(call("blend", "--metric", "auc", ends=2))
