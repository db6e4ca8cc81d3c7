"""The bank and the training loop: seeds fix them, a resumed run ends as an undisturbed one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kaggle_digits.core import augmentation, training
from kaggle_digits.core.augmentation import POLICIES, Bank
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, TrainingError
from kaggle_digits.ground.progress import Silent

CONFIG = TrainingConfig(filters=8, depth=1, batch_size=16)


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60).folder, workspace)


@pytest.fixture
def bank(dataset, workspace):
    made = Bank(dataset, "standard", 0, workspace)
    made.ensure(2, 1, Silent())
    return made


def job(**changes) -> TrainingJob:
    given = TrainingJob(
        name="job",
        config=CONFIG,
        train_rows=np.arange(0, 40),
        held_out_rows=np.arange(40, 60),
        epochs=4,
        copies=2,
        seed=0,
        predict_test=True,
    )
    return dataclasses.replace(given, **changes)


def test_copies_have_seeds_of_their_own(dataset, bank, workspace):
    first, second = np.asarray(bank.copy(0)), np.asarray(bank.copy(1))
    assert first.shape == dataset.images.shape and first.dtype == np.uint8
    assert not np.array_equal(first, second)
    again = Bank(dataset, "standard", 0, workspace)
    assert again.digest == bank.digest
    assert Bank(dataset, "standard", 1, workspace).digest != bank.digest
    assert Bank(dataset, "light", 0, workspace).digest != bank.digest


def test_workers_make_the_same_copies(dataset, bank, tmp_path):
    from kaggle_digits.ground.workspace import Workspace

    other = Bank(dataset, "standard", 0, Workspace(tmp_path / "other"))
    other.ensure(2, 2, Silent())
    for index in range(2):
        assert np.array_equal(other.copy(index), bank.copy(index))


def test_a_bank_goes_on_and_mends_a_damaged_copy(dataset, bank, monkeypatch):
    wanted = np.array(bank.copy(1))
    (bank._path(1) / "images.npy").write_bytes(b"half")
    made: list[tuple[int, int]] = []
    real = augmentation.augment

    def counted(images, policy, seed):
        made.append(seed)
        return real(images, policy, seed)

    monkeypatch.setattr(augmentation, "augment", counted)
    bank.ensure(3, 1, Silent())
    assert made == [(0, 1), (0, 2)]
    assert np.array_equal(bank.copy(1), wanted)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_makes_images(dataset, workspace, policy):
    bank = Bank(dataset, policy, 0, workspace)
    bank.ensure(1, 1, Silent())
    copy = bank.copy(0)
    assert copy.shape == dataset.images.shape and copy.dtype == np.uint8
    assert np.array_equal(copy, dataset.images) == (policy == "none")


def test_outside_pixels_are_black():
    images = np.full((40, 28, 28), 255, dtype=np.uint8)
    policy = POLICIES["strong"]
    assert policy is not None
    assert augmentation.augment(images, policy, (0, 0))[:, 0, 0].min() == 0


def test_unknown_policy(dataset, workspace):
    with pytest.raises(ConfigurationError) as caught:
        Bank(dataset, "standart", 0, workspace)
    assert caught.value.mend == "Did you mean 'standard'?"


def test_every_copy_comes_once_before_any_comes_again(bank):
    walk = bank.order(seed=5, copies=4, epochs=10)
    assert len(walk) == 10
    assert sorted(walk[:4]) == sorted(walk[4:8]) == [0, 1, 2, 3]
    assert walk != bank.order(seed=6, copies=4, epochs=10)


class Stop(BaseException):
    """Stands for a kill after an epoch's checkpoint."""


def test_a_resumed_run_ends_where_an_undisturbed_one_does(dataset, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0.0)
    wanted = train(job(), dataset, bank, tmp_path / "a", Silent())
    assert np.array_equal(
        train(job(), dataset, bank, tmp_path / "b", Silent()).held_out, wanted.held_out
    )
    saved = training._Checkpoint.save

    def killed_after_two(self, model, state):
        saved(self, model, state)
        if len(state.history) == 2:
            raise Stop

    monkeypatch.setattr(training._Checkpoint, "save", killed_after_two)
    with pytest.raises(Stop):
        train(job(), dataset, bank, tmp_path / "c", Silent())
    monkeypatch.setattr(training._Checkpoint, "save", saved)
    resumed = train(job(), dataset, bank, tmp_path / "c", Silent())
    assert resumed.history == wanted.history
    assert np.array_equal(resumed.held_out, wanted.held_out)
    assert wanted.test is not None and resumed.test is not None
    assert np.array_equal(resumed.test, wanted.test)


def test_seeds_train_different_networks(dataset, bank, tmp_path):
    runs = [train(job(seed=seed), dataset, bank, tmp_path, Silent()) for seed in (0, 1)]
    assert not np.array_equal(runs[0].held_out, runs[1].held_out)


def test_a_damaged_checkpoint_means_the_start(dataset, bank, tmp_path):
    wanted = train(job(), dataset, bank, tmp_path, Silent())
    wanted.checkpoint.write_bytes(b"half")
    again = train(job(), dataset, bank, tmp_path, Silent())
    assert np.array_equal(again.held_out, wanted.held_out)


def test_predictions_are_softmax(dataset, bank, tmp_path):
    trained = train(job(), dataset, bank, tmp_path, Silent())
    assert trained.held_out.shape == (20, 3) and trained.held_out.dtype == np.float32
    assert trained.test is not None and trained.test.shape == (12, 3)
    np.testing.assert_allclose(trained.held_out.sum(axis=1), 1, atol=1e-5)
    assert trained.record["hardware"]["precision"] and len(trained.history) == 4
    assert train(job(predict_test=False), dataset, bank, tmp_path, Silent()).test is None


def test_held_out_labels_and_pixels_do_not_reach_the_training(dataset, bank, tmp_path):
    """Other labels of the held-out rows give the same network, bit for bit."""
    labels = dataset.labels.copy()
    labels[40:] = (labels[40:] + 1) % 3
    wanted = train(job(), dataset, bank, tmp_path / "a", Silent())
    other = train(
        job(), dataclasses.replace(dataset, labels=labels), bank, tmp_path / "b", Silent()
    )
    assert other.history == wanted.history
    assert np.array_equal(other.held_out, wanted.held_out)


def test_a_diverging_run_is_a_training_error(dataset, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "one_cycle", lambda peak, steps: float("nan"))
    with pytest.raises(TrainingError, match="job diverged: the loss of epoch"):
        train(job(), dataset, bank, tmp_path, Silent())
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    ("rows", "size"), [(28000, 256), (4096, 256), (4000, 248), (799, 48), (40, 16), (9, 9)]
)
def test_small_data_has_small_batches(rows, size):
    assert training._batch_size(256, rows) == size


@pytest.mark.parametrize("steps", [*range(1, 60), 109, 218, 219, 227, 328, 997])
def test_epochs_are_whole_calls(steps):
    per_call, kept = training._whole_calls(steps)
    assert kept % per_call == 0
    assert 0 <= steps - kept <= steps / 20


def test_the_schedule_rises_and_falls():
    training.hardware.prepare()
    rate = training.one_cycle(0.01, 1000)
    values = [float(rate(step)) for step in (0, 100, 200, 600, 999)]
    assert values[0] == pytest.approx(0.0004)
    assert values[2] == pytest.approx(0.01)
    assert values == sorted(values[:3]) + sorted(values[3:], reverse=True)
    assert 0 < values[-1] < 1e-5
