"""The training loop: one network on one split, from a job to predictions and a record.

The only caller of Keras' `fit`. An epoch walks through one augmented copy, its rows in an order
that depends on the seed and the epoch alone, so a run that was killed goes on from its checkpoint
(weights, optimizer, random streams) to the same result as one that was not.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware, inference
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.batches import Batches
from kaggle_digits.core.checkpoint import Checkpoint, Progressed
from kaggle_digits.core.inference import predict
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.memory import forgetting
from kaggle_digits.core.optimization import make_optimizer, take_average
from kaggle_digits.ground import seeds
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress, Task
from kaggle_digits.ground.stamps import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kaggle_digits.core.data import Dataset

_CHECKPOINT_SECONDS = 2.0
_AVERAGED_BATCHES = 64
_PREDICTED_TO_MEASURE = 2048


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


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a configuration is here.

    Args:
        images_per_second: In training, once it runs.
        start_up: Seconds from the configuration to the first step.
        predictions_per_second: Images predicted per second, views included: by a network that is
            less sure, and so sees more views, than one that has been trained to the end.
    """

    images_per_second: float
    start_up: float
    predictions_per_second: float


@forgetting()
def train(
    job: TrainingJob,
    dataset: Dataset,
    bank: Bank,
    checkpoints: Path,
    progress: Progress,
    *,
    deadline: Deadline | None = None,
    test_bank: Bank | None = None,
    model_file: Path | None = None,
) -> Trained:
    """Train a job's network and predict its held-out rows.

    Args:
        job: What to train.
        dataset: The data.
        bank: The augmented copies of the job's policy; those the job uses must have been made.
        checkpoints: Folder for the checkpoint a killed run is resumed from.
        progress: Told of every few steps.
        deadline: Asked at every few steps; None for none.
        test_bank: Copies of the test images, for a job with pseudo-labels.
        model_file: Where the trained network goes, as a Keras file; None for nowhere.

    Raises:
        TrainingError: The loss is not finite, or memory ran out.
        OutOfTimeError: The deadline passed; called again, it goes on from its checkpoint.
        ArtefactError: The network's file cannot be written.
    """
    ran_on = hardware.begin_network()
    made_by = job.made_by(dataset.digest, bank.digest) | {
        "precision": ran_on.precision,
        "backend": ran_on.backend,
        # Other threads round otherwise: half of each would be the result of neither.
        "threads": ran_on.threads,
    }
    checkpoint = Checkpoint(checkpoints / f"{digest(made_by)}.npz")
    try:
        run = _Run(job, dataset, Batches(job, dataset, bank, test_bank))
        run.state = checkpoint.restore(run.model)
        run.fit(checkpoint, progress, deadline or Deadline())
        held_out = predict(run.model, dataset.images[job.held_out_rows], job.config)
        test = predict(run.model, dataset.test_images, job.config) if job.predict_test else None
    except (MemoryError, _resource_error()) as error:
        raise TrainingError(
            f"{job.name} ran out of memory ({type(error).__name__}).",
            mend="Use smaller filters or batch_size, or close other programs.",
        ) from error
    if model_file is not None:
        _save(run.model, model_file)
    state = run.state
    images = run.batches.rows * job.epochs
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


def _save(model: keras.Model, path: Path) -> None:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.keras"  # Keras chooses the form by the name's end
        # The same layers without the optimizer, whose state is twice to three times their size.
        keras.Model(model.inputs[0], model.outputs[0]).save(whole)
        write_bytes(path, whole.read_bytes())


@forgetting()
def measure(
    config: TrainingConfig, dataset: Dataset, bank: Bank, *, seconds: float = 6.0
) -> Throughput:
    """Measure how fast a configuration trains and predicts, by a network that is thrown away.

    Args:
        config: The configuration.
        dataset: The data.
        bank: Any bank of the data whose first copy has been made.
        seconds: How long to train after the first call.
    """
    hardware.begin_network()  # the first call loads the libraries, which members need not do again
    started = time.monotonic()
    rows = np.arange(len(dataset.images))
    job = TrainingJob("measure", config, rows, rows[:0], 1, 1, 0, predict_test=False)
    endless = replace(job, epochs=1_000_000)
    run = _Run(endless, dataset, Batches(endless, dataset, bank))
    watch = _stop_watch(seconds)
    run.model.fit(
        run.batches.stream(0), epochs=endless.epochs, steps_per_epoch=run.batches.steps,
        shuffle=False,
        verbose=0, callbacks=[watch],
    )  # fmt: skip
    size = inference.images_per_call()
    shown = dataset.images[: max(_PREDICTED_TO_MEASURE, size)]
    predict(run.model, shown[:size])  # the first call traces
    predicting = time.monotonic()
    predict(run.model, shown, config)
    return Throughput(
        images_per_second=watch.steps * run.batches.size / (watch.ended - watch.began),
        start_up=watch.began - started,
        predictions_per_second=len(shown) / (time.monotonic() - predicting),
    )


class _Run:
    """A compiled model and its way through the epochs."""

    def __init__(self, job: TrainingJob, dataset: Dataset, batches: Batches) -> None:
        from kaggle_digits.core.networks import build

        form = dataset.competition
        self.job = job
        self.state = Progressed([], 0.0)
        self.batches = batches
        self.model = build(
            job.config, form.height, form.width, len(form.classes), job.seed, form.planes
        )
        self._compile()

    def _compile(self) -> None:
        import keras

        config, batches = self.job.config, self.batches
        self.model.compile(
            make_optimizer(config, batches.size, batches.steps * self.job.epochs),
            keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=config.label_smoothing
            ),
            steps_per_execution=batches.steps_per_call,
        )
        # Made now, so that a checkpoint finds every variable it has a value for.
        self.model.optimizer.build(self.model.trainable_variables)

    def fit(self, checkpoint: Checkpoint, progress: Progress, deadline: Deadline) -> None:
        job, batches, done = self.job, self.batches, len(self.state.history)
        with progress.task(job.name, batches.steps * job.epochs, "steps") as task:
            note = _note(done, job.epochs, self.state.history)
            task.advance(batches.steps * done, note, timed=False)
            if done < job.epochs:
                self.model.fit(
                    batches.stream(done),
                    initial_epoch=done,
                    epochs=job.epochs,
                    steps_per_epoch=batches.steps,
                    shuffle=False,
                    verbose=0,
                    callbacks=[_watcher(self, checkpoint, task, deadline)],
                )
        if job.config.weight_averaging:
            take_average(self.model, self._last_images())

    def _last_images(self) -> Iterator[np.ndarray]:
        last = self.batches.after(self.job.epochs - 1)
        for _, (images, *_) in zip(range(_AVERAGED_BATCHES), last, strict=False):
            yield images


def _watcher(run: _Run, checkpoint: Checkpoint, task: Task, deadline: Deadline) -> Any:
    import keras

    class Watcher(keras.callbacks.Callback):  # type: ignore[misc]
        """Tells of steps, keeps the history, saves checkpoints; ends what diverged or is late."""

        def __init__(self) -> None:
            super().__init__()
            self._told = self._epoch = 0
            self._is_traced = False
            self._saved = self._started = time.monotonic()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._told = 0
            self._epoch = epoch

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0 and hardware.prepare().backend == "torch":
                import torch

                # Keras' dropout draws from PyTorch's one global stream, which no checkpoint holds;
                # not before the first batch, since PyTorch's loader draws from it as well.
                torch.manual_seed(seeds.of_dropout(run.job.seed, self._epoch))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            task.advance(batch + 1 - self._told, timed=self._is_traced)
            self._told = batch + 1
            self._is_traced = True
            deadline.check()

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


def _stop_watch(seconds: float) -> Any:
    import keras

    class StopWatch(keras.callbacks.Callback):  # type: ignore[misc]
        """Counts steps after the first call, and ends the run when the time is up."""

        began = ended = 0.0
        steps = 0

        def __init__(self) -> None:
            super().__init__()
            self._last = -1

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now = time.monotonic()
            if not self.began:
                self.began = now
            else:
                self.steps += batch - self._last if batch > self._last else batch + 1
                self.ended = now
                if now - self.began >= seconds:
                    self.model.stop_training = True
            self._last = batch

    return StopWatch()


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
