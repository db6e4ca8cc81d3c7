"""Engines of all three kinds; a Ray cluster of two nodes, started as a user starts one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `engine_tasks`

RAY = Path(sys.executable).with_name("ray")
_START_SECONDS = 120.0


class Told:
    """Remembers what was said and how far tasks came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: dict[str, list[int]] = {}

    def say(self, text: str) -> None:
        self.lines.append(text)

    def task(self, label: str, total: int, unit: str = ""):
        steps = self.steps.setdefault(label, [0, total])

        class Task:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
                steps[0] += by

        return Task()


@pytest.fixture
def told() -> Told:
    return Told()


@dataclass
class RayCluster:
    """Nodes of one core each, as processes of this machine."""

    folder: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add_node(self, *, host: str | None = None) -> subprocess.Popen[bytes]:
        """Start a node, the head first; as another machine where a host's name is given."""
        words = [str(RAY), "start", "--block", "--num-cpus", "1", "--disable-usage-stats"]
        words += ["--object-store-memory", "100000000", "--node-ip-address", "127.0.0.1"]
        if self.nodes:
            words += ["--address", self.address]
        else:
            words += ["--head", "--port", str(self.port), "--include-dashboard", "false"]
            words += ["--ray-client-server-port", str(free_port()), "--temp-dir", str(self.folder)]
        if host is not None:
            quoted = " ".join(words)
            words = ["unshare", "--uts", "sh", "-c", f"hostname {host} && exec {quoted}"]
        environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }
        with open(self.folder / f"node-{len(self.nodes)}.log", "wb") as log:
            process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
        self.nodes.append(process)
        self._wait_until_started(len(self.nodes) - 1)
        return process

    def _wait_until_started(self, number: int) -> None:
        log = self.folder / f"node-{number}.log"
        until = time.monotonic() + _START_SECONDS
        while b"Ray runtime started" not in log.read_bytes():
            assert self.nodes[number].poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """End a node at once, as a power cut does."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        for node in self.nodes:
            if node.poll() is None:
                self.kill(node)


def end_with_parent() -> None:
    """Have Linux end this process when the tests' process is killed: no node outlives them."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def free_port() -> int:
    """A port that is free now, outside the range that Ray gives its workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return port if port > 20_000 else free_port()


@pytest.fixture(scope="package")
def ray_cluster(tmp_path_factory) -> Iterator[RayCluster]:
    """A cluster of two nodes, for all tests of this folder."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra kaggle-digits[ray])")
    # Sockets' paths may be 107 bytes long at most.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kd-ray-", ignore_cleanup_errors=True) as folder:
        cluster = RayCluster(Path(folder), free_port())
        try:
            cluster.add_node()
            cluster.add_node()
            yield cluster
        finally:
            cluster.close()
