"""Members and blends on planted predictions: what is averaged, what is refused, what is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ensembles import member_training
from ensembles.blending import account, evaluate_methods, make_blend, write_submission
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.pool import make_pool
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.predictions import score, softmax
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey

CONFIGS = [TrainingConfig(), TrainingConfig(depth=1)]
SETTINGS = CrossValidationSettings(folds=3, epochs=2, copies=1, seed=0)


@pytest.fixture
def dataset(made, workspace):
    return load(made.folder, workspace)


@pytest.fixture
def folds(dataset, workspace):
    return make_folds(dataset, 3, 0, workspace)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Put noise around the truth in the place of training; return the jobs that ran."""
    jobs: list[object] = []

    def train(job, dataset, bank, checkpoints, progress, **_):
        jobs.append(job)
        random = np.random.default_rng(job.seed)
        truth = np.eye(3)[dataset.labels[job.held_out_rows]] * 2
        return SimpleNamespace(
            held_out=softmax(truth + random.normal(size=truth.shape)),
            test=softmax(random.normal(size=(len(dataset.test_images), 3))),
            history=[1.0, 0.5],
            seconds=1.0,
            record={"hardware": {}},
            checkpoint=tmp_path / "none",
        )

    monkeypatch.setattr(member_training, "train", train)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    return jobs


@pytest.fixture
def keys(dataset, workspace, trained) -> list[MemberKey]:
    return cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys


def test_whole_fold_sets_come_first(keys, trained):
    assert [(job.config, key.fold) for job, key in zip(trained, keys, strict=True)] == [
        (config, fold) for config in CONFIGS for fold in range(3)
    ]


def test_members_train_outside_their_fold_and_predict_it(keys, trained, folds, dataset):
    for job, key in zip(trained, keys, strict=True):
        assert job.held_out_rows.tolist() == folds.held_out_rows(key.fold).tolist()
        assert not set(job.train_rows) & set(job.held_out_rows)
        assert len(job.train_rows) + len(job.held_out_rows) == len(dataset.labels)
        assert job.predict_test


def test_members_have_seeds_of_their_own_that_do_not_hang_on_the_others(keys, dataset, workspace):
    assert len({key.seed for key in keys}) == 6
    alone = cross_validate(CONFIGS[1:], dataset, workspace, SETTINGS, Silent()).keys
    assert alone == keys[3:]


def test_a_finished_member_is_never_trained_again(keys, trained, dataset, workspace):
    store = MemberStore(workspace)
    missing = keys[4]
    for path in store.path(missing).iterdir():
        path.unlink()
    store.path(missing).rmdir()
    assert cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys == keys
    assert len(trained) == 7 and trained[-1].config == CONFIGS[1]


def test_keys_survive_json(keys):
    for key in keys:
        assert MemberKey.from_json(json.loads(json.dumps(key.to_json()))) == key
    assert len({key.name for key in keys}) == 6


def mean_blend(pool, folds, labels):
    (mean,) = evaluate_methods(["mean"], pool, labels, folds, Silent())
    return make_blend(mean, pool)


def test_the_blend_is_the_mean_and_out_of_fold(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    pool, missing = make_pool(keys, store, dataset, folds)
    blend = mean_blend(pool, folds, dataset.labels)
    assert not missing and pool.members == tuple(key.name for key in keys)
    members = [store.load(key, (10, 12), 3) for key in keys]
    row = 17
    fold = folds.of_row[row]
    place = folds.held_out_rows(fold).tolist().index(row)
    own = [member.held_out[place] for member in members if member.key.fold == fold]
    assert len(own) == 2
    np.testing.assert_allclose(blend.oof[row], np.mean(own, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        blend.test[5], np.mean([member.test[5] for member in members], axis=0), rtol=1e-6
    )
    assert blend.honest == blend.fitted == score(blend.oof, dataset.labels)
    np.testing.assert_allclose(blend.oof.sum(axis=1), 1, atol=1e-12)


def test_configurations_without_all_folds_are_left_out(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    gone = store.path(keys[5])
    (gone / "member.json").unlink()
    pool, missing = make_pool(keys, store, dataset, folds)
    assert pool.members == tuple(key.name for key in keys[:3]) and missing == [keys[5]]
    assert pool.names == (keys[0].set_name,)
    (store.path(keys[0]) / "member.json").unlink()
    with pytest.raises(ArtefactError, match="No configuration has all its folds trained yet"):
        make_pool(keys, store, dataset, folds)


def test_a_plan_that_lacks_a_fold_makes_no_set(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    pool, missing = make_pool(keys[1:], store, dataset, folds)
    assert pool.names == (keys[3].set_name,) and missing == []


def test_members_of_other_data_or_folds_are_refused(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    other = dataclasses.replace(dataset, digest="0" * 16)
    with pytest.raises(ArtefactError, match="was made from other data"):
        make_pool(keys, store, other, folds)
    others = make_folds(dataset, 3, 1, workspace)
    with pytest.raises(ArtefactError, match="was made from other folds"):
        make_pool(keys, store, dataset, others)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((12, 3), dtype=np.float32), "is no probability distribution"),
        (np.full((11, 3), 1 / 3, dtype=np.float32), r"has shape \(11, 3\); expected \(12, 3\)"),
        (np.full((12, 4), 1 / 4, dtype=np.float32), r"has shape \(12, 4\)"),
        (None, "cannot be read"),
    ],
)
def test_broken_members_are_refused(keys, dataset, folds, workspace, array, says):
    store = MemberStore(workspace)
    path = store.path(keys[2]) / "test.npy"
    if array is None:
        path.write_bytes(path.read_bytes()[:-7])
    else:
        np.save(path, array)
    with pytest.raises(ArtefactError, match=says):
        make_pool(keys, store, dataset, folds)


def test_a_member_under_another_name_is_refused(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    about = store.path(keys[1]) / "member.json"
    about.write_text((store.path(keys[0]) / "member.json").read_text())
    with pytest.raises(ArtefactError, match="holds another member than its name says"):
        make_pool(keys, store, dataset, folds)


def test_stored_members_are_read_back(keys, dataset, folds, workspace):
    store = MemberStore(workspace)
    member = store.load(keys[0], (10, 12), 3)
    store.add(member)
    again = store.load(keys[0], (10, 12), 3)
    assert isinstance(again, Member) and again.record == member.record
    assert np.array_equal(again.held_out, member.held_out)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_submission_has_the_samples_form(made, workspace, trained, newline, final, mark):
    ids = [f"n{number}" for number in range(12)]
    text = newline.join(["Id,Digit", *(f"{name},0" for name in ids)]) + (newline if final else "")
    (made.folder / "sample_submission.csv").write_bytes(mark + text.encode())
    dataset = load(made.folder, workspace)
    keys = cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys
    folds = make_folds(dataset, 3, 0, workspace)
    pool, _ = make_pool(keys, MemberStore(workspace), dataset, folds)
    blend = mean_blend(pool, folds, dataset.labels)
    facts = account(blend, pool, dataset, folds)
    copy = workspace.root / "elsewhere" / "mine.csv"
    assert write_submission(blend, facts, dataset, workspace, copy) == copy
    labels = [dataset.competition.classes[index] for index in blend.test.argmax(axis=1)]
    lines = ["Id,Digit", *(f"{name},{label}" for name, label in zip(ids, labels, strict=True))]
    wanted = mark + (newline.join(lines) + (newline if final else "")).encode()
    assert copy.read_bytes() == wanted
    assert (workspace.submissions / "submission.csv").read_bytes() == wanted
    about = json.loads((workspace.submissions / "submission.json").read_text())
    assert about["sha256"] == hashlib.sha256(wanted).hexdigest()
    assert about["members"] == [key.name for key in keys]
    assert about["oof_accuracy"] == blend.honest.accuracy and about["rows"] == 30
