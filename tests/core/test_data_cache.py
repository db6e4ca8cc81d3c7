"""Parsed once: what is remembered, what is made anew, what is mended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kaggle_digits
from kaggle_digits.core.data import cache, load, source
from kaggle_digits.core.data import dataset as dataset_module
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import HOST
from kaggle_digits.ground.wanted import Wanted


@pytest.fixture
def parses(monkeypatch) -> list[str]:
    """The names of the competitions parsed so far."""
    counted: list[str] = []
    parse = dataset_module.read_competition

    def count(source, say, shape):
        counted.append(source.path.name)
        return parse(source, say, shape)

    monkeypatch.setattr(dataset_module, "read_competition", count)
    return counted


@pytest.mark.parametrize("packed", [False, True])
def test_second_load_does_not_parse_or_hash(made, workspace, tmp_path, parses, monkeypatch, packed):
    path = made.zipped(tmp_path / "a.zip") if packed else made.folder
    first = load(path, workspace)
    assert len(parses) == 1
    monkeypatch.setattr("hashlib.sha256", None)
    second = load(path, workspace)
    assert len(parses) == 1
    assert second.digest == first.digest
    assert second.competition == first.competition
    assert second.test_ids == first.test_ids
    for name in ("images", "labels", "test_images"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))


def test_second_load_takes_no_lock(made, workspace):
    load(made.folder, workspace)
    with workspace.lock(workspace.cache / "data"):
        load(made.folder, workspace)


def test_a_relative_path_is_the_same_source(made, workspace, tmp_path, parses, monkeypatch):
    load(made.folder, workspace)
    monkeypatch.chdir(tmp_path)
    dataset = load(Path(made.folder.name), workspace)
    assert dataset.name == made.folder.name
    assert len(parses) == 1


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "sample_submission.csv"])
def test_changed_file_is_parsed_anew(made, workspace, parses, name):
    made.sample([f"{number:02d}" for number in range(12)])
    first = load(made.folder, workspace)
    status = (made.folder / name).stat()
    old = made.rows_of(name)[5][1 if name == "train.csv" else 0]
    last = "x" if name == "sample_submission.csv" else "1" if old[-1] != "1" else "0"
    new = old[:-1] + last
    made.set(name, 6, 1 if name == "train.csv" else 0, new)
    # As an unpacking would: the same size and time of writing.
    os.utime(made.folder / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (made.folder / name).stat().st_size == status.st_size
    second = load(made.folder, workspace)
    assert len(parses) == 2
    assert second.digest != first.digest
    if name == "train.csv":
        assert second.images.reshape(30, 16)[4, 0] == int(new)
    elif name == "test.csv":
        assert second.test_images.reshape(12, 16)[4, 0] == int(new)
    else:
        assert second.test_ids[4] == new


def test_a_sample_that_appears_or_goes_is_noticed(made, workspace, parses):
    plain = load(made.folder, workspace)
    made.sample(list("abcdefghijkl"))
    assert load(made.folder, workspace).test_ids == tuple("abcdefghijkl")
    (made.folder / "sample_submission.csv").unlink()
    assert load(made.folder, workspace).digest == plain.digest
    assert len(parses) == 3


def test_the_form_of_the_sample_is_part_of_the_digest(made, workspace):
    ids = [str(number) for number in range(1, 13)]
    digests = {load(made.folder, workspace).digest}
    made.sample(ids)
    digests.add(load(made.folder, workspace).digest)
    made.sample(ids, header=("id", "label"))
    digests.add(load(made.folder, workspace).digest)
    assert len(digests) == 3


def test_labels_and_pixels_are_part_of_the_digest(make, workspace):
    digests = {load(make("a").folder, workspace).digest}
    other = make("b")
    other.set("train.csv", 2, 0, "1")
    digests.add(load(other.folder, workspace).digest)
    renamed = make("c", classes=("0", "1", "3"))
    digests.add(load(renamed.folder, workspace).digest)
    assert len(digests) == 3


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def _empty(path):
    path.write_bytes(b"")


def _garble(path):
    path.write_bytes(b"\x93NUMPY garbage")


def _pickle(path):
    np.save(path, np.array([{"no": "array"}], dtype=object), allow_pickle=True)


def _reshape(path):
    np.save(path, np.load(path).ravel()[:-1])


def _retype(path):
    np.save(path, np.load(path).astype(np.int16))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "test_images.npy", "meta.json"])
@pytest.mark.parametrize(
    "damage", [os.remove, _cut, _empty, _garble, _pickle, _reshape, _retype, "values"]
)
def test_damaged_entry_is_made_again(made, workspace, parses, name, damage):
    digest = load(made.folder, workspace).digest
    path = workspace.cache / "data" / digest / name
    if name == "meta.json" and damage in (_reshape, _retype, _pickle, "values"):
        meta = json.loads(path.read_text())
        del meta[{_reshape: "rows", _retype: "ids", _pickle: "competition"}.get(damage, "ids")]
        path.write_text(json.dumps(meta))
    elif damage == "values":
        np.save(path, np.full_like(np.load(path), 99 if name == "labels.npy" else 0)[:-1])
    else:
        damage(path)
    dataset = load(made.folder, workspace)
    assert len(parses) == 2
    assert dataset.digest == digest
    np.testing.assert_array_equal(dataset.images.reshape(30, 16), made.images)
    np.testing.assert_array_equal(dataset.test_images.reshape(12, 16), made.test_images)
    load(made.folder, workspace)
    assert len(parses) == 2


def test_labels_beyond_the_classes_are_damage(made, workspace, parses):
    digest = load(made.folder, workspace).digest
    path = workspace.cache / "data" / digest / "labels.npy"
    np.save(path, np.full(30, 3))
    assert load(made.folder, workspace).labels.max() == 2
    assert len(parses) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "null"])
def test_damaged_memory_of_sources(made, workspace, parses, content):
    load(made.folder, workspace)
    (workspace.cache / "data" / "sources.json").write_text(content)
    load(made.folder, workspace)
    load(made.folder, workspace)
    assert len(parses) == 2


def test_sources_whose_entry_is_gone_are_forgotten(make, workspace):
    one, two = make("one"), make("two", classes=("a", "b"))
    shutil.rmtree(workspace.cache / "data" / load(one.folder, workspace).digest)
    load(two.folder, workspace)
    known = json.loads((workspace.cache / "data" / "sources.json").read_text())
    assert list(known) == [str(two.folder.resolve())]


def test_two_sources_share_one_entry(made, workspace, tmp_path):
    load(made.folder, workspace)
    load(made.zipped(tmp_path / "a.zip"), workspace)
    known = json.loads((workspace.cache / "data" / "sources.json").read_text())
    assert len(known) == 2
    assert len(list((workspace.cache / "data").rglob("images.npy"))) == 1


def test_an_open_dataset_outlives_its_entry(made, workspace):
    dataset = load(made.folder, workspace)
    shutil.rmtree(workspace.cache)
    np.testing.assert_array_equal(dataset.images.reshape(30, 16), made.images)


def test_no_room(made, workspace, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 100))
    with pytest.raises(ArtefactError, match="No room on the disk for the parsed images"):
        load(made.folder, workspace)
    assert not list(workspace.root.rglob("*.npy"))


def test_disk_that_fills_while_writing(made, workspace, monkeypatch):
    write = cache._Plain.write

    def fail(self, content):
        if self._file.name.endswith("test_images.npy"):
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(cache._Plain, "write", fail)
    with pytest.raises(ArtefactError, match="No room on the disk while writing"):
        load(made.folder, workspace)
    left = [path for path in workspace.root.rglob("*") if path.is_file() and path.name != ".lock"]
    assert left == []


def test_a_file_in_the_way_of_the_cache(made, workspace):
    workspace.root.mkdir()
    workspace.cache.write_text("in the way")
    with pytest.raises(ArtefactError, match="cannot be written"):
        load(made.folder, workspace)


class Clock:
    """Stands in for `time`: whoever waits calls `meanwhile`, and no time is spent."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.now = 0.0
        self.meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


def test_waits_for_another_process_and_takes_what_it_made(made, workspace, parses, monkeypatch):
    told: list[str] = []
    other = contextlib.ExitStack()
    other.enter_context(workspace.lock(workspace.cache / "data"))

    def finish() -> None:
        assert told == ["waiting for another process that reads data into this workspace"]
        if clock.now > 1:
            dataset_module._read(source.find(made.folder), workspace, lambda text: None, Wanted())
            assert cache.remembered(source.find(made.folder), workspace, Wanted())
            other.close()

    clock = Clock(finish)
    monkeypatch.setattr(cache, "time", clock)
    found = load(made.folder, workspace, told.append)
    assert len(found.images) == 30 and len(parses) == 1 and clock.now < 2


def test_another_process_that_does_not_end(made, workspace, monkeypatch):
    clock = Clock(lambda: None)
    monkeypatch.setattr(cache, "time", clock)
    with (
        workspace.lock(workspace.cache / "data"),
        pytest.raises(ArtefactError, match="in use by process"),
    ):
        load(made.folder, workspace)
    assert cache._PATIENCE < clock.now < cache._PATIENCE + 1


def test_leftovers_of_a_kill_are_swept_away(made, workspace):
    # Above every process number.
    leftover = workspace.cache / "data" / f"0123.part-{HOST}-99999999"
    leftover.mkdir(parents=True)
    (leftover / "images.npy").write_bytes(b"half")
    load(made.folder, workspace)
    assert not leftover.exists()


def test_the_second_start_imports_no_parser(made, workspace):
    program = (
        "import sys, pathlib\n"
        "from kaggle_digits.core.data import load\n"
        "from kaggle_digits.ground.workspace import Workspace\n"
        "load(pathlib.Path(sys.argv[1]), Workspace(pathlib.Path(sys.argv[2])))\n"
        "print(sorted({'pandas', 'sklearn', 'cv2', 'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    imported = [
        subprocess.run(
            [sys.executable, "-c", program, str(made.folder), str(workspace.root)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(kaggle_digits.__file__).parents[1])},
        ).stdout.strip()
        for _ in range(2)
    ]
    assert imported == ["['pandas']", "[]"]
