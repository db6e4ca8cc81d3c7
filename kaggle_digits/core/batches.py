"""What a network is fed: the rows of each epoch, in batches that the bank's copies fill."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.ground import seeds

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_PREFETCHED_BATCHES = 64
_STEPS_PER_CALL = range(8, 25)
_SMALLEST_BATCH = 16
_FEWEST_STEPS = 16


class Batches:
    """The batches of a job.

    Args:
        job: Whose rows, labels (or probabilities in their place) and seed they are of.
        dataset: The data.
        bank: Copies of the training images.
        test_bank: Copies of the test images; needed with pseudo-labels only.

    Attributes:
        size: Images per batch.
        steps_per_call: Steps that Keras runs per call of its compiled function.
        steps: Batches per epoch.
        rows: Rows per epoch: `steps` × `size`.
    """

    def __init__(
        self, job: TrainingJob, dataset: Dataset, bank: Bank, test_bank: Bank | None = None
    ) -> None:
        self._job = job
        self._classes = len(dataset.competition.classes)
        shape = dataset.competition.shape
        self._sides = (shape.height, shape.width, shape.planes)
        self._bank = bank
        self._test_bank = test_bank
        self._walk = bank.order(job.seed, job.copies, job.epochs)
        if job.targets is None:
            one_hot = np.eye(self._classes, dtype=np.float32)
            self._targets = one_hot[dataset.labels[job.train_rows]]
        else:
            self._targets = job.targets
        self._own = len(job.train_rows)
        self._places = bank.places(job.train_rows)
        self._weights: np.ndarray | None = None
        if job.config.class_weights == "balanced":
            self._weights = balanced(self._targets)
        if job.pseudo_labels is not None:
            assert test_bank is not None, "pseudo-labels need copies of the test images"
            self._targets = np.concatenate([self._targets, job.pseudo_labels.targets])
        self.size = batch_size(job.config.batch_size, len(self._targets))
        self.steps_per_call, self.steps = whole_calls(len(self._targets) // self.size)
        if hardware.prepare().backend == "torch":
            self.steps_per_call = 1  # Keras on PyTorch runs single steps only
        self.rows = self.steps * self.size

    def stream(self, done: int) -> Any:
        """Return what `fit` reads from: all batches of the epochs from `done` on.

        For an accelerator they are made far ahead of the steps.
        """
        ran_on = hardware.prepare()
        if ran_on.backend != "tensorflow":
            return self.after(done) if ran_on.device == "cpu" else ahead(self.after(done))
        import tensorflow

        stream = tensorflow.data.Dataset.from_generator(
            lambda: self.after(done),
            output_signature=(
                tensorflow.TensorSpec((self.size, *self._sides), "uint8"),
                tensorflow.TensorSpec((self.size, self._classes), "float32"),
                *(
                    [tensorflow.TensorSpec((self.size,), "float32")]
                    if self._weights is not None
                    else []
                ),
            ),
        ).prefetch(_PREFETCHED_BATCHES)
        # The autotuner's thread sleeps up to a minute at a time, and a pipeline's end waits for it.
        options = tensorflow.data.Options()
        options.autotune.enabled = False
        return stream.with_options(options)

    def after(self, done: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield uint8 [size, height, width, planes] and float32 targets [size, classes].

        With class weights, each row's as a third, float32 [size]; mixed images have the mean.
        """
        job = self._job
        for epoch in range(done, job.epochs):
            random = np.random.default_rng(seeds.of_network(job.seed, seeds.Purpose.ROWS, epoch))
            order = self._order(epoch, random)[: self.rows]
            copies = [self._bank.copy(self._walk[epoch])]
            if self._test_bank is not None and job.pseudo_labels is not None:
                copies.append(self._test_bank.copy(self._walk[epoch]))
            for chosen in order.reshape(self.steps, self.size):
                images, targets = self._images(chosen, *copies), self._targets[chosen]
                if job.config.mixup or job.config.cutmix:
                    images, targets = mix(
                        images, targets, job.config.mixup, job.config.cutmix, random
                    )
                shaped = images.reshape(self.size, *self._sides)
                if self._weights is None:
                    yield shaped, targets
                else:
                    yield shaped, targets, targets @ self._weights

    def _order(self, epoch: int, random: np.random.Generator) -> np.ndarray:
        """Return the order of an epoch's rows, `rows` of them or more."""
        return random.permutation(len(self._targets))

    def _images(self, chosen: np.ndarray, train: np.ndarray, test: Any = None) -> np.ndarray:
        pseudo = self._job.pseudo_labels
        if pseudo is None:
            picked: np.ndarray = train[self._places[chosen]]
            return picked
        own = chosen < self._own
        images = np.empty((len(chosen), *train.shape[1:]), dtype=np.uint8)
        images[own] = train[self._places[chosen[own]]]
        images[~own] = test[pseudo.rows[chosen[~own] - self._own]]
        return images


def ahead(batches: Iterator[tuple[np.ndarray, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield batches that a thread has put on the device, up to 64 of them ahead of the last taken.

    Not picked on the device from a whole copy kept there: that adds an operation to each step, and
    JAX on an H200 trained 129,000 images/s so, against 190,000 with batches made between the steps,
    226,000 with these, and 252,000 with one batch that never changes. (In another run there was no
    difference beyond noise between the second and the third.)
    """
    import keras

    def make() -> tuple[Any, ...] | None:
        batch = next(batches, None)
        return batch and tuple(keras.ops.convert_to_tensor(part) for part in batch)

    maker = ThreadPoolExecutor(1)
    try:
        coming = deque(maker.submit(make) for _ in range(_PREFETCHED_BATCHES))
        while (batch := coming.popleft().result()) is not None:
            coming.append(maker.submit(make))
            yield batch
    finally:
        maker.shutdown(cancel_futures=True)


def balanced(targets: np.ndarray) -> np.ndarray:
    """Return the weight of each class by which all count the same, float32 [classes].

    Args:
        targets: float32 [rows, classes], what the rows are.
    """
    counts = targets.sum(axis=0, dtype=np.float64)
    there = counts > 0
    weights = np.zeros(len(counts))
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights.astype(np.float32)


def mix(
    images: np.ndarray,
    targets: np.ndarray,
    mixup: float,
    cutmix: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mix each image of a batch with another one, and their targets in the same proportion.

    Args:
        images: uint8 [batch, height, width] or [batch, height, width, 3].
        targets: float32 [batch, classes].
        mixup: Beta parameter of weighted sums (Zhang et al. 2018); 0 for none.
        cutmix: Beta parameter of pasted rectangles (Yun et al. 2019); 0 for none. With both, the
            batch takes one of them, by an even chance.
        random: The stream that is drawn from.
    """
    partner = random.permutation(len(images))
    if mixup and (not cutmix or random.random() < 0.5):
        share = np.float32(random.beta(mixup, mixup))
        mixed = images * share + images[partner] * (1 - share)
        return np.rint(mixed).astype(np.uint8), targets * share + targets[partner] * (1 - share)
    height, width = images.shape[1:3]
    side = np.sqrt(1 - random.beta(cutmix, cutmix))
    middle, rise = random.integers(height), side * height / 2
    centre, run = random.integers(width), side * width / 2
    top, bottom = max(0, round(middle - rise)), min(height, round(middle + rise))
    left, right = max(0, round(centre - run)), min(width, round(centre + run))
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = images[partner, top:bottom, left:right]
    share = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, targets * share + targets[partner] * (1 - share)


def batch_size(wanted: int, rows: int) -> int:
    """Return the batch size on so many rows: on small data less, for 16 steps or more per epoch."""
    return min(wanted, max(_SMALLEST_BATCH, rows // _FEWEST_STEPS // 8 * 8), rows)


def whole_calls(steps: int) -> tuple[int, int]:
    """Return how many steps Keras shall run per call, and the steps of an epoch.

    Keras on TensorFlow always runs whole calls: what an epoch's last call has over, it would take
    from the next epoch's batches. So an epoch leaves out the few steps (at most 1 in 20, mostly
    none; other rows every time) that do not fill a call.
    """
    if steps <= _STEPS_PER_CALL[-1]:
        return steps, steps
    per_call = min(_STEPS_PER_CALL, key=lambda size: (steps % size, -size))
    return per_call, steps - steps % per_call
