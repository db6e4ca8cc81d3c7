"""Folds that fit: rows of one writer stay together, or the folds are those of a column."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from ensembles import api, report
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from kaggle_digits.core.data import Dataset, load
from kaggle_digits.core.folds import fold_count, make_folds
from kaggle_digits.core.metrics import figure
from kaggle_digits.core.place import Place
from kaggle_digits.core.predictions import error_of_mean, score
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell.report.parts import Subject


def with_columns(made, **columns: list[str]) -> Path:
    """Put columns of words behind the pixels of train.csv."""
    head, *rows = made.rows_of("train.csv")
    for name, values in columns.items():
        head = [*head, name]
        rows = [[*row, value] for row, value in zip(rows, values, strict=True)]
    made.write("train.csv", [head, *rows])
    return made.folder


@pytest.fixture
def writers(make) -> Path:
    """Thirty rows of three classes by ten writers, with folds of somebody's own."""
    made = make()
    return with_columns(
        made,
        writer=[f"w{row // 3}" for row in range(30)],
        part=[f"f{row // 3 % 5 + 1}" for row in range(30)],
    )


def test_rows_of_a_group_stand_in_one_fold(writers, workspace) -> None:
    dataset = load(writers, workspace, wanted=Wanted(groups="writer"))
    assert dataset.groups is not None and len(np.unique(dataset.groups)) == 10
    of_row = make_folds(dataset, 5, 0, workspace).of_row
    for group in range(10):
        assert len(set(of_row[dataset.groups == group].tolist())) == 1
    assert np.bincount(of_row).tolist() == [6] * 5
    plain = load(writers, Workspace(workspace.root.with_name("plain")))
    mixed = make_folds(plain, 5, 0, Workspace(workspace.root.with_name("plain"))).of_row
    assert max(len(set(mixed[dataset.groups == group].tolist())) for group in range(10)) > 1
    assert plain.digest != dataset.digest and plain.groups is None


def test_the_workspace_goes_on_with_its_groups_and_they_travel(writers, workspace) -> None:
    first = load(writers, workspace, wanted=Wanted(groups="writer"))
    again = load(None, workspace)
    assert again.digest == first.digest and np.array_equal(again.groups, first.groups)
    sent = Dataset.unpacked(first.packed())
    assert np.array_equal(sent.groups, first.groups)


def test_the_folds_of_a_column(writers, workspace) -> None:
    dataset = load(writers, workspace, wanted=Wanted(fold_column="part"))
    assert fold_count(dataset, None, 4) == 5 and fold_count(dataset, 5, 4) == 5
    folds = make_folds(dataset, 5, 0, workspace)
    assert folds.of_row.tolist() == [row // 3 % 5 for row in range(30)]
    with pytest.raises(ConfigurationError, match="--folds was given as 3, but .* has 5 folds"):
        fold_count(dataset, 3, 4)


def test_groups_beside_image_files(tmp_path, workspace) -> None:
    rows = ["id,label,site"]
    for row in range(12):
        part = "train" if row < 9 else "test"
        (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
        image = np.full((5, 5), row * 20, np.uint8)
        cv2.imwrite(str(tmp_path / "data" / part / f"{row}.png"), image)
        if part == "train":
            rows.append(f"{row},{'ab'[row % 2]},s{row // 2}")
    (tmp_path / "data" / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "data" / "train" / "4.png").write_bytes(b"broken")
    dataset = load(tmp_path / "data", workspace, wanted=Wanted(skip_broken=True, groups="site"))
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [0, 0, 1, 1, 2, 3, 3, 4]
    assert dataset.competition.form.label_column == "label"


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"groups": "writers"}, ConfigurationError, "'writers' was asked for, which train.csv has"),
        ({"groups": "writer", "fold_column": "part"}, ConfigurationError, "says the folds already"),
        ({"fold_column": "label"}, DataError, "label columns"),
    ],
)
def test_what_cannot_be_is_refused(writers, workspace, wanted, error, says) -> None:
    with pytest.raises(error, match=says):
        load(writers, workspace, wanted=Wanted(**wanted))


def test_too_few_groups_and_a_class_in_one_fold(make, workspace) -> None:
    made = make()
    folder = with_columns(made, site=["x", "y"] * 15, part=[label for label in made.labels])
    dataset = load(folder, workspace, wanted=Wanted(groups="site"))
    with pytest.raises(DataError, match="has 2 groups, fewer than the 3 folds"):
        make_folds(dataset, 3, 0, workspace)
    other = Workspace(workspace.root.with_name("other"))
    with pytest.raises(DataError, match="All rows of the class '0' stand in one fold"):
        make_folds(load(folder, other, wanted=Wanted(fold_column="part")), 3, 0, other)


def test_without_groups_leakage_is_rosy_and_with_them_it_is_not(make, workspace) -> None:
    """Each writer's images are alike and of one class by chance: nothing else tells the class."""
    random = np.random.default_rng(0)
    made = make(rows=240, height=4, width=4, classes=("0", "1"))
    styles = random.integers(0, 256, (40, 16))
    labels = random.integers(0, 2, 40)
    head, *rows = made.rows_of("train.csv")
    for row in range(240):
        writer = row // 6
        image = np.clip(styles[writer] + random.integers(-4, 5, 16), 0, 255)
        rows[row] = [str(labels[writer]), *map(str, image), f"w{writer}"]
    made.write("train.csv", [[*head, "writer"], *rows])

    def nearest(dataset: Dataset, place: Workspace) -> float:
        folds, right = make_folds(dataset, 4, 0, place), 0
        flat = dataset.images.reshape(240, -1).astype(float)
        for fold in range(4):
            known, new = folds.training_rows(fold), folds.held_out_rows(fold)
            apart = ((flat[new][:, None] - flat[known][None]) ** 2).sum(axis=2)
            found = dataset.labels[known][apart.argmin(axis=1)]
            right += int((found == dataset.labels[new]).sum())
        return right / 240

    other = Workspace(workspace.root.with_name("other"))
    assert nearest(load(made.folder, other), other) > 0.95
    assert nearest(load(made.folder, workspace, wanted=Wanted(groups="writer")), workspace) < 0.7


def test_rows_of_one_group_that_err_together_count_as_fewer() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=400)
    alone = error_of_mean(values, np.arange(400))
    assert alone == pytest.approx(values.std(ddof=1) / 20)
    # Ten equal rows each: the mean of forty, whatever the rows.
    groups = np.repeat(np.arange(40), 10)
    together = np.repeat(values[:40], 10)
    assert error_of_mean(together, groups) == pytest.approx(values[:40].std(ddof=1) / 40**0.5)


@pytest.mark.parametrize(("metric", "times"), [("accuracy", 60), ("log-loss", 60), ("auc", 15)])
def test_a_metrics_error_is_that_of_groups(metric, times) -> None:
    """Its standard error is how far the value lies apart in competitions drawn anew."""
    found, errors = [], []
    for seed in range(times):
        random = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 10)
        labels = random.integers(0, 2, 300)
        shift = np.repeat(random.normal(size=30), 10)  # a writer that all of whose rows mislead
        chance = 1 / (1 + np.exp(-(2 * labels - 1 + 1.5 * shift * (2 * labels - 1))))
        told = np.stack([1 - chance, chance], axis=1)
        one = figure(metric, told, labels, None, groups)
        found.append(one.value)
        errors.append(one.se)
    spread = float(np.std(found, ddof=1))
    assert spread * 0.7 < float(np.mean(errors)) < spread * 1.4
    rows = figure(metric, told, labels)
    assert rows.se < 0.6 * spread and rows.value == one.value
    if metric in ("accuracy", "log-loss"):
        judged = score(told, labels, groups)
        assert one.se == getattr(judged, f"{metric.replace('-', '_')}_se")


def test_members_blend_and_report_are_judged_by_groups(writers, workspace, training) -> None:
    dataset = load(writers, workspace, wanted=Wanted(groups="writer"))
    assert dataset.groups is not None
    configs = [TrainingConfig(augmentation="none", depth=depth) for depth in (1, 2)]
    settings = CrossValidationSettings(folds=5, epochs=1, copies=1, seed=0)
    keys = cross_validate(configs, dataset, workspace, settings, Silent()).keys
    store, folds = MemberStore(workspace), make_folds(dataset, 5, 0, workspace)
    for key in keys:
        rows = folds.held_out_rows(key.fold)
        given = store.held_out(key, len(rows), 3), dataset.labels[rows]
        wanted = score(*given, dataset.groups[rows])
        assert store.record(key)["score"] == asdict(wanted) != asdict(score(*given))
    place = Place(workspace, lambda: dataset, Silent())
    blended = api.blend(place, neighbours=False, compare=True)
    accuracy, error = blended.oof_accuracy, blended.oof_accuracy_se
    assert error == score(blended.oof, dataset.labels, dataset.groups).accuracy_se
    assert blended.compared is not None
    assert blended.compared.values["methods"][0]["honest"]["accuracy_se"] == error
    section = report.members(Subject(workspace, lambda: dataset, str))
    low, high = max(accuracy - 1.96 * error, 0), min(accuracy + 1.96 * error, 1)
    assert section.top["OOF accuracy"] == f"{accuracy:.5f} (95 %: {low:.5f} to {high:.5f})"


def test_rows_of_one_group_do_not_tell_how_far_groups_lie_apart(writers, workspace) -> None:
    dataset = load(writers, workspace, wanted=Wanted(groups="writer"))
    found = dataset.groups_of(np.arange(1, 5))
    assert found is not None and found.tolist() == [0, 0, 1, 1]
    assert dataset.groups_of(np.arange(3)) is None
