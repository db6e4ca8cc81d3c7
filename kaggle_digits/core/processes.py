"""Worker processes on this machine: what each may use, and how they end with their parent.

All worker processes are spawned, not forked: a fork of a process that holds TensorFlow's threads
can hang.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_digits.core import hardware

_FEWEST_ROWS = 10_000
_MOST_WORKERS = 8
_CORES_ON_A_GPU = 4
_MOST_ON_A_GPU = 4

END_SECONDS = 10.0
"""How long a worker is given to end."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker may use.

    Args:
        cores: Numbers of its cores; empty where they cannot be assigned.
        device: Its GPU as CUDA_VISIBLE_DEVICES names it; None to leave that as it is.
    """

    cores: tuple[int, ...]
    device: str | None


def shares(workers: int, cores: Sequence[int], devices: Sequence[str]) -> list[Share]:
    """Divide a machine among workers.

    Args:
        workers: How many.
        cores: The cores there are; with fewer cores than workers, some are shared.
        devices: The GPUs there are; with fewer than two, all workers see the same.

    Returns:
        A share for each worker; cores differ by one at most.
    """
    found = []
    for number in range(workers):
        own = tuple(cores[number::workers]) or tuple(cores[number % len(cores) :][:1])
        device = devices[number % len(devices)] if len(devices) > 1 else None
        found.append(Share(own, device))
    return found


def usual_workers(rows: int, cores: int, devices: int) -> int:
    """Return how many networks are best trained side by side.

    Without a GPU, one for each core up to 8: small networks leave cores idle when two of them share
    each operation (1.14 to 1.33 times the images per second on two cores). On each GPU up to 4,
    where there are 4 cores for each: what a member needs of the processor, while it is compiled and
    its views are made, is then done beside the training of others (four took 24 s, one after
    another 45 s, on an H200). On small data one, or one for each GPU: a worker takes seconds to
    start.

    Args:
        rows: Of the training data.
        cores: Cores there are.
        devices: GPUs there are.
    """
    if rows < _FEWEST_ROWS:
        return max(devices, 1)
    if devices:
        return devices * min(max(cores // (devices * _CORES_ON_A_GPU), 1), _MOST_ON_A_GPU)
    return min(cores, _MOST_WORKERS)


def workers_here(rows: int) -> int:
    """Return how many networks are best trained side by side on this machine.

    To look for GPUs loads the backend.

    Args:
        rows: Of the training data.
    """
    devices = available_devices()
    if hardware.prepare().device != "cpu" and not devices:
        return 1  # a TPU belongs to one process
    return usual_workers(rows, len(hardware.available_cores()), len(devices))


def shares_here(workers: int) -> list[Share]:
    """Divide this machine among workers."""
    return shares(workers, hardware.available_cores(), available_devices())


def available_devices() -> list[str]:
    """Return the GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(hardware.available_gpus())]


def start_worker(
    target: Callable[..., None], *given: Any, name: str | None = None, daemon: bool = True
) -> Any:
    """Start a worker process and return it.

    It asks Linux for huge pages: activations are tens of megabytes, and looking up their addresses
    in pages of 4 KiB takes 6 to 8 % of a training step. Glibc reads this when a process starts, so
    it goes by way of the environment; what the user has set there stays.

    Args:
        target: What it runs; it should call `become_worker` first.
        given: The arguments, which can be pickled.
        name: The process's name.
        daemon: Whether it ends with this process; such a one cannot start processes of its own.
    """
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    process = multiprocessing.get_context("spawn").Process(
        target=target, args=given, name=name, daemon=daemon
    )
    process.start()
    return process


def become_worker(share: Share | None = None) -> None:
    """Let this process be a worker: to be called before anything else in it.

    Args:
        share: What it may use; None for all there is.
    """
    # Ctrl-C goes to the whole group; the parent alone answers it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if share is None:
        return
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device
    if share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)


def end_all(processes: Iterable[Any]) -> None:
    """End worker processes, by force if need be."""
    ending = [process for process in processes if process.is_alive()]
    for process in ending:
        process.terminate()
    for process in ending:
        process.join(END_SECONDS)
        if process.is_alive():
            process.kill()


def _end_with_parent() -> None:
    # A parent that was killed cannot end its workers; they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
