"""Who does a search's work besides this process: workers here, and those that ask over the network.

Workers on this machine are processes of their own, each with a share of the cores, and with a
device of its own where there are several GPUs. They ask a chief on the loopback, as workers on
other machines ask it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.core import hardware
from kaggle_digits.ground.errors import ArtefactError, TrainingError
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.workspace import Workspace
from tuning.coordination import Coordinator
from tuning.distribution import LEASE_SECONDS, Chief, Worker, serving
from tuning.scoring import Scorer, ScoringSettings

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_LOOPBACK = "127.0.0.1"
_CHECK_SECONDS = 0.1
_JOIN_SECONDS = 10.0
_MOST_DEATHS_EACH = 5


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker on this machine may use.

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


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How a worker process on this machine begins.

    Args:
        port: The chief's, on the loopback.
        name: The worker's.
        data: The --data path; None for the default.
        workspace: The workspace's folder, shared by all workers here.
        share: What it may use.
    """

    port: int
    name: str
    data: Path | None
    workspace: Path
    share: Share


class Crew:
    """A chief, its workers on this machine, and any that come over the network.

    Args:
        dataset: The data.
        scoring: What decides scores.
        data: The --data path, for workers here to load.
        workspace: Shared by the workers here.
        workers: How many to run here; 0 for none.
        address: Host and port to serve on; None for the loopback alone.
        lease: Seconds after which work that nobody reports on is handed out again.
        target: What a worker process runs.
    """

    def __init__(
        self,
        dataset: Dataset,
        scoring: ScoringSettings,
        data: Path | None,
        workspace: Workspace,
        workers: int,
        address: tuple[str, int] | None = None,
        lease: float = LEASE_SECONDS,
        target: Callable[[WorkerPlan], None] | None = None,
    ) -> None:
        self.lease = lease
        self.outlives = address is not None
        self._about = {"data": dataset.digest, "scoring": asdict(scoring)}
        self._data = data
        self._workspace = workspace
        self._workers = workers
        self._address = address
        self._target = target or work_here
        self._deaths = 0

    def work(self, coordinator: Coordinator, progress: Progress) -> None:
        """Serve until there is no work left.

        Raises:
            ConfigurationError: The address cannot be served.
            TrainingError: The workers here die again and again.
        """
        chief = Chief(coordinator, self._about)
        coordinator.prepare()
        host, port = self._address or (_LOOPBACK, 0)
        with serving(chief, host, port) as bound:
            progress.say(f"chief: serving on {host}:{bound}, {self._workers} workers here")
            with self._team(bound) as team:
                while not coordinator.is_over:
                    time.sleep(_CHECK_SECONDS)
                    coordinator.end_leases()
                    self._replace_dead(team, bound, coordinator, progress)
                chief.wait_for_farewells()
                for process in team.values():
                    process.join(_JOIN_SECONDS)

    @contextmanager
    def _team(self, port: int) -> Iterator[dict[int, Any]]:
        team: dict[int, Any] = {}
        try:
            for number in range(self._workers):
                team[number] = self._start(number, port)
            yield team
        finally:
            for process in team.values():
                if process.is_alive():
                    process.terminate()
            for process in team.values():
                process.join(_JOIN_SECONDS)
                if process.is_alive():
                    process.kill()

    def _start(self, number: int, port: int) -> Any:
        share = shares(self._workers, _cores(), _devices())[number]
        plan = WorkerPlan(
            port=port,
            name=f"worker {number}.{self._deaths} of {os.getpid()}",
            data=self._data,
            workspace=self._workspace.root,
            share=share,
        )
        # Spawned, not forked: a fork of a process that holds TensorFlow's threads can hang.
        process = multiprocessing.get_context("spawn").Process(
            target=self._target, args=(plan,), name=plan.name
        )
        process.start()
        return process

    def _replace_dead(
        self, team: dict[int, Any], port: int, coordinator: Coordinator, progress: Progress
    ) -> None:
        for number, process in team.items():
            # A worker that ended well was told that there is nothing more to do.
            if process.exitcode in (None, 0):
                continue
            coordinator.lose(process.name)
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS_EACH * self._workers:
                raise TrainingError(
                    f"The workers here died {self._deaths} times, the last one with exit code "
                    f"{process.exitcode}.",
                    mend="Give fewer --workers; the workspace's log.txt may say more.",
                )
            progress.say(f"worker {number} died (exit code {process.exitcode}); another one starts")
            team[number] = self._start(number, port)


def work_here(plan: WorkerPlan) -> None:
    """Be a worker process on the chief's machine, until there is no work left."""
    _as_worker_process()
    _take_share(plan.share)
    from kaggle_digits.core.data import load

    workspace = Workspace(plan.workspace)
    dataset = load(plan.data, workspace, Silent().say)
    Worker(
        _LOOPBACK,
        plan.port,
        plan.name,
        dataset.digest,
        lambda settings: Scorer(dataset, workspace, settings, lambda: bank_lock(workspace)),
        Silent(),
    ).work()


@contextmanager
def bank_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the bank for this process, after whoever holds it now."""
    while True:
        try:
            with workspace.lock(workspace.cache / "bank"):
                yield
                return
        except ArtefactError as error:
            if "is in use by" not in error.message:
                raise
        time.sleep(_CHECK_SECONDS)


def _as_worker_process() -> None:
    # Ctrl-C goes to the whole group; the chief alone answers it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A chief that was killed cannot end its workers; its files say what they were doing.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _take_share(share: Share) -> None:
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device
    if share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    if hardware.prepare().backend != "tensorflow":
        return []
    import tensorflow

    return [str(n) for n in range(len(tensorflow.config.list_physical_devices("GPU")))]
