"""What only a cluster shows: nodes that come, go, are other machines, or cannot be used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import util
from pathlib import Path

import engine_tasks
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.engine import Resources, Site, Task, cluster, open_engine
from kaggle_digits.ground.errors import ConfigurationError


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60, test_rows=12).folder, workspace)


@pytest.fixture
def open_cluster(dataset, workspace, told, ray_cluster):
    def open_cluster():
        resources = Resources(threads=1, cluster=ray_cluster.address)
        return open_engine(Site(dataset, workspace, told), resources)

    return open_cluster


def slow(count: int, folder: Path, seconds: float = 2.0) -> list[Task]:
    return [Task(f"slow {n}", engine_tasks.last, (str(folder), seconds)) for n in range(count)]


def test_a_node_that_joins_is_used_and_one_that_dies_loses_nothing(
    open_cluster, ray_cluster, told, tmp_path
):
    begun = tmp_path / "begun"
    begun.mkdir()
    late = None
    with open_cluster() as engine:
        assert engine.workers == 2
        outcomes = []
        for outcome in engine.run(slow(9, begun)):
            outcomes.append(outcome)
            if late is None:
                late = ray_cluster.add_node()
            elif len(outcomes) == 4:
                assert engine.workers == 3
                ray_cluster.kill(late)
    assert sorted(outcome.task.key for outcome in outcomes) == [f"slow {n}" for n in range(9)]
    assert all(outcome.error is None for outcome in outcomes)
    assert any("3 nodes" in line for line in told.lines)
    # Told of by node, once there is more than one.
    assert sum(int(part.split(": ")[1]) for part in engine.by_node.split(", ")) == 9


def test_another_machine_uses_no_disk_of_ours(open_cluster, ray_cluster, tmp_path, workspace):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--uts", "true"]).returncode:
        pytest.skip("a host of another name needs the right to make a namespace")
    begun = tmp_path / "begun"
    begun.mkdir()
    node = ray_cluster.add_node(host="elsewhere")
    try:
        with open_cluster() as engine:
            tasks = [*slow(2, begun, 6.0), Task("cache", engine_tasks.cache_one, ("probe",))]
            found = {outcome.task.key: outcome for outcome in engine.run(tasks)}
            looked = [o for o in found.values() if o.node.startswith("elsewhere")]
            while not looked:
                many = [Task(f"look {n}", engine_tasks.cache_one, ("probe",)) for n in range(9)]
                looked = [o for o in engine.run(many) if o.node.startswith("elsewhere")]
        paths = [o.value for o in looked if isinstance(o.value, str)]
        assert all(not path.startswith(str(workspace.root)) for path in paths)
        for path in paths:
            Path(path).unlink(missing_ok=True)
    finally:
        ray_cluster.kill(node)


def test_a_cluster_of_another_version_is_refused_before_anything_starts(open_cluster, monkeypatch):
    names = {name: "0.1" for name in cluster._SAME}
    monkeypatch.setattr(cluster, "versions", lambda: names)
    with pytest.raises(ConfigurationError, match="has other versions than this machine"):
        open_cluster()


def test_ray_leaves_the_signals_as_they_were(open_cluster):
    before = signal.getsignal(signal.SIGTERM)
    with open_cluster() as engine:
        assert engine.workers >= 2
        assert signal.getsignal(signal.SIGTERM) is before


def test_nobody_at_the_address_is_told_at_once(dataset, workspace, told):
    with pytest.raises(ConfigurationError, match="no cluster can be used there") as caught:
        open_engine(Site(dataset, workspace, told), Resources(cluster="127.0.0.1:1"))
    assert "ray start --head" in str(caught.value.mend)


def test_without_ray_it_is_said_how_to_install_it(dataset, workspace, told, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="Ray is not installed") as caught:
        open_engine(Site(dataset, workspace, told), Resources(cluster="auto"))
    assert "kaggle-digits[ray]" in str(caught.value.mend)


def test_the_driver_loads_no_ray_without_a_cluster():
    code = "import kaggle_digits.engine, sys; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_a_node_removes_what_it_kept_of_data_that_nobody_uses(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cluster._scratch.cache_clear()
    try:
        old, recent = cluster._scratch("a" * 16), cluster._scratch("b" * 16)
        (old / "bank").write_bytes(b"copies")
        days = 86_400
        os.utime(old, (time.time() - 8 * days,) * 2)
        os.utime(recent, (time.time() - 6 * days,) * 2)
        own = cluster._scratch("c" * 16)
    finally:
        cluster._scratch.cache_clear()
    assert sorted(own.parent.iterdir()) == [recent, own]
