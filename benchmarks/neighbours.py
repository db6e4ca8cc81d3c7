"""What do nearest neighbours bring where a mean of networks is unsure?

    python benchmarks/neighbours.py --data digit-recognizer.zip --workspace sets
        [--means plain plain,deslant] [--seeds 1] [--folds 3] [--epochs 12]
        [--distances none,deslant-box20] [--candidates 60] [--closest 10] [--moves 2]
        [--share 0.05] [--classes 4]

Judges means of sets that `ideas.py` has trained in the workspace, with and without what
`blend --neighbours` does, each calibrated by one temperature. The intervals are those of `blend`.
Nothing is trained; a mean takes one to two minutes of one core. What is looked at can be other than
what `blend` does: the normalisations that have a distance each, the candidates, how many of them
the whole displacement is tried for, that displacement, which rows, and of how many classes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ideas import Sets

from ensembles import neighbours
from ensembles.blending import Blend
from ensembles.methods import calibrate
from ensembles.neighbours import with_neighbours
from ensembles.rules import LinearRule
from kaggle_digits.core import neighbours as distances
from kaggle_digits.core.predictions import score
from kaggle_digits.ground.names import DISTANCES
from kaggle_digits.ground.progress import Silent


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument(
        "--means", nargs="+", default=["plain"], help="sets, with commas between them"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--distances", default=",".join(DISTANCES))
    parser.add_argument("--candidates", type=int, default=distances._CANDIDATES)
    parser.add_argument("--closest", type=int, default=distances._CLOSEST)
    parser.add_argument("--moves", type=int, default=distances._MOVES)
    parser.add_argument("--share", type=float, default=neighbours._SHARE)
    parser.add_argument("--classes", type=int, default=neighbours._ASKED)
    given = parser.parse_args()
    distances.DISTANCES = neighbours.DISTANCES = tuple(given.distances.split(","))
    distances._CANDIDATES, distances._CLOSEST = given.candidates, given.closest
    distances._MOVES, neighbours._SHARE = given.moves, given.share
    neighbours._ASKED = given.classes
    sets = Sets(given)
    print("| mean of | seed | without: errors | log-loss | with: errors | log-loss | difference |")
    print("|---|---|---|---|---|---|---|")
    for names in given.means:
        for seed in range(given.seeds):
            parts = [sets.whole(name, seed) for name in names.split(",")]
            mean = np.mean([part for part in parts if part is not None], axis=0)
            rule = calibrate(LinearRule((1.0,)), mean, sets.labels)
            oof = rule.apply(mean[np.newaxis])
            judged = score(oof, sets.labels)
            # No test rows: what they would be told depends on the same exponents.
            blend = Blend("mean", rule, oof, oof[:0], judged, judged)
            started = time.process_time()
            made, asked = with_neighbours(blend, sets.dataset, sets.folds, Silent())
            cells = [names.replace(",", " + "), str(seed)]
            for found in (judged, made.honest):
                cells += [str(round((1 - found.accuracy) * found.rows)), f"{found.log_loss:.5f}"]
            print("| " + " | ".join([*cells, asked.verdict()]) + " |", flush=True)
            print(f"{asked.exponents}, {time.process_time() - started:.0f} s of a core", flush=True)


if __name__ == "__main__":
    main()
