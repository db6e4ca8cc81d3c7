"""Where image files lie: in folders, in a zip, in zips within it; found, listed and read.

A zip is read where it is; only one that lies within another zip is unpacked to be read, as a file
that goes when the reading ends.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import IO

from kaggle_digits.core.data.columns import Header, packed_column, packed_grid, read_header
from kaggle_digits.core.data.pixels import count_numbered, find_grid
from kaggle_digits.core.data.source import (
    DAMAGE,
    Stamp,
    find,
    require_inside,
    stamp_of,
    truncated,
    unpacked,
)
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.filenames import is_image, is_table

UNREADABLE = (*DAMAGE, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What reading a file raises where it, or the zip it lies in, is damaged or has a password."""

_LEAST_PIXELS = 16
"""Pixel columns from which on a table holds the images itself, where they make a square."""

_SURELY_PIXELS = 50
"""The same where they make none: a table of labels has not so many columns of classes."""

_NAME = attrgetter("name")
_USUAL_ENDS = frozenset({".png", ".jpg", ".PNG", ".JPG"})
_HIDDEN = (".", "__MACOSX")
_DEPTH = 6
_BINARY = getattr(os, "O_BINARY", 0)
"""On Windows, what keeps line ends as they are."""
_MOST_STAMPED = 5_000
"""Images whose times are looked at before each call; of more, as many of them."""

_MOST_OTHERS = 20_000
"""Files that are no images, and none was found among them, after which no more are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFiles:
    """A competition's files, opened.

    Args:
        images: Names of the image files, with `/` between folders; those of zips with the zip's
            name in front.
        tables: Names of the tables, packed ones and Parquet files too.
        read: Returns a file's bytes; from several threads at once, too. Raises one of `UNREADABLE`
            where that cannot be done.
    """

    images: list[str]
    tables: list[str]
    read: Callable[[str], bytes]

    def table(self, name: str) -> bytes:
        """Return a table as CSV: unpacked, and from Parquet, where its name says so.

        Raises:
            DataError: It cannot be read.
            ConfigurationError: It is a Parquet file, and nothing is installed that reads it.
        """
        try:
            with unpacked(io.BytesIO(self.read(name)), name) as stream:
                return stream.read()
        except UNREADABLE as error:
            raise DataError(
                f"{name} cannot be read: {error}.", mend="Download it again, or unpack it."
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """A competition whose images are files, not read yet.

    Args:
        path: The folder or the zip, as given.
        stamp: Changes when a file changes.
    """

    path: Path
    stamp: Stamp

    @contextmanager
    def open(self) -> Iterator[ImageFiles]:
        """List all files, and make them readable.

        Raises:
            DataError: A zip is damaged, or its members point outside.
        """
        with ExitStack() as stack:
            top: _Place = _Folder(self.path) if self.path.is_dir() else _Zip(self.path, stack)
            found: dict[str, tuple[_Place, str]] = {}
            for name in top.names():
                if _is_archive(name) and not _holds_table(top, name):
                    inner = _Zip(top.as_file(name, stack), stack, name)
                    stem = name[: -len(".zip")]
                    found |= {f"{stem}/{one}": (inner, one) for one in inner.names()}
                else:
                    found[name] = (top, name)
            kept = sorted(name for name in found if not _is_hidden(name))

            def read(name: str) -> bytes:
                place, inside = found[name]
                return place.read(inside)

            yield ImageFiles(
                images=[name for name in kept if is_image(name)],
                tables=[name for name in kept if is_table(name)],
                read=read,
            )


def find_images(path: Path) -> ImageSource | None:
    """Return a competition whose images are files; None where none are there, or tables hold them.

    Args:
        path: The folder or the zip.

    Raises:
        DataError: A zip's members point outside, or a folder cannot be read.
    """
    try:
        if path.is_dir():
            return _find_in_folder(path)
        if path.is_file() and zipfile.is_zipfile(path):
            return _find_in_zip(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", mend="Check its permissions."
        ) from error
    return None


def _find_in_folder(path: Path) -> ImageSource | None:
    with os.scandir(path) as entries:
        top = list(entries)
    suspicious = any(
        (entry.is_dir() and not entry.name.startswith("."))
        or is_image(entry.name)
        or _is_archive(entry.name)
        for entry in top
    )
    if not suspicious or _has_pixels(path):
        return None
    folder, has_images, others = _Folder(path), False, 0
    # Names and entries apart: a hundred thousand pairs would keep the garbage collector at work.
    images: list[str] = []
    entries_of: list[os.DirEntry[str]] = []
    tables: list[tuple[str, os.DirEntry[str]]] = []
    for name, entry in folder.entries():
        if name[-4:] in _USUAL_ENDS or is_image(name):
            images.append(name)
            entries_of.append(entry)
            continue
        if is_table(name) or _is_archive(name):
            tables.append((name, entry))
        has_images = has_images or (_is_archive(name) and not folder.holds_table(name))
        others += 1
        if not images and not has_images and others > _MOST_OTHERS:
            return None
    if not images and not has_images:
        return None
    return ImageSource(path, _stamp(folder, images, entries_of, tables))


def _stamp(
    folder: _Folder,
    images: Sequence[str],
    entries: Sequence[os.DirEntry[str]],
    tables: Sequence[tuple[str, os.DirEntry[str]]],
) -> Stamp:
    """Return what changes when a file changes.

    Of very many images some are looked at, with all names and all folders, whose times change when
    a file in them is put there, taken away or replaced.
    """
    state = hashlib.sha256("\0".join(images).encode(errors="surrogateescape"))
    step = -(-len(images) // _MOST_STAMPED) or 1
    looked_at = [*tables, *zip(images[::step], entries[::step], strict=True)]
    marks = [(name, entry.stat()) for name, entry in looked_at]
    if step > 1:
        marks += [(name, os.stat(name)) for name in folder.folders]
    for name, status in marks:
        line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n"
        state.update(line.encode(errors="surrogateescape"))
    return ((state.hexdigest(), len(images), 0, 0),)


def _find_in_zip(path: Path) -> ImageSource | None:
    with ExitStack() as stack:
        try:
            archive = _Zip(path, stack)
            names = archive.names()
            has_images = any(
                (is_image(name) and not _is_hidden(name))
                or (_is_archive(name) and not archive.holds_table(name))
                for name in names
            )
        except UNREADABLE:
            return None  # the tables' reader says what is wrong with it
    if not has_images or _has_pixels(path):
        return None
    return ImageSource(path, (stamp_of(path),))


def _has_pixels(path: Path) -> bool:
    """Say whether there is a train table that holds the pixels itself."""
    with suppress(DataError, ConfigurationError):
        source = find(path)
        with source.open("train") as stream:
            header = read_header(stream, source.name("train"))
        with suppress(DataError):
            if packed_grid(header, "train", None) is not None:
                return True
            return len(find_grid(header.columns, "train").names) >= _LEAST_PIXELS
        # 28 by 30 are no square, nor are those of which one is missing: their reader says so.
        # A table of labels has no such columns in test.
        with source.open("test") as stream:
            other = read_header(stream, source.name("test"))
        return min(map(_count_pixels, (header, other))) >= _SURELY_PIXELS
    return False


def _count_pixels(header: Header) -> int:
    """Return how many numbers of an image a row seems to hold, whatever shape they make."""
    column = packed_column(header)
    words = [] if column is None else header.first[header.columns.index(column)].split()
    # Places and lengths, of boxes and masks, go beyond what a pixel can be.
    packed = len(words) if all(0 <= float(word) <= 255 for word in words) else 0
    return max(packed, count_numbered(header.columns))


class _Folder:
    """A folder's files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.folders: list[str] = []

    def entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield each file below the folder with its name from there, in an order of its own."""
        # No generator in a generator, and no look at a file itself: this is what a command that
        # finds its images decoded already waits for.
        waiting = [(str(self._path), "", _DEPTH)]
        while waiting:
            folder, prefix, depth = waiting.pop()
            self.folders.append(folder)
            with os.scandir(folder) as entries:
                found = sorted(entries, key=_NAME)
            for entry in found:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_file():
                    yield prefix + name, entry
                elif depth and entry.is_dir():
                    waiting.append((entry.path, f"{prefix}{name}/", depth - 1))

    def names(self) -> list[str]:
        return [name for name, _ in self.entries()]

    def read(self, name: str) -> bytes:
        # Joined as text, and no file object: there may be a hundred thousand of them, and each call
        # into the system lets another thread in and has to wait for its turn again.
        file = os.open(f"{self._path}/{name}", os.O_RDONLY | _BINARY)
        try:
            size = os.fstat(file).st_size
            content = os.read(file, size + 1)
            if len(content) == size:
                return content
            parts = [content]
            while parts[-1]:  # it grew, or the system gives large files in parts
                parts.append(os.read(file, 1 << 20))
            return b"".join(parts)
        finally:
            os.close(file)

    def as_file(self, name: str, stack: ExitStack) -> Path:
        return self._path / name

    def holds_table(self, name: str) -> bool:
        with open(self._path / name, "rb") as stream:
            return _starts_with_table(stream)


class _Zip:
    """A zip's files; each thread reads through a handle of its own."""

    def __init__(self, path: Path, stack: ExitStack, name: str | None = None) -> None:
        self._path = path
        self._stack = stack
        self._name = name or str(path)
        self._own = threading.local()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        try:
            entries = self._archive().infolist()
        except UNREADABLE as error:
            raise truncated(self._path, self._name) from error
        for entry in entries:
            require_inside(entry, self._name)
        return [entry.filename for entry in entries if not entry.is_dir()]

    def read(self, name: str) -> bytes:
        return self._archive().read(name)

    def as_file(self, name: str, stack: ExitStack) -> Path:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "inner.zip"
        try:
            with self._archive().open(name) as packed, open(place, "wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except UNREADABLE as error:
            raise truncated(self._path, name) from error
        return place

    def holds_table(self, name: str) -> bool:
        with self._archive().open(name) as stream:
            return _starts_with_table(stream)

    def _archive(self) -> zipfile.ZipFile:
        found: zipfile.ZipFile | None = getattr(self._own, "archive", None)
        if found is None:
            found = self._own.archive = zipfile.ZipFile(self._path)
            with self._lock:
                self._stack.callback(found.close)
        return found


_Place = _Folder | _Zip


def _starts_with_table(stream: IO[bytes]) -> bool:
    """Say whether a zip's first member is a table, by its head alone."""
    head = stream.read(30)
    length = int.from_bytes(head[26:28], "little") if head.startswith(b"PK\x03\x04") else 0
    return is_table(stream.read(length).decode("utf-8", "replace"))


def _holds_table(place: _Place, name: str) -> bool:
    try:
        return place.holds_table(name)
    except UNREADABLE as error:
        raise DataError(
            f"{name} cannot be read: {error}.", mend="Download it again, or unpack it."
        ) from error


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip") and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return name.startswith(_HIDDEN) or "/." in name or "/__MACOSX" in name
