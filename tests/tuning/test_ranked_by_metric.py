"""Trials, race and `best.json` by what a competition is scored by; groups in a search's rows."""

from __future__ import annotations

import csv
import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from kaggle_digits.core.folds import holdout
from kaggle_digits.core.place import Place
from kaggle_digits.core.predictions import softmax64
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, DataError
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.ranking import Ranked, ranking_path, read_ranking
from tuning import api
from tuning.board import log_trial
from tuning.plotting import figure
from tuning.racing import Race, fallen_behind_by
from tuning.scoring import Result, ScoringSettings, Splits
from tuning.selection import diverse, ranked
from tuning.study import COMPLETED, StudyOnDisk, Trial

QUICK = load_presets()["quick"]
SMALL: dict[str, Any] = {"strategy": "random", "max_epochs": 2, "portfolio": False}


@pytest.fixture
def place(dataset, workspace) -> Place:
    return Place(workspace, lambda: dataset, Silent())


def trial(number: int, log_loss: float, value: float | None, **more: Any) -> Trial:
    metric = None if value is None else Figure("auc", value, 0.01, 100)
    config = TrainingConfig(filters=8 + number)
    return Trial(number, config, 3, COMPLETED, log_loss=log_loss, accuracy=0.9, rows=100,
                 metric=metric, **more)  # fmt: skip


def test_trials_are_ranked_by_the_metric_and_not_by_log_loss() -> None:
    some = [trial(0, 0.1, 0.80), trial(1, 0.3, 0.95), trial(2, 0.2, 0.90)]
    assert [one.trial for one in ranked(some, 3)] == [1, 2, 0]
    assert [one.trial for one in ranked([trial(0, 0.1, None), trial(1, 0.05, None)], 2)] == [1, 0]
    assert ranked(some, 1)[0].metric == Figure("auc", 0.95, 0.01, 100)
    axes = figure(some).axes
    assert axes[-1].name == "1 - auc"


def test_a_trial_without_a_metric_is_written_as_before_and_one_with_it_comes_back() -> None:
    plain = trial(0, 0.1, None, threads=2)
    assert "metric" not in plain.to_json() and Trial.from_json(plain.to_json()) == plain
    told = trial(1, 0.1, 0.9)
    assert Trial.from_json(json.loads(json.dumps(told.to_json()))) == told


def test_a_search_by_auc_tells_all_who_look_at_it(place, formula, tmp_path) -> None:
    table = tmp_path / "trials.csv"
    tuned = api.tune(place, QUICK, 3, trials=6, race=0, metric="auc", export=table, **SMALL)
    values = [one.metric.value for one in tuned.best if one.metric]
    assert len(values) == 6 and values == sorted(values, reverse=True)
    assert tuned.facts()["best"].startswith(f"auc {values[0]:.4f} ± ")
    assert tuned.table()[0][2] == "auc"
    assert kept_metric(place.workspace) == "auc"
    study = StudyOnDisk(place.workspace)
    assert study.settings()["metric"] == "auc" and study.heading().endswith("ranked by auc")
    kept = read_ranking(ranking_path(place.workspace), None)
    assert [one.metric for one in kept] == [one.metric for one in tuned.best]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["auc"]) for row in rows] == [t.metric.value for t in tuned.trials if t.metric]
    shown = api.show(place.workspace)
    assert shown.best is not None and shown.best.trial == tuned.best[0].trial
    assert shown.table()[0][2] == "auc"
    log_trial(tuned.trials[0], tmp_path / "logs")
    # Called again without the option it goes on by it, and runs nothing.
    again = api.tune(place, QUICK, 3, trials=6, race=0, **SMALL)
    assert again.best == tuned.best and len(formula.names) == 6


@pytest.mark.parametrize("metric", [None, "accuracy", "log-loss"])
def test_where_accuracy_counts_log_loss_ranks_as_it_did(place, formula, metric) -> None:
    tuned = api.tune(place, QUICK, 3, trials=3, race=0, metric=metric, **SMALL)
    losses = [one.log_loss for one in tuned.best]
    assert losses == sorted(losses) and all(one.metric is None for one in tuned.best)
    assert "metric" not in StudyOnDisk(place.workspace).settings()
    assert "metric" not in ranking_path(place.workspace).read_text()
    assert kept_metric(place.workspace) == metric


def test_a_study_by_another_metric_is_not_gone_on_with(place, formula) -> None:
    api.tune(place, QUICK, 3, trials=2, race=0, **SMALL)
    with pytest.raises(ArtefactError, match="made with other settings .*metric"):
        api.tune(place, QUICK, 3, trials=2, race=0, metric="macro-f1", **SMALL)
    fresh = api.tune(place, QUICK, 3, trials=2, race=0, metric="auc", fresh=True, **SMALL)
    assert fresh.best[0].metric is not None
    with pytest.raises(ConfigurationError, match="given as qwk, but .* is scored by auc"):
        api.tune(place, QUICK, 3, trials=2, race=0, metric="qwk", **SMALL)


def test_a_fresh_search_that_fails_leaves_metric_and_study(place, formula) -> None:
    api.tune(place, QUICK, 3, trials=2, race=0, metric="auc", **SMALL)
    formula.failing = {f"trial {number}" for number in range(9)}
    with pytest.raises(Exception, match="trials"):
        api.tune(place, QUICK, 3, trials=3, race=0, metric="qwk", fresh=True, **SMALL)
    assert kept_metric(place.workspace) == "auc"
    assert StudyOnDisk(place.workspace).settings()["metric"] == "auc"


def test_class_weights_are_in_every_trial_and_in_the_studys_settings(place, formula) -> None:
    tuned = api.tune(place, QUICK, 3, trials=4, race=0, class_weights="balanced",
                     strategy="random", max_epochs=2)  # fmt: skip
    assert {one.config.class_weights for one in tuned.best} == {"balanced"}
    portfolio = api.load_portfolio(1)[0]
    assert tuned.trials[0].config == dataclasses.replace(portfolio, class_weights="balanced")
    assert StudyOnDisk(place.workspace).settings()["space class_weights"] == "balanced"


def told(rows: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(rows) % 3
    logits = np.random.default_rng(seed).normal(size=(rows, 3))
    logits[np.arange(rows), labels] += strength
    return softmax64(logits), labels


@pytest.mark.parametrize("metric", ["auc", "macro-f1", "qwk"])
def test_who_falls_behind_by_a_metric(metric) -> None:
    good, labels = told(600, 2.0, 0)
    near, _ = told(600, 2.0, 1)
    poor, _ = told(600, 0.7, 2)
    found = fallen_behind_by(metric, {"good": good, "near": near, "poor": poor}, labels)
    assert "poor" in found and found["poor"] > 2.5 and "good" not in found
    assert fallen_behind_by(metric, {"good": good}, labels) == {}


def test_chance_alone_drops_few() -> None:
    dropped = 0
    for seed in range(40):
        one, labels = told(120, 1.0, 2 * seed)
        other, _ = told(120, 1.0, 2 * seed + 1)
        dropped += len(fallen_behind_by("auc", {"a": one, "b": other}, labels))
    assert dropped <= 3  # 0.8 are expected at 1 % a side


def test_the_race_places_by_the_metric_and_reads_its_files_again(tmp_path) -> None:
    labels = np.arange(600) % 3
    settings = ScoringSettings(rows=300, copies=1, folds=0, race_folds=3, seed=0)
    splits = Splits(labels, settings)
    # The second ranks better, and is too sure of itself: log-loss alone would place it last.
    strength = {1: (1.0, 1.0), 2: (2.0, 12.0)}
    entries = [Ranked(TrainingConfig(filters=8 * n), n, 0.1 * n, 0.9) for n in strength]

    def race() -> Race:
        return Race(entries, tmp_path, splits, labels, 4, 1, Silent(), "auc")

    running = race()
    while (unit := running.take()) is not None:
        held_out = splits.race(unit.round)[1]
        shift, scale = strength[unit.config.filters // 8]
        random = np.random.default_rng([unit.config.filters, unit.round])
        logits = random.normal(size=(len(held_out), 3))
        logits[np.arange(len(held_out)), labels[held_out]] += shift
        running.give(unit, Result(softmax64(logits * scale).astype(np.float32)))
    placed = running.standing()
    assert placed[0].trial == 2 and placed[0].log_loss > placed[1].log_loss
    assert placed[0].metric is not None and placed[1].metric is not None
    assert placed[0].metric.value > placed[1].metric.value
    assert race().standing() == placed


def test_diverse_configurations_add_to_the_metric() -> None:
    labels = np.arange(300) % 3
    first = told(300, 1.0, 1)[0]
    predictions = {0: first, 1: first.copy(), 2: told(300, 1.0, 2)[0]}
    entries = [Ranked(TrainingConfig(filters=8 + n), n, 0.1, 0.9) for n in range(3)]
    assert [e.trial for e in diverse(entries, predictions, labels, 3, "auc")][:2] == [0, 2]


# Groups.


def sides(splits: Splits) -> list[tuple[np.ndarray, np.ndarray]]:
    return [*splits.trial, *(splits.race(number) for number in range(splits.race_folds))]


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("rows", [60, 1000])
def test_no_group_stands_on_both_sides_of_a_searchs_split(folds, rows) -> None:
    labels = np.arange(600) % 4
    groups = np.random.default_rng(0).integers(0, 40, 600)
    settings = ScoringSettings(rows=rows, copies=1, folds=folds, race_folds=3, seed=0)
    mixed = Splits(labels, settings)
    assert any(set(groups[one]) & set(groups[other]) for one, other in sides(mixed))
    splits = Splits(labels, settings, None, groups)
    for train, held_out in sides(splits):
        assert not set(groups[train]) & set(groups[held_out])
        assert len(np.intersect1d(train, held_out)) == 0 and len(held_out)
        assert set(labels[train]) == set(labels[held_out]) == set(range(4))
    if not folds:
        train, held_out = splits.trial[0]
        wanted = (rows, rows // 2) if rows == 60 else (400, 200)
        assert abs(len(train) - wanted[0]) <= 30 and abs(len(held_out) - wanted[1]) <= 30


def test_without_groups_the_rows_are_those_of_before() -> None:
    labels = np.arange(600) % 4
    settings = ScoringSettings(rows=100, copies=1, folds=0, race_folds=3, seed=5)
    wanted = holdout(labels, 100, 50, 5)
    for one, other in zip(Splits(labels, settings).trial[0], wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_a_given_fold_stand_together_and_rows_without_one_are_trained_on() -> None:
    labels = np.arange(600) % 4
    given = np.arange(600) // 4 % 5
    given[:40] = -1
    settings = ScoringSettings(rows=1000, copies=1, folds=0, race_folds=3, seed=0)
    for train, held_out in sides(Splits(labels, settings, None, given)):
        assert not set(given[train]) & set(given[held_out])
        assert set(range(40)) <= set(train.tolist())


def test_one_group_alone_cannot_be_searched_on() -> None:
    settings = ScoringSettings(rows=30, copies=1, folds=0, race_folds=3, seed=0)
    with pytest.raises(DataError, match="are of one group"):
        Splits(np.arange(60) % 2, settings, None, np.zeros(60, np.int64))
    two = np.arange(60) // 30
    assert Splits(np.arange(60) % 2, settings, None, two).race_folds == 2
    settings = dataclasses.replace(settings, folds=3)
    with pytest.raises(DataError, match="rows of 2 groups or folds of the data; 3 folds need 3"):
        Splits(np.arange(60) % 2, settings, None, two)
