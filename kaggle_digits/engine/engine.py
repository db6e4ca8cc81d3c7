"""One loop that hands out tasks, and the choice of who does them.

A crew is whoever does tasks: `inline` (this process), `processes` (workers on this machine) or
`cluster` (Ray). The loop is the same for all: it asks for a task when somebody is free, passes
outcomes on as they come, and gives a task out again whose worker has died, three times at most.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

from kaggle_digits.core import hardware
from kaggle_digits.engine.shares import suited
from kaggle_digits.engine.tasks import Outcome, Site, Task, WorkerDiedError
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import counted

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


class Crew(Protocol):
    """Whoever does tasks.

    Attributes:
        size: How many tasks it can be at.
    """

    size: int

    def start(self, task: Task) -> None:
        """Begin a task; called only while fewer than `size` are under way."""

    def wait(self) -> Outcome:
        """Return what came of the next task that ends; its error says so if its worker died."""

    def close(self) -> None:
        """End all workers and what they are at."""


class Engine:
    """Runs tasks; a context that ends all workers when it is left.

    What they were at goes on from its last epoch when it is asked for again.

    Args:
        site: What tasks find on this machine.
        choose: Makes the crew when the first work comes: to look for GPUs, or to reach a cluster,
            takes seconds.
        is_here: Whether all tasks share this machine's cache, so that what they need of the bank is
            best made before they are given out.

    Attributes:
        site: As given.
        is_here: As given.
    """

    def __init__(self, site: Site, choose: Callable[[], Crew], *, is_here: bool = True) -> None:
        self.site = site
        self.is_here = is_here
        self._choose = choose
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
        while True:
            # The first task comes before the crew, which it may be needless to choose.
            while not under_way or under_way < self.workers:
                task = again.popleft() if again else next(coming, None)
                if task is None:
                    break
                self._its_crew().start(task)
                under_way += 1
            if not under_way:
                return
            ended = self._its_crew().wait()
            under_way -= 1
            if not isinstance(ended.error, WorkerDiedError):
                self._by_node[ended.node] += 1
                yield ended
                continue
            key, how = ended.task.key, ended.error.message
            deaths[key] += 1
            if deaths[key] < MOST_DEATHS:
                self.site.progress.say(f"{key}: its worker died ({how}); it is given out again")
                again.append(ended.task)
                continue
            error = WorkerDiedError(
                f"{MOST_DEATHS} workers died at {key} ({how}); was there too little memory?",
                mend="Call the command again to go on, with more memory free, fewer --workers, or, "
                "on a cluster, more --threads; the workspace's log.txt may say more.",
            )
            yield replace(ended, error=error)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all workers."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _its_crew(self) -> Crew:
        if self._crew is None:
            self._crew = self._choose()
        return self._crew


def open_engine(site: Site, resources: Resources) -> Engine:
    """Return the engine that fits what may be used.

    Args:
        site: The data of all tasks, the workspace whose cache they use where they share it, whom
            they tell of every step, and when they have to end.
        resources: What they may use.

    Raises:
        ConfigurationError: The cluster cannot be used: Ray is not installed, nobody answers, or a
            node has other versions.
    """
    if resources.cluster is not None:
        from kaggle_digits.engine.cluster import Cluster

        # Reached at once: what is wrong with a cluster is told before anything starts.
        crew = Cluster(resources.cluster, site, resources.threads or 1)
        return Engine(site, lambda: crew, is_here=False)

    def choose() -> Crew:
        from kaggle_digits.engine.inline import Inline
        from kaggle_digits.engine.processes import Processes

        workers, threads = suited(len(site.dataset.images), resources.workers, resources.threads)
        # One worker is this process, unless it already computes with another number of threads.
        if workers == 1 and hardware.set_threads(threads):
            return Inline(site)
        site.progress.say(f"{counted(workers, 'worker')} of {counted(threads, 'thread')} each")
        return Processes(site, workers, threads)

    return Engine(site, choose)
