"""One `run --metric qwk`, and every command after it speaks of qwk without being told again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

import kaggle_digits as kd
from ensembles import member_training
from kaggle_digits.core.data import load
from kaggle_digits.core.predictions import softmax
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "w"


@pytest.fixture
def call(place: Path, capfd: Any) -> Any:
    """Call a command on the workspace; return its JSON, or stderr where it has none."""

    def call(*words: object, ends: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main(
                [*map(str, words), "--workspace", str(place), "--json"], prog_name="kaggle-digits"
            )
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == ends, err
        return json.loads(out) if out.strip() else err

    return call


def test_what_run_was_told_holds_for_all_that_follows(graded, place, call) -> None:
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


def macro_f1(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(f1_score(labels, probabilities.argmax(axis=1), average="macro"))


def auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"))


def write_configs(folder: Path) -> list[object]:
    words: list[object] = []
    for filters in (4, 16):
        path = folder / f"{filters}.toml"
        path.write_text(f'augmentation = "none"\nfilters = {filters}\n')
        words += ["--config", path]
    return words


@pytest.mark.parametrize(("metric", "wanted"), [("macro-f1", macro_f1), ("auc", auc)])
def test_members_and_the_comparison_are_told_in_the_metrics_terms(
    graded, place, call, capfd, tmp_path, metric, wanted
) -> None:
    """They showed accuracy and log-loss alone, by which another member may be the best."""
    words = ["--folds", 3, "--epochs", 1, "--workers", 1, *write_configs(tmp_path)]
    call("cv-train", "--data", graded.data, *words)
    assert {one["metric"] for one in call("members")["members"]} == {None}
    compared = call("blend", "--metric", metric, "--compare")
    labels, store = load(None, Workspace(place)).labels, MemberStore(Workspace(place))
    (folds,) = (place / "ensembles" / "folds").glob("*.json")
    of_row = np.array(json.loads(folds.read_text())["of_row"])
    sets: dict[str, np.ndarray] = {}
    for key, told in zip(store.read_plan()[1], call("members")["members"], strict=True):
        rows = np.flatnonzero(of_row == key.fold)
        found = store.held_out(key, len(rows), 3)
        sets.setdefault(key.set_name, np.zeros((120, 3)))[rows] = found
        assert told["metric"]["value"] == pytest.approx(wanted(labels[rows], found))
        assert (told["metric"]["name"], told["metric"]["rows"]) == (metric, 40)
        assert 0 < told["metric"]["se"] < 0.2
    for one in compared["member_sets"]:
        assert one["metric"]["value"] == pytest.approx(wanted(labels, sets[one["name"]]))
    mean, *others = compared["methods"]
    assert mean["metric"] == compared["metric"] and mean["metric_against_mean"] is None
    joined = np.mean(list(sets.values()), axis=0)
    assert mean["metric"]["value"] == pytest.approx(wanted(labels, joined))
    for one in others:
        apart = one["metric_against_mean"]
        gain = one["metric"]["value"] - mean["metric"]["value"]
        assert apart["value"] == pytest.approx(gain) and apart["low"] <= apart["high"]
        # Of the same rows: far less than two figures' own noise.
        assert apart["high"] - apart["low"] < 4 * mean["metric"]["se"]
    cli.main(["blend", "--compare", "--workspace", str(place)], standalone_mode=False)
    out = capfd.readouterr().out
    head, *lines = out.splitlines()
    assert f"OOF {metric}" in head and f"{metric} against mean" in head
    row = next(line for line in lines if line.startswith("weighted"))
    by_name = {one["method"]: one for one in others}
    assert f"{by_name['weighted']['metric']['value']:.5f} " in row
    assert f" {by_name['weighted']['metric_against_mean']['value']:+.5f} [" in row
    own = compared["member_sets"][0]
    row = next(line for line in lines if line.startswith(own["name"]))
    assert f"  {own['metric']['value']:.5f}  " in row
    cli.main(["members", "--workspace", str(place)], standalone_mode=False)
    head, first, *_ = capfd.readouterr().out.splitlines()
    assert head.split()[-4:] == [metric, "seconds", "weights", "state"]
    assert head.index(metric) == first.index(
        f"{call('members')['members'][0]['metric']['value']:.4f}"
    )


def test_members_on_folds_of_ones_own_are_judged_by_the_metric(graded, place, tmp_path) -> None:
    head, *rows = (graded.data / "train.csv").read_text().split()
    lines = [f"{row},f{number // 3 % 4}" for number, row in enumerate(rows)]
    (graded.data / "train.csv").write_text("\n".join([f"{head},part", *lines]) + "\n")
    loaded = kd.load(graded.data, workspace=place, fold_column="part", progress=False)
    small = kd.TrainingConfig(filters=4, augmentation="none")
    kd.cross_validate(loaded, config=small, epochs=1, workers=1)
    kd.blend(loaded, metric="qwk", neighbours=False)
    found = kd.members(loaded)
    assert found.metric == "qwk" and len(found.listed) == 4
    assert all(one.metric is not None and one.metric.rows == 30 for one in found.listed)
    assert list(found.frame["qwk"]) == [one.metric.value for one in found.listed if one.metric]
    # Of other folds than the data have now, nothing is known.
    other = kd.load(graded.data, workspace=tmp_path / "other", progress=False)
    kd.cross_validate(other, config=small, folds=2, epochs=1, workers=1)
    for folder in (place / "ensembles" / "members").iterdir():
        folder.rename(tmp_path / "other" / "ensembles" / "members" / folder.name)
    kd.blend(other, metric="qwk", neighbours=False)
    told = kd.members(other, all=True).listed
    assert [one.metric is None for one in told] == [False] * 2 + [True] * 4
