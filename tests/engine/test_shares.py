"""How a machine is divided among workers."""

from __future__ import annotations

import engine_tasks
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.engine import Resources, Site, Task, open_engine, shares
from kaggle_digits.engine.shares import Share, usual_workers
from kaggle_digits.ground.progress import Silent


@pytest.mark.parametrize(
    ("rows", "cores", "devices", "wanted"),
    [
        (42_000, 2, 0, 2),
        (42_000, 32, 0, 8),
        (42_000, 4, 2, 2),
        (42_000, 4, 1, 1),
        (42_000, 16, 1, 4),
        (42_000, 64, 2, 8),
        (1_000, 2, 0, 1),
        (1_000, 4, 2, 2),
        (1_000, 16, 1, 1),
    ],
)
def test_usual_workers(rows, cores, devices, wanted):
    assert usual_workers(rows, cores, devices) == wanted


def test_each_worker_has_as_many_cores_as_threads():
    found = shares.shares(3, 2, [0, 1, 2, 3], [])
    assert found == [Share(2, (0, 1), None), Share(2, (2, 3), None), Share(2, (0, 1), None)]
    assert shares.shares(1, 8, [4, 5], ["0"]) == [Share(8, (4, 5), None)]
    assert [one.device for one in shares.shares(3, 1, [0], ["3", "5"])] == ["3", "5", "3"]


def test_no_gpu_is_no_device(monkeypatch):
    for value in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert shares.available_devices() == []


def test_a_tpu_has_one_worker(monkeypatch):
    """JAX sees it as a device that is no GPU; a second process would not get it."""
    monkeypatch.setattr(shares.hardware, "is_accelerated", lambda: True)
    monkeypatch.setattr(shares.hardware, "available_cores", lambda: list(range(96)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert shares.suited(42_000, None, None)[0] == 1
    assert shares.suited(42_000, None, 1) == (1, 1)


@pytest.mark.parametrize(
    ("rows", "cores", "devices", "threads", "wanted"),
    [
        (42_000, 16, "0", 1, (4, 1)),
        (42_000, 16, "0", 8, (2, 8)),
        (42_000, 16, "0,1", 1, (4, 1)),
        (42_000, 2, "", 1, (2, 1)),
        (42_000, 8, "", 2, (4, 2)),
        (42_000, 2, "", 4, (1, 4)),
        (42_000, 96, "", 2, (48, 2)),
        (1_000, 16, "", 1, (16, 1)),
        (1_000, 16, "0", 1, (1, 1)),
    ],
)
def test_threads_alone_share_out_the_cores_and_leave_what_suits_a_gpu(
    rows, cores, devices, threads, wanted, monkeypatch
):
    monkeypatch.setattr(shares.hardware, "is_accelerated", lambda: False)
    monkeypatch.setattr(shares.hardware, "available_cores", lambda: list(range(cores)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert shares.suited(rows, None, threads) == wanted


def test_each_process_has_a_gpu_of_its_own(make, workspace, monkeypatch):
    """Two T4s, as far as a machine without one can show it: what each process would see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    dataset = load(make(height=8, width=8, rows=60, test_rows=12).folder, workspace)
    site = Site(dataset, workspace, Silent())
    with open_engine(site, Resources(workers=2, threads=1)) as engine:
        tasks = [Task(str(n), engine_tasks.where) for n in range(6)]
        seen = [outcome.result() for outcome in engine.run(tasks)]
    assert {one["device"] for one in seen} == {"3", "5"}
    assert len({(one["device"], one["pid"]) for one in seen}) == 2


@pytest.mark.parametrize("given", [None, "glibc.malloc.tcache_count=0"])
def test_workers_ask_for_huge_pages_unless_the_user_has_set_glibc(
    given, make, workspace, monkeypatch
):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if given is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    dataset = load(make(height=8, width=8, rows=60, test_rows=12).folder, workspace)
    site = Site(dataset, workspace, Silent())
    # Two, since one worker may be this process.
    with open_engine(site, Resources(workers=2, threads=1)) as engine:
        (outcome,) = engine.run([Task("where", engine_tasks.where)])
    assert outcome.result()["tunables"] == (given or "glibc.malloc.hugetlb=1")
