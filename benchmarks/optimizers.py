"""Epochs and time to the same log-loss: Muon for convolutions against AdamW, each with its rates.

    python benchmarks/optimizers.py --data digit-recognizer.zip --workspace optimizers
        --runs adamw,0.01,3 muon,0.02,3 [--seeds 1] [--rows 20000] [--judged 12000]

A run is OPTIMIZER,RATE,EPOCHS: the stepped family with elastic augmentation and one view, trained
on some rows and judged on others, both drawn once. Log-losses are calibrated by one temperature.
Time is the processor's, of training and prediction; the bank is made before.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace


def main() -> None:
    """Train each run with each seed, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", required=True, metavar="OPTIMIZER,RATE,EPOCHS")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--judged", type=int, default=12_000)
    given = parser.parse_args()
    workspace = Workspace(given.workspace)
    dataset = load(given.data, workspace)
    drawn = np.random.default_rng(0).permutation(len(dataset.images))
    rows = np.sort(drawn[: given.rows])
    judged = np.sort(drawn[given.rows : given.rows + given.judged])
    labels = dataset.labels[judged]
    print("| optimizer | peak rate | epochs | seed | errors | log-loss | seconds |")
    print("|---|---|---|---|---|---|---|")
    for run in given.runs:
        optimizer, rate, epochs = run.split(",")
        config = TrainingConfig(
            family="stepped",
            growth=2.0,
            augmentation="elastic",
            optimizer=optimizer,
            learning_rate=float(rate),
        )
        bank = Bank(dataset, config.augmentation, 0, workspace)
        bank.ensure(range(int(epochs)), Silent())
        for seed in range(1, given.seeds + 1):
            job = TrainingJob(
                name=f"{run} seed {seed}",
                config=config,
                train_rows=rows,
                held_out_rows=judged,
                epochs=int(epochs),
                copies=int(epochs),
                seed=seed,
                predict_test=False,
            )
            started = time.process_time()
            trained = train(job, dataset, bank, workspace.cache / "checkpoints", Silent())
            seconds = time.process_time() - started
            trained.checkpoint.unlink(missing_ok=True)
            found = trained.held_out.astype(np.float64)
            loss = row_losses(temper(found, best_temperature(found, labels)), labels).mean()
            wrong = int((found.argmax(axis=1) != labels).sum())
            cells = (optimizer, rate, epochs, seed, wrong, f"{loss:.5f}", f"{seconds:.0f}")
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
