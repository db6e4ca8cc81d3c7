"""Values of the ground: configurations, presets, the atomic writer, the lock."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from kaggle_digits.ground import files as files_module
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import (
    HOST,
    folder_bytes,
    remove,
    require_room,
    sweep,
    whole_folder,
    write_bytes,
)
from kaggle_digits.ground.stamps import differences


def test_json_round_trip():
    config = TrainingConfig(depth=3, learning_rate=0.00123, augmentation="elastic")
    again = TrainingConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config and again.digest == config.digest
    assert TrainingConfig().digest != config.digest


def test_whole_numbers_stand_for_numbers():
    assert TrainingConfig(growth=2) == TrainingConfig(growth=2.0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"depth": 0}, "depth was given as 0; expected 1 to 4"),
        ({"depth": 2.5}, "depth was given as 2.5; expected a whole number"),
        ({"depth": True}, "expected a whole number"),
        ({"dropout": "0.3"}, "expected a number"),
        ({"dropout": float("nan")}, "expected 0 to 0.9"),
        ({"kernel_size": 4}, "expected 3, 5 or 7"),
        ({"family": 3}, "expected a name"),
        ({"learnig_rate": 0.1}, "'learnig_rate' is not a field"),
    ],
)
def test_wrong_values_are_refused(values, says):
    with pytest.raises(ConfigurationError, match=says):
        TrainingConfig.from_json(values)


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfig.from_json({"learnig_rate": 0.1})
    assert caught.value.mend == "Did you mean 'learning_rate'?"


def test_presets_grow():
    presets = load_presets()
    assert list(presets) == ["quick", "medium", "best"]
    for name in ("trials", "epochs", "top_k", "folds", "copies"):
        values = [getattr(preset, name) for preset in presets.values()]
        assert values == sorted(values)


def test_small_data_is_passed_over_more_often():
    quick = load_presets()["quick"]
    assert quick.member_passes(42000) == quick.epochs
    assert quick.member_passes(1000) * 1000 >= quick.member_images


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtefactError, match="No room on the disk"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ArtefactError, match="No room"), whole_folder(tmp_path / "folder") as folder:
        (folder / "inside").write_bytes(b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / "folder") as folder:
        (folder / "one").write_text("1")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "one").read_text() == "1"


def test_a_folder_that_replaces_another_loses_neither(tmp_path, monkeypatch):
    path, replace = tmp_path / "folder", os.replace

    def fill(text):
        with whole_folder(path) as folder:
            (folder / "one").write_text(text)

    def broken(old, new):
        if not str(old).endswith(".former") and new == path:
            raise KeyboardInterrupt
        replace(old, new)

    fill("old")
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        fill("new")
    monkeypatch.undo()
    assert (path / "one").read_text() == "old" and list(tmp_path.iterdir()) == [path]
    # Killed in between, by a process that no longer runs.
    former = tmp_path / f"folder.part-{HOST}-{2**30}.former"
    path.rename(former)
    sweep(tmp_path)
    assert (path / "one").read_text() == "old" and list(tmp_path.iterdir()) == [path]
    # Killed before the former one was removed.
    former.mkdir()
    fill("new")
    sweep(tmp_path)
    assert (path / "one").read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_vanishes_while_it_is_walked_is_passed_over(tmp_path, monkeypatch):
    for name in ("gone", "here"):
        (tmp_path / name).mkdir()
    left = tmp_path / "here" / f"a.npy.part-{HOST}-{2**30}"  # no process has such a number
    left.write_bytes(b"12345")
    scandir = os.scandir

    def meanwhile(path):
        if os.fspath(path).endswith("gone"):
            os.rmdir(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", meanwhile)
    assert folder_bytes(tmp_path) == 5
    (tmp_path / "gone").mkdir()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "here"] and not left.exists()


def test_what_another_process_removes_meanwhile_is_removed_to_its_end(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_bytes(b"1")
    rmtree, tries = files_module.shutil.rmtree, []

    def meanwhile(path):
        tries.append(path)
        if len(tries) == 1:
            (folder / "one").unlink()
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(folder / "one"))
        rmtree(path)

    monkeypatch.setattr(files_module.shutil, "rmtree", meanwhile)
    remove(folder)
    assert len(tries) == 2 and list(tmp_path.iterdir()) == []


def test_room_is_asked_for_before_the_work(tmp_path, monkeypatch):
    usage = files_module.shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(files_module.shutil, "disk_usage", lambda _: usage)
    require_room(tmp_path / "not" / "there", 4_000_000, "the cache")
    with pytest.raises(ArtefactError, match="No room on the disk for the cache: 6 MB are needed"):
        require_room(tmp_path / "not" / "there", 6_000_000, "the cache")


def test_one_holder_of_an_area(workspace):
    with workspace.lock(workspace.tuning):
        with workspace.lock(workspace.ensembles):
            pass
        with (
            pytest.raises(ArtefactError, match=f"in use by process {os.getpid()}"),
            workspace.lock(workspace.tuning),
        ):
            pass
    with workspace.lock(workspace.tuning):
        pass


def test_an_area_that_cannot_be_written(workspace):
    (workspace.tuning / ".lock").mkdir(parents=True)
    with (
        pytest.raises(ArtefactError, match="cannot be written: Is a directory"),
        workspace.lock(workspace.tuning),
    ):
        pass


def test_leftovers_of_a_kill_are_swept(workspace):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    places = (workspace.tuning / "trials", workspace.cache / "checkpoints")
    for place in places:
        place.mkdir(parents=True)
        (place / f"a.part-{HOST}-{ended.pid}").write_text("{")
        (place / f"b.part-{HOST}-{os.getppid()}").write_text("{")
    with workspace.lock(workspace.tuning):
        for place in places:
            assert [path.name for path in place.iterdir()] == [f"b.part-{HOST}-{os.getppid()}"]


def test_differences_are_named():
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "b: 2 → 3, c: absent → 4"


def test_fields_that_came_later_leave_old_digests_as_they_were():
    """Members' names and seeds depend on the digest; these are from before the fields came."""
    assert TrainingConfig().digest == "f11f9c7c175c3ca5"
    assert TrainingConfig(augmentation="elastic").digest == "f5f71911a194b24d"
    assert not {"views", "normalisation"} & set(TrainingConfig().to_json())
    changed = TrainingConfig(views=3, batch_norm=False, normalisation="deslant", mixup=0.2)
    assert TrainingConfig.from_json(changed.to_json()) == changed
    assert changed.digest != TrainingConfig().digest
