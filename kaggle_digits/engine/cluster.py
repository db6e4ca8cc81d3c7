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
from dataclasses import replace
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from kaggle_digits.core import hardware
from kaggle_digits.engine.shares import usual_workers
from kaggle_digits.engine.tasks import Outcome, Site, Task, WorkerDiedError, perform
from kaggle_digits.ground.config import PRECISION_VARIABLE
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, first_line
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.stamps import differences, versions
from kaggle_digits.ground.workspace import Workspace

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 120.0
_REACH_SECONDS = 10.0
_UNUSED_SECONDS = 7 * 86_400.0
_PASSED_ON = ("KERAS_BACKEND", PRECISION_VARIABLE)
_SAME = ("kaggle-digits", "keras", "tensorflow", "albumentations", "ray", "python")
"""What must be of one version on all nodes, so that a task gives the same result on each."""


class Cluster:
    """The nodes of a Ray cluster.

    Args:
        address: `HOST:PORT` of its head, or `auto` for the one this machine belongs to.
        site: What tasks find on this machine; its progress is told of nodes that come and go.
        threads: Threads, and so cores, of each task.

    Attributes:
        size: How many tasks the nodes have room for, as far as is known.

    Raises:
        ConfigurationError: Ray is not installed here, nobody answers there, or a node has other
            versions.
    """

    def __init__(self, address: str, site: Site, threads: int) -> None:
        self._ray = _connect(address)
        self._threads = threads
        self._site = site
        self._under_way: dict[Any, Task] = {}
        self._nodes: set[str] = set()
        try:
            gpus = self._count()
            _require_same_versions(self._ray)
            self._data = self._ray.put(site.dataset.packed())
        except BaseException:
            self._ray.shutdown()
            raise
        self._remote = self._ray.remote(
            num_cpus=threads,
            num_gpus=gpus,
            # Ray would repeat tasks that were ended for lack of memory for ever; the engine counts.
            max_retries=0,
            # Workers with GPUs are otherwise used once.
            max_calls=0,
            runtime_env={"env_vars": _environment(threads)},
        )(_work)

    def start(self, task: Task) -> None:
        """Submit a task."""
        here = self._site
        home = here.node, here.workspace.root.absolute()
        given = pickle.dumps(task), home, self._threads, here.deadline
        self._under_way[self._remote.remote(self._data, *given)] = task

    def wait(self) -> Outcome:
        """Wait for a task to end, or for its worker or node to die."""
        errors = self._ray.exceptions
        ready = None
        while not ready:
            ready, _ = self._ray.wait(list(self._under_way), timeout=_LOOK_SECONDS)
        task = self._under_way.pop(ready[0])
        self._count()
        try:
            outcome: Outcome = self._ray.get(ready[0])
        except errors.RayTaskError as error:
            # The task itself catches all; so its node could not even begin it.
            raise ConfigurationError(
                f"A node could not begin {task.key}: {first_line(error.cause or error)}.",
                mend="Install the same kaggle-digits on every machine of the cluster.",
            ) from None
        except errors.RayError as error:
            outcome = Outcome(task, error=WorkerDiedError(type(error).__name__))
        return replace(outcome, task=task)

    def close(self) -> None:
        """Cancel what is under way and leave the cluster."""
        for under_way in self._under_way:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(under_way, force=True)
        self._ray.shutdown()

    def _count(self) -> float:
        """See which nodes are there and how many tasks they have room for.

        Returns:
            The part of a GPU that each task has.
        """
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        cores = [int(node["Resources"].get("CPU", 0)) for node in nodes]
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        room, part = sum(count // self._threads for count in cores), 0.0
        if gpus:
            # As on one machine, up to four tasks share a GPU, where there are cores for them.
            on_each = max(usual_workers(2**31, sum(cores), gpus) // gpus, 1)
            room, part = min(room, gpus * on_each), 1 / on_each
        self.size = max(room, 1)
        names = {str(node["NodeID"]) for node in nodes}
        if names != self._nodes:
            was, self._nodes = len(self._nodes), names
            change = f", {was} before" if was else ""
            self._site.progress.say(
                f"cluster: {len(nodes)} nodes{change}, room for {room} tasks at a time"
            )
        return part


def _connect(address: str) -> Any:
    """Return Ray, connected."""
    if util.find_spec("ray") is None:
        raise ConfigurationError(
            "--cluster was given, but Ray is not installed here.",
            mend="Install it on every machine: pip install 'kaggle-digits[ray]'.",
        )
    import ray

    host, _, port = address.rpartition(":")
    before = signal.getsignal(signal.SIGTERM)
    try:
        if host:
            # Ray itself would ask for minutes where nobody answers.
            socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"--cluster was given as {address!r}, and no cluster can be used there: "
            f"{first_line(error)}",
            mend="Start one by `ray start --head`, with the Python and the Ray of this machine.",
        ) from error
    finally:
        # Ray would let SIGTERM end the process with another exit code.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return ray


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
    data: dict[str, Any], task: bytes, home: tuple[str, Path], threads: int, deadline: Deadline
) -> Outcome:
    """Do a task on a node.

    Args:
        data: The data set, packed.
        task: The task, pickled.
        home: The driver's machine, and its workspace there.
        threads: Threads to compute with.
        deadline: When the task has to end.
    """
    import ray

    from kaggle_digits.core.data import Dataset

    host, (home_host, root) = socket.gethostname(), home
    assert hardware.set_threads(threads), "workers are kept apart by their threads"
    is_home = host == home_host and root.is_dir()
    site = Site(
        Dataset.unpacked(data),
        Workspace(root if is_home else _scratch(data["digest"])),
        Silent(),
        deadline,
        node=f"{host}-{ray.get_runtime_context().get_node_id()[:8]}",
        is_home=is_home,
    )
    return perform(pickle.loads(task), site)


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
