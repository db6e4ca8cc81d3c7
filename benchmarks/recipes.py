"""What a change of network or training is worth: recipes on the same folds, out-of-fold only.

    python benchmarks/recipes.py --data digit-recognizer.zip --workspace recipes \
        [--only elastic,averaged] [--folds 5] [--use 1] [--seeds 1] [--epochs 10]

Each recipe of `recipes.toml` is trained on the first `--use` folds with `--seeds` seeds. What is
done is kept in the workspace and not done again. The table gives mean ± sd over the runs; errors
are also compared row by row with the first recipe's (fewer is better), and the last line tells how
many images every run missed.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--only", help="names, with commas between them")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--use", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    recipes = tomllib.loads(given.recipes.read_text(encoding="utf-8"))
    wanted = given.only.split(",") if given.only else list(recipes)

    from kaggle_digits.core.data import load
    from kaggle_digits.core.folds import make_folds
    from kaggle_digits.ground.config import TrainingConfig
    from kaggle_digits.ground.workspace import Workspace

    workspace = Workspace(given.workspace)
    dataset = load(given.data, workspace)
    folds = make_folds(dataset, given.folds, 0, workspace)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in wanted:
        config = TrainingConfig.from_json(recipes[name])
        runs[name] = [
            _run(config, fold, seed, given.epochs, dataset, folds, workspace)
            for fold in range(given.use)
            for seed in range(given.seeds)
        ]
        _show(name, runs[name], runs[wanted[0]])
    missed = np.logical_and.reduce(
        [np.concatenate([run["wrong"] for run in found]) for found in runs.values()]
    )
    print(f"\nmissed by all: {missed.sum()} of {missed.size} predictions")


def _run(
    config: Any, fold: int, seed: int, epochs: int, dataset: Any, folds: Any, workspace: Any
) -> dict[str, Any]:
    from kaggle_digits.core.architecture import megamacs
    from kaggle_digits.core.augmentation import Bank
    from kaggle_digits.core.jobs import TrainingJob
    from kaggle_digits.core.predictions import score
    from kaggle_digits.core.training import train
    from kaggle_digits.ground.files import write_json
    from kaggle_digits.ground.progress import Silent

    rows = folds.held_out_rows(fold)
    path = workspace.root / "runs" / f"{config.digest}-{folds.count}-{fold}-{seed}-{epochs}.json"
    if not path.exists():
        bank = Bank.of(config, dataset, 0, workspace)
        bank.ensure(range(epochs), Silent())
        job = TrainingJob(
            path.stem, config, folds.training_rows(fold), rows, epochs, epochs, seed, False
        )
        trained = train(job, dataset, bank, workspace.cache / "checkpoints", Silent())
        judged = score(trained.held_out, dataset.labels[rows])
        shape = dataset.competition
        wrong = np.flatnonzero(trained.held_out.argmax(axis=1) != dataset.labels[rows])
        write_json(
            path,
            {
                "accuracy": judged.accuracy,
                "log_loss": judged.log_loss,
                "seconds": trained.seconds,
                "megamacs": megamacs(config, shape.height, shape.width, len(shape.classes)),
                "wrong": wrong.tolist(),
            },
        )
        trained.checkpoint.unlink(missing_ok=True)
    stored = json.loads(path.read_text(encoding="utf-8"))
    wrong = np.zeros(len(rows), dtype=bool)
    wrong[stored["wrong"]] = True
    return {**stored, "wrong": wrong}


def _show(name: str, runs: list[dict[str, Any]], first: list[dict[str, Any]]) -> None:
    if runs is first:
        print(
            "| recipe | million multiply-adds | accuracy | log-loss | errors - first's | seconds |"
        )
        print("|---|---|---|---|---|---|")
    differences = [
        int(run["wrong"].sum()) - int(other["wrong"].sum())
        for run, other in zip(runs, first, strict=True)
    ]
    cells = [
        name,
        f"{runs[0]['megamacs']:.1f}",
        _mean([run["accuracy"] for run in runs], 5),
        _mean([run["log_loss"] for run in runs], 4),
        _mean(differences, 1),
        _mean([run["seconds"] for run in runs], 0),
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def _mean(values: list[float], digits: int) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
