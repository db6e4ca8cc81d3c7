"""What `blend --compare` takes: 60 member sets of 42,000 x 10, read from a workspace, to the table.

    python benchmarks/blend_comparison.py

Members are planted: noisy, differently sharp copies of a known truth, 60 configurations in 5 folds
each, with 28,000 test rows. The command runs in a process of its own; its seconds include start-up
and reading, its memory is the process's peak. A second table compares the stack's form (one
coefficient per member and a bias per class) with one coefficient per pair of classes and member.
Writes `blend_comparison.md` beside itself, or where --output says.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CLASSES, FOLDS, TEST_ROWS = 10, 5, 28000


def planted_dataset(rows: int) -> Any:
    """Make a data set of which only labels, ids and classes matter."""
    from kaggle_digits.core.data.dataset import Dataset
    from kaggle_digits.ground.competition import Competition, SubmissionFormat

    return Dataset(
        competition=Competition(1, 1, tuple("0123456789"), SubmissionFormat()),
        images=np.zeros((rows, 1, 1), dtype=np.uint8),
        labels=truth(rows)[1],
        test_images=np.zeros((TEST_ROWS, 1, 1), dtype=np.uint8),
        test_ids=tuple(str(number + 1) for number in range(TEST_ROWS)),
        digest="planted",
        name="planted",
        truth=None,
    )


def truth(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, float64 [rows, classes], whose best answer is right on 98.5 % or so; labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, rows)
    return random.normal(size=(rows, CLASSES)) + 7 * np.eye(CLASSES)[labels], labels


def member(logits: np.ndarray, number: int) -> np.ndarray:
    """Make a member: errors shared with the others and of its own, and its own sharpness."""
    from kaggle_digits.core.predictions import softmax

    shared = np.random.default_rng(1).normal(size=logits.shape)
    random = np.random.default_rng(2 + number)
    noise = random.uniform(0.7, 1.6) * random.normal(size=logits.shape)
    return softmax(random.uniform(1.0, 3.0) * (logits + shared + noise))


def fill(root: Path, sets: int, rows: int) -> None:
    """Put the planted members and their plan into a workspace."""
    from kaggle_digits.core.folds import make_folds
    from kaggle_digits.ground.config import TrainingConfig
    from kaggle_digits.ground.workspace import Workspace
    from kaggle_digits.records.members import Member, MemberStore
    from kaggle_digits.records.plan import MemberKey

    workspace, dataset = Workspace(root), planted_dataset(rows)
    folds = make_folds(dataset, FOLDS, 0, workspace)
    store, keys = MemberStore(workspace), []
    logits, test_logits = truth(rows)[0], truth(TEST_ROWS, 1)[0]
    for number in range(sets):
        oof, test = member(logits, number), member(test_logits, number)
        for fold in range(FOLDS):
            key = MemberKey(
                TrainingConfig(), fold, number, 1, 1, dataset.digest, folds.digest, "", number
            )
            store.add(Member(key, oof[folds.held_out_rows(fold)], test, {"seconds": 0.0}))
            keys.append(key)
    store.write_plan({"folds": FOLDS, "seed": 0}, keys)


def compare(root: Path, rows: int) -> None:
    """Run the command in this process and print its table, seconds and memory as JSON."""
    started = time.perf_counter()
    from ensembles.commands import blend
    from kaggle_digits.ground.config import load_presets
    from kaggle_digits.ground.workspace import Workspace
    from kaggle_digits.shell.command import Session
    from kaggle_digits.shell.console import Console

    console = Console(sys.stdout, sys.stderr, quiet=True, as_json=True)
    preset = load_presets()["quick"]
    session = Session(Workspace(root), None, preset, 0, False, console, started)
    session._dataset = planted_dataset(rows)
    outcome = blend.body(session, method="auto", compare=True)
    told = {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "rows": outcome.rows,
        "method": outcome.values["method"],
    }
    print(json.dumps(told))


def stacks(members: int, rows: int) -> list[str]:
    """Compare the stack's two forms on planted members; return a table's lines."""
    from sklearn.linear_model import LogisticRegression

    from ensembles.evaluation import one_blas_thread
    from ensembles.methods import METHODS
    from kaggle_digits.core.predictions import score

    known, fresh = ((*truth(rows, seed),) for seed in (0, 1))
    pool, others = (
        np.stack([member(logits, number) for number in range(members)])
        for logits, _ in (known, fresh)
    )

    def features(probabilities: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(probabilities, 1e-7))
        return logs.transpose(1, 0, 2).reshape(probabilities.shape[1], -1)

    lines = [
        f"| stack of {members} members, {rows:,} rows | fitted numbers | s | log-loss, new rows |",
        "|---|---|---|---|",
    ]
    with one_blas_thread():
        started = time.perf_counter()
        rule = METHODS["stack"].fit(pool, known[1])
        seconds = time.perf_counter() - started
        judged = score(rule.apply(others), fresh[1]).log_loss
        count = members + CLASSES
        lines.append(f"| one coefficient per member | {count} | {seconds:.1f} | {judged:.5f} |")
        for strength in (1.0, 10.0, 100.0):
            model = LogisticRegression(C=1 / strength, max_iter=2000)
            started = time.perf_counter()
            model.fit(features(pool), known[1])
            seconds = time.perf_counter() - started
            judged = score(model.predict_proba(features(others)), fresh[1]).log_loss
            count = (members * CLASSES + 1) * CLASSES
            lines.append(
                f"| one per pair of classes and member, penalty {strength:g} | {count} | "
                f"{seconds:.1f} | {judged:.5f} |"
            )
    return lines


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=60, help="member sets")
    parser.add_argument("--rows", type=int, default=42000, help="training rows")
    parser.add_argument("--stack-members", type=int, default=30, help="of the second table")
    parser.add_argument("--stack-rows", type=int, default=20000, help="of the second table")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        compare(options.measure, options.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.members, options.rows)
        words = ["--measure", folder, "--rows", str(options.rows)]
        load = os.getloadavg()[0]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds = time.perf_counter() - started
    told = json.loads(done.stdout)
    header, *rows = told["rows"]
    lines = [
        "# Comparing methods",
        "",
        "Written by `python benchmarks/blend_comparison.py`. Planted members; they say how long it",
        "takes, not which method is best on the competition's data.",
        "",
        f"`blend --compare --method auto`, {options.members} member sets of {options.rows:,} × "
        f"{CLASSES} and {TEST_ROWS:,} test rows:",
        f"**{seconds:.1f} s** from start to end, with {load:.1f} other processes at work on "
        f"{os.cpu_count()} cores;",
        f"{told['processor']:.1f} s of processor time; peak memory **{told['peak']:.2f} GiB**. "
        f"Chosen: {told['method']}.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        *stacks(options.stack_members, options.stack_rows),
        "",
    ]
    options.output.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
