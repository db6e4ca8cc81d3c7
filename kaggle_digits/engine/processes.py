"""The crew of processes: workers on this machine, each at the other end of a pipe of its own.

What a worker tells and what comes of its tasks arrive in order on its pipe, and the pipe's end is
its death. Workers are spawned, not forked: a fork of a process that holds TensorFlow's threads can
hang. Nobody but the worker holds the far end, so no write waits for a worker that died.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from kaggle_digits.core import hardware
from kaggle_digits.engine.reporting import Reporting, Showing
from kaggle_digits.engine.shares import Share, available_devices, shares
from kaggle_digits.engine.tasks import Outcome, Site, Task, WorkerDiedError, perform
from kaggle_digits.ground.progress import Progress, Silent

_END_SECONDS = 10.0
_LOOK_SECONDS = 1.0


class Processes:
    """Workers on this machine.

    Args:
        site: What tasks find; data that are memory-mapped from its cache travel by path, so that
            all workers share them.
        workers: How many.
        threads: Threads each computes with.
    """

    def __init__(self, site: Site, workers: int, threads: int) -> None:
        self.size = workers
        self._progress = site.progress
        given = shares(workers, threads, hardware.available_cores(), available_devices())
        self._workers = [_Worker(replace(site, progress=Silent()), share) for share in given]

    def start(self, task: Task) -> None:
        """Give a task to a worker that is free, started if need be."""
        next(worker for worker in self._workers if worker.task is None).give(task)

    def wait(self) -> Outcome:
        """Show what workers tell, until one of them has done its task or died."""
        busy: dict[Any, _Worker] = {
            worker.pipe: worker for worker in self._workers if worker.task is not None
        }
        while True:
            # Not for ever: elsewhere than on Linux no signal would end the wait.
            for pipe in wait_for(busy, _LOOK_SECONDS):
                outcome = busy[pipe].hear(self._progress)
                if outcome is not None:
                    return outcome

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process as its parent sees it; started when its first task comes.

    Args:
        site: What its tasks find.
        share: What it may use.

    Attributes:
        task: What it is at.
        pipe: To the process.
    """

    def __init__(self, site: Site, share: Share) -> None:
        self.task: Task | None = None
        self.pipe: Connection | None = None
        self._site = site
        self._share = share
        self._showing = Showing()
        self._process: multiprocessing.process.BaseProcess | None = None

    def give(self, task: Task) -> None:
        """Let it do a task."""
        self.task = task
        if self.pipe is not None:
            try:
                self.pipe.send(task)
                return
            except OSError:
                self.end()  # it had died between two tasks: nobody's work is lost
        self.pipe = self._begin()
        with suppress(OSError):  # if it dies as it begins, the end of its pipe says so
            self.pipe.send(self._site)
            self.pipe.send(task)

    def hear(self, progress: Progress) -> Outcome | None:
        """Show one thing that it tells; return it if it is what came of its task."""
        assert self.pipe is not None and self.task is not None
        try:
            told = self.pipe.recv()
        except (EOFError, OSError):
            told = Outcome(self.task, error=WorkerDiedError(self.end()))
        if not isinstance(told, Outcome):
            self._showing.show(told, progress)
            return None
        self._showing.close()
        outcome, self.task = replace(told, task=self.task), None
        return outcome

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> str:
        """End the process, by force if need be; return how it ended, in words."""
        self._showing.close()
        if self._process is None or self.pipe is None:
            return ""
        self.pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_END_SECONDS)
        how = f"exit code {self._process.exitcode}"
        self.pipe = self._process = None
        return how

    def _begin(self) -> Connection:
        """Start the process; return the pipe to it."""
        # It asks Linux for huge pages: activations are tens of megabytes, and looking up their
        # addresses in pages of 4 KiB takes 6 to 8 % of a training step. Glibc reads this when a
        # process starts, so it goes by way of the environment; what the user has set stays.
        os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, self._share), daemon=True
        )
        # The standard library imports the caller's main module anew in each worker: a script
        # without a main guard would start itself again and again, and a notebook has none. Tasks
        # are found by their own modules.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = main
            theirs.close()
        self._process = process
        return ours


def _serve(pipe: Connection, share: Share) -> None:
    """Be a worker: do tasks as they come, until the parent has ended."""
    # Ctrl-C goes to the whole group; the parent alone answers it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device
    if share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)
    hardware.set_threads(share.threads)
    with suppress(EOFError, OSError):  # the parent has closed the pipe
        site = replace(pipe.recv(), progress=Reporting(pipe))
        while True:
            pipe.send(perform(pipe.recv(), site))


def _end_with_parent() -> None:
    # A parent that was killed cannot end its workers; they would go on with their tasks.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
