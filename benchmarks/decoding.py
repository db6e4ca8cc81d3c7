"""How fast image files are read: files a second beside a bare OpenCV loop, memory, second start.

    python benchmarks/decoding.py --files 100000

It writes that many small JPEG files into a temporary folder, decodes them by a loop of `open` and
`cv2.imdecode` alone, with one thread and with as many as the reader has, once more into a file as a
reader has to, in the order of colours that networks expect, and loads them as a competition, each
in a process of its own; then it loads them again, from the cache. Memory is what a process holds
for itself (RssAnon, looked at every 20 ms): pages of the cache's files, which the system takes back
when it likes, are no part of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kaggle_digits.core.hardware import available_threads

_SIDE = 48
_CLASSES = 10
_PER_FOLDER = 1000
_AT_A_TIME = 64


def write(folder: Path, files: int) -> None:
    """Write a competition of JPEG files, a tenth of them to be labelled."""
    random = np.random.default_rng(0)
    some = [cv2.resize(random.integers(0, 256, (6, 6, 3)).astype(np.uint8), (_SIDE, _SIDE))
            for _ in range(200)]  # fmt: skip
    coded = [cv2.imencode(".jpg", image)[1].tobytes() for image in some]
    rows = ["id,label"]
    for number in range(files):
        part = "train" if number % 10 else "test"
        place = folder / part / f"{number // _PER_FOLDER:03d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06d}.jpg").write_bytes(coded[number % len(coded)])
        if part == "train":
            rows.append(f"{number:06d},{number % _CLASSES}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")


def bare(folder: Path, threads: int, kept: Path | None = None) -> None:
    """Decode all files and nothing else, or keep the images as well."""
    cv2.setNumThreads(0)
    paths = [str(path) for path in folder.rglob("*.jpg")]
    shape = len(paths), _SIDE, _SIDE, 3
    file = None if kept is None else np.lib.format.open_memmap(kept, "w+", np.uint8, shape)

    def one(row: int) -> int:
        with open(paths[row], "rb") as stream:
            image = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), 1)
        if file is not None:
            file[row] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return int(image.shape[0])

    def some(start: int) -> int:
        # As the reader does: a task for each image would be more work than the image.
        return sum(map(one, range(start, min(start + _AT_A_TIME, len(paths)))))

    starts = range(0, len(paths), _AT_A_TIME)
    started = time.perf_counter()
    with Peak() as peak, ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(some, starts)) if threads > 1 else sum(map(some, starts))
    assert total == _SIDE * len(paths)
    name = f"bare loop, {threads} thread(s)" + ("" if kept is None else ", into a file")
    _tell(name, time.perf_counter() - started, len(paths), peak)


def load(folder: Path, workspace: Path) -> None:
    """Load the competition as every command does."""
    from kaggle_digits.core.data import image_reading
    from kaggle_digits.core.data import load as load_files
    from kaggle_digits.ground.workspace import Workspace

    decoding = image_reading._decode_all
    spent = 0.0

    def timed(*given: Any) -> Any:
        nonlocal spent
        begun = time.perf_counter()
        made = decoding(*given)
        spent += time.perf_counter() - begun
        return made

    image_reading._decode_all = timed
    started = time.perf_counter()
    with Peak() as peak:
        found = load_files(folder, Workspace(workspace))
    seconds = time.perf_counter() - started
    rows = len(found.images) + len(found.test_images)
    _tell("load", seconds, rows, peak)
    if spent:
        _tell("  of it decoding", spent, rows, peak)


def _tell(name: str, seconds: float, files: int, peak: Peak) -> None:
    rate = f"{files / seconds:10,.0f} files/s"
    print(f"{name:34} {seconds:8.2f} s {rate}, at most {peak.mebibytes:,.0f} MiB", flush=True)


class Peak:
    """The most memory that this process has held for itself, while the block runs."""

    def __init__(self) -> None:
        self.mebibytes = 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        """Begin to look."""
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Look for the last time."""
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while True:
            ended = self._over.wait(0.02)
            status = Path("/proc/self/status").read_text()
            held = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
            self.mebibytes = max(self.mebibytes, int(held.split()[1]) / 1024)
            if ended:
                return


def main() -> None:
    """Run all measurements, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        what, *places = given.only
        if what == "load":
            load(Path(places[0]), Path(places[1]))
        else:
            bare(Path(places[0]), int(what), *map(Path, places[1:]))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        write(folder, given.files)
        for only in (
            ["1", str(folder)],
            [str(available_threads()), str(folder)],
            [str(available_threads()), str(folder), f"{place}/kept.npy"],
            ["load", str(folder), f"{place}/w"],
            ["load", str(folder), f"{place}/w"],
        ):
            subprocess.run([sys.executable, __file__, "--only", *only], check=True)


if __name__ == "__main__":
    main()
