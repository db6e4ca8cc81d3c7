"""Keeping track of experiments: a callback of one's own, and MLflow's store."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import kaggle_digits as kd
from kaggle_digits.ground.events import Event
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell.cli import cli
from kaggle_digits.shell.tracking import open_tracker

SMALL = kd.TrainingConfig(filters=4, depth=1, augmentation="none")


def told(folder: Path, name: str = "cv-train", **scores: float) -> Event:
    file = folder / "plan.json"
    file.write_text("{}")
    parts = (
        Event(step="member", name="a", parameters={"depth": 1}, scores={"accuracy": 0.9}),
        Event(step="member", name="b", scores={"accuracy": 0.8, "accuracy_se": 0.01}),
    )
    return Event(step="cv-train", name=name, parameters={"folds": 2, "rare": None},
                 scores=scores, artefacts={"plan": file, "folder": folder / "more"},
                 parts=parts)  # fmt: skip


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("sqlalchemy", "alembic"):
        pytest.importorskip(name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return pytest.importorskip("mlflow")


@pytest.mark.filterwarnings("ignore")
def test_a_step_is_a_run_and_its_parts_are_runs_within_it(mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/one.txt").write_text("1")
    workspace = Workspace(tmp_path / "w")
    said: list[str] = []
    for _ in range(2):  # the same event once more is the same run
        open_tracker("mlflow", workspace, said.append)(told(tmp_path, members=2.0))
    open_tracker("mlflow", workspace, said.append)(told(tmp_path, members=3.0))
    client = mlflow.tracking.MlflowClient(f"sqlite:///{workspace.root / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == "kaggle-digits")
    runs = client.search_runs([experiment.experiment_id])
    assert said == [] and {run.info.status for run in runs} == {"FINISHED"}
    steps = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.data.metrics["members"] for run in steps) == [2, 3]
    assert steps[0].data.params == {"folds": "2", "rare": "None"}
    within = [run for run in runs
              if run.data.tags.get("mlflow.parentRunId") == steps[0].info.run_id]  # fmt: skip
    assert sorted(run.info.run_name for run in within) == ["a", "b"]
    (b,) = (run for run in within if run.info.run_name == "b")
    assert b.data.metrics == {"accuracy": 0.8, "accuracy_se": 0.01}
    kept = {one.path for one in client.list_artifacts(steps[0].info.run_id)}
    assert kept == {"plan.json", "more"}
    assert len(list((workspace.root / "mlflow").rglob("plan.json"))) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_fails_later_ends_no_step(mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    workspace, said = Workspace(tmp_path / "w"), []
    track = open_tracker("mlflow", workspace, said.append)
    with sqlite3.connect(workspace.root / "mlflow.db") as store:
        store.execute("DROP TABLE runs")
    track(told(tmp_path))
    assert len(said) == 1 and said[0].startswith("track: cv-train is done, but sqlite:///")


def test_a_store_that_cannot_be_used_is_refused_before_anything_begins(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(kd.ConfigurationError, match="its store sqlite:///.* cannot be used"):
        open_tracker("mlflow", Workspace(tmp_path / "w"), lambda text: None)


def test_without_mlflow_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kaggle_digits.shell.tracking._NEEDED", ("no_such_package",))
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", "--track", "mlflow", "--workspace", str(tmp_path)],
                 standalone_mode=False)  # fmt: skip
    assert ended.value.code == 2
    assert "pip install 'kaggle-digits[mlflow]'" in capfd.readouterr().err
    with pytest.raises(kd.ConfigurationError, match="track was given as 'mflow'"):
        kd.load(workspace=tmp_path, track="mflow")


def test_a_callback_is_told_of_each_step_and_may_end_it(tmp_path: Path) -> None:
    events: list[kd.Event] = []
    competition = kd.load(workspace=tmp_path / "w", progress=False, track=events.append)
    kd.tune(competition, trials=1, max_epochs=1, portfolio=False)
    kd.cross_validate(competition, config=SMALL, folds=2, epochs=1)
    blended = kd.blend(competition, output=tmp_path / "mine.csv")
    tune, train, blend = events
    assert [event.step for event in events] == ["tune", "cv-train", "blend"]
    assert [part.step for part in tune.parts] == ["trial"]
    assert tune.parts[0].scores["log_loss"] == tune.scores["log_loss"] > 0
    assert tune.scores["log_loss_se"] > 0 and tune.artefacts["configurations"].is_file()
    assert [part.parameters["fold"] for part in train.parts] == [0, 1]
    assert all({"accuracy", "accuracy_se", "seconds"} <= set(p.scores) for p in train.parts)
    assert blend.scores["oof_accuracy"] == blended.oof_accuracy
    assert blend.artefacts["submission"] == tmp_path / "w/submissions/submission.csv"

    def refuse(event: kd.Event) -> None:
        raise LookupError(event.step)

    # What was done stays done.
    with pytest.raises(LookupError, match="blend"):
        kd.blend(kd.load(workspace=tmp_path / "w", progress=False, track=refuse))
    assert (tmp_path / "w/submissions/submission.csv").is_file()


def test_the_python_lines_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/tracking.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "tracking.md", "exec"), {})
    told = capsys.readouterr().out
    assert re.findall(r"^(cv-train|blend) ", told, re.MULTILINE) == ["cv-train", "blend"]
    assert len(re.findall(r"^   .*'accuracy'", told, re.MULTILINE)) == 2  # of the two members
    assert told.count("'oof_accuracy'") == 1


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_tracks_what_it_does(mlflow: Any, tmp_path: Path, planted: Any) -> None:
    words = ["cv-train", "--data", str(planted), "--workspace", str(tmp_path / "w"), "--quiet",
             "--config", str(tmp_path / "own.toml"), "--folds", "2", "--epochs", "1",
             "--track", "mlflow"]  # fmt: skip
    cli.main(words, standalone_mode=False)
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path / 'w/mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("kaggle-digits").experiment_id])
    assert sorted(run.data.tags["step"] for run in found) == ["cv-train", "member", "member"]


@pytest.fixture
def planted(made: Any, tmp_path: Path) -> Path:
    """A small competition, and a configuration that is quickly trained."""
    (tmp_path / "own.toml").write_text('augmentation = "none"\nfilters = 4\ndepth = 1\n')
    folder: Path = made.folder
    return folder
