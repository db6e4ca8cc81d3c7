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
from kaggle_digits.ground.files import HOST, require_room, whole_folder, write_bytes
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
