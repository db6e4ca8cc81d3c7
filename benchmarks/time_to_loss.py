"""Time to the same log-loss: the engine against the best-known notebook's way of training.

    python benchmarks/time_to_loss.py --data digit-recognizer.zip [--rows 12000] [--judged 12000]
        [--notebook-epochs 45] [--epochs 4 6 8 10]

One network for all: the notebook's (`engine.py` writes it down). Its way: float32, Adam, batch 64,
45 epochs with a rate of 0.001 × 0.95^epoch, Keras' `ImageDataGenerator`, one view. Ours: as a
member of a preset is trained and predicts, with whole runs of few epochs until the log-loss is as
low. It is calibrated by one temperature, on rows that none was trained on. The notebook's network
computes with all cores; of ours, one trains on each core at the same time, and the time of all is
divided by their number. Copies are made within our time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine import _plain_network

from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.data import load
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.workspace import Workspace

OURS = TrainingConfig(
    family="stepped",
    growth=2.0,
    augmentation="elastic",
    optimizer="muon",
    learning_rate=0.02,
    views=9,
)


def split(given: argparse.Namespace, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those to judge by."""
    drawn = np.random.default_rng(0).permutation(len(dataset.images))
    rows = drawn[: given.rows]
    return np.sort(rows), np.sort(drawn[given.rows : given.rows + given.judged])


def judge(found: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return errors and calibrated log-loss of softmax [rows, classes]."""
    found = found.astype(np.float64)
    losses = row_losses(temper(found, best_temperature(found, labels)), labels)
    wrong = int((found.argmax(axis=1) != labels).sum())
    return {"errors": wrong, "log_loss": float(losses.mean())}


def notebook(given: argparse.Namespace, dataset: Any) -> dict[str, float]:
    """Train once as the notebook does."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    rows, judged = split(given, dataset)
    images = dataset.images[..., None].astype("float32") / 255
    targets = np.eye(len(dataset.competition.classes), dtype="float32")[dataset.labels]
    generator = ImageDataGenerator(
        rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1
    )
    model = _plain_network(OURS, dataset)
    started = time.monotonic()
    model.fit(
        generator.flow(images[rows], targets[rows], batch_size=64),
        epochs=given.notebook_epochs,
        verbose=0,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 * 0.95**epoch)],
    )
    seconds = time.monotonic() - started
    found = model.predict(images[judged], batch_size=512, verbose=0)
    return judge(found, dataset.labels[judged]) | {"seconds": seconds}


def engine(given: argparse.Namespace, dataset: Any, workspace: Workspace) -> dict[str, float]:
    """Train one of our members on one core."""
    from kaggle_digits.core.augmentation import Bank
    from kaggle_digits.core.jobs import TrainingJob
    from kaggle_digits.core.training import train
    from kaggle_digits.ground.progress import Silent

    rows, judged = split(given, dataset)
    bank = Bank(dataset, OURS.augmentation, given.seed, workspace)
    job = TrainingJob(
        name="ours",
        config=OURS,
        train_rows=rows,
        held_out_rows=judged,
        epochs=given.own_epochs,
        copies=given.own_epochs,
        seed=given.seed,
        predict_test=False,
    )
    started = time.monotonic()
    bank.ensure(range(given.own_epochs), Silent())
    trained = train(job, dataset, bank, workspace.cache / "checkpoints", Silent())
    seconds = time.monotonic() - started
    return judge(trained.held_out, dataset.labels[judged]) | {"seconds": seconds}


def main() -> None:
    """Run the notebook's way once, then ours with ever more epochs until it is as good."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--judged", type=int, default=12_000)
    parser.add_argument("--notebook-epochs", type=int, default=45)
    parser.add_argument("--epochs", type=int, nargs="+", default=[4, 6, 8, 10])
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--own-epochs", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm is not None:
        workspace = Workspace(given.workspace)
        dataset = load(given.data, workspace)
        ours = given.arm == "engine"
        print(json.dumps(engine(given, dataset, workspace) if ours else notebook(given, dataset)))
        return
    cores = sorted(os.sched_getaffinity(0))
    print("| way | epochs | errors | log-loss | seconds a network |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:

        def start(arm: str, seed: int, core: int | None, epochs: int) -> subprocess.Popen[str]:
            pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
            call = [*pinned, sys.executable, __file__, *sys.argv[1:], "--arm", arm]
            call += ["--seed", str(seed), "--own-epochs", str(epochs)]
            call += ["--workspace", f"{folder}/{arm}-{seed}-{epochs}"]
            environment = os.environ | ({"KAGGLE_DIGITS_PRECISION": "float32"} if not seed else {})
            return subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)

        def end(process: subprocess.Popen[str]) -> dict[str, float]:
            made: dict[str, float] = json.loads(process.communicate()[0].splitlines()[-1])
            return made

        theirs = end(start("notebook", 0, None, 0))
        _row("the notebook's", given.notebook_epochs, theirs)
        for epochs in given.epochs:
            under_way = [
                start("engine", seed, core, epochs) for seed, core in enumerate(cores, start=1)
            ]
            found = [end(process) for process in under_way]
            mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
            mean["seconds"] = max(one["seconds"] for one in found) / len(found)
            _row("ours", epochs, mean)
            if mean["log_loss"] <= theirs["log_loss"]:
                print(f"time to its log-loss: {theirs['seconds'] / mean['seconds']:.1f} × faster")
                return


def _row(way: str, epochs: int, found: dict[str, float]) -> None:
    cells = (way, epochs, f"{found['errors']:.0f}", f"{found['log_loss']:.5f}")
    print("| " + " | ".join(map(str, (*cells, f"{found['seconds']:.0f}"))) + " |", flush=True)


if __name__ == "__main__":
    main()
