"""The training engine against plain Keras and against the best-known notebook's way.

    python benchmarks/engine.py --data digit-recognizer.zip
    python benchmarks/engine.py --data digit-recognizer.zip --accuracy
    python benchmarks/engine.py --data digit-recognizer.zip --arms engine float32

One network in all arms: 32c3-32c3-32c5s2-64c3-64c3-64c5s2-128c4-10 with batch norm.

- `engine`: what `cv-train` does: precision by hardware, fused batch norm, batch 256, the bank, a
  process for each core; images per second of all of them together.
- `float32`: the engine in float32, if asked for.
- `keras`: Keras' `fit` on arrays in float32, batch 128, Keras' own layers, no augmentation.
- `notebook`: float32, batch 64, Keras' `ImageDataGenerator` (rotation 10°, zoom .1, shifts .1).

Speed: each arm in a process of its own, interleaved, so that what else the machine does falls on
all of them; images per second after the first steps. Accuracy: the engine and `keras` with the same
recipe (bank, one cycle, AdamW, label smoothing, batch 256) and the same rows, over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ARMS = ("engine", "float32", "keras", "notebook")


def main() -> None:
    """Run all arms in turn, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arms", choices=ARMS, nargs="+", help="default: all but float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--rows", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.accuracy and "notebook" in (given.arms or ()):
        parser.error("--accuracy compares arms of one recipe; the notebook's has another.")
    if given.arm is not None:
        print(json.dumps(_accuracy(given) if given.accuracy else _speed(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _report(given, Path(folder))


def _report(given: argparse.Namespace, workspace: Path) -> None:
    usual = ["engine", "keras"] if given.accuracy else ["engine", "keras", "notebook"]
    arms = given.arms or usual
    rounds = given.seeds if given.accuracy else given.rounds
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for number in range(rounds):
        for arm in arms:
            call = [sys.executable, __file__, *sys.argv[1:], "--arm", arm, "--seed", str(number)]
            done = subprocess.run(
                [*call, "--workspace", str(workspace)], check=True, text=True, capture_output=True
            )
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1}, {arm}: {found[arm][-1]}", file=sys.stderr)
    names = list(found[arms[0]][0])
    print("| arm | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for arm in arms:
        cells = [_mean([run[name] for run in found[arm]]) for name in names]
        print(f"| {arm} | " + " | ".join(cells) + " |")
    if not given.accuracy:
        for other in arms[1:]:
            ratios = [
                mine["images/s"] / its["images/s"]
                for mine, its in zip(found["engine"], found[other], strict=True)
            ]
            print(f"engine / {other}: {_mean(ratios)}")


def _mean(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.5g} ± {spread:.2g}"


def _prepare(given: argparse.Namespace) -> tuple[Any, Any, Any]:
    from kaggle_digits.core.augmentation import Bank
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.config import PRECISION_VARIABLE, TrainingConfig
    from kaggle_digits.ground.progress import Silent
    from kaggle_digits.ground.workspace import Workspace

    if given.arm != "engine":
        os.environ[PRECISION_VARIABLE] = "float32"
    workspace = Workspace(given.workspace)
    dataset = load(given.data, workspace)
    bank = Bank(dataset, "standard", 0, workspace)
    bank.ensure(range(given.epochs if given.accuracy else 1), Silent())
    return dataset, bank, TrainingConfig(family="stepped", growth=2.0)


def _speed(given: argparse.Namespace) -> dict[str, float]:
    dataset, bank, config = _prepare(given)
    if given.arm in ("engine", "float32"):
        return {"images/s": _engine_speed(given, dataset, config)}
    model = _plain_network(config, dataset)
    images = dataset.images[..., None].astype("float32") / 255
    import keras
    import numpy as np

    targets = np.eye(len(dataset.competition.classes), dtype="float32")[dataset.labels]
    clock = _clock(given.seconds)
    if given.arm == "keras":
        model.fit(images, targets, batch_size=128, epochs=1000, verbose=0, callbacks=[clock])
        return {"images/s": clock.steps * 128 / clock.seconds}
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1
    )
    flow = generator.flow(images, targets, batch_size=64)
    model.fit(flow, epochs=1000, verbose=0, callbacks=[clock])
    assert keras.config.dtype_policy().name == "float32"
    return {"images/s": clock.steps * 64 / clock.seconds}


def _engine_speed(given: argparse.Namespace, dataset: Any, config: Any) -> float:
    from ensembles.member_training import measure_pace
    from kaggle_digits.engine import Resources, Site, Task, open_engine
    from kaggle_digits.ground.progress import Silent
    from kaggle_digits.ground.workspace import Workspace

    with open_engine(Site(dataset, Workspace(given.workspace), Silent()), Resources()) as engine:
        tasks = [
            Task(f"measuring {number}", measure_pace, (config, 0, given.seconds))
            for number in range(engine.workers)
        ]
        return sum(float(done.result().images_per_second) for done in engine.run(tasks))


def _plain_network(config: Any, dataset: Any) -> Any:
    """Return the same network of Keras' own layers, compiled, in float32."""
    import keras
    from keras import layers

    from kaggle_digits.core.architecture import Convolution, blocks_of

    keras.utils.set_random_seed(0)
    shape = dataset.competition
    inputs = keras.Input((shape.height, shape.width, 1))
    maps = inputs
    for block in blocks_of(config, shape.height, shape.width):
        assert isinstance(block, Convolution)
        maps = layers.Conv2D(
            block.filters, block.kernel, block.stride, "same" if block.padded else "valid"
        )(maps)
        maps = layers.ReLU()(layers.BatchNormalization()(maps))
    features = layers.Dropout(0.4)(layers.Flatten()(maps))
    model = keras.Model(inputs, layers.Dense(len(shape.classes), activation="softmax")(features))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def _clock(seconds: float) -> Any:
    import keras

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        """Counts steps from the tenth on, and ends the run when the time is up."""

        def __init__(self) -> None:
            super().__init__()
            self.steps = -10
            self.seconds = self._began = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            if self.steps == 0:
                self._began = time.monotonic()
            elif self.steps > 0:
                self.seconds = time.monotonic() - self._began
                self.model.stop_training = self.seconds >= seconds

    return Clock()


def _accuracy(given: argparse.Namespace) -> dict[str, float]:
    """Train by the engine; `keras` differs by float32 and Keras' own batch norm only."""
    from kaggle_digits.core import hardware
    from kaggle_digits.core.folds import holdout
    from kaggle_digits.core.jobs import TrainingJob
    from kaggle_digits.core.predictions import score
    from kaggle_digits.core.training import train
    from kaggle_digits.ground.progress import Silent

    dataset, bank, config = _prepare(given)
    hardware.prepare()
    import keras

    from kaggle_digits.core import networks

    if given.arm == "keras":
        networks.FusedBatchNormalization = keras.layers.BatchNormalization  # type: ignore[misc]
        networks.WholeMapConv2D = keras.layers.Conv2D  # type: ignore[misc]
    rows, held_out = holdout(dataset.labels, given.rows, given.rows, 0)
    job = TrainingJob(
        "accuracy", config, rows, held_out, given.epochs, given.epochs, given.seed, False
    )
    trained = train(job, dataset, bank, given.workspace / given.arm, Silent())
    judged = score(trained.held_out, dataset.labels[held_out])
    return {
        "accuracy": judged.accuracy,
        "log-loss": judged.log_loss,
        "seconds": trained.seconds,
    }


if __name__ == "__main__":
    main()
