"""Chief and workers: leases, what travels, and real processes on the loopback."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.core.processes import shares
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, KaggleDigitsError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from tuning.budget import Budget
from tuning.coordination import Coordinator, Goals
from tuning.crew import Crew, bank_lock
from tuning.distribution import Chief, Worker, decode, encode, parse_address, serving
from tuning.proposals import Limits, Proposer
from tuning.scoring import Result, ScoringSettings, Splits, Unit
from tuning.search import SearchSettings
from tuning.study import COMPLETED, FAILED, RUNNING, Study

HERE = Path(__file__).parent
SCORING = ScoringSettings(rows=30, copies=1, folds=0, race_folds=3, seed=0)


@pytest.fixture
def stand_in(monkeypatch):
    """The stand-in worker's module, importable in spawned processes too."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("worker_stand_in")


@pytest.fixture
def settings(request) -> SearchSettings:
    """The settings of the tests' searches."""
    go = request.getfixturevalue("go")
    return go.settings


@pytest.fixture
def coordinator(dataset, workspace, settings):
    """Make a coordinator of the workspace's study."""

    def make(trials: int, *, lease: float = 5.0, outlived: bool = False, racers: int = 0):
        study = Study(workspace)
        past = study.open(settings.to_json(dataset))
        return Coordinator(
            study,
            past,
            lambda known: Proposer(
                dataclasses.replace(settings, strategy="random", seed=0, epochs=4),
                Limits(20, (8, 8, 3), trials),
                known,
            ),
            Splits(dataset.labels, SCORING),
            dataset.labels,
            4,
            Goals(trials, racers),
            Budget(None, 0, time.monotonic(), races=False),
            Silent(),
            lease,
            outlived,
        )

    return make


def result(unit: Unit, dataset) -> Result:
    rows = Splits(dataset.labels, SCORING).trial_rows
    held_out = np.full((len(rows), 3), 0.2, np.float32)
    held_out[np.arange(len(rows)), dataset.labels[rows]] = 0.6
    return Result(held_out, "", 1.0, (0.5,))


def test_two_workers_get_different_work_and_both_results_count(coordinator, dataset):
    chief = coordinator(3)
    first, second = chief.take("a"), chief.take("b")
    assert first.key != second.key and first.config != second.config
    chief.give(second, result(second, dataset))
    chief.give(first, result(first, dataset))
    assert [trial.state for trial in chief.trials] == [COMPLETED, COMPLETED]


def test_work_nobody_reports_on_is_handed_out_again_and_done_once(coordinator, dataset):
    chief = coordinator(2, lease=0.2)
    first = chief.take("a")
    for _ in range(4):
        time.sleep(0.1)
        assert chief.renew(first.key, "a")
    time.sleep(0.3)
    again = chief.take("b")
    assert again == first
    assert not chief.renew(first.key, "a") and chief.renew(first.key, "b")
    chief.give(again, result(again, dataset))
    before = chief.trials
    # The first worker was only slow: its result comes too late, and is the same anyway.
    chief.give(first, result(first, dataset))
    assert chief.trials == before


def test_a_worker_that_died_gives_its_trial_back_at_once(coordinator):
    chief = coordinator(2)
    first = chief.take("a")
    chief.lose("a")
    assert chief.take("b") == first


def test_a_trial_that_kills_its_workers_fails(coordinator):
    chief = coordinator(5)
    for worker in "abc":
        assert chief.take(worker).key == "trial 0"
        chief.lose(worker)
    (trial,) = chief.trials
    assert trial.state == FAILED and "3 workers died at it" in trial.reason
    assert chief.take("d").key == "trial 1"


def test_a_restarted_chief_waits_for_workers_that_outlived_it(coordinator, dataset):
    old = coordinator(3)
    first, second = old.take("a"), old.take("b")
    chief = coordinator(3, lease=0.3, outlived=True)
    # Worker a reports; b has died with the chief.
    assert chief.take("c").key == "trial 2"
    for _ in range(5):
        time.sleep(0.1)
        assert chief.renew(first.key, "a")
        chief.renew("trial 2", "c")
    assert chief.take("c") == second
    chief.give(first, result(first, dataset))
    assert [trial.state for trial in chief.trials] == [COMPLETED, RUNNING, RUNNING]


def test_results_travel_unchanged():
    random = np.random.default_rng(0)
    sent = Result(random.random((20, 10)).astype(np.float32), "", 2.5, (0.3, 0.2))
    got = decode(encode(sent))
    assert got.held_out.dtype == np.float32 and (got.held_out == sent.held_out).all()
    assert (got.reason, got.seconds, got.history) == ("", 2.5, (0.3, 0.2))
    failed = decode(encode(Result(None, "memory")))
    assert failed.held_out is None and failed.reason == "memory"


@pytest.mark.parametrize("text", ["", "host", "host:", ":7000", "host:port", "host:70000"])
def test_addresses_are_checked(text):
    with pytest.raises(ConfigurationError, match="--chief was given as .*expected HOST:PORT"):
        parse_address(text, "--chief")


def test_shares_cover_the_machine():
    made = shares(2, [0, 1, 2, 3, 4], [])
    assert sorted(core for share in made for core in share.cores) == [0, 1, 2, 3, 4]
    assert [share.device for share in made] == [None, None]
    assert [share.cores for share in shares(3, [0, 1], [])] == [(0,), (1,), (0,)]
    devices = [share.device for share in shares(3, [0, 1, 2], ["0", "5"])]
    assert devices == ["0", "5", "0"]


def test_the_bank_is_made_by_one_process_at_a_time(workspace):
    import threading

    order = []
    with bank_lock(workspace):
        other = threading.Thread(target=lambda: hold(order))

        def hold(order):
            with bank_lock(workspace):
                order.append("second")

        other.start()
        time.sleep(0.25)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


class Scorer:
    """Stands for one that trains."""

    def __init__(self, dataset, seconds=0.0) -> None:
        self._dataset = dataset
        self._seconds = seconds

    def run(self, unit, progress):
        with progress.task(unit.name, 10) as task:
            for _ in range(10):
                time.sleep(self._seconds / 10)
                task.advance()
        return result(unit, self._dataset)


def worker(port, dataset, *, digest=None, patience=5.0, seconds=0.0) -> Worker:
    return Worker(
        "127.0.0.1", port, f"w{os.getpid()}", digest or dataset.digest,
        lambda settings: Scorer(dataset, seconds), Silent(), patience,
    )  # fmt: skip


def about(dataset) -> dict:
    return {"data": dataset.digest, "scoring": dataclasses.asdict(SCORING)}


def test_a_worker_does_all_work_through_keras_tuners_client(coordinator, dataset):
    made = coordinator(3)
    with serving(Chief(made, about(dataset)), "127.0.0.1", 0) as port:
        assert worker(port, dataset).work() == 3
    assert [trial.state for trial in made.trials] == [COMPLETED] * 3
    assert made.is_over


def test_a_worker_with_other_data_is_refused(coordinator, dataset):
    made = coordinator(3)
    with (
        serving(Chief(made, about(dataset)), "127.0.0.1", 0) as port,
        pytest.raises(ArtefactError, match="searches on data with digest"),
    ):
        worker(port, dataset, digest="0" * 16).work()


def test_a_worker_whose_work_is_not_wanted_any_more_stops_it(coordinator, dataset):
    made = coordinator(3)
    with serving(Chief(made, about(dataset)), "127.0.0.1", 0) as port:
        import threading

        threading.Timer(0.5, made.stop).start()
        assert worker(port, dataset, seconds=30).work() == 0


def test_a_worker_without_a_chief_says_so(dataset):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(KaggleDigitsError, match=f"No chief answered at 127.0.0.1:{port}"):
        worker(port, dataset, patience=0.5).work()


def test_a_port_in_use_is_named(coordinator, dataset):
    made = Chief(coordinator(3), about(dataset))
    with (
        serving(made, "127.0.0.1", 0) as port,
        pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}, which cannot be served"),
        serving(made, "127.0.0.1", port),
    ):
        pass


def crew(dataset, workspace, target, settings) -> Crew:
    data = workspace.root.parent / "competition"
    return Crew(dataset, settings.scoring, data, workspace, 2, target=target)


def calls(workspace) -> list[str]:
    return (workspace.root / "calls.txt").read_text().splitlines()


def test_two_worker_processes_share_a_search_and_one_that_dies_gives_its_trial_back(
    go, dataset, workspace, settings, stand_in
):
    found = go(8, staff=crew(dataset, workspace, stand_in.die_once, settings), racers=2)
    assert [trial.state for trial in found.trials] == [COMPLETED] * 8
    said = calls(workspace)
    assert said.count("died trial 2") == 1
    done = [line.split(": ")[1] for line in said if not line.startswith("died")]
    assert sorted(name for name in done if "race" not in name) == [f"trial {n}" for n in range(8)]
    assert {line.split(":")[0] for line in said if line.startswith("worker")} == {
        "worker 0", "worker 1",
    }  # fmt: skip
    assert found.raced >= 2


@pytest.mark.slow
def test_processes_find_what_one_process_finds(
    go, dataset, workspace, settings, stand_in, tmp_path, formula
):
    """Random proposals are fixed by their number, so workers change nothing but the time."""
    alone = go(8, Workspace(tmp_path / "other"), racers=2)
    found = go(8, staff=crew(dataset, workspace, stand_in.work, settings), racers=2)
    assert found.best == alone.best


@pytest.mark.slow
def test_a_trial_that_kills_every_worker_is_recorded_as_failed(
    go, dataset, workspace, settings, stand_in
):
    found = go(6, staff=crew(dataset, workspace, stand_in.die_always, settings))
    states = [trial.state for trial in found.trials]
    assert states == [COMPLETED, COMPLETED, FAILED, COMPLETED, COMPLETED, COMPLETED]


def _cli(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kaggle_digits", "tune", "--quiet", "--json", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_chief_that_is_killed_and_started_again_goes_on_with_the_same_worker(make, tmp_path):
    """Real processes, real (tiny) networks, SIGKILL in the middle."""
    folder = make(height=8, width=8, rows=120).folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    space = tmp_path / "space.toml"
    space.write_text('augmentation = "none"\nfilters = 16\n')
    study = tmp_path / "chief" / "tuning" / "trials"
    words = (
        "--data", folder, "--workspace", tmp_path / "chief", "--chief", address, "--trials", 8,
        "--max-epochs", 30, "--strategy", "random", "--space", space, "--race", 0,
    )  # fmt: skip

    def states() -> dict[str, dict]:
        found = {}
        for path in sorted(study.glob("*.json")):
            found[path.name] = json.loads(path.read_text())
        return found

    chief = _cli(*words)
    helper = _cli("--data", folder, "--workspace", tmp_path / "worker", "--worker", address)
    try:
        until = time.monotonic() + 120
        while sum(trial["state"] == COMPLETED for trial in states().values()) < 2:
            assert time.monotonic() < until and chief.poll() is None, chief.communicate()
            time.sleep(0.05)
        chief.send_signal(signal.SIGKILL)
        chief.communicate()
        before = {name: t for name, t in states().items() if t["state"] == COMPLETED}
        chief = _cli(*words)
        out, err = chief.communicate(timeout=300)
        assert chief.returncode == 0, err
        assert json.loads(out)["completed"] == 8
        assert {name: states()[name] for name in before} == before
        out, err = helper.communicate(timeout=60)
        assert helper.returncode == 0, err
        assert json.loads(out)["units"] == 8
    finally:
        for process in (chief, helper):
            if process.poll() is None:
                process.kill()
                process.communicate()
