"""One contract for whoever trains members: this process, or a team of processes."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.executors import Alone, Team
from ensembles.workshop import Order, Workshop
from kaggle_digits.core import processes
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.processes import usual_workers
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, TrainingError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore

CONFIG = TrainingConfig(filters=8, depth=1, augmentation="none", batch_size=16)
SETTINGS = CrossValidationSettings(folds=3, epochs=2, copies=1, seed=0)


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
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60, test_rows=12).folder, workspace)


@pytest.fixture(params=["alone", "team"])
def executor(request, dataset, workspace):
    told = Told()
    workshop = Workshop(dataset, make_folds(dataset, 3, 0, workspace), workspace, False)
    made = Alone(workshop, told) if request.param == "alone" else Team(workshop, 2, told)
    made.told, made.workshop = told, workshop  # type: ignore[union-attr]
    yield made
    made.close()


def keys(executor, config=CONFIG):
    from ensembles.trainer import Trainer
    from kaggle_digits.records.plan import FoldSet

    trainer = Trainer(executor.workshop, executor, copies=1, rule=None, progress=Silent())
    return trainer.keys(FoldSet(config, 0, 0, 2))


def test_members_are_made_told_of_and_stored(executor, workspace):
    wanted = keys(executor)
    made = list(executor.run(Order(key) for key in wanted))
    assert {one.key for one in made} == set(wanted)
    store = MemberStore(workspace)
    for one in made:
        assert store.record(one.key)["score"]["accuracy"] == one.score.accuracy
        assert one.seconds > 0
    bars = executor.told.steps
    assert len(bars) == 3 and all(done == total for done, total in bars.values())
    throughput = executor.measure(CONFIG, 0.2)
    assert throughput.images_per_second > 0 and throughput.start_up > 0


def test_an_error_keeps_its_class_and_its_words(executor):
    (key, *_) = keys(executor)
    missing = dataclasses.replace(key, config=dataclasses.replace(CONFIG, learning_rate=1.0))
    path = executor.workshop.workspace.ensembles
    path.mkdir(parents=True, exist_ok=True)
    (path / "members").write_text("in the way")
    with pytest.raises(ArtefactError, match="members cannot be written") as caught:
        list(executor.run(iter([Order(missing)])))
    assert caught.value.mend


def test_a_team_makes_what_one_process_with_its_cores_makes(dataset, tmp_path):
    def run(workers: int) -> list[np.ndarray]:
        settings = dataclasses.replace(SETTINGS, workers=workers)
        workspace = Workspace(tmp_path / str(workers))
        done = cross_validate([CONFIG], dataset, workspace, settings, Silent())
        assert (done.trained, done.known) == (3, 0)
        again = cross_validate([CONFIG], dataset, workspace, settings, Silent())
        assert (again.trained, again.known) == (0, 3)
        store = MemberStore(workspace)
        return [store.load(key, (20, 12), 3).held_out for key in done.keys]

    for alone, team in zip(run(1), run(2), strict=True):
        # The number of threads decides in which order sums are rounded.
        np.testing.assert_allclose(alone, team, atol=0.02)


def test_a_process_that_dies_is_an_error_and_the_next_call_goes_on(dataset, workspace):
    workshop = Workshop(dataset, make_folds(dataset, 3, 0, workspace), workspace, False)
    team = Team(workshop, 2, Silent())
    team.workshop = workshop  # type: ignore[attr-defined]
    wanted = keys(team, dataclasses.replace(CONFIG, filters=16))
    try:
        run = team.run(Order(dataclasses.replace(key, epochs=100_000)) for key in wanted)
        end_one(team)
        with pytest.raises(TrainingError, match="died \\(exit code -9\\); was there too little"):
            list(run)
        left = [hand.process for hand in team._hands]
    finally:
        team.close()
    assert not any(process.is_alive() for process in left)
    settings = dataclasses.replace(SETTINGS, workers=2)
    assert cross_validate([CONFIG], dataset, workspace, settings, Silent()).trained == 3


def end_one(team: Team) -> None:
    def later() -> None:
        while not team._hands:
            time.sleep(0.05)
        time.sleep(1.0)
        os.kill(team._hands[0].process.pid, signal.SIGKILL)

    threading.Thread(target=later, daemon=True).start()


@pytest.mark.parametrize("given", [None, "glibc.malloc.tcache_count=0"])
def test_workers_ask_for_huge_pages_unless_the_user_has_set_glibc(given, monkeypatch, tmp_path):
    monkeypatch.setenv("GLIBC_TUNABLES", given or "")
    if given is None:
        monkeypatch.delenv("GLIBC_TUNABLES")
    found = tmp_path / "found"
    code = "import os, pathlib; pathlib.Path(%r).write_text(os.environ['GLIBC_TUNABLES'])"
    worker = processes.start_worker(exec, code % str(found))
    worker.join()
    assert worker.exitcode == 0
    assert found.read_text() == (given or "glibc.malloc.hugetlb=1")


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    """Two T4s, as far as a machine without one can show it: what each process would see."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert processes.available_devices() == ["3", "5"]
    workshop = importlib.import_module("team_stand_in").Workshop()
    team = Team(workshop, usual_workers(600, 4, 2), Silent())
    try:
        measured = team.measure(CONFIG, 0.1)
        found = list(team.run(Order(None) for _ in range(8)))  # type: ignore[arg-type, misc]
    finally:
        team.close()
    assert measured.images_per_second == 4.0  # both were asked, at the same time
    assert {device for device, _, _ in found} == {"3", "5"}
    assert len({pid for _, _, pid in found}) == 2
    assert len({(device, pid) for device, _, pid in found}) == 2


def test_no_gpu_is_no_device(monkeypatch):
    for value in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert processes.available_devices() == []


def test_a_tpu_has_one_worker(monkeypatch):
    """JAX sees it as a device that is no GPU; a second process would not get it."""
    tpu = dataclasses.replace(processes.hardware.prepare(), device="TPU v3")
    monkeypatch.setattr(processes.hardware, "prepare", lambda: tpu)
    monkeypatch.setattr(processes.hardware, "available_cores", lambda: list(range(96)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.workers_here(42_000) == 1


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
