"""What the engine's tests let it do; found by workers by this module's name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.ground.errors import DataError


def add(site, first, second):
    return first + second, os.getpid()


def look(site):
    """What a task sees of its site."""
    images = site.dataset.images
    return {
        "sum": int(images.sum()),
        "writeable": images.flags.writeable,
        "memory_mapped": isinstance(images, np.memmap),
        "truth": site.dataset.truth,
        "home": site.is_home,
        "root": str(site.workspace.root),
        "threads": hardware.prepare().threads,
        "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "tunables": os.environ.get("GLIBC_TUNABLES"),
        "pid": os.getpid(),
        "main": __import__("__main__").__dict__.get("__file__"),
    }


def where(site):
    """What a worker was begun with; no library is loaded for it."""
    names = "CUDA_VISIBLE_DEVICES", "GLIBC_TUNABLES"
    device, tunables = (os.environ.get(name) for name in names)
    return {"device": device, "tunables": tunables, "pid": os.getpid()}


def refuse(site):
    raise DataError("A class is missing.", mend="Bring it back.")


def break_down(site):
    raise ZeroDivisionError("by nothing")


def tell(site):
    site.progress.say("a line")
    with site.progress.task("a bar", 3, "steps") as task:
        for _ in range(3):
            task.advance(note="going on")


def tell_much(site, steps):
    with site.progress.task("a bar", steps, "steps") as task:
        for _ in range(steps):
            task.advance()


def size_of(site, array):
    return array.nbytes


def die(site, folder, times):
    """Kill the worker the first so many times; then return how often it was begun."""
    begun = len(list(Path(folder).iterdir()))
    (Path(folder) / str(begun)).touch()
    if begun < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return begun + 1


class Deadly:
    """Ends the worker that takes it up."""

    def __reduce__(self):
        return os._exit, (3,)


def last(site, folder, seconds):
    """Say that it has begun, and take its time."""
    (Path(folder) / str(os.getpid())).touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
        site.deadline.check()
    return os.getpid()


def cache_one(site, name):
    path = site.workspace.cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("made")
    return str(path)
