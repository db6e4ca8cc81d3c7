"""One contract for whoever runs tasks: this process, processes beside it, a Ray cluster."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import active_children

import engine_tasks
import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.engine import Engine, Resources, Site, Task, open_engine
from kaggle_digits.engine.inline import Inline
from kaggle_digits.engine.processes import Processes
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.errors import ConfigurationError, DataError, TrainingError
from kaggle_digits.ground.workspace import Workspace

KINDS = ("inline", "processes", "ray")


@pytest.fixture
def begun(tmp_path):
    """An empty folder in which tasks say that they have begun."""
    folder = tmp_path / "begun"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """One for all tests of this module, so that they can share engines."""
    return Workspace(tmp_path_factory.mktemp("engine") / "workspace")


@pytest.fixture(scope="module")
def dataset(made_in, workspace):
    folder = workspace.root.parent / "competition"
    return load(made_in(folder, height=8, width=8, rows=60, test_rows=12).folder, workspace)


@pytest.fixture(scope="module")
def engines():
    """Those that are open, by kind: to be asked again and again is in the contract."""
    made: dict[str, Engine] = {}
    yield made
    for engine in made.values():
        engine.__exit__()


@pytest.fixture
def open_kind(request, dataset, workspace, told, engines):
    """Open an engine of a kind."""

    def open_kind(kind: str, deadline: Deadline | None = None) -> Engine:
        site = Site(dataset, workspace, told, deadline or Deadline())
        if kind == "ray":
            if kind in engines:  # a process is in one cluster at a time
                engines.pop(kind).__exit__()
            address = request.getfixturevalue("ray_cluster").address
            resources = Resources(threads=1, cluster=address)
        else:
            resources = Resources(workers=1 if kind == "inline" else 2, threads=1)
        if kind == "inline":
            return Engine(site, lambda: Inline(site))
        return open_engine(site, resources)

    return open_kind


@pytest.fixture(params=KINDS)
def engine(request, open_kind, engines, told):
    kind = request.param
    if kind not in engines:
        made = open_kind(kind)
        made.kind = kind  # type: ignore[attr-defined]
        made.heard = told  # type: ignore[attr-defined]
        engines[kind] = made.__enter__()
    heard = engines[kind].heard  # type: ignore[attr-defined]
    heard.lines.clear()
    heard.steps.clear()
    return engines[kind]


def adding(count: int):
    return (Task(f"sum {n}", engine_tasks.add, (n, n * n)) for n in range(count))


def test_every_task_has_one_outcome(engine):
    found = list(engine.run(adding(7)))
    assert sorted(outcome.value[0] for outcome in found) == [n + n * n for n in range(7)]
    assert {outcome.task.key for outcome in found} == {f"sum {n}" for n in range(7)}
    assert all(outcome.seconds >= 0 and outcome.node for outcome in found)
    pids = {outcome.value[1] for outcome in found}
    if engine.kind == "inline":
        assert pids == {os.getpid()} and engine.workers == 1
    else:
        assert os.getpid() not in pids and engine.workers == 2
    # It can be asked again.
    assert len(list(engine.run(adding(2)))) == 2


def test_a_task_is_asked_for_when_somebody_is_free(engine):
    asked = []

    def tasks():
        for task in adding(6):
            asked.append(task.key)
            yield task

    running = engine.run(tasks())
    for done, _ in enumerate(running, start=1):
        assert len(asked) <= done + engine.workers
    assert len(asked) == 6


def test_nothing_now_is_asked_again_once_a_result_is_there(engine):
    known = []

    def tasks():
        yield Task("first", engine_tasks.add, (1, 1))
        while not known:
            yield None
        yield Task("second", engine_tasks.add, (known[0], 1))
        yield None  # with nothing under way that is the end

    for outcome in engine.run(tasks()):
        known.append(outcome.value[0])
    assert known == [2, 3]


def test_without_work_nothing_is_started(dataset, workspace, told):
    def choose():
        pytest.fail("a crew was chosen")

    assert list(Engine(Site(dataset, workspace, told), choose).run(iter(()))) == []


def test_our_own_errors_keep_their_class_and_words_and_are_not_repeated(engine):
    (outcome,) = engine.run([Task("t", engine_tasks.refuse)])
    assert type(outcome.error) is DataError
    assert outcome.error.mend == "Bring it back." and outcome.value is None
    with pytest.raises(DataError, match="A class is missing"):
        outcome.result()


def test_a_task_that_breaks_is_an_error_that_names_it(engine):
    (outcome,) = engine.run([Task("the task", engine_tasks.break_down)])
    assert isinstance(outcome.error, TrainingError)
    assert "the task broke: ZeroDivisionError: by nothing" in outcome.error.message


def test_a_task_finds_the_data_and_its_share(engine, dataset, workspace):
    (outcome,) = engine.run([Task("look", engine_tasks.look)])
    seen = outcome.result()
    assert seen["sum"] == int(dataset.images.sum())
    assert not seen["writeable"] and seen["truth"] is None
    assert seen["home"] and seen["root"] == str(workspace.root)
    if engine.kind != "inline":
        assert seen["threads"] == 1
        assert seen["tunables"] == os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    if engine.kind == "processes":
        assert seen["memory_mapped"] and seen["main"] is None


def test_large_arguments_arrive(engine):
    array = np.zeros(3_000_000, np.uint8)
    (outcome,) = engine.run([Task("size", engine_tasks.size_of, (array,))])
    assert outcome.value == 3_000_000


def test_progress_arrives(engine):
    told = engine.heard
    list(engine.run([Task("tell", engine_tasks.tell)]))
    if engine.kind != "ray":  # a cluster tells of whole tasks, by node
        assert "a line" in told.lines and told.steps == {"a bar": [3, 3]}


def test_all_that_was_told_is_shown_before_the_outcome(engine):
    told = engine.heard
    steps = 5000
    for _ in engine.run([Task("tell", engine_tasks.tell_much, (steps,))]):
        if engine.kind != "ray":
            assert told.steps == {"a bar": [steps, steps]}


def test_the_deadline_ends_tasks(open_kind, begun):
    for kind in KINDS:
        with open_kind(kind, Deadline(1.0)) as engine:
            task = Task("slow", engine_tasks.last, (str(begun), 600))
            (outcome,) = engine.run([task])
        assert isinstance(outcome.error, OutOfTimeError), kind


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_a_dead_workers_task_is_given_out_again(open_kind, begun, told, kind):
    with open_kind(kind) as engine:
        tasks = [*adding(3), Task("deadly", engine_tasks.die, (str(begun), 2)), *adding(3)]
        found = {outcome.task.key: outcome for outcome in engine.run(tasks)}
    assert found["deadly"].result() == 3
    assert sorted(found) == ["deadly", "sum 0", "sum 1", "sum 2"]
    assert all(outcome.error is None for outcome in found.values())
    assert sum("deadly: its worker died" in line for line in told.lines) == 2


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_done(open_kind, begun, kind):
    with open_kind(kind) as engine:
        tasks = [Task("deadly", engine_tasks.die, (str(begun), 99)), *adding(4)]
        found = {outcome.task.key: outcome for outcome in engine.run(tasks)}
    assert len(found) == 5 and len(list(begun.iterdir())) == 3
    with pytest.raises(TrainingError, match="3 workers died at deadly") as caught:
        found["deadly"].result()
    assert "fewer --workers" in str(caught.value.mend)


def test_workers_that_die_as_they_begin_are_told_of(workspace, told):
    site = Site(engine_tasks.Deadly(), workspace, told)
    with Engine(site, lambda: Processes(site, 1, 1)) as engine:
        (outcome,) = engine.run(adding(1))
    with pytest.raises(TrainingError, match=r"3 workers died at sum 0 \(exit code 3\)"):
        outcome.result()


def test_a_worker_that_died_between_two_tasks_is_replaced(open_kind, told):
    with open_kind("processes") as engine:
        (first,) = engine.run(adding(1))
        os.kill(first.value[1], signal.SIGKILL)
        # Whole and gone: while its last threads end, its pipe is open and takes a task.
        wait_for(lambda: first.value[1] not in [one.pid for one in active_children()])
        (second,) = engine.run(adding(1))
    assert second.value[0] == 0 and second.value[1] != first.value[1]
    assert not any("died" in line for line in told.lines)  # nobody's work was lost
    assert sum("2 workers of 1 thread each" in line for line in told.lines) == 1


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_closing_ends_what_is_under_way(open_kind, begun, kind):
    with open_kind(kind) as engine:
        tasks = [Task(f"slow {n}", engine_tasks.last, (str(begun), 600)) for n in range(2)]
        tasks[0] = Task("quick", engine_tasks.add, (1, 1))
        for outcome in engine.run(tasks):
            assert outcome.task.key == "quick"
            wait_for(lambda: list(begun.iterdir()))
            break
    (pid,) = (int(path.name) for path in begun.iterdir())
    wait_for(lambda: not is_running(pid))


def test_a_script_without_a_main_guard_works(make, tmp_path):
    folder = make(height=8, width=8, rows=60, test_rows=12).folder
    script = tmp_path / "without_guard.py"
    script.write_text(
        "from pathlib import Path\n"
        "import engine_tasks\n"
        "from kaggle_digits.core.data import load\n"
        "from kaggle_digits.engine import Resources, Site, Task, open_engine\n"
        "from kaggle_digits.ground.progress import Silent\n"
        "from kaggle_digits.ground.workspace import Workspace\n"
        f"workspace = Workspace(Path({str(tmp_path / 'w')!r}))\n"
        f"dataset = load(Path({str(folder)!r}), workspace)\n"
        "with open_engine(Site(dataset, workspace, Silent()), Resources(2, 1)) as engine:\n"
        "    tasks = [Task(str(n), engine_tasks.add, (n, n)) for n in range(3)]\n"
        "    print(sorted(outcome.value[0] for outcome in engine.run(tasks)))\n"
    )
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout == "[0, 2, 4]\n", done.stderr


def test_a_data_set_travels_by_path(dataset, workspace):
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    there = pickle.loads(pickled)
    assert isinstance(there.images, np.memmap) and there.digest == dataset.digest
    np.testing.assert_array_equal(there.labels, dataset.labels)
    again = type(dataset).unpacked(pickle.loads(pickle.dumps(dataset.packed())))
    np.testing.assert_array_equal(again.images, dataset.images)
    assert again.competition == dataset.competition and again.test_ids == dataset.test_ids


def test_the_truth_stays_behind_however_a_data_set_travels(dataset):
    known = dataclasses.replace(dataset, truth={"1": "0"})
    in_memory = dataclasses.replace(known, images=np.array(known.images))
    for there in (known, in_memory):
        again = pickle.loads(pickle.dumps(there))
        assert again.truth is None and again.digest == dataset.digest
        np.testing.assert_array_equal(again.images, dataset.images)


def test_workers_and_a_cluster_do_not_go_together():
    with pytest.raises(ConfigurationError, match="--workers and --cluster"):
        Resources(workers=2, cluster="auto")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(holds, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
