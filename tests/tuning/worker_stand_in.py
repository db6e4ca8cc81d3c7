"""A worker process whose training is stood in for by the tests' formula; it can die on the way."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

from tuning import scoring
from tuning.crew import WorkerPlan, work_here


def work(plan: WorkerPlan) -> None:
    """Be a worker that takes a while for each trial."""
    _work(plan, seconds=0.3)


def die_once(plan: WorkerPlan) -> None:
    """Be a worker; the first one that comes to trial 2 is killed there."""
    _work(plan, seconds=0.2, dies_at="trial 2", once=True)


def die_always(plan: WorkerPlan) -> None:
    """Be a worker that is killed at trial 2 every time."""
    _work(plan, seconds=0.2, dies_at="trial 2", once=False)


def _work(plan: WorkerPlan, seconds: float, dies_at: str = "", once: bool = True) -> None:
    spec = importlib.util.spec_from_file_location("formula", Path(__file__).parent / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    formula = module.Formula()
    formula.seconds = seconds
    log = plan.workspace / "calls.txt"

    def train(job, *rest, **more):
        _meet(plan)
        if job.name == dies_at and not (
            once and "died" in (log.read_text() if log.exists() else "")
        ):
            _note(log, f"died {job.name}")
            os._exit(9)
        _note(log, f"{plan.name.split('.')[0]}: {job.name}")
        return formula(job, *rest, **more)

    scoring.train = train
    work_here(plan)


def _meet(plan: WorkerPlan) -> None:
    """Wait for the other worker, so that a slow start leaves it something to do."""
    folder = plan.workspace / "arrived"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / plan.name.split(".")[0]).touch()
    until = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)


def _note(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(text + "\n")
