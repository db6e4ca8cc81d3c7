"""The wing in Python: typed values, and not a sign on the streams."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensembles import api
from kaggle_digits.core.data import load
from kaggle_digits.core.place import Place
from kaggle_digits.core.predictions import score
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, InUseError
from kaggle_digits.ground.progress import Silent

QUICK = load_presets()["quick"]
CONFIG = TrainingConfig(augmentation="none")


@pytest.fixture
def place(dataset: Any, workspace: Any) -> Place:
    return Place(workspace, lambda: dataset, Silent())


def train(place: Place, **options: Any) -> api.CrossValidated:
    given = {"config": [CONFIG], "folds": 3, "epochs": 1, "workers": 1} | options
    return api.cross_validate(place, QUICK, 0, **given)


def test_members_and_a_blend_are_values_and_nothing_is_printed(
    place: Place, planted: Any, dataset: Any, tmp_path: Path, capsys: Any
) -> None:
    done = train(place)
    assert (done.trained, done.known, done.fold_sets, done.folds) == (3, 0, 1, 3)
    assert (train(place).trained, train(place).known) == (0, 3)
    listed = api.members(place)
    assert [one.key for one in listed.trained] == list(done.keys) and len(listed.frame) == 3

    blended = api.blend(place, output=tmp_path / "s.csv")
    found = score(blended.oof, dataset.labels[blended.rows])
    assert (blended.oof_accuracy, blended.oof_accuracy_se) == (found.accuracy, found.accuracy_se)
    assert (blended.oof_log_loss, blended.oof_log_loss_se) == (found.log_loss, found.log_loss_se)
    assert blended.members == done.names and blended.method == "mean"
    assert blended.about["call"] == "blend --method mean"
    text = blended.submission.read_text().splitlines()
    assert text[1:] == [",".join(map(str, row)) for row in blended.frame.values.tolist()]
    assert np.array_equal(np.load(blended.predictions / "test.npy"),
                          blended.test.astype(np.float32))  # fmt: skip
    wrong = int((blended.oof.argmax(axis=1) != dataset.labels[blended.rows]).sum())
    assert len(blended.pictures()) == min(wrong, 10)
    assert capsys.readouterr() == ("", "")
    for value in (done, listed, blended):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_what_is_added_leaves_the_rare_classes_of_the_plan_where_they_are(
    make: Any, workspace: Any, planted: Any
) -> None:
    made = make(classes=("0", "1"), rows=40)
    made.set("train.csv", 2, 0, "2")
    data = load(made.folder, workspace)
    place = Place(workspace, lambda: data, Silent())
    first = train(place, rare="keep-in-train")
    added = api.cross_validate(place, QUICK, 0, add=True, seeds=2, workers=1)
    assert set(first.keys) < set(added.keys) and added.trained == 3
    assert {key.folds for key in added.keys} == {key.folds for key in first.keys}


def test_the_same_configuration_as_a_value_and_as_a_file_is_the_same_member(
    place: Place, planted: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('augmentation = "none"\n')
    keys = train(place).keys
    assert train(place, config=[file]).keys == keys and len(planted.jobs) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 1}, "folds was given as 1"),
        ({"epochs": 0.5}, "epochs was given as 0.5"),
        ({"seeds": 101}, "seeds was given as 101; expected a whole number, 1 to 100"),
        ({"rare": "keep"}, "rare was given as 'keep'"),
        ({"fresh": True, "add": True}, "--fresh was given with --add"),
        ({"pseudo_share": 0.5}, "--pseudo-share was given without"),
    ],
)
def test_what_the_command_line_refuses_is_refused_here(
    place: Place, planted: Any, options: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        train(place, **options)
    assert not planted.jobs


def test_a_training_at_work_is_not_disturbed(place: Place, planted: Any) -> None:
    train(place)
    with place.workspace.lock(place.workspace.ensembles):
        for call in (lambda: train(place), lambda: api.blend(place)):
            with pytest.raises(InUseError):
                call()
    with pytest.raises(ConfigurationError, match="'men'") as refused:
        api.blend(place, method="men")
    assert refused.value.__notes__ == ["Did you mean 'mean'?"]
    with pytest.raises(ArtefactError, match="weights"):
        api.predict(place, [Path("x.png")])
