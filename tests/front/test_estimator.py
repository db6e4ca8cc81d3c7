"""The ensemble as one scikit-learn estimator, on real digits."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import kaggle_digits as kd
from kaggle_digits.core.predictions import score
from kaggle_digits.ground.config import load_portfolio, load_presets
from kaggle_digits.ground.deadline import OutOfTimeError
from kaggle_digits.ground.durations import duration
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell import chain

SMALL = {"filters": 8, "depth": 1, "augmentation": "none", "batch_size": 16}
X, Y = load_digits(return_X_y=True)
WORDS = np.array(["zero", "one", "two"])


def make(**given: Any) -> kd.DigitsClassifier:
    return kd.DigitsClassifier(SMALL, **{"folds": 2, "epochs": 4, "random_state": 0} | given)


def some(count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Digits 0 to 2, the labels as words."""
    rows = np.flatnonzero(Y < 3)[:count]
    return X[rows], WORDS[Y[rows]]


@pytest.fixture(scope="module")
def fitted() -> kd.DigitsClassifier:
    return make().fit(*some())


def test_it_learns_and_its_score_is_that_of_unseen_rows(fitted: kd.DigitsClassifier) -> None:
    images, labels = some()
    assert fitted.classes_.tolist() == sorted(WORDS)
    assert fitted.oof_proba_.shape == (150, 3) and fitted.n_features_in_ == 64
    found = score(fitted.oof_proba_, np.searchsorted(fitted.classes_, labels))
    assert (fitted.oof_score_, fitted.oof_score_se_) == (found.accuracy, found.accuracy_se)
    assert fitted.oof_score_ > 0.8 and len(fitted.members_) == 2
    proba = fitted.predict_proba(images)
    assert np.allclose(proba.sum(axis=1), 1) and fitted.score(images, labels) > 0.9
    assert (fitted.predict(images) == fitted.classes_[proba.argmax(axis=1)]).all()
    assert (fitted.scaling_.low, fitted.scaling_.high) == (0, 16)


def test_images_of_every_form_are_the_same_images(fitted: kd.DigitsClassifier) -> None:
    images, labels = some()
    squares = images.reshape(-1, 8, 8)
    proba = fitted.predict_proba(images)
    assert np.array_equal(fitted.predict_proba(squares), proba)
    assert np.array_equal(make().fit(squares, labels).predict_proba(squares), proba)
    planes = make().fit(squares[..., None], labels)
    assert planes.n_features_in_ == 64
    assert np.array_equal(planes.predict_proba(squares), proba)
    wide = make(image_shape=(4, 16)).fit(images, labels)
    assert wide.image_shape_ == (4, 16)
    with pytest.raises(ValueError, match=r"fitted on \(4, 16\)"):
        wide.predict(squares)


def test_networks_are_asked_about_images_as_they_were_trained_on(tmp_path: Path) -> None:
    images, labels = some(90)
    config = SMALL | {"normalisation": "deslant", "views": 5}
    model = kd.DigitsClassifier(
        config, folds=2, epochs=2, random_state=0, workspace=tmp_path / "w"
    ).fit(images, labels)
    member, model._networks = model.members_[0], model._networks[:1]
    (stored,) = (tmp_path / "w").glob(f"*/ensembles/members/{member}/held_out.npy")
    held_out = np.load(stored)
    # In another order, and among all images: each of its rows is said of one of them.
    apart = np.abs(model.predict_proba(images)[:, None] - held_out[None]).max(axis=2)
    assert apart.min(axis=0).max() < 1e-5


def test_pickled_it_says_the_same_in_another_process(
    fitted: kd.DigitsClassifier, tmp_path: Path
) -> None:
    images, _ = some()
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "images.npy", images)
    code = (
        "import pickle, numpy as np\n"
        "model = pickle.load(open('model.pickle', 'rb'))\n"
        "np.save('proba.npy', model.predict_proba(np.load('images.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "proba.npy"), fitted.predict_proba(images))


def test_it_takes_its_place_among_other_estimators() -> None:
    images, labels = some(90)
    model = make(epochs=1)
    assert clone(model).get_params() == model.get_params()
    assert clone(model).set_params(folds=3).folds == 3
    found = make_pipeline(FunctionTransformer(), model).fit(images, labels)
    assert found.predict(images).shape == (90,)
    assert np.isfinite(cross_val_score(model, images, labels, cv=2)).all()


@pytest.mark.slow
def test_a_grid_search_finds_that_more_epochs_are_better() -> None:
    images, labels = some(90)
    model = make(epochs=1)
    search = GridSearchCV(model, {"epochs": [1, 8]}, cv=2).fit(images, labels)
    assert search.best_params_ == {"epochs": 8}


def test_the_same_random_state_is_the_same_ensemble_and_a_kept_workspace_is_gone_on_with(
    fitted: kd.DigitsClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = some()
    assert capsys.readouterr().out == ""
    kept = make(workspace=tmp_path / "w", verbose=True).fit(images, labels)
    assert kept.members_ == fitted.members_
    assert np.array_equal(kept.predict_proba(images), fitted.predict_proba(images))
    assert "images: values of 0 to 16 become 0 to 255" in capsys.readouterr().err
    again = make(workspace=tmp_path / "w", verbose=True).fit(images, labels)
    assert np.array_equal(again.oof_proba_, kept.oof_proba_)
    assert "accuracy" not in capsys.readouterr().err  # no member was trained


@pytest.mark.slow
def test_a_search_comes_first_where_it_is_asked_for() -> None:
    images, labels = some()
    model = make(trials=2, epochs=12).set_params(configuration="search")
    assert model.fit(images, labels).score(images, labels) > 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"configuration": "deep"}, "configuration was given as 'deep'"),
        ({"configuration": {"depht": 1}}, "'depht' is not a field"),
        ({"folds": 1}, "folds was given as 1"),
        ({"preset": "huge"}, "preset was given as 'huge'"),
        ({"time_budget": "soon"}, "expected a time like"),
        ({"time_budget": 20}, "given as 20 s; expected 40s or more"),
        ({"image_shape": "wide"}, "given as .wide."),
        ({"image_shape": (8,)}, "given as .8.; expected height x width"),
        ({"image_shape": (4, 8, 2)}, "given as .4x8x2., 2 planes"),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(kd.ConfigurationError, match=says):
        make().set_params(**given).fit(*some(30))


def test_arrays_that_cannot_be_used_are_refused() -> None:
    images, labels = some(30)
    for x, y, says in (
        (images, np.zeros(30), "one class"),
        (images, [1] * 29 + [2], "once"),
        (images[:, None, None, None], labels, r"shape \(30, 1, 1, 1, 64\)"),
        (np.full((30, 4), np.nan), labels, "NaN"),
    ):
        with pytest.raises(ValueError, match=says):
            make().fit(x, y)
    with pytest.raises(NotFittedError):
        make().predict(images)


@pytest.mark.parametrize("shape", [(3, 4, 5), "3x4x5"])
def test_flat_rows_of_one_plane_after_another_are_the_images_of_interleaved_ones(
    shape: Any,
) -> None:
    images = np.arange(120).reshape(2, 4, 5, 3)
    planar = np.moveaxis(images, -1, 1).reshape(2, -1)
    assert np.array_equal(make(image_shape=shape)._as_images(planar), images)
    beside = make(image_shape=(4, 5, 3))
    assert np.array_equal(beside._as_images(images.reshape(2, -1)), images)


class Enough(Exception):
    """Ends a fit once members are asked for."""


class Asked:
    """In the place of search and members: keeps what each is asked for, and trains nothing."""

    def __init__(self) -> None:
        self.searches: list[dict[str, Any]] = []
        self.members: list[dict[str, Any]] = []
        self.best = [kd.TrainingConfig(depth=depth) for depth in (2, 3)]
        self.is_in_time = True

    def tune(self, place: Any, preset: Any, seed: int, **given: Any) -> Any:
        self.searches.append(given | {"seed": seed})
        if not self.is_in_time:
            raise OutOfTimeError("The time was over before the work was done.")
        return SimpleNamespace(best=[SimpleNamespace(config=config) for config in self.best])

    def cross_validate(self, place: Any, preset: Any, seed: int, **given: Any) -> Any:
        self.members.append(given | {"seed": seed})
        raise Enough

    def fit(self, **given: Any) -> None:
        with pytest.raises(Enough):
            kd.DigitsClassifier("search", **{"folds": 2} | given).fit(*some(30))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("tuning.api.tune", made.tune)
    monkeypatch.setattr("ensembles.api.cross_validate", made.cross_validate)
    return made


def test_a_search_has_its_share_of_the_time_and_members_what_is_left(asked: Asked) -> None:
    asked.fit(time_budget="10m")
    (search,), (members,) = asked.searches, asked.members
    assert search["deadline"].seconds == pytest.approx(90, abs=5) and "time_budget" not in search
    assert members["config"] == asked.best[: load_presets()["quick"].top_k]
    assert (members["time_budget"], members["deadline"].seconds) == ("10m", 600)
    asked.fit()
    assert asked.searches[1]["deadline"] is asked.members[1]["deadline"] is None


def test_without_a_trial_the_first_bundled_configuration_is_trained(asked: Asked) -> None:
    asked.is_in_time = False
    asked.fit(time_budget="10m")
    asked.fit(time_budget=120)  # too short for a search
    assert len(asked.searches) == 1
    assert [one["config"] for one in asked.members] == [(load_portfolio()[0],)] * 2
    assert asked.members[1]["deadline"].seconds == 120
    least = duration(chain._LEAST_SEARCH / chain._SEARCH_SHARE)
    assert f"(less than {least})" in str(kd.DigitsClassifier.__doc__)


def test_a_kept_workspace_has_one_seed_where_none_is_given(asked: Asked, tmp_path: Path) -> None:
    for given in ({}, {}, {"random_state": 0}, {"random_state": 1}):
        asked.fit(workspace=tmp_path / "w", **given)
    seeds = [one["seed"] for one in asked.searches]
    assert seeds == [one["seed"] for one in asked.members]
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]


def test_networks_that_are_judged_are_those_that_are_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A set that the time cut was asked too, and neighbours were judged, which nobody asks."""
    kept = tmp_path / "network"
    kept.write_bytes(b"weights")
    keys = [SimpleNamespace(name=name, config=kd.TrainingConfig()) for name in "abc"]
    calls: list[dict[str, Any]] = []

    def blend(place: Any, **given: Any) -> Any:
        calls.append(given)
        return SimpleNamespace(
            oof=np.eye(10), oof_accuracy=1.0, oof_accuracy_se=0.0, members=("a", "b")
        )

    def cross_validate(*given: Any, **named: Any) -> Any:
        return SimpleNamespace(keys=tuple(keys), names=("a", "b", "c"))

    monkeypatch.setattr("ensembles.api.cross_validate", cross_validate)
    monkeypatch.setattr("ensembles.api.blend", blend)
    monkeypatch.setattr(MemberStore, "checked_model", lambda store, key: kept)
    model = make().fit(*some(30))
    assert calls == [{"neighbours": False}]
    assert model.members_ == ("a", "b") and len(model._networks) == 2
