"""Out-of-fold accuracy against hours: what a workspace's blend was worth after each fold set.

    python benchmarks/curve.py --data digit-recognizer.zip --workspace workspace [--plot curve.png]

Read from what a `run` has left: the moment each member was stored, and its predictions. The blend
is the plain mean; nothing is chosen. A run that was interrupted counts its pauses as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Print one line per fold set, in the order they were finished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()

    from ensembles.pool import make_pool
    from kaggle_digits.core.data import load
    from kaggle_digits.core.folds import make_folds
    from kaggle_digits.core.predictions import score
    from kaggle_digits.ground.workspace import Workspace
    from kaggle_digits.records.members import MemberStore

    workspace = Workspace(given.workspace)
    dataset = load(given.data, workspace)
    store = MemberStore(workspace)
    settings, keys = store.read_plan()
    folds = make_folds(dataset, settings["folds"], settings["seed"], workspace)
    pool, _ = make_pool(keys, store, dataset, folds)
    first = min((workspace.tuning / "trials").glob("*.json"), key=lambda path: path.name)
    began = first.stat().st_mtime - json.loads(first.read_text())["seconds"]
    ended = {
        name: max(
            (store.path(key) / "member.json").stat().st_mtime
            for key in keys
            if key.set_name == name
        )
        for name in pool.names
    }
    order = sorted(range(len(pool.names)), key=lambda index: ended[pool.names[index]])
    print("| hours | fold sets | configuration | alone | OOF accuracy | errors | log-loss |")
    print("|---|---|---|---|---|---|---|")
    total, points = 0.0, []
    for count, index in enumerate(order, start=1):
        name = pool.names[index]
        total = total + pool.oof[index].astype("float64")
        alone, joined = score(pool.oof[index], dataset.labels), score(total / count, dataset.labels)
        config = next(key.config for key in keys if key.set_name == name)
        hours = (ended[name] - began) / 3600
        points.append((hours, joined.accuracy, joined.accuracy_se))
        print(
            f"| {hours:.2f} | {count} | {name}: {config.family}, {config.filters} filters, "
            f"{config.augmentation} | {alone.accuracy:.5f} | {joined.accuracy:.5f} ± "
            f"{joined.accuracy_se:.5f} | {round((1 - joined.accuracy) * joined.rows)} | "
            f"{joined.log_loss:.4f} |"
        )
    if given.plot is not None:
        _draw(points, given.plot)


def _draw(points: list[tuple[float, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    hours, accuracy, errors = zip(*points, strict=True)
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.errorbar(hours, accuracy, yerr=errors, marker="o", capsize=3)
    axes.set_xlabel("hours since the search began")
    axes.set_ylabel("out-of-fold accuracy of the mean")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
