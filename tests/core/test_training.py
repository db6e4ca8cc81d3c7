"""The bank and the training loop: seeds fix them, a resumed run ends as an undisturbed one."""

from __future__ import annotations

import contextlib
import dataclasses
import threading

import numpy as np
import pytest

from kaggle_digits.core import augmentation, batches, hardware, optimization, training
from kaggle_digits.core.augmentation import POLICIES, Bank
from kaggle_digits.core.data import load
from kaggle_digits.core.inference import predict
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.predictions import softmax64
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, TrainingError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace

CONFIG = TrainingConfig(filters=8, depth=1, batch_size=16)


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60).folder, workspace)


@pytest.fixture
def bank(dataset, workspace):
    made = Bank(dataset, "standard", 0, workspace)
    made.ensure(range(2), Silent())
    return made


@pytest.fixture(scope="module")
def plain(made_in, tmp_path_factory):
    """`job()` on data like every test's, trained once."""
    folder = tmp_path_factory.mktemp("plain")
    workspace = Workspace(folder / "workspace")
    data = load(made_in(folder / "competition", height=8, width=8, rows=60).folder, workspace)
    bank = Bank(data, "standard", 0, workspace)
    bank.ensure(range(2), Silent())
    return train(job(), data, bank, folder, Silent())


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
    other = Bank(dataset, "standard", 0, Workspace(tmp_path / "other"))
    other.ensure(range(2), Silent())
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
    bank.ensure(range(3), Silent())
    assert made == [(0, 1), (0, 2)]
    assert np.array_equal(bank.copy(1), wanted)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_makes_images(dataset, workspace, policy):
    bank = Bank(dataset, policy, 0, workspace)
    bank.ensure(range(1), Silent())
    copy = bank.copy(0)
    assert copy.shape == dataset.images.shape and copy.dtype == np.uint8
    assert np.array_equal(copy, dataset.images) == (policy == "none")


def test_outside_pixels_are_black():
    images = np.full((40, 28, 28), 255, dtype=np.uint8)
    policy = POLICIES["strong"]
    assert policy is not None
    assert augmentation.augment(images, policy, (0, 0))[:, 0, 0].min() == 0


def test_augmented_strokes_stay_sharp():
    image = np.zeros((28, 28), np.uint8)
    image[5:23, 13:15] = image[12:14, 8:20] = 255
    policy = POLICIES["elastic"]
    made = augmentation.augment(np.repeat(image[np.newaxis], 200, axis=0), policy, (0, 0))
    grey = ((made > 40) & (made < 215)).sum() / (made > 10).sum()
    assert grey < 0.48  # by linear interpolation 0.51


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


RECIPES = {
    "sgd": dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=0.1),
    "muon": dataclasses.replace(CONFIG, optimizer="muon", weight_averaging=0.9),
    "averaged": dataclasses.replace(CONFIG, weight_averaging=0.9, spatial_dropout=0.2),
    "mixed": dataclasses.replace(CONFIG, mixup=0.4, cutmix=1.0, views=3),
    "plain": dataclasses.replace(CONFIG, batch_norm=False, family="wide", weight_averaging=0.5),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_ends_where_an_undisturbed_one_does(
    dataset, bank, tmp_path, monkeypatch, recipe
):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0.0)
    wanted_job = job(config=RECIPES[recipe])
    wanted = train(wanted_job, dataset, bank, tmp_path / "undisturbed", Silent())
    saved = training.Checkpoint.save
    for killed_after in (2, 4):  # called again it is killed again, after its last epoch

        def killed(self, model, state, epochs=killed_after):
            saved(self, model, state)
            if len(state.history) == epochs:
                raise Stop

        monkeypatch.setattr(training.Checkpoint, "save", killed)
        with pytest.raises(Stop):
            train(wanted_job, dataset, bank, tmp_path / "killed", Silent())
    monkeypatch.setattr(training.Checkpoint, "save", saved)
    resumed = train(wanted_job, dataset, bank, tmp_path / "killed", Silent())
    assert resumed.history == wanted.history
    assert np.array_equal(resumed.held_out, wanted.held_out)
    assert wanted.test is not None and resumed.test is not None
    assert np.array_equal(resumed.test, wanted.test)


def test_the_first_call_and_resumed_epochs_do_not_count_as_pace(dataset, bank, tmp_path):
    told: list[tuple[int, bool]] = []

    class Listening(Silent):
        def task(self, label, total, unit=""):
            return contextlib.nullcontext(self)

        def advance(self, by=1, note=None, *, timed=True):
            if by:
                told.append((by, timed))

    steps = batches.Batches(job(), dataset, bank).steps
    train(job(), dataset, bank, tmp_path, Listening())
    assert told == [(steps, False), *[(steps, True)] * 3], "traced in one call"
    told.clear()
    train(job(), dataset, bank, tmp_path, Listening())
    assert told == [(4 * steps, False)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_part_of_a_recipe_changes_the_result(dataset, bank, plain, tmp_path, recipe):
    changed = train(job(config=RECIPES[recipe]), dataset, bank, tmp_path, Silent())
    assert not np.array_equal(changed.held_out, plain.held_out)


def test_averaged_weights_have_statistics_of_their_own(dataset, bank):
    """A norm's statistics are those of the maps that the averaged weights make."""
    hardware.prepare()
    import keras

    config = dataclasses.replace(CONFIG, weight_averaging=0.9, dropout=0.0)
    wanted = job(config=config, train_rows=np.arange(16), epochs=6)
    run = training._Run(wanted, dataset, batches.Batches(wanted, dataset, bank))
    run.model.fit(run.batches.stream(0), epochs=6, steps_per_epoch=1, verbose=0, shuffle=False)
    images = next(run._last_images())
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in run.model.non_trainable_variables]
    optimization.take_average(run.model, [images])
    average = run.model.optimizer._model_variables_moving_average
    for now, kept in zip(run.model.trainable_variables, average, strict=True):
        assert np.array_equal(*map(keras.ops.convert_to_numpy, (now, kept)))
    assert any(
        not np.allclose(keras.ops.convert_to_numpy(now), then, rtol=0.1)
        for now, then in zip(run.model.non_trainable_variables, before, strict=True)
    )
    norm = next(x for x in run.model.layers if isinstance(x, keras.layers.BatchNormalization))
    maps = keras.Model(run.model.inputs[0], norm.input).predict_on_batch(images)
    np.testing.assert_allclose(
        np.asarray(norm.moving_mean),
        maps.astype(np.float32).mean(axis=(0, 1, 2)),
        rtol=0.02,
        atol=1e-3,
    )
    assert norm.momentum == 0.9


def test_mixing_keeps_pixels_and_targets_in_one_proportion():
    images = np.zeros((64, 10, 10), dtype=np.uint8)
    images[32:] = 200
    targets = np.repeat(np.eye(2, dtype=np.float32), 32, axis=0)
    for mixup, cutmix in ((0.5, 0.0), (0.0, 1.0), (0.5, 1.0)):
        random = np.random.default_rng(3)
        mixed_some = False
        for _ in range(20):
            mixed, soft = batches.mix(images, targets, mixup, cutmix, random)
            np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
            light = mixed.reshape(64, -1).mean(axis=1) / 200
            np.testing.assert_allclose(light, soft[:, 1], atol=0.01)
            mixed_some |= bool(((soft > 0.05) & (soft < 0.95)).any())
        assert mixed_some and mixed.dtype == np.uint8


def test_views_are_moves_of_the_image_itself(dataset, bank, tmp_path):
    from kaggle_digits.core import inference

    images = dataset.images[:5]
    assert np.array_equal(inference._moved(images, 0.0, 1.0, 0.0, 0.0), images)
    moved = inference._moved(images, 0.0, 1.0, 1 / 8, 0.0)
    assert np.array_equal(moved[:, :, 1:], images[:, :, :-1]) and not moved[:, :, 0].any()

    class Bright:
        def predict_on_batch(self, batch):
            corner = batch[:, 0, 0, 0].astype(np.float32) / 64
            return np.stack([corner, -corner], axis=1)

    alone = [inference.softmax(Bright().predict_on_batch(images[..., None]))]
    for move in inference._MOVES[:2]:
        alone.append(
            inference.softmax(Bright().predict_on_batch(inference._moved(images, *move)[..., None]))
        )
    found = inference.predict(Bright(), images, dataclasses.replace(CONFIG, views=3))
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)


def test_sure_images_are_seen_by_three_views_and_unsure_ones_by_all(monkeypatch):
    from kaggle_digits.core import inference

    seen = []

    class Network:
        """Says of each image the logits that its first pixels hold, and notes how many it saw."""

        def predict_on_batch(self, batch):
            seen.append(len(batch))
            return batch[:, 0, :3, 0].astype(np.float32)

    def moved(images, *move):
        brighter = images.copy()
        brighter[:, 0, 0] += inference._MOVES.index(move)
        return brighter

    monkeypatch.setattr(inference, "_moved", moved)
    images = np.zeros((6, 4, 4), np.uint8)
    images[:, 0, 0] = [30, 1, 30, 30, 0, 30]
    nine = dataclasses.replace(CONFIG, views=9, label_smoothing=0.0)
    found = inference.predict(Network(), images, nine)
    assert seen == [6, 6, 6, 2, 2, 2, 2, 2, 2]
    alone = [inference.predict(Network(), images[row : row + 1], nine) for row in range(6)]
    assert np.array_equal(found, np.concatenate(alone))
    for row, brightness in ((1, 1), (4, 0)):
        logits = np.zeros((9, 3))
        logits[:, 0] = brightness + np.array([0, *range(8)])
        np.testing.assert_allclose(found[row], softmax64(logits).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("smoothing", "sure", "unsure"), [(0.0, 0.991, 0.989), (0.1, 0.926, 0.924)]
)
def test_how_sure_a_network_is_does_not_count_the_smoothing_of_its_labels(smoothing, sure, unsure):
    from kaggle_digits.core import inference

    # Of three classes, .99 of a label and .005 of each other one are smoothed to
    # .99 (1 - s) + s / 3.
    for top, is_sure in ((sure, True), (unsure, False)):
        said = np.array([[top, (1 - top) / 2, (1 - top) / 2]])
        assert (inference._confidence(said, smoothing)[0] >= inference._SURE) == is_sure


def test_a_gpu_is_given_batches_of_one_size(dataset, monkeypatch):
    from kaggle_digits.core import inference

    sizes = []

    class Bright:
        def predict_on_batch(self, batch):
            sizes.append(len(batch))
            return batch[:, :3, 4, 0].astype(np.float32) / 64

    twice = dataclasses.replace(CONFIG, views=2)
    here = inference.predict(Bright(), dataset.images, twice)
    assert sizes == [len(dataset.images)] * 2
    gpu = dataclasses.replace(hardware.prepare(), device="H200")
    monkeypatch.setattr(hardware, "prepare", lambda: gpu)
    monkeypatch.setattr(inference, "_GPU_BATCH", 16)
    sizes.clear()
    assert np.array_equal(inference.predict(Bright(), dataset.images, twice), here)
    assert set(sizes) == {16} and len(sizes) == 2 * -(-len(dataset.images) // 16)


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_views_are_the_same_image_by_image(dataset, count):
    from kaggle_digits.core import inference

    images = dataset.images[:count]
    for move in inference._MOVES[:4]:
        alone = [inference._moved(images[row : row + 1], *move) for row in range(count)]
        assert np.array_equal(inference._moved(images, *move), np.concatenate(alone))


def pseudo_labels(count: int = 6) -> PseudoLabels:
    rows = np.arange(count) * 2
    return PseudoLabels(rows, np.full((count, 3), 1 / 3, dtype=np.float32))


def test_pseudo_labelled_test_images_join_every_epoch(dataset, bank, workspace):
    test_bank = Bank(dataset, "standard", 0, workspace, "test")
    test_bank.ensure(range(2), Silent())
    assert test_bank.copy(0).shape == dataset.test_images.shape
    wanted = job(train_rows=np.arange(0, 26), pseudo_labels=pseudo_labels(), epochs=3)
    fed = batches.Batches(wanted, dataset, bank, test_bank)
    assert fed.rows == 32 == 26 + 6
    walk = bank.order(wanted.seed, wanted.copies, wanted.epochs)
    stream = list(fed.after(0))
    assert len(stream) == 3 * fed.steps
    for epoch in range(3):
        part = stream[epoch * fed.steps : (epoch + 1) * fed.steps]
        images = np.concatenate([images for images, _ in part])[..., 0]
        targets = np.concatenate([targets for _, targets in part])
        soft = targets.max(axis=1) < 0.5
        own, other = bank.copy(walk[epoch]), test_bank.copy(walk[epoch])
        assert sorted(x.tobytes() for x in images[soft]) == sorted(
            other[row].tobytes() for row in pseudo_labels().rows
        )
        assert sorted(x.tobytes() for x in images[~soft]) == sorted(
            own[row].tobytes() for row in range(26)
        )


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_an_accelerator_is_fed_the_same_batches_from_ahead(dataset, bank, monkeypatch, backend):
    fed = batches.Batches(job(), dataset, bank)
    gpu = dataclasses.replace(hardware.prepare(), device="H200", backend=backend)
    monkeypatch.setattr(hardware, "prepare", lambda: gpu)
    taken = list(fed.stream(1))
    assert len(taken) == 3 * fed.steps
    for (images, targets), (wanted, labels) in zip(taken, fed.after(1), strict=True):
        assert np.array_equal(np.asarray(images), wanted) and np.asarray(images).dtype == np.uint8
        assert np.array_equal(np.asarray(targets), labels)


def test_batches_are_made_so_far_ahead_and_no_further_once_nobody_takes_them():
    made = []

    def source():
        for number in range(1000):
            made.append(number)
            yield (np.array(number),)

    before = threading.active_count()
    taken = batches.ahead(source())
    assert [int(np.asarray(next(taken)[0])) for _ in range(3)] == [0, 1, 2]
    taken.close()
    assert threading.active_count() == before
    assert 3 <= len(made) <= 3 + batches._PREFETCHED_BATCHES


def test_what_goes_wrong_ahead_is_said_in_its_turn():
    def source():
        yield (np.array(0),)
        raise ArtefactError("the copy is damaged", mend="make it anew")

    taken = batches.ahead(source())
    assert int(np.asarray(next(taken)[0])) == 0
    with pytest.raises(ArtefactError, match="damaged"):
        next(taken)


def test_pseudo_labels_decide_the_job():
    plain, soft, hard = (
        job(pseudo_labels=given).made_by("data", "bank")
        for given in (
            None,
            pseudo_labels(),
            PseudoLabels(pseudo_labels().rows, np.eye(3, dtype=np.float32)[[0] * 6]),
        )
    )
    assert plain != soft and soft != hard


def test_a_kept_network_predicts_what_the_member_did(dataset, bank, tmp_path):
    from kaggle_digits.core import inference

    path = tmp_path / "kept" / "model.keras"
    trained = train(
        job(config=RECIPES["averaged"]), dataset, bank, tmp_path, Silent(), model_file=path
    )
    again = inference.predict(inference.load(path), dataset.test_images)
    assert trained.test is not None and np.array_equal(again, trained.test)
    path.write_bytes(b"half")
    with pytest.raises(ArtefactError, match="cannot be read as a network"):
        inference.load(path)


def test_throughput_is_measured(dataset, bank):
    found = training.measure(CONFIG, dataset, bank, seconds=0.2)
    assert found.images_per_second > 0 and found.predictions_per_second > 0
    assert found.start_up > 0


def test_seeds_train_different_networks(dataset, bank, plain, tmp_path):
    other = train(job(seed=1), dataset, bank, tmp_path, Silent())
    assert not np.array_equal(other.held_out, plain.held_out)


def test_a_damaged_checkpoint_means_the_start(dataset, bank, plain, tmp_path):
    place = tmp_path / plain.checkpoint.name
    place.write_bytes(b"half")
    again = train(job(), dataset, bank, tmp_path, Silent())
    assert again.checkpoint == place, "the same file"
    assert np.array_equal(again.held_out, plain.held_out)


def test_predictions_are_softmax(dataset, bank, plain, tmp_path):
    assert plain.held_out.shape == (20, 3) and plain.held_out.dtype == np.float32
    assert plain.test is not None and plain.test.shape == (12, 3)
    np.testing.assert_allclose(plain.held_out.sum(axis=1), 1, atol=1e-5)
    assert plain.record["hardware"]["precision"] and len(plain.history) == 4
    assert train(job(predict_test=False), dataset, bank, tmp_path, Silent()).test is None


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_network_computes_in_the_precision_that_its_record_names(
    dataset, bank, tmp_path, monkeypatch, precision
):
    """Keras' clear_session drops the precision: networks were trained in float32 without a word."""
    ran_on = dataclasses.replace(hardware.prepare(), precision=precision)
    monkeypatch.setattr(hardware, "prepare", lambda: ran_on)
    computed = []

    def watched(model, images, *seen_as):
        computed.append({layer.compute_dtype for layer in model.layers if layer.weights})
        return predict(model, images, *seen_as)

    monkeypatch.setattr(training, "predict", watched)
    trained = train(job(), dataset, bank, tmp_path, Silent())
    monkeypatch.undo()
    hardware.begin_network()
    assert trained.record["hardware"]["precision"] == precision
    # The classifier alone is float32 in every case.
    wanted = {"float32"} if precision == "float32" else {"float32", "bfloat16"}
    assert computed == [wanted, wanted]


def test_held_out_labels_and_pixels_do_not_reach_the_training(dataset, bank, plain, tmp_path):
    """Other labels of the held-out rows give the same network, bit for bit."""
    labels = dataset.labels.copy()
    labels[40:] = (labels[40:] + 1) % 3
    other = train(job(), dataclasses.replace(dataset, labels=labels), bank, tmp_path, Silent())
    assert other.history == plain.history
    assert np.array_equal(other.held_out, plain.held_out)


def test_a_diverging_run_is_a_training_error(dataset, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(optimization, "one_cycle", lambda peak, steps: float("nan"))
    with pytest.raises(TrainingError, match="job diverged: the loss of epoch"):
        train(job(), dataset, bank, tmp_path, Silent())
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    ("rows", "size"), [(28000, 256), (4096, 256), (4000, 248), (799, 48), (40, 16), (9, 9)]
)
def test_small_data_has_small_batches(rows, size):
    assert batches.batch_size(256, rows) == size


@pytest.mark.parametrize("steps", [*range(1, 60), 109, 218, 219, 227, 328, 997])
def test_epochs_are_whole_calls(steps):
    per_call, kept = batches.whole_calls(steps)
    assert kept % per_call == 0
    assert 0 <= steps - kept <= steps / 20


def test_the_schedule_rises_and_falls():
    hardware.prepare()
    rate = optimization.one_cycle(0.01, 1000)
    values = [float(rate(step)) for step in (0, 100, 200, 600, 999)]
    assert values[0] == pytest.approx(0.0004)
    assert values[2] == pytest.approx(0.01)
    assert values == sorted(values[:3]) + sorted(values[3:], reverse=True)
    assert 0 < values[-1] < 1e-5
