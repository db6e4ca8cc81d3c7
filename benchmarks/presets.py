"""What a preset comes to: out-of-fold figures over seeds, and time, also beside an earlier commit.

    python benchmarks/presets.py --data digit-recognizer.zip --preset quick [--seeds 3]
        [--before ../earlier/.venv/bin/kaggle-digits] [--before-seeds 1] [--keep workspaces]

Each run is `kaggle-digits run` in a workspace of its own, with nothing there yet, one after the
other; runs of the earlier commit, which has to be installed somewhere, stand between those of this
one, so that both meet the machine at the same speed. The log-loss is that of the submission's
blend. A run that ended before (`--keep`) is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = str(Path(sys.executable).with_name("kaggle-digits"))


def run(command: str, place: Path, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Run a preset in an empty workspace; return what it says at its end."""
    told = place.with_suffix(".json")
    if not told.exists():
        call = [command, "run", "--preset", given.preset, "--seed", str(seed), "--json", "--quiet"]
        call += ["--data", str(given.data), "--workspace", str(place)]
        load = os.getloadavg()[0]
        made = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout
        told.write_text(json.dumps(json.loads(made) | {"load_before": load}))
    found: dict[str, Any] = json.loads(told.read_text())
    print(
        f"{place.name}: {found['oof_accuracy']:.5f}, log-loss {found['oof_log_loss']:.5f}, "
        f"{found['seconds']:.0f} s (load before {found['load_before']:.1f})",
        flush=True,
    )
    return found


def row(name: str, found: list[dict[str, Any]]) -> str:
    """Return a line of the table: mean ± sd over the seeds."""
    cells = [name, str(len(found))]
    for key, digits in (("oof_accuracy", 5), ("oof_log_loss", 5), ("seconds", 0)):
        values = [one[key] for one in found]
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.{digits}f}{spread}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", help="kaggle-digits of an earlier commit")
    parser.add_argument("--before-seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where workspaces stay; default: nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        now: list[dict[str, Any]] = []
        before: list[dict[str, Any]] = []
        for seed in range(given.seeds):
            now.append(run(HERE, folder / f"{given.preset}-{seed}", seed, given))
            if given.before and seed < given.before_seeds:
                name = f"{given.preset}-before-{seed}"
                before.append(run(given.before, folder / name, seed, given))
    print("\n| commit | seeds | OOF accuracy | log-loss | seconds |\n|---|---|---|---|---|")
    print(row("this", now))
    if before:
        print(row("before", before))
        pairs = zip(now, before, strict=False)
        ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
        print(f"\ntime against before: {np.mean(ratios):.2f}")


if __name__ == "__main__":
    main()
