"""What each worker of this machine may use: its threads, its cores, its GPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from kaggle_digits.core import hardware

FEWEST_ROWS = 10_000
"""Data below this many rows are trained on by one worker: to start one takes seconds."""

_MOST_WORKERS = 8
_CORES_ON_A_GPU = 4
_MOST_ON_A_GPU = 4


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker may use.

    Args:
        threads: Threads it computes with.
        cores: Numbers of its cores; empty where they cannot be assigned.
        device: Its GPU as CUDA_VISIBLE_DEVICES names it; None to leave that as it is.
    """

    threads: int
    cores: tuple[int, ...]
    device: str | None


def shares(workers: int, threads: int, cores: Sequence[int], devices: Sequence[str]) -> list[Share]:
    """Divide a machine among workers.

    Args:
        workers: How many.
        threads: Threads of each; each has as many cores, some of them shared where there are fewer.
        cores: The cores there are.
        devices: The GPUs there are; with fewer than two, all workers see the same.
    """
    found = []
    for number in range(workers):
        first = number * threads
        own = {cores[(first + next_) % len(cores)] for next_ in range(min(threads, len(cores)))}
        device = devices[number % len(devices)] if len(devices) > 1 else None
        found.append(Share(threads, tuple(sorted(own)), device))
    return found


def usual_threads(rows: int, cores: int, devices: int) -> int:
    """Return how many threads a network is best trained with: a matter of machine and data only.

    One, as long as there are no more than 8 cores: small networks leave cores idle when two of them
    share each operation (1.14 to 1.33 times the images per second on two cores). On small data all
    there are, since one worker does everything.

    Args:
        rows: Of the training data.
        cores: Cores there are.
        devices: GPUs there are.
    """
    if rows < FEWEST_ROWS:
        return max(cores // max(devices, 1), 1)
    if devices:
        return max(cores // usual_workers(rows, cores, devices), 1)
    return max(cores // _MOST_WORKERS, 1)


def usual_workers(rows: int, cores: int, devices: int) -> int:
    """Return how many networks are best trained side by side.

    Without a GPU, one for each core up to 8. On each GPU up to 4, where there are 4 cores for each:
    what a member needs of the processor, while it is compiled and its views are made, is then done
    beside the training of others (four took 24 s, one after another 45 s, on an H200). On small
    data one, or one for each GPU: a worker takes seconds to start.

    Args:
        rows: Of the training data.
        cores: Cores there are.
        devices: GPUs there are.
    """
    if rows < FEWEST_ROWS:
        return max(devices, 1)
    if devices:
        return devices * min(max(cores // (devices * _CORES_ON_A_GPU), 1), _MOST_ON_A_GPU)
    return min(cores, _MOST_WORKERS)


def suited(rows: int, workers: int | None, threads: int | None) -> tuple[int, int]:
    """Return how many workers this machine has, and how many threads each of them.

    To look for GPUs loads the backend; so it is not done where nothing hangs on it.

    Args:
        rows: Of the training data.
        workers: As many as were asked for; None for what suits the machine, and no more than there
            are cores for.
        threads: As many as were asked for; None for what suits the machine.
    """
    if workers and threads:
        return workers, threads
    cores = len(hardware.available_cores())
    devices = len(available_devices())
    if not workers:
        # A TPU belongs to one process.
        has_tpu = not devices and hardware.is_accelerated()
        workers = 1 if has_tpu else usual_workers(rows, cores, devices)
        if threads and not has_tpu:
            room = max(cores // threads, 1)
            workers = min(workers, room) if devices else room
    return workers, threads or usual_threads(rows, cores, devices)


def available_devices() -> list[str]:
    """Return the GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(hardware.available_gpus())]
