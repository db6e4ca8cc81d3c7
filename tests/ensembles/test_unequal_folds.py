"""Fold sets of unequal folds in one blend: what is joined, and that its figures stay honest."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.evaluation import evaluate
from ensembles.methods import METHODS
from ensembles.pool import make_pool, other_folds
from kaggle_digits.core.folds import make_folds, stored_folds
from kaggle_digits.core.predictions import row_losses, score, softmax
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey, plan_path, read_plan, write_plan
from kaggle_digits.shell import cli

A, B = (TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2))
AT_HOME = CrossValidationSettings(folds=3, epochs=4, copies=4, seed=0)


def elsewhere(config, dataset, workspace, count, seed=0) -> list[MemberKey]:
    """Store a whole fold set that was not trained here; return its keys."""
    folds = make_folds(dataset, count, seed, workspace)
    store, keys = MemberStore(workspace), []
    random = np.random.default_rng(count + seed)
    for fold in range(count):
        key = MemberKey(config, fold, fold, 4, 4, dataset.digest, folds.digest, "b" * 16)
        rows = folds.held_out_rows(fold)
        counts = len(rows), len(dataset.test_images)
        arrays = [softmax(random.normal(size=(number, 3))) for number in counts]
        judged = dataclasses.asdict(score(arrays[0], dataset.labels[rows]))
        store.add(Member(key, *arrays, {"seconds": 1.0, "score": judged}))
        keys.append(key)
    return keys


def joined(workspace, keys) -> None:
    path = plan_path(workspace)
    write_plan(path, read_plan(path).joined_by(keys))


@pytest.fixture
def home(dataset, workspace, planted):
    """Train at home; options replace those of AT_HOME."""

    def home(*configs, **options) -> list[MemberKey]:
        settings = dataclasses.replace(AT_HOME, **options)
        return cross_validate(configs, dataset, workspace, settings, Silent(), planted.clock).keys

    return home


@pytest.fixture
def pool(dataset, workspace):
    """Make the pool of the plan."""

    def make():
        plan, store = read_plan(plan_path(workspace)), MemberStore(workspace)
        folds = make_folds(dataset, plan.folds, plan.seed, workspace)
        others = other_folds(plan.keys, folds, dataset, workspace)
        return make_pool(plan.keys, store, dataset, folds, others=others)

    return make


def test_each_row_is_joined_from_the_members_that_never_saw_it(
    home, pool, dataset, workspace
) -> None:
    """Of the same configuration even: three folds at home, five from elsewhere."""
    ours = home(A)
    theirs = elsewhere(A, dataset, workspace, 5)
    joined(workspace, theirs)
    made, missing = pool()
    assert missing == [] and made.folds == (3, 5)
    assert made.names == (ours[0].set_name, f"{theirs[0].set_name}-folds5")
    assert made.members == tuple(key.name for key in [*ours, *theirs])
    store = MemberStore(workspace)
    for place, (keys, count) in enumerate(((ours, 3), (theirs, 5))):
        folds = make_folds(dataset, count, 0, workspace)
        members = [store.load(key, (30 // count, 12), 3) for key in keys]
        for row in range(30):
            fold = folds.of_row[row]
            within = folds.held_out_rows(fold).tolist().index(row)
            wanted = members[fold].held_out[within]
            np.testing.assert_allclose(made.oof[place, row], wanted, rtol=1e-6)
        mean = np.mean([member.test for member in members], axis=0)
        np.testing.assert_allclose(made.test[place], mean, rtol=1e-6)


def test_folds_of_one_number_and_two_seeds_are_two_sets(home, pool, dataset, workspace) -> None:
    ours = home(A)
    theirs = elsewhere(A, dataset, workspace, 3, seed=7)
    joined(workspace, theirs)
    made, _ = pool()
    assert made.names == (ours[0].set_name, f"{ours[0].set_name}-seed7")


def test_a_set_of_other_folds_that_lacks_one_is_left_out(home, pool, dataset, workspace) -> None:
    home(A)
    theirs = elsewhere(B, dataset, workspace, 5)
    joined(workspace, theirs[:4])
    assert pool()[0].folds == (3,)


def test_folds_that_are_not_in_the_workspace_are_refused_by_name(
    home, pool, dataset, workspace
) -> None:
    home(A)
    joined(workspace, elsewhere(B, dataset, workspace, 5))
    (path,) = (workspace.ensembles / "folds").glob(f"{dataset.digest}-5-seed0.json")
    path.unlink()
    with pytest.raises(ArtefactError, match="was made from other folds"):
        pool()
    path.write_text("null")
    with pytest.raises(ArtefactError, match=r"5-seed0\.json is not the folds of a data set"):
        stored_folds(dataset, workspace)


@pytest.mark.parametrize("options", [{}, {"keep_weights": True}, {"budget": 60.0}])
def test_adding_keeps_what_came_from_elsewhere_and_never_trains_it(
    home, pool, dataset, workspace, planted, measured, options
) -> None:
    home(A)
    theirs = elsewhere(B, dataset, workspace, 5)
    joined(workspace, theirs)
    planted.jobs.clear()
    home(A, add=True, seeds=2, **options)
    assert {len(job.held_out_rows) for job in planted.jobs} == {10}
    plan = read_plan(plan_path(workspace))
    assert [key for key in plan.keys if key.folds == theirs[0].folds] == theirs
    assert 5 in pool()[0].folds


def test_the_same_budget_again_does_not_take_what_came_for_its_own(
    home, dataset, workspace, planted, measured
) -> None:
    first = home(A, budget=30.0)
    joined(workspace, elsewhere(B, dataset, workspace, 5))
    planted.jobs.clear()
    assert home(A, budget=30.0) == first
    assert planted.jobs == []


def test_a_set_of_other_folds_that_is_not_whole_leaves_the_plan_with_a_word(
    dataset, workspace, planted
) -> None:
    said: list[str] = []
    progress = Silent()
    progress.say = said.append  # type: ignore[method-assign]
    cross_validate([A], dataset, workspace, AT_HOME, progress, planted.clock)
    theirs = elsewhere(B, dataset, workspace, 5)
    joined(workspace, theirs)
    (MemberStore(workspace).path(theirs[2]) / "member.json").unlink()
    settings = dataclasses.replace(AT_HOME, add=True)
    keys = cross_validate([A], dataset, workspace, settings, progress, planted.clock).keys
    assert {key.folds for key in keys}.isdisjoint({theirs[0].folds})
    assert any("1 fold set of pseudo-labels or other folds" in line for line in said)


@pytest.fixture
def call(made, workspace, capfd):
    """Call the tool on the small competition; return its JSON object."""

    def call(*words: str) -> dict:
        given = ["--data", str(made.folder), "--workspace", str(workspace.root), "--json"]
        with pytest.raises(SystemExit) as ended:
            cli.cli([*words, *given], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    return call


def test_the_commands_take_members_from_home_and_elsewhere_in_one_blend(
    home, call, dataset, workspace, tmp_path: Path
) -> None:
    ours = home(A)
    theirs = elsewhere(B, dataset, workspace, 5)
    joined(workspace, theirs)
    shown = call("blend", "--method", "weighted", "--compare")
    assert shown["members"] == 8 and shown["set_folds"] == [3, 5]
    assert list(shown["weights"]) == [ours[0].set_name, f"{theirs[0].set_name}-folds5"]
    assert call("check")["valid"] is True
    listed = call("members")
    assert listed["planned"] == listed["trained"] == 8
    # Nothing to add: the sets from elsewhere are not configurations that were chosen here.
    assert call("cv-train", "--add", "--preset", "quick")["trained"] == 0
    assert len(call("members")["members"]) == 8


ROWS, FRESH, CLASSES = 3_000, 60_000, 3


def partition(count: int, seed: int) -> np.ndarray:
    of_row = np.arange(ROWS) % count
    np.random.default_rng(seed).shuffle(of_row)
    return of_row


def by_heart(
    labels: np.ndarray, buckets: np.ndarray, of_row: np.ndarray, *, seen: bool = False
) -> np.ndarray:
    """Softmax of networks that know their training rows by heart, for rows they never saw.

    A network says of a row what the labels of its training rows in the same bucket are; with `seen`
    the row's own label is among them.
    """
    oof = np.empty((ROWS, CLASSES))
    for fold in range(of_row.max() + 1):
        counts = np.full((buckets.max() + 1, CLASSES), 0.05)
        training = (of_row != fold) | seen
        np.add.at(counts, (buckets[training], labels[training]), 1.0)
        held_out = of_row == fold
        oof[held_out] = counts[buckets[held_out]]
    return oof / oof.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_members_that_know_their_training_rows_by_heart_bring_nothing(method) -> None:
    """Labels are drawn by lot: whatever is joined, unseen rows are guessed."""
    random = np.random.default_rng(3)
    labels = random.integers(0, CLASSES, ROWS)
    buckets = [random.integers(0, ROWS // 4, ROWS) for _ in range(5)]
    folds = [partition(count, number) for number, count in enumerate((4, 4, 10, 10, 5))]
    pairs = list(zip(buckets, folds, strict=True))
    sets = [by_heart(labels, *pair) for pair in pairs]
    assert all(score(by_heart(labels, *pair, seen=True), labels).accuracy > 0.5 for pair in pairs)
    found = evaluate(method, np.array(sets, np.float32), labels, partition(4, 0))
    for judged in (found.plain, found.calibrated):
        assert abs(judged.honest.accuracy - 1 / 3) < 3 * judged.honest.accuracy_se
        assert judged.honest.log_loss > np.log(3) - 2 * judged.honest.log_loss_se


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_the_honest_figure_is_that_of_unseen_rows(method) -> None:
    """Forty sets of little use, of four and of ten folds: the fit flatters, the figure does not."""
    random = np.random.default_rng(11)
    noises = random.uniform(2.0, 6.0, 40)

    def predict(labels: np.ndarray) -> np.ndarray:
        truth = np.eye(CLASSES)[labels]
        return np.array([
            softmax(2 * truth + noise * random.normal(size=truth.shape)) for noise in noises
        ])  # fmt: skip

    labels = random.integers(0, CLASSES, 600)
    probabilities = predict(labels)
    found = evaluate(method, probabilities, labels, partition(4, 0)[:600])
    fresh = random.integers(0, CLASSES, FRESH)
    applied = found.plain.rule.apply(predict(fresh))
    losses = row_losses(applied, fresh)
    honest = found.plain.honest
    assert abs(honest.log_loss - losses.mean()) < 3 * honest.log_loss_se
    assert abs(honest.accuracy - np.mean(applied.argmax(axis=1) == fresh)) < 3 * honest.accuracy_se
    if method.name in ("weighted", "stack"):
        assert found.plain.fitted.log_loss < honest.log_loss


def test_folds_carry_their_rows(dataset, workspace) -> None:
    made = [make_folds(dataset, count, seed, workspace) for count, seed in ((5, 0), (3, 0), (3, 7))]
    (workspace.ensembles / "folds" / f"{dataset.digest}-x-seed0.json").write_text("{}")
    found = {one.digest: (one.count, one.seed) for one in stored_folds(dataset, workspace)}
    assert found == {one.digest: (one.count, one.seed) for one in made}
