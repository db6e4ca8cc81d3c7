"""Options that were taken and had no effect: each is refused beside what leaves it without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kaggle_digits as kd
from kaggle_digits.ground.errors import ConfigurationError

PREDICT = ["predict", "--weights", "w"]
SHOW = ["tune", "--show"]
FORECAST = ["submit", "--forecast"]
BUILD = ["kernel", "build", "--predict-only", "--dir", "d"]

BESIDE = [
    (PREDICT, ["--model", "net.onnx"]),
    (PREDICT, ["--invert", "yes"]),
    (SHOW, ["--space", "space.toml"]),
    (SHOW, ["--trials", "5"]),
    (SHOW, ["--race", "0"]),
    (SHOW, ["--by-rank"]),
    (SHOW, ["--rare", "drop"]),
    (SHOW, ["--no-portfolio"]),
    (SHOW, ["--strategy", "grid"]),
    (SHOW, ["--metric", "auc"]),
    (SHOW, ["--fresh"]),
    (["report", "--text"], ["--open"]),
    (["report", "--text"], ["--output", "page.html"]),
    (FORECAST, ["--dry-run"]),
    (FORECAST, ["--wait"]),
    (FORECAST, ["--force"]),
    (FORECAST, ["--message", "mine"]),
    (["leaderboard", "--offline"], ["--watch"]),
    (["submit", "--local"], ["--kernel", "me/digits"]),
    (BUILD, ["--best", "best.json"]),
    (BUILD, ["--continue", "me/digits"]),
    (BUILD, ["--time-budget", "8h"]),
]
WITHOUT = [
    (["leaderboard", "--local"], ["--times", "3"], "--watch"),
    (["leaderboard", "--local"], ["--interval", "5"], "--watch"),
    (["kernel", "build", "--dir", "d"], ["--weights", "kernel/weights"], "--predict-only"),
    (["submit"], ["--truth", "truth.csv"], "--local"),
    (["submit"], ["--kernel-version", "2"], "--kernel"),
    (["cv-train"], ["--pseudo-rounds", "2"], "--pseudo-label"),
]


def named(words: list[str]) -> str:
    return " ".join(words)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: Any) -> Path:
    """An empty folder to be in: nothing is made, and nothing is there to go on with."""
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(
    ("words", "other"), BESIDE, ids=[named([*words, *other]) for words, other in BESIDE]
)
def test_an_option_that_another_leaves_without_effect_is_refused(
    call: Any, empty: Path, words: list[str], other: list[str]
) -> None:
    """`predict --weights FOLDER --model FILE` never looked for FILE."""
    code, out, err = call(*words, *other)
    first, second = sorted([other[0], next(one for one in words if one.startswith("--"))])
    assert code == 2 and not out
    assert f"{first} was given with {second}, which" in err or (
        f"{second} was given with {first}, which" in err
    )
    assert "Leave one of them out." in err
    assert [path.name for path in empty.iterdir() if path.name != "workspace"] == []


@pytest.mark.parametrize(
    ("words", "other", "needed"), WITHOUT, ids=[named([*one[0], *one[1]]) for one in WITHOUT]
)
def test_an_option_without_the_one_that_it_belongs_to_is_refused(
    call: Any, empty: Path, words: list[str], other: list[str], needed: str
) -> None:
    code, out, err = call(*words, *other)
    assert code == 2 and not out
    assert f"{other[0]} was given without {needed}." in err
    assert f"Add {needed}" in err and "or leave it out." in err
    assert [path.name for path in empty.iterdir() if path.name != "workspace"] == []


def test_networks_for_a_script_that_trains_its_own_are_refused(call: Any, empty: Path) -> None:
    assert call("kernel", "build", "--preset", "quick", "--dir", "d")[0] == 0
    code, _, err = call("kernel", "verify", "--dir", "d", "--weights", "kernel/weights")
    assert code == 2 and "--weights was given as kernel/weights; d" in err
    assert "trains its networks itself" in err and "--predict-only" in err


@pytest.mark.parametrize("words", [["--race", "0"], ["--rare", "drop"], ["--track", "mlflow"]])
def test_every_option_of_a_search_beside_export_asks_for_one(
    call: Any, empty: Path, monkeypatch: Any, words: list[str]
) -> None:
    """These wrote a table of the study that was there, and searched nothing."""

    def searched(*_: object, **__: object) -> None:
        raise ConfigurationError("It would be searched.")

    monkeypatch.setattr("tuning.api.tune", searched)
    monkeypatch.setattr("kaggle_digits.shell.command.open_tracker", lambda *_: print)
    study = empty / "workspace" / "tuning" / "study.json"
    study.parent.mkdir(parents=True)
    study.write_text("{}")
    assert "It would be searched." in call("tune", "--export", "trials.csv", *words)[2]
    assert "It would be searched." not in call("tune", "--export", "trials.csv")[2]


def test_both_sources_of_predictions_are_refused_in_python(made: Any, tmp_path: Path) -> None:
    loaded = kd.load(made.folder, workspace=tmp_path / "w", progress=False)
    given: dict[str, Any] = {"weights": tmp_path / "none"}
    with pytest.raises(ConfigurationError, match="--model was given with --weights"):
        kd.predict(loaded, model=tmp_path / "net.onnx", **given)
    with pytest.raises(ConfigurationError, match="--invert was given with --weights"):
        kd.predict(loaded, invert="no", **given)
    with pytest.raises(ConfigurationError, match="--weights was given without --predict-only"):
        kd.kernel_build(loaded, tmp_path / "d", weights=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="--time-budget was given with --predict-only"):
        kd.kernel_build(loaded, tmp_path / "d", predict_only=True, time_budget="8h")
    assert not (tmp_path / "d").exists()
