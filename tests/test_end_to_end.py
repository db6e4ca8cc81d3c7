"""The whole chain on small generated competitions and on the embedded data, as a user calls it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
TUNE = ["--trials", "2", "--max-epochs", "2"]


def kaggle_digits(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kaggle_digits", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=400,
    )


def learnable(folder: Path, classes: list[str], side: int, ids: list[str], id_column: str) -> None:
    """Write a competition whose classes are bars at different places: a network can learn it."""
    random = np.random.default_rng(3)
    folder.mkdir()
    pixels = [f"pixel{number}" for number in range(side * side)]

    def image(label: int) -> list[int]:
        picture = random.integers(0, 60, (side, side))
        picture[:, 1 + 2 * label : 3 + 2 * label] += 180
        return [int(value) for value in picture.ravel()]

    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["letter", *pixels])
        for row in range(90):
            writer.writerow([classes[row % len(classes)], *image(row % len(classes))])
    with open(folder / "test.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([id_column, *pixels])
        for row, name in enumerate(ids):
            writer.writerow([name, *image(row % len(classes))])
    sample = "".join(f"{name},{classes[0]}\n" for name in ids)
    (folder / "sample_submission.csv").write_text(f"{id_column},letter\n{sample}", "utf-8")


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Letters for classes, 10×10 pixels, named ids."""
    folder = tmp_path / "letters"
    learnable(folder, ["B", "A", "Q"], 10, [f"img_{n:02d}" for n in range(30)], "image")
    return folder


def test_the_chain_step_by_step_on_another_competition(
    letters: Path, tmp_path: Path, here: Any
) -> None:
    common = ["--data", letters, "--json", "--seed", "0"]
    tuned = kaggle_digits("tune", *common, *TUNE, cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    assert json.loads(tuned.stdout)["completed"] == 2
    best = json.loads((tmp_path / "workspace/tuning/best.json").read_text())
    assert len(best["configurations"]) == 2

    folds = ["--top-k", "1", "--folds", "3", "--epochs", "40"]
    trained = kaggle_digits("cv-train", *common, *folds, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["members"] == 3

    output = tmp_path / "out" / "mine.csv"
    blended = here("blend", *common, "--output", output)
    assert blended.returncode == 0, blended.stderr
    values = json.loads(blended.stdout)
    assert values["oof_accuracy"] > 0.9
    assert values["submission"] == str(output)

    lines = output.read_bytes().split(b"\n")
    assert lines[0] == b"image,letter" and lines[-1] == b""
    labels = [line.split(b",") for line in lines[1:-1]]
    assert [name for name, _ in labels] == [f"img_{n:02d}".encode() for n in range(30)]
    truth = [["B", "A", "Q"][n % 3].encode() for n in range(30)]
    assert np.mean([label == true for (_, label), true in zip(labels, truth, strict=True)]) > 0.9

    checked = here("check", output, *common)
    assert json.loads(checked.stdout)["valid"] is True

    again = here("tune", *common, *TUNE)
    assert again.returncode == 0 and "trial 0" not in again.stderr
    other = here("tune", "--data", letters, "--seed", "5", *TUNE)
    assert other.returncode == 4
    assert "seed: 0 → 5" in other.stderr and "--fresh" in other.stderr


def test_killed_and_called_again_ends_with_the_same_submission(
    letters: Path, tmp_path: Path
) -> None:
    def words(workspace: str) -> list[str]:
        sizes = ["--trials", "1", "--folds", "2", "--epochs", "12"]
        return ["run", "--data", str(letters), "--workspace", workspace, "--json", *sizes]

    undisturbed = kaggle_digits(*words("quiet"), cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    wanted = (tmp_path / "quiet/submissions/submission.csv").read_bytes()
    seconds = json.loads(undisturbed.stdout)["seconds"]

    killed = 0
    for share in (0.5, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "kaggle_digits", *words("killed")],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=share * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    assert killed >= 1
    resumed = kaggle_digits(*words("killed"), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "killed/submissions/submission.csv").read_bytes() == wanted
    assert not list((tmp_path / "killed").rglob("*.part-*"))


def test_terminated_in_training_ends_at_once_and_leaves_no_process(
    letters: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kaggle_digits", "run", "--data", str(letters), "--preset", "best"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("bank"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == (
        "error: interrupted; what is finished is kept, the same command goes on."
    )


@pytest.mark.slow
def test_run_on_the_embedded_data(tmp_path: Path) -> None:
    done = kaggle_digits("run", "--json", "--output", "mine.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert {
        "submission", "oof_accuracy", "oof_log_loss", "local_accuracy", "members", "seconds",
    } <= set(values)  # fmt: skip
    assert values["submission"] == "mine.csv"
    assert values["local_accuracy"] >= 0.985
    lines = (tmp_path / "mine.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"ImageId,Label" and len(lines) == 601 and lines[-1] == b""
