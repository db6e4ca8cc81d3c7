"""The command line and the Python API do the same: the same options, the same bytes."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

import kaggle_digits as kd
from ensembles import member_training
from kaggle_digits.core.predictions import softmax
from kaggle_digits.engine import Engine, Resources, Site, open_engine
from kaggle_digits.shell.cli import cli, load_command
from kaggle_digits.shell.command import shared_options
from tuning import scoring

ROOT = Path(__file__).resolve().parents[2]
NAMED_OTHERWISE = {
    "config": {"files": "config", "file": "config"},
    "predict": {"paths": "images"},
    "tune": {"space_file": "space"},
    "kernel build": {"competition": "name"},
}
"""Names of options that stand for a parameter of another name."""


def option_names(command: str) -> set[str]:
    """Return the names of a command's own options."""
    shared = {option.name for option in shared_options()}
    group, _, own_name = command.partition(" ")
    loaded = load_command(group)
    if isinstance(loaded, click.Group):
        loaded = loaded.commands[own_name]
    assert isinstance(loaded, click.Command)
    renamed = NAMED_OTHERWISE["config"] | NAMED_OTHERWISE.get(command, {})
    own = {str(option.name) for option in loaded.params} - shared
    return {renamed.get(name, name) for name in own} - {"track"}  # `load` is given that


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("tune", kd.tune), ("cv-train", kd.cross_validate), ("blend", kd.blend),
        ("distil", kd.distil), ("predict", kd.predict), ("run", kd.run),
        ("kernel build", kd.kernel_build), ("kernel weights", kd.kernel_weights),
    ],
)  # fmt: skip
def test_a_function_takes_what_its_command_takes(
    command: str, function: Callable[..., Any]
) -> None:
    named = set(inspect.signature(function).parameters) - {"competition"}
    # `tune --show` is a function of its own, `study`.
    assert named == option_names(command) - {"show"}
    given = set(inspect.signature(kd.load).parameters) - {"test", "progress", "track"}
    assert given == {str(option.name) for option in shared_options()} - {
        "precision", "as_json", "quiet",
    }  # fmt: skip


def learned(job: Any, dataset: Any, *_: Any, model_file: Path | None = None, **__: Any) -> Any:
    """Stand in for training: the mean image of each class, blurred by the job's seed."""
    images, labels = dataset.images.reshape(len(dataset.images), -1) / 255, dataset.labels
    rows = job.train_rows
    means = np.stack([images[rows][labels[rows] == one].mean(axis=0) for one in range(3)])
    means += np.random.default_rng(job.seed).normal(0, 0.05 / job.epochs, means.shape)

    def say(shown: np.ndarray) -> np.ndarray:
        flat = shown.reshape(len(shown), -1) / 255
        return softmax(-4 * ((flat[:, np.newaxis] - means) ** 2).sum(axis=2))

    return SimpleNamespace(
        held_out=say(dataset.images[job.held_out_rows]),
        test=say(dataset.test_images),
        history=[1.0] * job.epochs,
        seconds=1.0,
        record={"hardware": {}},
        checkpoint=Path("none.npz"),
    )


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be trained, and no copies be made."""
    for module in (scoring, member_training):
        monkeypatch.setattr(module, "train", learned)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    for user in ("ensembles.trainer", "tuning.scoring"):
        monkeypatch.setattr(f"{user}.make_copies", lambda *_: None, raising=False)


def call(*words: object) -> None:
    """Call the command line in this process."""
    cli.main(list(map(str, words)), standalone_mode=False)


def test_run_hands_workers_to_search_and_training(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_training: None
) -> None:
    asked: list[int | None] = []

    def noted(site: Site, resources: Resources) -> Engine:
        asked.append(resources.workers)
        return open_engine(site, Resources(workers=1))

    for user in ("tuning.search", "ensembles.cross_validation"):
        monkeypatch.setattr(f"{user}.open_engine", noted)
    sizes = ["--trials", "1", "--folds", "2", "--epochs", "1", "--workers", "2"]
    call("run", "--data", made.folder, "--workspace", tmp_path / "w", "--quiet", *sizes)
    assert asked == [2, 2]


def artefacts(workspace: Path) -> dict[str, bytes]:
    """Return what results are: submission, rankings, predictions; no times, no logs."""
    kinds = ("submissions/submission.csv", "tuning/best.json", "ensembles/blend/*.npy",
             "ensembles/members/*/*.npy")  # fmt: skip
    return {
        str(path.relative_to(workspace)): path.read_bytes()
        for kind in kinds
        for path in sorted(workspace.glob(kind))
    }


def require_same(one: Path, other: Path, least: int) -> None:
    wanted, found = artefacts(one), artefacts(other)
    assert len(wanted) >= least and wanted.keys() == found.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []


@pytest.mark.usefixtures("quick_training")
def test_run_is_the_same_in_both(made: Any, tmp_path: Path) -> None:
    by_command, by_function = tmp_path / "command", tmp_path / "function"
    output = tmp_path / "mine.csv"
    call("run", "--data", made.folder, "--workspace", by_command, "--quiet", "--seed", 5,
         "--trials", 3, "--top-k", 2, "--folds", 3, "--epochs", 2, "--workers", 1)  # fmt: skip
    loaded = kd.load(made.folder, workspace=by_function, seed=5, progress=False)
    ran = kd.run(loaded, trials=3, top_k=2, folds=3, epochs=2, workers=1, output=output)
    require_same(by_command, by_function, 4 + 6 * 2)
    assert output.read_bytes() == (by_command / "submissions/submission.csv").read_bytes()
    assert ran.submission == output
    # Each goes on with the other's workspace: nothing is left to do.
    call("run", "--data", made.folder, "--workspace", by_function, "--quiet", "--seed", 5,
         "--trials", 3, "--top-k", 2, "--folds", 3, "--epochs", 2, "--workers", 1)  # fmt: skip
    other = kd.load(workspace=by_command, seed=5, progress=False)
    again = kd.run(other, trials=3, top_k=2, folds=3, epochs=2, workers=1)
    assert again.trained.trained == 0 and again.oof_log_loss == ran.oof_log_loss


@pytest.mark.usefixtures("quick_training")
def test_each_step_is_the_same_in_both(made: Any, tmp_path: Path) -> None:
    by_command, by_function = tmp_path / "command", tmp_path / "function"
    common = ["--data", made.folder, "--workspace", by_command, "--quiet"]
    loaded = kd.load(made.folder, workspace=by_function, progress=False)
    own = tmp_path / "own.toml"
    own.write_text('augmentation = "none"\nfilters = 8\n')
    call("tune", *common, "--strategy", "random", "--trials", 3, "--max-epochs", 2, "--race", 2)
    kd.tune(loaded, strategy="random", trials=3, max_epochs=2, race=2)
    require_same(by_command, by_function, 1)
    train = ["cv-train", *common, "--folds", 3, "--epochs", 2, "--workers", 1]
    call(*train, "--top-k", 1, "--pseudo-label")
    kd.cross_validate(loaded, folds=3, epochs=2, workers=1, top_k=1, pseudo_label=True)
    call(*train, "--config", own, "--add", "--seeds", 2)
    kd.cross_validate(loaded, folds=3, epochs=2, workers=1, config=own, add=True, seeds=2)
    require_same(by_command, by_function, 1 + 12 * 2)
    fields: set[str] = set()
    for options, given in (
        ([], {}),
        (["--method", "greedy", "--temperature"], {"method": "greedy", "temperature": True}),
        (["--method", "auto", "--compare"], {"method": "auto", "compare": True}),
        (["--neighbours"], {"neighbours": True}),
        (["--metric", "qwk"], {"metric": "qwk"}),
    ):
        call("blend", *common, *options)
        kd.blend(loaded, **given)  # type: ignore[arg-type]
        require_same(by_command, by_function, 4 + 12 * 2)
        fields |= set(json.loads((by_function / "submissions/submission.json").read_text("utf-8")))
    page = (ROOT / "docs/workspace.md").read_text("utf-8")
    assert {"metric", "thresholds", "neighbours"} <= fields
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("images", "options", "given", "reads"),
    [
        ("files", ["--groups", "site", "--image-size", "8x6"],
         {"groups": "site", "image_size": (8, 6)}, "--image-size 8x6 --groups site"),
        ("files", ["--fold-column", "part", "--skip-broken"],
         {"fold_column": "part", "skip_broken": True}, "--fold-column part --skip-broken"),
        ("columns", ["--image-shape", "2x8"], {"image_shape": (2, 8)}, "--image-shape 2x8"),
        ("columns", [], {}, ""),
    ],
)  # fmt: skip
def test_a_kernel_reads_the_data_as_they_are_read_here(
    make: Any,
    pictures: Path,
    tmp_path: Path,
    images: str,
    options: list[str],
    given: dict[str, Any],
    reads: str,
) -> None:
    """`kernel_build` told the script nothing of groups, folds, sizes or shapes."""
    data = pictures if images == "files" else make().folder
    dist = tmp_path / "by_command", tmp_path / "by_function", tmp_path / "going_on"
    loaded = kd.load(data, workspace=tmp_path / "w", preset="medium", progress=False, **given)
    built = kd.kernel_build(loaded, dist[1], owner="me").built
    assert built.plan.reading == reads
    # Another call on this workspace needs not be told again, in neither.
    again = kd.load(workspace=tmp_path / "w", preset="medium", progress=False)
    kd.kernel_build(again, dist[2], owner="me")
    call("kernel", "build", "--workspace", tmp_path / "new", "--owner", "me", "--quiet",
         "--preset", "medium", "--dir", dist[0], "--data", data, *options)  # fmt: skip
    scripts = [(place / built.script.name).read_bytes() for place in dist]
    assert scripts[0] == scripts[1] == scripts[2]


def test_predict_is_the_same_in_both(make: Any, tmp_path: Path) -> None:
    made = make(height=8, width=8)
    loaded = kd.load(made.folder, workspace=tmp_path / "w", progress=False)
    small = kd.TrainingConfig(filters=4, depth=1, augmentation="none")
    kd.cross_validate(loaded, config=small, folds=2, epochs=1, keep_weights=True)
    files = [tmp_path / f"{name}.csv" for name in ("command", "function")]
    images = made.folder / "test.csv"
    call("predict", "--workspace", tmp_path / "w", "--quiet", "--images", images,
         "--output", files[0], "--invert", "no")  # fmt: skip
    predicted = kd.predict(loaded, images, output=files[1], invert="no")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(predicted.labels) == 12 == len(files[0].read_text().splitlines()) - 1


@pytest.mark.slow
def test_real_networks_are_the_same_in_both(make: Any, tmp_path: Path) -> None:
    made = make(height=8, width=8, rows=60)
    sizes = {"trials": 2, "folds": 2, "epochs": 3}
    words = [f"--{name}={value}" for name, value in sizes.items()]
    subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "run", "--data", str(made.folder),
         "--workspace", "command", *words],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
    )  # fmt: skip
    kd.run(kd.load(made.folder, workspace=tmp_path / "function", progress=False), **sizes)
    require_same(tmp_path / "command", tmp_path / "function", 4 + 2 * 2)
