"""Classes with fewer rows than folds: refused before the search, with a mend that is possible."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ensembles.extra import ExtraFiles, read_extra
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds, require_rows_per_class
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import cli
from tuning.scoring import ScoringSettings, Splits


def with_rare(make, rare: int):
    """A competition of 40 rows of classes 0 and 1 and `rare` rows of class 2."""
    made = make(classes=("0", "1"), rows=40)
    for row in range(rare):
        made.set("train.csv", 2 + 10 * row, 0, "2")
    return made


def call(capfd, *words: object) -> tuple[int, str, str]:
    """Call the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words)], prog_name="kaggle-digits")
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("rare", "fewer"), [(1, False), (2, True), (3, True)], ids=["one", "two", "three"]
)
def test_a_rare_class_is_refused_before_the_search(make, tmp_path, capfd, rare, fewer) -> None:
    made = with_rare(make, rare)
    place = ["--data", made.folder, "--workspace", tmp_path / "w"]
    code, out, err = call(capfd, "run", "--folds", 4, "--trials", 1, *place)
    assert code == 3 and out == "" and "Traceback" not in err
    assert f"fewer rows in train.csv than the 4 folds: '2' ({rare})" in err
    assert "--rare keep-in-train" in err and "--rare drop" in err
    assert (f"--folds {rare}" in err) == fewer
    assert not (tmp_path / "w" / "tuning" / "study.json").exists()


def test_the_advice_of_fewer_folds_works(make, workspace) -> None:
    made = with_rare(make, 3)
    dataset = load(made.folder, workspace)
    with pytest.raises(DataError) as caught:
        require_rows_per_class(dataset, 4)
    assert caught.value.mend and caught.value.mend.endswith("or give --folds 3.")
    require_rows_per_class(dataset, 3)


@pytest.mark.parametrize("rare", ["keep-in-train", "drop"])
def test_rows_of_a_rare_class_are_in_no_fold(make, workspace, rare) -> None:
    dataset = load(with_rare(make, 2).folder, workspace)
    folds = make_folds(dataset, 4, 0, workspace, rare)
    own = np.flatnonzero(dataset.labels == 2)
    assert own.tolist() == [0, 10]
    judged = np.concatenate([folds.held_out_rows(fold) for fold in range(4)])
    assert sorted(judged.tolist()) == folds.judged_rows.tolist()
    assert set(range(40)) - set(judged.tolist()) == set(own.tolist())
    for fold in range(4):
        trained = set(folds.training_rows(fold).tolist())
        assert (set(own.tolist()) <= trained) == (rare == "keep-in-train")
        assert set(own.tolist()) & trained in (set(), set(own.tolist()))
    again = make_folds(dataset, 4, 0, workspace, rare)
    assert again.of_row.tolist() == folds.of_row.tolist()


def test_without_a_rare_class_the_option_changes_nothing(made, workspace) -> None:
    dataset = load(made.folder, workspace)
    plain = make_folds(dataset, 3, 0, workspace)
    assert make_folds(dataset, 3, 0, workspace, "drop").digest == plain.digest
    assert len(list((workspace.ensembles / "folds").iterdir())) == 1


def test_two_classes_at_least_must_be_left(make, workspace) -> None:
    made = make(classes=("0",), rows=40)
    made.set("train.csv", 2, 0, "1")
    dataset = load(made.folder, workspace)
    with pytest.raises(DataError, match=r"1 of the 2 classes .*fewer rows than the 4 folds") as e:
        require_rows_per_class(dataset, 4, "drop")
    assert e.value.mend == "Add rows to the classes."


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("rare", [1, 2])
def test_a_search_trains_on_what_is_too_rare_to_be_held_out(folds, rare) -> None:
    labels = np.array([2] * rare + [0, 1] * 60)
    splits = Splits(labels, ScoringSettings(rows=60, copies=1, folds=folds, race_folds=3, seed=0))
    always = set(range(rare)) if rare < max(2, folds) else set()
    for train_rows, held_out_rows in [*splits.trial, *(splits.race(n) for n in range(3))]:
        assert always <= set(train_rows.tolist()) and not always & set(held_out_rows.tolist())
        assert not set(train_rows.tolist()) & set(held_out_rows.tolist())


@pytest.mark.parametrize("rare", ["keep-in-train", "drop"])
def test_the_whole_way_with_a_rare_class(make, tmp_path, capfd, rare) -> None:
    made = with_rare(make, 1)
    place = ["--data", made.folder, "--workspace", tmp_path / "w"]
    config = tmp_path / "c.toml"
    config.write_text('filters = 4\ndepth = 1\nbatch_size = 16\naugmentation = "none"\n')
    train = ["--folds", 2, "--epochs", 1, "--config", config, "--workers", 1, "--rare", rare]
    code, _, err = call(capfd, "cv-train", *train, *place)
    assert code == 0, err
    code, out, err = call(capfd, "blend", "--compare", "--json", *place)
    assert code == 0, err
    assert "1 row of rare classes in no fold" in err
    folder = tmp_path / "w" / "ensembles" / "blend"
    oof = np.load(folder / "oof.npy")
    assert oof.shape == (40, 3) and np.allclose(oof[0], 1 / 3) and not np.allclose(oof[1], 1 / 3)
    assert json.loads((folder / "blend.json").read_text())["rows"] == 39
    # What was written has the form that --extra takes.
    dataset = load(made.folder, Workspace(tmp_path / "w"))
    files = ExtraFiles("again", folder / "oof.npy", folder / "test.npy")
    np.testing.assert_allclose(read_extra(files, dataset).oof, oof, atol=1e-6)
    # An extra has answers for all rows; those in no fold do not count.
    sure = 0.05 + 0.85 * np.eye(3)[dataset.labels]
    np.save(tmp_path / "oof.npy", sure / sure.sum(axis=1, keepdims=True))
    extra = f"{tmp_path / 'oof.npy'},{folder / 'test.npy'},friend"
    code, out, err = call(capfd, "blend", "--extra", extra, "--json", *place)
    assert code == 0, err
    assert json.loads(out)["members"] == 3
    assert call(capfd, "check", *place)[0] == 0
