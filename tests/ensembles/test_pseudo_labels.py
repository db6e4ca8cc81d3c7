"""Pseudo-labels: which test images join, and that no label of a fold can reach its members."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ensembles import trainer
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.pseudo_labels import PseudoRule, helpers, make_rule, select, unsmoothed
from kaggle_digits.core.folds import make_folds
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore

CONFIGS = [TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2)]
RULE = PseudoRule(threshold=0.5, share=0.8, rounds=2)
SETTINGS = CrossValidationSettings(folds=3, epochs=2, copies=2, seed=0, seeds=2, pseudo=RULE)
FOLD = 1


def confident(*highest: float, classes: int = 4) -> np.ndarray:
    """Return softmax rows whose class `row % classes` has the given probability."""
    rest = (1 - np.asarray(highest)) / (classes - 1)
    found = np.repeat(rest[:, np.newaxis], classes, axis=1)
    found[np.arange(len(highest)), np.arange(len(highest)) % classes] = highest
    return found


def test_images_above_the_threshold_join_with_their_probabilities() -> None:
    predictions = confident(0.96, 0.5, 0.95, 0.949, 0.99)
    labels = select([predictions], PseudoRule(threshold=0.95))
    assert labels.rows.tolist() == [0, 2, 4] and labels.rows.dtype == np.int64
    assert labels.targets.dtype == np.float32
    np.testing.assert_allclose(labels.targets, predictions[[0, 2, 4]], rtol=1e-6)


def test_hard_labels_are_the_class_alone() -> None:
    labels = select([confident(0.96, 0.5, 0.95)], PseudoRule(0.95, targets="hard"))
    assert labels.targets.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("share", "rows"), [(1.0, [0, 1, 2, 4]), (0.6, [0, 1, 4]), (0.4, [1, 4]), (0.2, [4])]
)
def test_a_share_takes_the_most_confident_and_of_equals_the_first(share, rows) -> None:
    predictions = confident(0.96, 0.97, 0.96, 0.2, 0.99)
    assert select([predictions], PseudoRule(0.95, share=share)).rows.tolist() == rows


def test_helpers_are_averaged() -> None:
    first, second = confident(0.99, 0.99), confident(0.99, 0.9)
    labels = select([first, second], PseudoRule(threshold=0.95))
    assert labels.rows.tolist() == [0]
    labels = select([first, second], PseudoRule(threshold=0.94))
    np.testing.assert_allclose(labels.targets[1], (first[1] + second[1]) / 2, rtol=1e-6)


def test_by_default_all_images_join_however_unsure() -> None:
    assert select([np.full((3, 10), 0.1)], PseudoRule()).rows.tolist() == [0, 1, 2]


def test_label_smoothing_is_taken_out_exactly_and_never_goes_below_nothing() -> None:
    meant = np.array([[0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    answered = meant * (1 - 0.2) + 0.2 / 4
    np.testing.assert_allclose(unsmoothed(answered, 0.2), meant, atol=1e-12)
    np.testing.assert_allclose(unsmoothed(meant, 0.0), meant, atol=1e-12)
    surer = unsmoothed(np.array([[0.97, 0.01, 0.01, 0.01]]), 0.2)
    assert surer.tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pseudo_threshold": 0.0}, "--pseudo-threshold was given as 0.0; expected above 0.0"),
        ({"pseudo_threshold": 1.1}, "--pseudo-threshold was given as 1.1"),
        ({"pseudo_share": 0.0}, "--pseudo-share was given as 0.0"),
        ({"pseudo_share": float("nan")}, "--pseudo-share was given as nan"),
        ({"pseudo_rounds": 11}, "--pseudo-rounds was given as 11"),
        ({"pseudo_targets": "firm"}, "--pseudo-targets was given as 'firm'"),
    ],
)
def test_values_out_of_range_are_refused_by_their_option(options, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make_rule(options, wanted=True)


def test_options_need_the_flag_they_belong_to() -> None:
    none = {"pseudo_share": None, "pseudo_rounds": None}
    assert make_rule(none, wanted=False) is None
    assert make_rule(none, wanted=True) == PseudoRule()
    assert make_rule(none | {"pseudo_rounds": 2}, wanted=True) == PseudoRule(rounds=2)
    with pytest.raises(ConfigurationError, match="--pseudo-rounds was given without"):
        make_rule(none | {"pseudo_rounds": 2}, wanted=False)


# --- the rounds


@pytest.fixture
def run(dataset, workspace, planted):
    def run(*configs, **options):
        settings = dataclasses.replace(SETTINGS, **options)
        return cross_validate(configs, dataset, workspace, settings, Silent(), planted.clock)

    return run


def rounds(keys) -> list[tuple[int, int, int]]:
    return list(dict.fromkeys((key.config.depth, key.repeat, key.round) for key in keys))


def test_the_plan_holds_the_members_without_and_those_of_the_last_round(run, workspace) -> None:
    done = run(*CONFIGS)
    assert rounds(done.keys) == [(d, r, n) for n in (0, 2) for r in (0, 1) for d in (1, 2)]
    assert (done.trained, len(done.keys)) == (36, 24)
    store = MemberStore(workspace)
    assert rounds(store.on_disk()) != rounds(done.keys)  # the round between lies beside them
    assert len({key.name for key in store.on_disk()}) == 36
    assert run(*CONFIGS).trained == 0


def test_helpers_are_all_members_of_the_fold_of_the_round_before(run, workspace, planted) -> None:
    keys = run(*CONFIGS).keys
    store = MemberStore(workspace)
    for key in keys[12:]:
        about = store.record(key)["pseudo_labels"]
        names = [k.name for k in store.on_disk() if (k.fold, k.round) == (key.fold, 1)]
        assert sorted(about["helpers"]) == names and len(names) == 4
        assert about["rows"] > 0
    job = next(j for j in planted.jobs if j.pseudo_labels is not None)  # fold 0, round 1
    before = [k for k in keys if (k.fold, k.round) == (0, 0)]
    tests = [unsmoothed(store.load(k, (10, 12), 3).test, k.config.label_smoothing) for k in before]
    wanted = select(tests, RULE)
    assert np.array_equal(job.pseudo_labels.rows, wanted.rows)
    assert np.array_equal(job.pseudo_labels.targets, wanted.targets)


def test_another_rule_or_other_helpers_make_other_members(run) -> None:
    def last(*configs, **options):
        return {key.name for key in run(*configs, **options).keys if key.round}

    wanted = last(*CONFIGS, pseudo=PseudoRule(0.5))
    for rule in (PseudoRule(0.6), PseudoRule(0.5, share=0.9), PseudoRule(0.5, targets="hard")):
        assert not wanted & last(*CONFIGS, pseudo=rule)
    assert not wanted & last(CONFIGS[0], pseudo=PseudoRule(0.5))
    # A second round goes on from the first, it does not begin anew.
    before = run(*CONFIGS, pseudo=PseudoRule(0.5)).trained
    assert (before, run(*CONFIGS, pseudo=PseudoRule(0.5, rounds=2)).trained) == (0, 12)


def test_a_rule_that_no_image_fulfils_is_refused(run, planted) -> None:
    planted.sharpness = 1e-9
    with pytest.raises(ConfigurationError, match="No test image becomes a pseudo-label for fold 0"):
        run(*CONFIGS)


def test_with_a_budget_the_rounds_share_the_time(run, planted, monkeypatch) -> None:
    from types import SimpleNamespace

    from ensembles import member_training

    monkeypatch.setattr(
        member_training,
        "measure",
        lambda *_, **__: SimpleNamespace(
            images_per_second=20.0, start_up=0.7, predictions_per_second=1e9
        ),
    )
    done = run(CONFIGS[0], pseudo=PseudoRule(0.5), budget=41)
    # A set of three takes 9 s; each round has some 20 s.
    assert rounds(done.keys) == [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)]
    assert planted.now == 36
    again = run(CONFIGS[0], pseudo=PseudoRule(0.5), budget=41)
    assert again.keys == done.keys and again.trained == 0


# --- no label of a fold can reach its members


def with_other_labels_in(dataset, rows):
    """Return the data with the labels of some rows moved on to the next class."""
    labels = dataset.labels.copy()
    labels[rows] = (labels[rows] + 1) % 3
    return dataclasses.replace(dataset, labels=labels)


def trained_on(dataset, changed, folder, planted):
    """Train all rounds in a workspace of its own; return what came of each member."""
    place = Workspace(folder)
    folds = make_folds(dataset, 3, 0, place)  # drawn from the true labels in both
    planted.jobs.clear()
    planted.results.clear()
    shown = with_other_labels_in(dataset, folds.held_out_rows(FOLD)) if changed else dataset
    cross_validate(CONFIGS, shown, place, SETTINGS, Silent(), planted.clock)
    return list(zip(planted.jobs, planted.results, strict=True)), folds


def require_that_the_folds_members_are_the_same(dataset, tmp_path, planted) -> None:
    """Train with and without the labels of one fold changed; compare all that its members know."""
    wanted, folds = trained_on(dataset, False, tmp_path / "true", planted)
    found, _ = trained_on(dataset, True, tmp_path / "changed", planted)
    own = folds.held_out_rows(FOLD).tolist()
    helped, others_differ = [], []
    for (job, result), (other_job, other) in zip(wanted, found, strict=True):
        labels, other_labels = job.pseudo_labels, other_job.pseudo_labels
        same_predictions = np.array_equal(result.held_out, other.held_out) and np.array_equal(
            result.test, other.test
        )
        if job.held_out_rows.tolist() != own:
            others_differ.append(not same_predictions)
            continue
        helped.append(labels is not None)
        assert job.made_by("d", "b") == other_job.made_by("d", "b")
        if labels is not None:
            assert np.array_equal(labels.rows, other_labels.rows)
            assert np.array_equal(labels.targets, other_labels.targets)
        assert same_predictions
    assert helped == [False] * 4 + [True] * 8  # three rounds of two configurations, two seeds
    # The change was no small one: every member of the other folds has seen it.
    assert all(others_differ) and len(others_differ) == 24


def test_no_label_of_a_fold_reaches_its_members(dataset, tmp_path, planted) -> None:
    require_that_the_folds_members_are_the_same(dataset, tmp_path, planted)


def test_the_same_test_finds_a_leak(dataset, tmp_path, planted, monkeypatch) -> None:
    monkeypatch.setattr(trainer, "helpers", lambda members, fold: list(members))
    with pytest.raises(AssertionError):
        require_that_the_folds_members_are_the_same(dataset, tmp_path, planted)


def test_helpers_never_saw_the_fold(run) -> None:
    keys = run(*CONFIGS).keys
    for fold in range(3):
        found = helpers(keys, fold)
        assert {key.fold for key in found} == {fold} and len(found) == 8


@pytest.mark.slow  # by planted learners above; a network of a changed fold in core/test_training.py
def test_no_label_of_a_fold_reaches_its_networks(make, tmp_path) -> None:
    """The same with real networks."""
    from kaggle_digits.core.data import load

    config = TrainingConfig(filters=4, depth=1, batch_size=16, augmentation="none")
    settings = CrossValidationSettings(
        folds=2, epochs=2, copies=1, seed=0, pseudo=PseudoRule(threshold=0.1, share=0.5)
    )
    dataset = load(make(height=6, width=6, rows=48).folder, Workspace(tmp_path / "data"))
    found = []
    for changed in (False, True):
        place = Workspace(tmp_path / str(changed))
        own = make_folds(dataset, 2, 0, place).held_out_rows(FOLD)
        shown = with_other_labels_in(dataset, own) if changed else dataset
        keys = cross_validate([config], shown, place, settings, Silent()).keys
        store = MemberStore(place)
        found.append({(k.fold, k.round): store.load(k, (24, 12), 3) for k in keys})
        assert store.record(keys[2])["pseudo_labels"]["rows"] == 6
    for which in (0, 1):
        wanted, other = (members[FOLD, which] for members in found)
        assert np.array_equal(wanted.held_out, other.held_out)
        assert np.array_equal(wanted.test, other.test)
        wanted, other = (members[0, which] for members in found)
        assert not np.array_equal(wanted.test, other.test)
