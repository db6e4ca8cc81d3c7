"""The bank keeps within its bound on disk, heals itself, and `clean` drops it."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.core import augmentation
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.batches import Batches
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.ground import locks
from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.shell.cli import cli


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60).folder, workspace)


def used(workspace) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (workspace.cache / "bank").iterdir())


def age(bank: Bank, hours: int) -> None:
    """Let a bank be unused for so long."""
    then = time.time() - 3600 * hours
    os.utime(bank._folder / "bank.json", (then, then))


def test_the_longest_unused_bank_makes_room(dataset, workspace, monkeypatch):
    one = dataset.images.nbytes
    monkeypatch.setattr(augmentation, "MOST_BYTES", 5 * one)
    banks = {name: Bank(dataset, name, 0, workspace) for name in ("light", "standard", "strong")}
    for hours, name in ((3, "light"), (2, "standard")):
        banks[name].ensure(range(2), Silent())
        age(banks[name], hours)
    wanted = np.array(banks["standard"].copy(1))
    age(banks["standard"], 2)
    banks["light"].ensure(range(2), Silent())  # nothing to make, but it is the last used one now
    banks["strong"].ensure(range(2), Silent())
    assert used(workspace) == ["light", "strong"]
    assert np.array_equal(banks["standard"].copy(1), wanted), "a dropped copy is made again, alike"
    age(banks["light"], 3)
    age(banks["standard"], 2)
    banks["strong"].ensure(range(20), Silent())
    assert used(workspace) == ["strong"], "one that needs more than the limit stands alone"


def test_a_bank_that_networks_are_trained_on_stays(dataset, workspace, monkeypatch):
    """Copies for the next networks are made while the last ones walk through these."""
    monkeypatch.setattr(augmentation, "MOST_BYTES", dataset.images.nbytes)
    under_way, other = (Bank(dataset, name, 0, workspace) for name in ("light", "strong"))
    under_way.ensure(range(2), Silent())
    age(under_way, 2)
    under_way.copy(0)  # an epoch begins
    other.ensure(range(2), Silent())
    assert under_way.missing(range(2)) == other.missing(range(2)) == []
    age(under_way, 2)
    other.ensure(range(3), Silent())
    assert used(workspace) == ["strong"]


def test_a_bank_that_another_process_is_dropping_is_no_error(dataset, workspace, monkeypatch):
    monkeypatch.setattr(augmentation, "MOST_BYTES", dataset.images.nbytes)
    old, new = (Bank(dataset, name, 0, workspace) for name in ("light", "strong"))
    old.ensure(range(1), Silent())
    age(old, 2)
    asked = []

    def gone(path: Path) -> None:
        asked.append(path)
        raise ArtefactError(f"{path} cannot be removed: No such file or directory.")

    monkeypatch.setattr(augmentation, "remove", gone)
    new.ensure(range(1), Silent())
    assert asked == [old._folder] and new.missing(range(1)) == []


def test_a_copy_whose_maker_left_its_lock_file_is_made_beside_it(dataset, workspace, monkeypatch):
    def keeps_none(descriptor: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks, "_lock", keeps_none)
    monkeypatch.setattr(augmentation, "_LONGEST_WAIT", 0.0)
    bank, progress, said = Bank(dataset, "light", 0, workspace), Silent(), []
    monkeypatch.setattr(progress, "say", said.append)
    left = bank._folder / "making-001" / ".lock-file"
    left.parent.mkdir(parents=True)
    theirs = {"host": "elsewhere", "process": 99999999, "started": 1, "since": "2026-01-01"}
    left.write_text(json.dumps(theirs))
    bank.ensure(range(3), progress)
    assert said == ["bank light: another process is long at copy 1"]
    assert bank.missing(range(3)) == [] and left.exists()
    wanted = augmentation.augment(dataset.images, augmentation.POLICIES["light"], (0, 1))
    assert np.array_equal(bank.copy(1), wanted)


def test_no_copy_is_begun_once_the_time_is_over(dataset, workspace):
    bank = Bank(dataset, "light", 0, workspace)
    with pytest.raises(OutOfTimeError):
        bank.ensure(range(2), Silent(), Deadline(0.0))
    assert bank.missing(range(2)) == [0, 1] and not list(bank._folder.glob("copy-*"))


def test_the_order_of_one_copy_is_not_drawn(dataset, workspace, monkeypatch):
    bank = Bank(dataset, "light", 0, workspace)
    monkeypatch.setattr(augmentation.np.random, "default_rng", lambda *_: pytest.fail("it drew"))
    assert bank.order(7, 1, 5) == [0] * 5


def test_a_bank_of_some_rows_holds_these_alone_and_says_where_they_stand(dataset, workspace):
    rows = np.array([3, 7, 8, 40])
    some, whole = (Bank(dataset, "light", 0, workspace, rows=given) for given in (rows, None))
    some.ensure(range(2), Silent())
    assert some.size == 4 and some.digest != whole.digest and whole.missing(range(2)) == [0, 1]
    copy = some.copy(1)
    assert copy.shape == (4, 8, 8) and some.name == "light, 4 rows"
    wanted = augmentation.augment(dataset.images[rows], augmentation.POLICIES["light"], (0, 1))
    assert np.array_equal(copy, wanted)
    assert some.places(np.array([40, 3, 8])).tolist() == [3, 0, 2]
    assert whole.places(rows) is rows
    other = Bank(dataset, "light", 0, workspace, rows=rows + 1)
    assert other.missing(range(2)) == [0, 1], "other rows are another bank"
    none = Bank(dataset, "none", 0, workspace, rows=rows)
    assert np.array_equal(none.copy(0), dataset.images[rows])
    for strange in ([3, 4], [41], [59, 3]):
        with pytest.raises(ValueError, match="no copies of some of"):
            some.places(np.array(strange))


def test_networks_see_the_rows_they_are_given_whichever_of_them_the_bank_holds(dataset, workspace):
    rows = np.array([1, 5, 6, 20, 21, 22, 30, 31, 40, 44, 45, 46, 50, 51, 52, 53, 55, 58])
    job = TrainingJob(
        "job", TrainingConfig(augmentation="none"), rows[2:], rows[:2], 1, 1, 0, False
    )
    seen = [
        list(Batches(job, dataset, Bank(dataset, "none", 0, workspace, rows=given)).after(0))
        for given in (rows, None)
    ]
    for (some, labels), (every, wanted) in zip(*seen, strict=True):
        assert np.array_equal(some, every) and np.array_equal(labels, wanted)


def test_clean_drops_what_can_be_made_again(dataset, workspace, capfd):
    bank = Bank(dataset, "light", 0, workspace)
    bank.ensure(range(2), Silent())
    wanted = np.array(bank.copy(0))
    kept = workspace.cache / "checkpoints" / "run.npz"
    kept.parent.mkdir()
    kept.write_bytes(b"so far")
    member = workspace.ensembles / "members" / "x.npy"
    member.parent.mkdir(parents=True)
    member.write_bytes(b"done")

    def clean(*options: str) -> dict[str, int]:
        call = ["clean", "--workspace", str(workspace.root), "--json", *options]
        assert cli.main(call, standalone_mode=False) is None
        return json.loads(capfd.readouterr().out)

    assert clean()["freed_bytes"] > 2 * dataset.images.nbytes
    assert [path.name for path in workspace.cache.iterdir()] == ["checkpoints"]
    assert kept.exists() and member.exists()
    assert clean()["freed_bytes"] == 0
    assert clean("--checkpoints")["freed_bytes"] == len(b"so far")
    assert not kept.exists() and member.exists()
    assert np.array_equal(Bank(dataset, "light", 0, workspace).copy(0), wanted)


def test_the_portfolio_holds_distinct_configurations_the_default_first():
    found = load_portfolio()
    assert found[0] == TrainingConfig()
    assert len({config.digest for config in found}) == len(found) >= 4
    assert len({config.family for config in found}) >= 2
