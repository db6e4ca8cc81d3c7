"""Who does a search's work besides this process: workers here, and those that ask over the network.

Workers on this machine are processes of their own, each with a share of the cores, and with a
device of its own where there are several GPUs. They ask a chief on the loopback, as workers on
other machines ask it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.core.processes import (
    END_SECONDS,
    Share,
    become_worker,
    end_all,
    shares_here,
    start_worker,
)
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
_MOST_DEATHS_EACH = 5


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
                    process.join(END_SECONDS)

    @contextmanager
    def _team(self, port: int) -> Iterator[dict[int, Any]]:
        team: dict[int, Any] = {}
        try:
            for number in range(self._workers):
                team[number] = self._start(number, port)
            yield team
        finally:
            end_all(team.values())

    def _start(self, number: int, port: int) -> Any:
        share = shares_here(self._workers)[number]
        plan = WorkerPlan(
            port=port,
            name=f"worker {number}.{self._deaths} of {os.getpid()}",
            data=self._data,
            workspace=self._workspace.root,
            share=share,
        )
        return start_worker(self._target, plan, name=plan.name, daemon=False)

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
    become_worker(plan.share)
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
