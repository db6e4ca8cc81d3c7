"""The crew of a cluster: Ray tasks on the nodes of a cluster that is there already.

The data go into Ray's object store once and reach each node once. A node that is not the driver's
own machine keeps its copies of the bank, made there from their seeds, and its checkpoints in a
folder of its own under the system's temporary folder; results come back by value, and the driver
alone writes the workspace. So no disk need be shared.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.core import hardware
from kaggle_digits.engine.engine import Died
from kaggle_digits.engine.shares import usual_workers
from kaggle_digits.engine.tasks import Outcome, Site, Task, perform
from kaggle_digits.ground.config import PRECISION_VARIABLE
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, first_line
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.stamps import differences, versions
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_LOOK_SECONDS = 1.0
_COUNT_SECONDS = 2.0
_ANSWER_SECONDS = 120.0
_REACH_SECONDS = 10.0
_UNUSED_SECONDS = 7 * 86_400.0
_PASSED_ON = ("KERAS_BACKEND", PRECISION_VARIABLE)
_SAME = ("kaggle-digits", "keras", "tensorflow", "albumentations", "ray", "python")
"""What must be of one version on all nodes, so that a task gives the same result on each."""


def require_ray() -> None:
    """Refuse a cluster where Ray is not installed.

    Raises:
        ConfigurationError: It is not.
    """
    if util.find_spec("ray") is None:
        raise ConfigurationError(
            "--cluster was given, but Ray is not installed here.",
            mend="Install it on every machine: pip install 'kaggle-digits[ray]'.",
        )


class Cluster:
    """The nodes of a Ray cluster.

    Args:
        address: `HOST:PORT` of its head, or `auto` for the one this machine belongs to.
        dataset: The data.
        workspace: Whose cache is used by nodes on this machine.
        threads: Threads, and so cores, of each task.
        progress: Told of nodes that come and go.
        deadline: When tasks have to end.

    Raises:
        ConfigurationError: Nobody answers there, or a node has other versions.
    """

    def __init__(
        self,
        address: str,
        dataset: Dataset,
        workspace: Workspace,
        threads: int,
        progress: Progress,
        deadline: Deadline,
    ) -> None:
        self._ray = _connect(address)
        self._threads = threads
        self._progress = progress
        self._deadline = deadline
        self._home = (socket.gethostname(), str(workspace.root.absolute()))
        self._under_way: dict[Any, Task] = {}
        self._counted = float("-inf")
        self._slots = 0
        self._nodes: set[str] = set()
        self._gpus = 0.0
        try:
            self._count()
            _require_same_versions(self._ray)
            self._data = self._ray.put(dataset.packed())
        except BaseException:
            self._ray.shutdown()
            raise
        self._remote = self._ray.remote(
            num_cpus=threads,
            num_gpus=self._gpus,
            # Ray would repeat tasks that were ended for lack of memory for ever; the engine counts.
            max_retries=0,
            # Workers with GPUs are otherwise used once.
            max_calls=0,
            runtime_env={"env_vars": _environment(threads)},
        )(_work)

    @property
    def size(self) -> int:
        """How many tasks the nodes that are there now have room for."""
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._count()
        return max(self._slots, 1)

    def start(self, task: Task) -> None:
        """Submit a task."""
        under_way = self._remote.remote(
            self._data, pickle.dumps(task), self._home, self._threads, self._deadline
        )
        self._under_way[under_way] = task

    def wait(self) -> Outcome | Died:
        """Wait for a task to end, or for its worker or node to die."""
        errors = self._ray.exceptions
        while True:
            ready, _ = self._ray.wait(list(self._under_way), timeout=_LOOK_SECONDS)
            if ready:
                break
        task = self._under_way.pop(ready[0])
        try:
            outcome: Outcome = self._ray.get(ready[0])
        except errors.RayTaskError as error:
            # The task itself catches all; so its node could not even begin it.
            raise ConfigurationError(
                f"A node could not begin {task.key}: {first_line(error.cause or error)}.",
                mend="Install the same kaggle-digits on every machine of the cluster.",
            ) from None
        except errors.RayError as error:
            return Died(task, type(error).__name__)
        return Outcome(task, outcome.value, outcome.error, outcome.node, outcome.seconds)

    def close(self) -> None:
        """Cancel what is under way and leave the cluster."""
        for under_way in self._under_way:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(under_way, force=True)
        self._under_way = {}
        self._ray.shutdown()

    def _count(self) -> None:
        """See which nodes are there and how many tasks they have room for."""
        self._counted = time.monotonic()
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        cores = [int(node["Resources"].get("CPU", 0)) for node in nodes]
        self._slots = sum(count // self._threads for count in cores)
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        if gpus:
            # As on one machine, up to four tasks share a GPU, where there are cores for them.
            each = max(usual_workers(2**31, sum(cores), gpus) // gpus, 1)
            self._gpus = 1 / each
            self._slots = min(self._slots, gpus * each)
        names = {str(node["NodeID"]) for node in nodes}
        if names != self._nodes:
            was, self._nodes = len(self._nodes), names
            change = f", {was} before" if was else ""
            self._progress.say(
                f"cluster: {len(nodes)} nodes{change}, room for {self._slots} tasks at a time"
            )


def _connect(address: str) -> Any:
    """Return Ray, connected."""
    import ray

    host, _, port = address.rpartition(":")
    try:
        if host:
            # Ray itself would ask for minutes where nobody answers.
            socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
        with _own_signals():
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"--cluster was given as {address!r}, and no cluster can be used there: "
            f"{first_line(error)}",
            mend="Start one by `ray start --head`, with the Python and the Ray of this machine.",
        ) from error
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does: Ray lets it end the process with another exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_same_versions(ray: Any) -> None:
    """Refuse a cluster in which a node would give other results than this machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(_versions)
            asked[remote.remote()] = node["NodeManagerHostname"]
    ours = _versions()
    for answer, name in asked.items():
        try:
            theirs = ray.get(answer, timeout=_ANSWER_SECONDS)
        except ray.exceptions.TaskUnschedulableError:
            continue  # it has gone meanwhile
        except ray.exceptions.RayError as error:
            raise ConfigurationError(
                f"The node {name} of the cluster cannot run kaggle-digits: {first_line(error)}",
                mend="Install kaggle-digits[ray] there, in the Python that runs Ray.",
            ) from None
        if theirs != ours:
            raise ConfigurationError(
                f"The node {name} of the cluster has other versions than this machine "
                f"({differences(ours, theirs)}).",
                mend="Install the same versions on every machine of the cluster.",
            )


def _versions() -> dict[str, str]:
    found = {
        **versions(),
        "ray": metadata.version("ray"),
        "python": platform.python_version(),
    }
    return {name: found[name] for name in _SAME}


def _environment(threads: int) -> dict[str, str]:
    """Return what workers find in their environment, besides what their node has set.

    Ray keeps workers apart by it: one that has computed with other threads is not used again.
    """
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        "KAGGLE_DIGITS_THREADS": str(threads),
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    }


def _work(
    data: dict[str, Any], packed: bytes, home: tuple[str, str], threads: int, deadline: Deadline
) -> Outcome:
    """Do a task on a node."""
    import ray

    name = ray.get_runtime_context().get_node_id()[:8]
    assert hardware.set_threads(threads), "workers are kept apart by their threads"
    workspace, is_home = _place(home, data["digest"])
    site = Site(_opened(data), workspace, is_home, Silent(), deadline)
    done = perform(pickle.loads(packed), site, f"{socket.gethostname()}-{name}")
    return Outcome(Task("", perform), done.value, done.error, done.node, done.seconds)


def _opened(data: dict[str, Any]) -> Dataset:
    from kaggle_digits.core.data import Dataset

    return Dataset.unpacked(data)


def _place(home: tuple[str, str], digest: str) -> tuple[Workspace, bool]:
    """Return whose cache a task may use here, and whether that is the driver's own workspace."""
    host, root = home
    if socket.gethostname() == host and Path(root).is_dir():
        return Workspace(Path(root)), True
    return Workspace(_scratch(digest)), False


@cache
def _scratch(digest: str) -> Path:
    """Return a folder of this user's own for what a node keeps of a data set between tasks.

    Those of other data sets that no process has begun to use for a week are removed.
    """
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    all_data = Path(tempfile.gettempdir()) / f"kaggle-digits-{owner}"
    all_data.mkdir(mode=0o700, exist_ok=True)
    own = all_data / digest
    own.mkdir(exist_ok=True)
    os.utime(own)
    for other in all_data.iterdir():
        # Another process may remove the same one.
        with contextlib.suppress(OSError, ArtefactError):
            if time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
                remove(other)
    return own
