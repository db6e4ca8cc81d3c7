"""One loop that hands out tasks, and the choice of who does them.

A crew is whoever does tasks: `inline` (this process), `processes` (workers on this machine) or
`cluster` (Ray). The loop is the same for all: it asks for a task when somebody is free, passes
outcomes on as they come, and gives a task out again whose worker has died, three times at most.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from kaggle_digits.core import hardware
from kaggle_digits.engine.shares import default_threads, default_workers, fitting_workers
from kaggle_digits.engine.tasks import Outcome, Task, WorkerDiedError
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Progress, counted
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

MOST_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Resources:
    """What tasks may use.

    Args:
        workers: Tasks done at a time on this machine; None for what suits it.
        threads: Threads of the processor that each task computes with; None for what suits the
            machine and the data. Results hang on it, so it never hangs on `workers`.
        cluster: Address of a Ray cluster, `auto` for the one this machine belongs to; None for this
            machine alone.

    Raises:
        ConfigurationError: Workers of this machine were asked for together with a cluster.
    """

    workers: int | None = None
    threads: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be had together."""
        if self.cluster is not None and self.workers is not None:
            raise ConfigurationError(
                "--workers and --cluster were given together; --workers counts those of this "
                "machine alone.",
                mend="Give one of them; on a cluster, as many tasks run as it has cores for.",
            )


@dataclass(frozen=True, slots=True)
class Died:
    """What came of a task whose worker died.

    Args:
        task: The task.
        how: What is known of the death.
    """

    task: Task
    how: str


class Crew(Protocol):
    """Whoever does tasks."""

    @property
    def size(self) -> int:
        """How many tasks it can be at."""

    def start(self, task: Task) -> None:
        """Begin a task; called only while fewer than `size` are under way."""

    def wait(self) -> Outcome | Died:
        """Return what came of the next task that ends."""

    def close(self) -> None:
        """End all workers and what they are at."""


class Engine:
    """Runs tasks; a context that ends all workers when it is left.

    Args:
        choose: Makes the crew when the first work comes: to look for GPUs, or to reach a cluster,
            takes seconds.
        progress: Told of workers that died.
        makes_copies: Whether tasks share this machine's cache, so that what they need of the bank
            is best made before they are given out.
    """

    def __init__(
        self, choose: Callable[[], Crew], progress: Progress, *, makes_copies: bool = True
    ) -> None:
        self.makes_copies = makes_copies
        self._choose = choose
        self._progress = progress
        self._crew: Crew | None = None
        self._by_node: Counter[str] = Counter()

    @property
    def workers(self) -> int:
        """How many tasks are done at a time."""
        return self._its_crew().size

    @property
    def by_node(self) -> str:
        """How many tasks each node has done, in words; empty while there is but one node."""
        if len(self._by_node) < 2:
            return ""
        return ", ".join(f"{node}: {done}" for node, done in sorted(self._by_node.items()))

    def run(self, tasks: Iterable[Task | None]) -> Iterator[Outcome]:
        """Do tasks until there are no more.

        Args:
            tasks: Asked for the next one when somebody is free. None stands for "nothing now": it
                is asked again when a task under way has ended, and if none is, that is the end.

        Yields:
            Outcomes as they come, in any order.
        """
        coming = iter(tasks)
        again: deque[Task] = deque()
        deaths: Counter[str] = Counter()
        under_way = 0
        has_more, is_waiting = True, False
        while True:
            while (again or (has_more and not is_waiting)) and (
                # The first task comes before the crew, which it may be needless to choose.
                not under_way or under_way < self.workers
            ):
                if again:
                    task: Task | None = again.popleft()
                else:
                    try:
                        task = next(coming)
                    except StopIteration:
                        has_more = False
                        break
                if task is None:
                    is_waiting = True
                    break
                self._its_crew().start(task)
                under_way += 1
            if not under_way:
                return
            ended = self._its_crew().wait()
            under_way -= 1
            is_waiting = False
            if isinstance(ended, Outcome):
                self._by_node[ended.node] += 1
                yield ended
                continue
            deaths[ended.task.key] += 1
            if deaths[ended.task.key] < MOST_DEATHS:
                self._progress.say(
                    f"{ended.task.key}: its worker died ({ended.how}); it is given out again"
                )
                again.append(ended.task)
            else:
                yield Outcome(ended.task, error=_given_up(ended))

    def close(self) -> None:
        """End all workers; what they were at goes on from its last epoch when it is asked again."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all workers."""
        self.close()

    def _its_crew(self) -> Crew:
        if self._crew is None:
            self._crew = self._choose()
        return self._crew


def open_engine(
    dataset: Dataset,
    workspace: Workspace,
    resources: Resources,
    progress: Progress,
    deadline: Deadline | None = None,
) -> Engine:
    """Return the engine that fits what may be used.

    Args:
        dataset: The data of all tasks.
        workspace: Whose cache tasks use where they share it.
        resources: What they may use.
        progress: Told of every step.
        deadline: When they have to end; None for never.

    Raises:
        ConfigurationError: The cluster cannot be used: Ray is not installed, nobody answers, or a
            node has other versions.
    """
    until = deadline or Deadline()
    if resources.cluster is not None:
        from kaggle_digits.engine.cluster import Cluster, require_ray

        require_ray()
        threads = resources.threads or 1
        # Reached at once: what is wrong with a cluster is told before anything starts.
        crew = Cluster(resources.cluster, dataset, workspace, threads, progress, until)
        return Engine(lambda: crew, progress, makes_copies=False)

    def choose() -> Crew:
        from kaggle_digits.engine.inline import Inline
        from kaggle_digits.engine.processes import Processes

        rows = len(dataset.images)
        threads = resources.threads or default_threads(rows)
        if resources.workers is None:
            workers = (
                default_workers(rows)
                if resources.threads is None
                else fitting_workers(resources.threads)
            )
        else:
            workers = resources.workers
        # One worker is this process, unless it already computes with another number of threads.
        if workers == 1 and hardware.set_threads(threads):
            return Inline(dataset, workspace, progress, until)
        progress.say(f"{counted(workers, 'worker')} of {counted(threads, 'thread')} each")
        return Processes(dataset, workspace, workers, threads, progress, until)

    return Engine(choose, progress)


def _given_up(ended: Died) -> WorkerDiedError:
    return WorkerDiedError(
        f"{MOST_DEATHS} workers died at {ended.task.key} ({ended.how}); was there too little "
        "memory?",
        mend="Call the command again to go on, with fewer --workers; the workspace's log.txt may "
        "say more.",
    )
