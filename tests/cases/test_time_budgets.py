"""Time budgets: kept, never without something to submit, and spent where they bring most."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ensembles import member_training
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.lengthening import Curve, enough_epochs, may_lengthen
from ensembles.planning import Candidate, Pace, Prices, allot, describe, needs_small, small_first
from ensembles.trainer import Trainer
from kaggle_digits.core.data import load
from kaggle_digits.engine import tasks
from kaggle_digits.ground.budgets import SHORTEST, parse_budget, require_budget, shortest_for
from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.plan import FoldSet, plan_path, read_plan
from kaggle_digits.shell import cli
from tuning import scoring

A, B = (TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2))
SETTINGS = CrossValidationSettings(folds=3, epochs=20, copies=4, seed=0)


class Planted:
    """In the place of training: time passes as it is told, and ends what is cut.

    A member takes `start` and, for each epoch, `epoch` seconds. Its answers have the log-loss that
    `loss` gives for its epochs, as nearly as a guess can.
    """

    def __init__(self) -> None:
        """Begin at noon, with a curve that gains nothing."""
        self.now = 0.0
        self.start = 0.1
        self.epoch = 0.1
        self.slower_after: float | None = None
        self.epochs: list[int] = []
        self.right = lambda epochs: 0.9

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        slow = self.slower_after is not None and self.now >= self.slower_after
        self.now += seconds * (4 if slow else 1)

    def train(self, job: Any, dataset: Any, bank: Any, checkpoints: Any, *_: Any, **more: Any):
        self.pass_time(self.start)
        for _ in range(job.epochs):
            self.pass_time(self.epoch)
            if more.get("deadline") is not None:
                more["deadline"].check()
        self.epochs.append(job.epochs)
        classes = len(dataset.competition.classes)
        share = self.right(job.epochs)
        rows = job.held_out_rows
        held_out = np.full((len(rows), classes), (1 - share) / (classes - 1))
        held_out[np.arange(len(rows)), dataset.labels[rows]] = share
        # A few are wrong, or one temperature would make all of them sure.
        wrong = np.arange(len(rows)) % 5 == 0
        held_out[wrong] = np.roll(held_out[wrong], 1, axis=1)
        return SimpleNamespace(
            held_out=held_out.astype(np.float32),
            test=np.full((len(dataset.test_images), classes), 1 / classes, np.float32),
            history=[1.0],
            seconds=1.0,
            record={"hardware": {}},
            checkpoint=checkpoints / "none.npz",
        )

    def measure(self, config: Any, dataset: Any, bank: Any, *, seconds: float):
        self.now += seconds
        return SimpleNamespace(
            images_per_second=len(dataset.images) * 2 / 3 / self.epoch,
            start_up=self.start - 0.3,
            predictions_per_second=1e9,
        )


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def planted(monkeypatch) -> Planted:
    made = Planted()
    monkeypatch.setattr(member_training, "train", made.train)
    monkeypatch.setattr(member_training, "measure", made.measure)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    monkeypatch.setattr("ensembles.trainer.make_copies", lambda *_: None)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=made.clock))
    return made


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def run(made, workspace, planted, lines):
    dataset = load(made.folder, workspace)

    def run(*configs: TrainingConfig, **options: Any):
        settings = dataclasses.replace(SETTINGS, **options)
        return cross_validate(configs, dataset, workspace, settings, lines, planted.clock)

    return run


def sets(keys) -> list[tuple[int, int, int]]:
    """Return depth, repeat and epochs of each fold set, in order."""
    return list(dict.fromkeys((k.config.depth, k.repeat, k.epochs) for k in keys))


@pytest.fixture
def call(capfd, made, workspace):
    def call(*words: object) -> tuple[int, str, str]:
        where = ["--data", made.folder, "--workspace", workspace.root]
        with pytest.raises(SystemExit) as ended:
            cli.cli([*map(str, [*words, *where])], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


# --- the shortest


@pytest.mark.parametrize("name", ["run", "tune", "cv-train"])
def test_a_second_is_refused_in_the_words_that_were_given(call, workspace, name) -> None:
    code, out, err = call(name, "--time-budget", "1s")
    assert (code, out) == (2, "")
    assert "--time-budget was given as '1s'; expected 40s or more." in err
    assert not workspace.tuning.exists() and not workspace.ensembles.exists()


def test_what_these_data_cannot_be_done_in_is_refused() -> None:
    require_budget("40s", 1797)
    require_budget("3m30s", 70_000)
    with pytest.raises(ConfigurationError, match=r"'200s'; 70,000 images need 3 min 30 s or more"):
        require_budget("200s", 70_000)
    assert shortest_for(1797) == SHORTEST == parse_budget("40s")


# --- kept, and something to submit


@pytest.mark.parametrize("after", [0.0, 2.0, 5.0, 12.0, 25.0, None])
@pytest.mark.parametrize("budget", [20.0, 40.0, 90.0])
def test_a_machine_that_gets_four_times_slower_ends_in_time_with_a_whole_set(
    run, planted, workspace, budget, after
) -> None:
    planted.slower_after = after
    done = run(A, B, budget=budget)
    assert planted.now <= budget + 4 * (planted.start + planted.epoch)
    keys = read_plan(plan_path(workspace)).keys
    whole = [k.fold_set for k in keys if all(
        MemberStore(workspace).has(o) for o in keys if o.fold_set == k.fold_set)]  # fmt: skip
    assert whole and {key.fold for key in done.keys} == {0, 1, 2}


def test_time_that_a_busy_start_made_seem_short_is_used_once_it_is_there(
    run, planted, monkeypatch
) -> None:
    real = planted.measure
    planted.start = planted.epoch = 1.0

    def busy(*args: Any, **more: Any):
        try:
            return real(*args, **more)
        finally:
            planted.start = planted.epoch = 0.1

    monkeypatch.setattr(member_training, "measure", busy)
    done = run(A, budget=20.0)
    assert sets(done.keys)[0] == (1, 0, 20)
    assert 15.0 < planted.now <= 20.0


def test_a_set_that_was_cut_is_gone_on_with_by_the_same_call(
    run, planted, lines, workspace
) -> None:
    planted.slower_after = 3.0
    first = run(A, budget=15.0, may_lengthen=False)
    assert any("cut, the time is over; a later call goes on" in line for line in lines.lines)
    assert [epochs for *_, epochs in sets(first.keys)][0] < 20
    settings = read_plan(plan_path(workspace)).settings
    assert settings["ended"] is False
    planted.slower_after = None
    wanted = max(key.epochs for key in read_plan(plan_path(workspace)).keys)
    again = run(A, budget=15.0, may_lengthen=False)
    assert sets(again.keys)[-1] == (1, 0, wanted)
    assert read_plan(plan_path(workspace)).settings["ended"] is True


@pytest.mark.slow
def test_a_search_without_a_trial_does_not_end_the_run(call, workspace, monkeypatch) -> None:
    planted = Planted()

    def too_slow(*_: Any, **__: Any):
        raise OutOfTimeError("The time was over before the work was done.")

    monkeypatch.setattr(scoring, "train", too_slow)
    monkeypatch.setattr(member_training, "train", planted.train)
    monkeypatch.setattr(member_training, "measure", planted.measure)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    monkeypatch.setattr("ensembles.trainer.make_copies", lambda *_: None)
    monkeypatch.setattr("tuning.search.make_copies", lambda *_: None)
    words = ("run", "--time-budget", "10m", "--folds", 2, "--epochs", 1, "--workers", 1)
    monkeypatch.setattr("ensembles.spending.Spender._lengthened", lambda self, done, rest, *_: [])
    code, out, err = call(*words, "--json")
    assert code == 0, err
    assert "no trial was completed in its share of the time" in err
    assert "the first bundled configuration is trained" in err
    assert json.loads(out)["trials"] == 0
    configs = {key.config for key in read_plan(plan_path(workspace)).keys}
    assert configs == {load_portfolio()[0]}
    assert (workspace.root / "submissions" / "submission.csv").exists()


def test_a_part_of_a_deadline_is_never_later_than_the_whole() -> None:
    now = [0.0]
    whole = Deadline(100.0, clock=lambda: now[0])
    now[0] = 30.0
    assert whole.part(50).left == 50
    assert whole.part(500).left == 70
    assert whole.part(-1).has_passed


# --- copies and measuring


def test_copies_and_measuring_are_priced_and_said(run, lines, monkeypatch) -> None:
    run(A, budget=40.0)
    assert any(line.startswith("measuring ") and ": some " in line for line in lines.lines)
    standard = TrainingConfig()
    prices = Prices(2, 5, {standard.digest: Pace(1, 1, copy=3)}, {"standard": 1}, copying=1)
    found = allot([Candidate(FoldSet(standard, 0, 0, 8))], 100.0, prices, first_is_due=True)
    assert describe(found, prices, {}, 100.0)[1].endswith(
        "2 folds × 8 epochs, 30 s, of it 12 s for augmented copies (4)"
    )


def test_planning_makes_no_copy(run, monkeypatch) -> None:
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(
        Trainer,
        "make_copies",
        lambda self, config, copies, **_: made.append((config.augmentation, copies)),
    )
    other = TrainingConfig(augmentation="elastic", depth=2)
    run(TrainingConfig(augmentation="standard", depth=1), other, budget=2.0)
    # One to measure by, and those that a member of the set that is made walks through.
    assert {policy for policy, _ in made} == {"standard"}


# --- epochs by the learning curve


def test_epochs_go_by_the_datas_size_where_nothing_else_is_known() -> None:
    assert enough_epochs(42_000) == 12
    assert 20 <= enough_epochs(1_198) <= 35
    assert not may_lengthen(42_000) and may_lengthen(5_200)


def test_a_curve_that_gains_gets_more_epochs_and_a_flat_one_no_more() -> None:
    # 26 letters: 0.731 with 6 epochs, 0.364 with 12; digits: 0.01295 with 12, 0.01226 with 24.
    letters, digits = Curve({6: 0.731, 12: 0.364}), Curve({12: 0.01295, 24: 0.01226})
    assert letters.enough(3_900) == 120
    assert digits.enough(1_198) == 26
    assert Curve({4: 0.1, 8: 0.2}).enough(1_198) == 15, "half of what the size says, at least"
    assert Curve({4: 0.1}).gain() is None and Curve({4: 0.1}).still_gains


def test_a_small_set_comes_first_where_the_first_is_dear() -> None:
    prices = Prices(2, 5, {A.digest: Pace(1, 1)})
    first = Candidate(FoldSet(A, 0, 0, 40))  # 82 s
    assert not needs_small(first, 400.0, prices) and needs_small(first, 200.0, prices)
    small = small_first(first, 200.0, prices)
    assert small is not None and (small.epochs, small.seconds) == (4, 10.0)
    second = small_first(dataclasses.replace(first, small=4), 190.0, prices)
    assert second is not None and second.epochs == 8
    assert small_first(first, 10.0, prices) is None


def test_a_set_that_still_gains_takes_the_time_of_several_seeds(run, planted, lines) -> None:
    # Log-loss halves with each doubling: one long set instead of many of 20 epochs.
    planted.right = lambda epochs: 1 - 0.5 / (1 + epochs)
    done = run(A, budget=20.0, may_lengthen=True)
    assert max(epochs for *_, epochs in sets(done.keys)) > 20
    assert any(line.startswith("learning curve: ") for line in lines.lines)


def test_where_the_curve_is_flat_the_time_goes_into_other_sets(run, planted, lines) -> None:
    done = run(A, B, budget=60.0, may_lengthen=True)
    epochs = [epochs for *_, epochs in sets(done.keys)]
    # There is time for several, so twice as many epochs are tried once.
    assert epochs.count(20) > 3 and epochs.count(40) == 1 and max(epochs) == 40
    assert any(line.endswith("% below that of 20; 20 from here on") for line in lines.lines)


def test_epochs_that_were_asked_for_are_not_lengthened(run, planted) -> None:
    planted.right = lambda epochs: 1 - 0.5 / (1 + epochs)
    done = run(A, budget=90.0, may_lengthen=False)
    assert max(epochs for *_, epochs in sets(done.keys)) == 20


def test_one_longer_set_where_time_is_too_short_to_look_at_the_curve(run, planted) -> None:
    # A set of one epoch takes 6.3 s, more than is spent on looking; two usual ones would fit.
    planted.start = 2.0
    done = run(A, budget=40.0, may_lengthen=True)
    assert sets(done.keys)[0] == (1, 0, 40)
    assert planted.now <= 40.0


def test_that_one_set_has_the_epochs_that_were_asked_for(run, planted) -> None:
    planted.start = 2.0
    assert sets(run(A, budget=40.0, may_lengthen=False).keys)[0] == (1, 0, 20)
