"""Parsed competitions in the workspace: by digest of their meaning, memory-mapped on reading.

`<cache>/data/<digest>/` holds the arrays; `<cache>/data/sources.json` remembers which files, in
which state, gave which digest, so that unchanged files are neither parsed nor hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.data.reading import Parsed
from kaggle_digits.core.data.source import Stamp
from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.competition import Competition
from kaggle_digits.ground.errors import ArtefactError, InUseError
from kaggle_digits.ground.files import (
    disk_error,
    make_folder,
    require_room,
    whole_folder,
    write_json,
)
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace

_VERSION = 1
"""Of the files here; another one makes every entry anew."""

_READER = 3
"""Of the way files are read; another one reads them once more."""

_LARGE = 256 << 20
"""Bytes from which on decoded images are kept in a file."""

_OPTIONAL = ("groups", "folds")
"""Arrays that most data have not."""

_ROWS = 4096
"""Images that are looked at at a time, so that memory holds no second copy of all of them."""

_PATIENCE = 300.0
"""Seconds to wait for another process that reads data into the same workspace."""


class Stamped(Protocol):
    """Files that have not been read yet."""

    @property
    def path(self) -> Path:
        """The folder or the zip, as given."""

    @property
    def stamp(self) -> Stamp:
        """What changes when a file changes."""


def digest_of(parsed: Parsed) -> str:
    """Return 16 hex digits of what the files mean, however they are packed and ordered."""
    # How files hold the images is no part of what they mean.
    competition = replace(parsed.competition, planar=False, fitted=False)
    meaning = [competition.to_json(), parsed.images.shape, parsed.test_images.shape]
    text = json.dumps([*meaning, parsed.test_ids], sort_keys=True)
    state = hashlib.sha256(text.encode())
    for array in (parsed.images, parsed.labels, parsed.test_images):
        for start in range(0, len(array), _ROWS):
            state.update(np.ascontiguousarray(array[start : start + _ROWS]).data)
    for name in _OPTIONAL:
        numbers = getattr(parsed, name)
        if numbers is not None:
            state.update(name.encode() + np.ascontiguousarray(numbers).data)
    return state.hexdigest()[:16]


def remembered(source: Stamped, workspace: Workspace, wanted: Wanted) -> str | None:
    """Return the digest that these files gave, unless they have changed or are new."""
    entry = _sources(workspace).get(_key(source, wanted))
    if isinstance(entry, dict) and entry.get("stamp") == _stamp(source):
        digest = entry.get("digest")
        return digest if isinstance(digest, str) else None
    return None


def remember(source: Stamped, workspace: Workspace, digest: str, wanted: Wanted) -> None:
    """Note which digest these files gave, and forget files whose entry is gone.

    Raises:
        ArtefactError: The workspace cannot be written.
    """
    area = _area(workspace)
    known = {
        key: entry
        for key, entry in _sources(workspace).items()
        if isinstance(entry, dict) and (area / str(entry.get("digest")) / "meta.json").exists()
    }
    known[_key(source, wanted)] = {"stamp": _stamp(source), "digest": digest}
    write_json(area / "sources.json", known)


def fetch(digest: str, workspace: Workspace) -> Parsed | None:
    """Return an entry with its images memory-mapped and read-only; none where it is damaged."""
    folder = _area(workspace) / digest
    try:
        competition, ids, rows = read_artefact(
            folder / "meta.json", _build, "parsed data's account", "It is made anew."
        )
        shape = competition.shape.sides
        images = load_array(folder / "images.npy", mmap_mode="r")
        test_images = load_array(folder / "test_images.npy", mmap_mode="r")
        labels = load_array(folder / "labels.npy")
        others = {
            name: load_array(folder / f"{name}.npy")
            for name in _OPTIONAL
            if (folder / f"{name}.npy").exists()
        }
    except (ArtefactError, OSError, ValueError):
        return None
    intact = (
        images.dtype == test_images.dtype == np.uint8
        and labels.dtype == np.int64
        and images.shape == (rows, *shape)
        and labels.shape == (len(images),)
        and test_images.shape == (len(ids), *shape)
        and all(one.dtype == np.int64 and one.shape == labels.shape for one in others.values())
        and 0 <= labels.min(initial=0) <= labels.max(initial=0) < len(competition.classes)
    )
    if not intact:
        return None
    labels.flags.writeable = False
    return Parsed(competition, images, labels, test_images, ids, **others)


def room(workspace: Workspace) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Return what makes arrays of bytes: large ones in a file of the cache that goes with them.

    So what is decoded need not fit into memory.

    Args:
        workspace: Whose cache.
    """

    def make(shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        if size < _LARGE:
            return np.zeros(shape, np.uint8)
        area = _area(workspace)
        require_room(area, size, "the decoded images")
        try:
            with tempfile.TemporaryFile(dir=area) as file:
                with suppress(AttributeError):  # no such call on some systems
                    # Reserved now: a page that finds no room on the disk later ends the process.
                    os.posix_fallocate(file.fileno(), 0, size)
                return np.memmap(file, np.uint8, "w+", shape=shape)
        except OSError as error:
            raise disk_error(error, area) from error

    return make


def store(parsed: Parsed, digest: str, workspace: Workspace) -> None:
    """Write an entry, whole or not at all.

    Raises:
        ArtefactError: No room on the disk, or the workspace cannot be written.
    """
    arrays = {
        "images": parsed.images,
        "labels": parsed.labels,
        "test_images": parsed.test_images,
    }
    arrays |= {name: one for name in _OPTIONAL if (one := getattr(parsed, name)) is not None}
    meta = {
        "version": _VERSION,
        "competition": parsed.competition.to_json(),
        "rows": len(parsed.images),
        "ids": list(parsed.test_ids),
    }
    text = json.dumps(meta)
    needed = sum(array.nbytes for array in arrays.values()) + len(text) + 65536
    folder = _area(workspace) / digest
    require_room(folder, needed, "the parsed images")
    with whole_folder(folder) as place:
        for name, array in arrays.items():
            with open(place / f"{name}.npy", "wb") as file:
                # Through Python's own write: NumPy's would hide that the disk is full.
                np.save(_Plain(file), array)
        (place / "meta.json").write_text(text, encoding="utf-8")


class _Plain:
    """A file that NumPy writes to piece by piece."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, content: bytes) -> int:
        """Write a piece."""
        return self._file.write(content)


@contextmanager
def alone(workspace: Workspace, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache of parsed data, after waiting for another process that holds it.

    Two commands started at once then parse once: the second finds what the first has made.

    Raises:
        InUseError: The other process does not end.
        ArtefactError: The workspace cannot be written.
    """
    area = _area(workspace)
    make_folder(area)
    deadline = time.monotonic() + _PATIENCE
    told = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(workspace.lock(area))
                break
            except InUseError:
                if time.monotonic() > deadline:
                    raise
            if not told:
                say("waiting for another process that reads data into this workspace")
                told = True
            time.sleep(0.1)
        yield


def _area(workspace: Workspace) -> Path:
    return workspace.cache / "data"


def _key(source: Stamped, wanted: Wanted) -> str:
    return f"{source.path.resolve()}{wanted.suffix}"


def _stamp(source: Stamped) -> list[Any]:
    return [_READER, *(list(entry) for entry in source.stamp)]


def _sources(workspace: Workspace) -> dict[str, Any]:
    try:
        return read_artefact(
            _area(workspace) / "sources.json",
            lambda values: Fields(values).all(),
            "a memory of files",
            "It is made anew.",
        )
    except ArtefactError:
        # Only a memory: without it the files are parsed once more.
        return {}


def _build(values: object) -> tuple[Competition, tuple[str, ...], int]:
    fields = Fields(values)
    competition = Competition.from_json(fields.mapping("competition"))
    return competition, tuple(fields.texts("ids")), fields.whole("rows")
