"""The training loop: one network on one split, from a job to predictions and a record.

The only caller of Keras' `fit`. An epoch walks through one augmented copy, its rows in an order
that depends on the seed and the epoch alone, so a run that was killed goes on from its checkpoint
(weights, optimizer, random streams) to the same result as one that was not.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import softmax
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.progress import Progress, Task
from kaggle_digits.ground.workspace import digest, remove, write_bytes

if TYPE_CHECKING:
    import keras

    from kaggle_digits.core.data import Dataset

_CHECKPOINT_SECONDS = 2.0
_PREFETCHED_BATCHES = 64
_STEPS_PER_CALL = range(8, 25)
_PREDICTION_BATCH = 512
_SMALLEST_BATCH = 16
_FEWEST_STEPS = 16
_WARM_UP = 0.2
_START_SHARE = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of a job.

    Args:
        held_out: Softmax on the job's held-out rows, float32 [held-out rows, classes].
        test: Softmax on the test images, float32 [test rows, classes]; None if not asked for.
        history: Mean training loss of each epoch, in nats, label smoothing included.
        seconds: Wall time of training, earlier parts of a resumed run included.
        record: What it ran on: hardware, parameters, images per second.
        checkpoint: The file a killed run is resumed from; to be removed once the result is stored.
    """

    held_out: np.ndarray
    test: np.ndarray | None
    history: list[float]
    seconds: float
    record: dict[str, Any]
    checkpoint: Path


def train(
    job: TrainingJob,
    dataset: Dataset,
    bank: Bank,
    checkpoints: Path,
    progress: Progress,
) -> Trained:
    """Train a job's network and predict its held-out rows.

    Args:
        job: What to train.
        dataset: The data.
        bank: The augmented copies of the job's policy; those the job uses must have been made.
        checkpoints: Folder for the checkpoint a killed run is resumed from.
        progress: Told of every few steps.

    Raises:
        TrainingError: The loss is not finite, or memory ran out.
    """
    ran_on = hardware.prepare()
    import keras

    keras.backend.clear_session()
    made_by = job.made_by(dataset.digest, bank.digest) | {
        "precision": ran_on.precision,
        "backend": ran_on.backend,
    }
    checkpoint = _Checkpoint(checkpoints / f"{digest(made_by)}.npz")
    try:
        run = _Run(job, dataset, bank)
        run.state = checkpoint.restore(run.model)
        run.fit(checkpoint, progress)
        held_out = run.predict(dataset.images[job.held_out_rows])
        test = run.predict(dataset.test_images) if job.predict_test else None
    except (MemoryError, _resource_error()) as error:
        raise TrainingError(
            f"{job.name} ran out of memory ({type(error).__name__}).",
            mend="Use smaller filters or batch_size, or close other programs.",
        ) from error
    state = run.state
    images = run.rows_per_epoch * job.epochs
    return Trained(
        held_out=held_out,
        test=test,
        history=state.history,
        seconds=round(state.seconds, 3),
        record={
            "hardware": ran_on.to_json(),
            "parameters": int(run.model.count_params()),
            "images_per_second": round(images / state.seconds, 1) if state.seconds else None,
        },
        checkpoint=checkpoint.path,
    )


@dataclass(slots=True)
class _State:
    """How far a run is: the loss of each epoch done, and the wall time they took."""

    history: list[float]
    seconds: float


class _Run:
    """A compiled model and its way through the epochs."""

    def __init__(self, job: TrainingJob, dataset: Dataset, bank: Bank) -> None:
        from kaggle_digits.core.networks import build

        config, shape = job.config, dataset.competition
        self.job = job
        self.state = _State([], 0.0)
        self._dataset = dataset
        self._bank = bank
        self._batch = _batch_size(config.batch_size, len(job.train_rows))
        self._steps_per_call, self._steps = _whole_calls(len(job.train_rows) // self._batch)
        self._walk = bank.order(job.seed, job.copies, job.epochs)
        self._one_hot = np.eye(len(shape.classes), dtype=np.float32)
        self.rows_per_epoch = self._steps * self._batch
        self.model = build(config, shape.height, shape.width, len(shape.classes), job.seed)
        self._compile()

    def _compile(self) -> None:
        import keras

        config = self.job.config
        optimizer = keras.optimizers.AdamW(
            one_cycle(
                # Adam's steps keep their noise when the rate follows the root of the batch size.
                config.learning_rate * (self._batch / config.batch_size) ** 0.5,
                self._steps * self.job.epochs,
            ),
            weight_decay=config.weight_decay,
        )
        # Decay pulls kernels only: a norm's scale or a bias has no reason to be near zero.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.model.compile(
            optimizer,
            keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=config.label_smoothing
            ),
            steps_per_execution=self._steps_per_call,
        )
        # Made now, so that a checkpoint finds every variable it has a value for.
        self.model.optimizer.build(self.model.trainable_variables)

    def fit(self, checkpoint: _Checkpoint, progress: Progress) -> None:
        job, done = self.job, len(self.state.history)
        with progress.task(job.name, self._steps * job.epochs, "steps") as task:
            task.advance(self._steps * done, _note(done, job.epochs, self.state.history))
            if done < job.epochs:
                self.model.fit(
                    self._input(),
                    initial_epoch=done,
                    epochs=job.epochs,
                    steps_per_epoch=self._steps,
                    shuffle=False,
                    verbose=0,
                    callbacks=[_watcher(self, checkpoint, task)],
                )

    def _input(self) -> Any:
        """Return what `fit` reads from: all batches of the epochs that are not done yet."""
        if hardware.prepare().backend != "tensorflow":
            return self._batches()
        import tensorflow

        shape = self._dataset.competition
        stream = tensorflow.data.Dataset.from_generator(
            self._batches,
            output_signature=(
                tensorflow.TensorSpec((self._batch, shape.height, shape.width, 1), "uint8"),
                tensorflow.TensorSpec((self._batch, len(shape.classes)), "float32"),
            ),
        ).prefetch(_PREFETCHED_BATCHES)
        # The autotuner's thread sleeps up to a minute at a time, and a pipeline's end waits for it.
        options = tensorflow.data.Options()
        options.autotune.enabled = False
        return stream.with_options(options)

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield uint8 [batch, height, width, 1] and one-hot float32 [batch, classes]."""
        job = self.job
        for epoch in range(len(self.state.history), job.epochs):
            random = np.random.default_rng([job.seed, 11, epoch])
            rows = random.permutation(job.train_rows)[: self.rows_per_epoch]
            copy = self._bank.copy(self._walk[epoch])
            for batch in rows.reshape(self._steps, self._batch):
                yield copy[batch][..., np.newaxis], self._one_hot[self._dataset.labels[batch]]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return softmax, float32 [n, classes], for uint8 [n, height, width].

        By single calls: Keras' own `predict` sets up a pipeline for each call, which costs more.
        """
        logits = [
            np.asarray(
                self.model.predict_on_batch(images[start : start + _PREDICTION_BATCH, ..., None])
            )
            for start in range(0, len(images), _PREDICTION_BATCH)
        ]
        return softmax(np.concatenate(logits))


class _Checkpoint:
    """Every variable of a model and its optimizer, and how far the run is, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, model: keras.Model, state: _State) -> None:
        arrays: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(_variables(model))}
        about = json.dumps({"history": state.history, "seconds": state.seconds})
        buffer = io.BytesIO()
        np.savez(buffer, about=np.asarray(about), **arrays)
        write_bytes(self.path, buffer.getvalue())

    def restore(self, model: keras.Model) -> _State:
        """Bring a model to the checkpoint's state; a missing or unfit file means the start."""
        variables = _variables(model)
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                about = json.loads(str(stored["about"]))
                arrays = [stored[f"v{i}"] for i in range(len(variables))]
        except (OSError, ValueError, KeyError, EOFError):
            return _State([], 0.0)
        if any(tuple(v.shape) != a.shape for v, a in zip(variables, arrays, strict=True)):
            return _State([], 0.0)
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        return _State(about["history"], about["seconds"])

    def drop(self) -> None:
        remove(self.path)


def one_cycle(peak: float, steps: int) -> Any:
    """Return a schedule: linear warm-up to the peak, then a cosine to nearly zero.

    Args:
        peak: Highest learning rate, after a fifth of the steps.
        steps: Length of the whole run.

    Source: Smith & Topin 2017, "Super-Convergence", with a cosine in place of the second line as
    in torch.optim.lr_scheduler.OneCycleLR.
    """
    import keras
    from keras import ops

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> Any:
            done = ops.cast(step, "float32") / steps
            rising = _START_SHARE + (1 - _START_SHARE) * done / _WARM_UP
            falling = 0.5 * (1 + ops.cos(np.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
            return peak * ops.where(done < _WARM_UP, rising, ops.maximum(falling, 1e-4))

        def get_config(self) -> dict[str, Any]:
            return {}

    return OneCycle()


def _watcher(run: _Run, checkpoint: _Checkpoint, task: Task) -> Any:
    import keras

    class Watcher(keras.callbacks.Callback):  # type: ignore[misc]
        """Tells of steps, keeps the history, ends a diverged run, saves checkpoints."""

        def __init__(self) -> None:
            super().__init__()
            self._told = 0
            self._saved = self._started = time.monotonic()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._told = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            task.advance(batch + 1 - self._told)
            self._told = batch + 1

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            job, state, now = run.job, run.state, time.monotonic()
            loss = float((logs or {})["loss"])
            if not np.isfinite(loss):
                checkpoint.drop()
                raise TrainingError(
                    f"{job.name} diverged: the loss of epoch {epoch + 1} is {loss}.",
                    mend="Use a lower learning_rate.",
                )
            state.history.append(loss)
            state.seconds += now - self._started
            self._started = now
            task.advance(0, _note(epoch + 1, job.epochs, state.history))
            if now - self._saved >= _CHECKPOINT_SECONDS or epoch + 1 == job.epochs:
                checkpoint.save(run.model, state)
                self._saved = now

    return Watcher()


def _batch_size(wanted: int, rows: int) -> int:
    """Return the batch size on so many rows: on small data less, for 16 steps or more per epoch."""
    return min(wanted, max(_SMALLEST_BATCH, rows // _FEWEST_STEPS // 8 * 8), rows)


def _whole_calls(steps: int) -> tuple[int, int]:
    """Return how many steps Keras shall run per call, and the steps of an epoch.

    Keras on TensorFlow always runs whole calls: what an epoch's last call has over, it would take
    from the next epoch's batches. So an epoch leaves out the few steps (at most 1 in 20, mostly
    none; other rows every time) that do not fill a call.
    """
    if steps <= _STEPS_PER_CALL[-1]:
        return steps, steps
    per_call = min(_STEPS_PER_CALL, key=lambda size: (steps % size, -size))
    return per_call, steps - steps % per_call


def _variables(model: keras.Model) -> list[Any]:
    # Layers' variables include the dropouts' random streams; metrics are made anew every epoch.
    seen = {id(v): v for layer in model.layers for v in layer.variables}
    return [*seen.values(), *model.optimizer.variables]


def _note(done: int, epochs: int, history: list[float]) -> str:
    loss = f", loss {history[-1]:.4f}" if history else ""
    return f"epoch {done}/{epochs}{loss}"


def _resource_error() -> type[BaseException]:
    """Return the backend's own class for exhausted memory."""
    if hardware.prepare().backend == "tensorflow":
        import tensorflow

        error: type[BaseException] = tensorflow.errors.ResourceExhaustedError
        return error
    return MemoryError
