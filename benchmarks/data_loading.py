"""How long a competition takes to read: the first time, and from the cache.

    python benchmarks/data_loading.py --data digit-recognizer.zip

Each reading is a process of its own with an empty or a filled workspace; NumPy is imported before
the clock starts. The last column adds up every pixel, so that the images are really read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(data: Path | None, workspace: Path) -> dict[str, float]:
    """Read the data in this process; seconds for the import, the reading, and every pixel."""
    import numpy as np

    start = time.perf_counter()
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.workspace import Workspace

    imported = time.perf_counter()
    dataset = load(data, Workspace(workspace))
    loaded = time.perf_counter()
    for images in (dataset.images, dataset.test_images):
        images.sum(dtype=np.int64)
    return {
        "import": imported - start,
        "load": loaded - imported,
        "every pixel": time.perf_counter() - loaded,
    }


def main() -> None:
    """Print one line for the first reading and one for each later one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or zip; default: data/ or embedded")
    parser.add_argument("--repeats", type=int, default=3, help="readings from the cache")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.data, options.measure)))
        return
    data = ["--data", str(options.data)] if options.data else []
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'seconds':<12}{'import':>10}{'load':>10}{'every pixel':>14}")
        for repeat in range(options.repeats + 1):
            done = subprocess.run(
                [sys.executable, __file__, *data, "--measure", folder],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            took = json.loads(done.stdout)
            name = "from cache" if repeat else "first"
            print(f"{name:<12}{took['import']:>10.3f}{took['load']:>10.3f}", end="")
            print(f"{took['every pixel']:>14.3f}")


if __name__ == "__main__":
    main()
