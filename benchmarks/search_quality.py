"""Does a search find better configurations than the default, and than random search?

    python benchmarks/search_quality.py --folder FOLDER [--data PATH] [--preset medium]
        [--budget 15m] [--seeds 0 1 2] [--strategies hyperband random]
        [--folds 5] [--epochs N]

For each strategy and seed: `tune --time-budget`; then the best configuration, and the default one,
are trained by `cv-train` on the folds of that seed, and their out-of-fold log-losses compared. All
configurations of one seed share rows, folds, epochs and seed. `random` draws from nothing, with
--no-portfolio, as Keras Tuner's random search would; the others are the tool as it comes.

Log-losses are those of `blend --temperature` (fitted on the other folds), so that the amount of
label smoothing decides nothing; the plain ones stand beside them.

Everything is kept in FOLDER: called again, it goes on, and what is done is not done again. The
table goes to stdout. Log-losses are given with their standard error over the rows, differences with
theirs over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

DEFAULT = "default"


def call(*words: str) -> dict[str, Any]:
    """Call the tool; return its JSON object."""
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", *words, "--json"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"kaggle-digits {' '.join(words)} ended with {done.returncode}")
    return dict(json.loads(done.stdout))


def tuned(given: argparse.Namespace, strategy: str, seed: int) -> dict[str, Any]:
    """Search, unless that is done; return the outcome with the best entry."""
    folder = given.folder / f"{strategy}-seed{seed}"
    kept = folder / "outcome.json"
    if not kept.exists():
        bare = ["--no-portfolio"] if strategy == "random" else []
        outcome = call(
            "tune", *shared(given, seed), "--workspace", str(folder), "--strategy", strategy,
            "--time-budget", given.budget, *bare,
        )  # fmt: skip
        best = json.loads((folder / "tuning" / "best.json").read_text())["configurations"][0]
        kept.write_text(json.dumps({**outcome, "entry": best}))
    return dict(json.loads(kept.read_text()))


def out_of_fold(given: argparse.Namespace, config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Cross-validate a configuration, unless that is done; return its calibrated scores."""
    from kaggle_digits.ground.config import TrainingConfig

    own = TrainingConfig.from_json(config)
    folder = given.folder / "cross-validation" / f"{own.digest}-seed{seed}"
    kept = folder / "outcome.json"
    if not kept.exists():
        from kaggle_digits.core.data import load
        from kaggle_digits.ground.progress import Silent
        from kaggle_digits.ground.workspace import Workspace
        from kaggle_digits.records.ranking import Ranked, ranking_path, write_ranking

        workspace = Workspace(folder)
        dataset = load(given.data, workspace, Silent().say)
        entry = Ranked(own, 0, 0.0, 0.0)
        write_ranking(ranking_path(workspace), [entry], dataset.digest, seed)
        words = [*shared(given, seed), "--workspace", str(folder)]
        epochs = ["--epochs", str(given.epochs)] if given.epochs else []
        members = ["--top-k", "1", "--folds", str(given.folds)]
        call("cv-train", *words, *members, *epochs)
        plain = call("blend", *words, "--method", "mean")["oof_log_loss"]
        outcome = call("blend", *words, "--method", "mean", "--temperature")
        kept.write_text(json.dumps({**outcome, "plain_log_loss": plain}))
    return dict(json.loads(kept.read_text()))


def shared(given: argparse.Namespace, seed: int) -> list[str]:
    """Return the options all commands share."""
    data = ["--data", str(given.data)] if given.data is not None else []
    return [*data, "--preset", given.preset, "--seed", str(seed), "--quiet"]


def with_error(values: list[float]) -> str:
    """Return mean ± standard error over the seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:+.5f}"
    return f"{mean:+.5f} ± {statistics.stdev(values) / len(values) ** 0.5:.5f}"


def main() -> None:
    """Search, cross-validate, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--budget", default="15m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["hyperband", "random"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.data is not None:
        given.data = given.data.resolve()
    from kaggle_digits.ground.config import TrainingConfig

    print(
        f"| strategy | seed | trials | raced | {given.folds}-fold OOF log-loss | plain | "
        "OOF accuracy |"
    )
    print("|---|---|---|---|---|---|---|")
    losses: dict[str, list[float]] = {name: [] for name in (DEFAULT, *given.strategies)}
    chosen = []
    for seed in given.seeds:
        for name in losses:
            if name == DEFAULT:
                config, about = TrainingConfig().to_json(), ("-", "-")
            else:
                outcome = tuned(given, name, seed)
                config = outcome["entry"]["config"]
                about = (str(outcome["completed"]), str(outcome["raced"]))
                chosen.append((name, seed, config))
            judged = out_of_fold(given, config, seed)
            losses[name].append(judged["oof_log_loss"])
            print(
                f"| {name} | {seed} | {about[0]} | {about[1]} | {judged['oof_log_loss']:.5f} ± "
                f"{judged['oof_log_loss_se']:.5f} | {judged['plain_log_loss']:.5f} | "
                f"{judged['oof_accuracy']:.5f} |",
                flush=True,
            )
    print()
    for name in given.strategies:
        for other in (DEFAULT, "random"):
            if other in losses and other != name:
                gains = [a - b for a, b in zip(losses[name], losses[other], strict=True)]
                better = sum(gain < 0 for gain in gains)
                print(
                    f"{name} against {other}: log-loss {with_error(gains)}; better in {better} of "
                    f"{len(gains)} seeds"
                )
    print()
    usual = TrainingConfig().to_json()
    for name, seed, config in chosen:
        changed = {key: value for key, value in config.items() if value != usual.get(key)}
        print(f"{name}, seed {seed}: {changed or DEFAULT}")


if __name__ == "__main__":
    main()
