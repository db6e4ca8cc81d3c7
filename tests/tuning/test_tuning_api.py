"""The wing in Python: typed values, and not a sign on the streams."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

import kaggle_digits as kd
from kaggle_digits.core.place import Place
from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, InUseError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import ranking_path
from kaggle_digits.shell.cli import cli
from kaggle_digits.shell.report.parts import Subject
from tuning import api, report, search
from tuning.study import StudyOnDisk

QUICK = load_presets()["quick"]


@pytest.fixture
def place(dataset: Any, workspace: Any) -> Place:
    return Place(workspace, lambda: dataset, Silent())


def test_a_search_returns_values_and_prints_nothing(
    place: Place, formula: Any, tmp_path: Path, capsys: Any
) -> None:
    table = tmp_path / "trials.csv"
    tuned = api.tune(place, QUICK, 3, strategy="random", trials=3, max_epochs=2, race=0,
                     portfolio=False, export=table)  # fmt: skip
    assert (len(tuned.trials), tuned.completed, tuned.raced) == (3, 3, 0)
    losses = [one.log_loss for one in tuned.best]
    assert losses == sorted(losses) == sorted(trial.log_loss for trial in tuned.trials)
    assert tuned.path.is_file() and tuned.written == {"trials": table}
    assert len(table.read_text().splitlines()) == 4
    assert list(tuned.frame.log_loss) == losses and tuned.frame.log_loss_se.min() > 0
    study = api.show(place.workspace)
    assert [one.log_loss for one in study.trials] == [one.log_loss for one in tuned.trials]
    assert study.best is not None
    assert study.best.trial == tuned.best[0].trial
    assert "3 completed of 3" in repr(tuned) and "<table>" in tuned._repr_html_()
    assert capsys.readouterr() == ("", "")
    for value in (tuned, study):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.trials = ()  # type: ignore[misc]


def test_the_call_that_makes_a_search_again_is_kept_and_told_by_the_report(
    place: Place, formula: Any, make: Any, tmp_path: Path, capfd: Any
) -> None:
    medium, given = load_presets()["medium"], {"strategy": "random", "portfolio": False}
    api.tune(place, medium, 3, trials=3, race=0, **given)
    api.tune(place, medium, 3, trials=4, max_epochs=2, fresh=True, diverse=False, **given)
    study = StudyOnDisk(place.workspace)
    subject = Subject(place.workspace, place.data, str)
    (call,) = report.search(subject).repeat
    assert call == (
        "tune --preset medium --seed 3 --strategy random --no-portfolio --max-epochs 2 --race 1 "
        "--by-rank --trials 4"
    )
    data = make(height=8, width=8, rows=60).folder
    other = Workspace(tmp_path / "again")
    words = [*shlex.split(call), "--data", str(data), "--workspace", str(other.root)]
    cli.main(words, standalone_mode=False)
    assert StudyOnDisk(other).settings() == study.settings()
    assert ranking_path(other).read_bytes() == ranking_path(place.workspace).read_bytes()
    # A later call for the same study is the one that is kept.
    api.tune(place, medium, 3, trials=4, max_epochs=2, race=0, **given)
    assert "--by-rank" not in str(study.call()) and "--race 0" in str(study.call())


def test_as_many_are_chosen_together_as_will_be_trained(
    place: Place, formula: Any, monkeypatch: Any
) -> None:
    asked: list[int] = []
    searching = search.search

    def watched(*given: Any, averaged: int, **named: Any) -> Any:
        asked.append(averaged)
        return searching(*given, averaged=averaged, **named)

    monkeypatch.setattr(search, "search", watched)
    medium = load_presets()["medium"]

    def tune(**options: Any) -> str:
        api.tune(place, medium, 0, strategy="random", trials=2, max_epochs=1, race=0, **options)
        return str(StudyOnDisk(place.workspace).call())

    assert "--top-k" not in tune() and "--top-k 1" in tune(top_k=1)
    assert "--top-k 3 --by-rank" in tune(top_k=3, diverse=False)
    assert asked == [medium.top_k, 1, 0] and medium.top_k > 1


def test_how_many_will_be_trained_reaches_the_search_from_tune_and_from_run(
    make: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    class Enough(Exception):
        pass

    asked: list[int] = []

    def tune(*given: Any, top_k: int, **named: Any) -> None:
        asked.append(top_k)
        raise Enough

    monkeypatch.setattr(api, "tune", tune)
    competition = kd.load(make().folder, workspace=tmp_path / "w", progress=False)
    for step in (kd.tune, kd.run):
        with pytest.raises(Enough):
            step(competition, top_k=1)
    assert asked == [1, 1]


def test_it_goes_on_and_starts_anew(place: Place, formula: Any) -> None:
    def tune(trials: int, **options: Any) -> api.Tuned:
        return api.tune(place, QUICK, 0, strategy="random", trials=trials, race=0, **options)

    tune(2)
    before = len(formula.names)
    assert len(tune(3).trials) == 3 and len(formula.names) == before + 1
    assert len(tune(1, fresh=True).trials) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 0}, "trials was given as 0"),
        ({"trials": True}, "trials was given as True"),
        ({"folds": 1}, "folds was given as 1"),
        ({"top_k": 0}, "top_k was given as 0"),
        ({"strategy": "magic"}, "strategy was given as 'magic'"),
        ({"rare": "keep"}, "rare was given as 'keep'"),
    ],
)
def test_what_the_command_line_refuses_is_refused_here(
    place: Place, formula: Any, options: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        api.tune(place, QUICK, 0, **options)
    assert not formula.names


def test_a_search_at_work_is_not_disturbed(place: Place, formula: Any) -> None:
    with place.workspace.lock(place.workspace.tuning), pytest.raises(InUseError):
        api.tune(place, QUICK, 0, trials=1)
    with pytest.raises(ArtefactError):
        api.show(place.workspace)
