"""The crew of processes: workers on this machine, each in a pool of its own.

Each worker is a `ProcessPoolExecutor` of one process, so that the death of one is told by the
standard library and touches no other. They are spawned, not forked: a fork of a process that holds
TensorFlow's threads can hang. What goes into a worker's pipe is always small, so that no write can
wait for a worker that died: data go by path and digest, and large arguments by a file.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.engine.engine import Died
from kaggle_digits.engine.reporting import ALL_TOLD, Reporting, Showing
from kaggle_digits.engine.shares import Share, shares_here
from kaggle_digits.engine.tasks import Outcome, Site, Task, perform
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_END_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_MOST_BYTES = 32 * 1024
"""Of a task's pickle that go through a pipe; Linux' pipes hold 64 KiB."""


class Processes:
    """Workers on this machine.

    Args:
        dataset: The data; memory-mapped from a workspace's cache, so that all workers share them.
        workspace: Whose cache is used.
        workers: How many.
        threads: Threads each computes with.
        progress: Told of every step of all of them.
        deadline: When tasks have to end.
    """

    def __init__(
        self,
        dataset: Dataset,
        workspace: Workspace,
        workers: int,
        threads: int,
        progress: Progress,
        deadline: Deadline,
    ) -> None:
        self.size = workers
        self._plan = _Plan(dataset, workspace, deadline)
        self._progress = progress
        self._told: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._tasks: dict[_Worker, Task] = {}
        self._futures: dict[_Worker, Future[Outcome]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="kaggle-digits-")
        self._workers = [_Worker(share) for share in shares_here(workers, threads)]

    def start(self, task: Task) -> None:
        """Give a task to a worker that is free, started if need be."""
        worker = next(worker for worker in self._workers if worker not in self._tasks)
        self._tasks[worker] = task
        try:
            future = worker.submit(self._plan, self._packed(task), self._told)
        except BrokenProcessPool:
            # It died between two tasks: nobody's work is lost.
            worker.end()
            future = worker.submit(self._plan, self._packed(task), self._told)
        self._futures[worker] = future
        future.add_done_callback(lambda done: self._told.put((worker, done)))

    def wait(self) -> Outcome | Died:
        """Show what workers tell, until one of them has done its task or died."""
        while True:
            try:
                # Not for ever: elsewhere than on Linux no signal would end the wait.
                worker, told = self._told.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(told, Future):
                # Results and what is told come by two ways: a result counts when the worker has
                # told that nothing follows, so that nothing told is lost. Its death counts at once.
                if told is not self._futures.get(worker) or told.exception() is None:
                    continue
            elif told != ALL_TOLD:
                worker.showing.show(told, self._progress)
                continue
            worker.showing.close()
            task, future = self._tasks.pop(worker), self._futures.pop(worker)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                return Died(task, worker.end())
            return Outcome(task, outcome.value, outcome.error, outcome.node, outcome.seconds)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.showing.close()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.end()
        self._tasks, self._futures = {}, {}
        self._folder.cleanup()

    def _packed(self, task: Task) -> bytes | Path:
        content = pickle.dumps(task)
        if len(content) <= _MOST_BYTES:
            return content
        handle, name = tempfile.mkstemp(dir=self._folder.name)
        with open(handle, "wb") as file:
            file.write(content)
        return Path(name)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What every worker begins with; small, since it goes through a pipe as well."""

    dataset: Dataset
    workspace: Workspace
    deadline: Deadline


@dataclass(eq=False, slots=True)
class _Worker:
    """One process as its parent sees it; started when its first task comes."""

    share: Share
    showing: Showing = field(default_factory=Showing)
    pool: ProcessPoolExecutor | None = None
    process: Any = None

    def submit(
        self, plan: _Plan, packed: bytes | Path, told: queue.SimpleQueue[tuple[_Worker, Any]]
    ) -> Future[Outcome]:
        if self.pool is not None:
            return self.pool.submit(_work, packed)
        # It asks Linux for huge pages: activations are tens of megabytes, and looking up their
        # addresses in pages of 4 KiB takes 6 to 8 % of a training step. Glibc reads this when a
        # process starts, so it goes by way of the environment; what the user has set stays.
        os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        ours, theirs = multiprocessing.Pipe(duplex=False)
        self.pool = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(plan, self.share, theirs),
        )
        before = set(multiprocessing.active_children())
        with _no_main():
            future = self.pool.submit(_work, packed)
        self.process = next(iter(set(multiprocessing.active_children()) - before), None)
        theirs.close()  # so that the pipe ends when the process does
        threading.Thread(target=self._listen, args=(ours, told), daemon=True).start()
        return future

    def terminate(self) -> None:
        """Ask the process to end."""
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def end(self) -> str:
        """End the process, by force if need be; return how it ended, in words."""
        how = "it ended as it began"
        if self.process is not None:
            self.process.join(_END_SECONDS)
            if self.process.is_alive():
                self.process.kill()
                self.process.join(_END_SECONDS)
            how = f"exit code {self.process.exitcode}"
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.pool = self.process = None
        return how

    def _listen(self, pipe: Connection, told: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        with pipe:
            while True:
                try:
                    told.put((self, pipe.recv()))
                except (EOFError, OSError):
                    return


@contextmanager
def _no_main() -> Iterator[None]:
    """Let a process start without the caller's main module.

    The standard library imports it anew in each worker: a script without a main guard would start
    itself again and again, and a notebook has none. Tasks are found by their own modules.
    """
    kept = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = kept


_here: Site | None = None
"""In a worker: what its tasks find."""


def _begin(plan: _Plan, share: Share, pipe: Connection) -> None:
    """Make this process a worker; nothing else may come before it."""
    global _here
    # Ctrl-C goes to the whole group; the parent alone answers it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device
    if share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)
    from kaggle_digits.core import hardware

    hardware.set_threads(share.threads)
    _here = Site(plan.dataset, plan.workspace, True, Reporting(pipe), plan.deadline)


def _work(packed: bytes | Path) -> Outcome:
    """Do a task in a worker."""
    assert _here is not None and isinstance(_here.progress, Reporting)
    content = packed
    if isinstance(packed, Path):
        content = packed.read_bytes()
    task: Task = pickle.loads(content)  # type: ignore[arg-type]
    done = perform(task, _here, socket.gethostname())
    _here.progress.end()
    # The parent knows the task; it need not travel back.
    return Outcome(_NOTHING, done.value, done.error, done.node, done.seconds)


_NOTHING = Task("", perform)


def _end_with_parent() -> None:
    # A parent that was killed cannot end its workers; they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
