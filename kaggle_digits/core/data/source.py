"""Where a competition's files lie: a folder or a zip, found by name, opened as byte streams.

Nothing is ever extracted to disk; a zip's members are read as streams, packed ones in it too.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kaggle_digits.core.data import parquet
from kaggle_digits.ground.errors import DataError, shorten
from kaggle_digits.ground.filenames import (
    PACKINGS,
    ROLES,
    USUAL,
    Role,
    choose_files,
    is_complete,
    is_table,
    role_of,
)

Stamp = tuple[tuple[str, int, int, int], ...]
"""For each file its name, size in bytes, and times of last writing and last change in ns."""

_ENCRYPTED = 0x1
_MOST_LISTED = 1000
_TABLES = (".csv", ".tsv", parquet.SUFFIX)
DAMAGE = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error)
"""What reading a damaged zip or gzip file raises, beside EOFError and OSError."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one competition, not read yet.

    Args:
        path: The folder or the zip, as given.
        members: For each role that is there, the file's name in the folder or the zip.
        stamp: Changes when a file changes.
        opener: Opens one of the members.
    """

    path: Path
    members: Mapping[Role, str]
    stamp: Stamp
    opener: Callable[[str], AbstractContextManager[IO[bytes]]]

    def has(self, role: Role) -> bool:
        """Say whether there is a file for this role (only `sample` can be absent)."""
        return role in self.members

    def name(self, role: Role) -> str:
        """Return how messages name the file."""
        return PurePosixPath(self.members.get(role, USUAL[role])).name

    def open(self, role: Role) -> AbstractContextManager[IO[bytes]]:
        """Open the file of a role, for reading from its start.

        Raises:
            DataError: It cannot be opened; or, inside the block, it turns out to be damaged.
        """
        return self.opener(self.members[role])

    def verify(self, role: Role) -> None:
        """Read a file to its end, so that a damaged zip is named before its content is judged.

        Raises:
            DataError: The file cannot be read to its end, or its checksum is wrong.
        """
        with self.open(role) as stream:
            while stream.read(1 << 20):
                pass


def find(path: Path) -> Source:
    """Find a competition's files in a folder or a zip.

    Args:
        path: The folder or the zip.

    Raises:
        DataError: Nothing is there, it is neither, files are missing or ambiguous, or the zip is
            truncated, encrypted, or has members that point outside.
    """
    if path.is_dir():
        return _find_in_folder(path)
    if not path.exists():
        raise DataError(
            f"There is nothing at {path}; expected a folder with train.csv and test.csv, or the "
            "competition's zip.",
            mend="Give --data the folder or the zip that Kaggle gave you.",
        )
    return _find_in_zip(path)


def open_packed(path: Path) -> AbstractContextManager[IO[bytes]]:
    """Open a table that lies in a folder, unpacked while it is read where its name says so.

    Raises:
        DataError: It cannot be opened; or, inside the block, it turns out to be damaged.
    """
    return _open_packed(path.parent, path.name)


def _find_in_folder(path: Path) -> Source:
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        if not is_complete(names):
            names += _one_deep(path)
        if not any(map(is_table, names)):
            names += _some_deeper(path)
        members = choose_files(names, str(path))
        stamp = tuple(_stamp(path, members[role]) for role in ROLES if role in members)
    except OSError as error:
        raise _unreadable(path, error) from error
    return Source(path, members, stamp, lambda name: _open_packed(path, name))


def _one_deep(path: Path) -> list[str]:
    return sorted(
        f"{folder.name}/{entry.name}"
        for folder in path.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
        for entry in folder.iterdir()
        if entry.is_file()
    )


def _some_deeper(path: Path) -> list[str]:
    """Return a few files further down, for a message that says what lies there instead."""
    found: list[str] = []
    for folder, _, files in os.walk(path):
        below = Path(folder).relative_to(path)
        if len(below.parts) > 1:
            found += [(below / name).as_posix() for name in sorted(files)]
        if len(found) >= _MOST_LISTED:
            break
    return found[:_MOST_LISTED]


@contextmanager
def _open_packed(folder: Path, name: str) -> Iterator[IO[bytes]]:
    path = folder / name
    if not name.lower().endswith((*PACKINGS, parquet.SUFFIX)):
        try:
            with open(path, "rb") as stream:
                yield stream
        except OSError as error:
            raise _unreadable(path, error) from error
        return
    with _named_damage(folder, name), open(path, "rb") as packed, unpacked(packed, name) as stream:
        yield stream


@contextmanager
def unpacked(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give a file as it is, or unpacked, and Parquet as CSV, where its name says so.

    Raises:
        DataError: A zip holds other than one table, or points outside; or it is no Parquet file.
        ConfigurationError: It is a Parquet file, and nothing is installed that reads it.
    """
    if name.lower().endswith(".gz"):
        with gzip.open(stream) as inside:
            yield cast(IO[bytes], inside)
    elif name.lower().endswith(".zip"):
        try:
            archive = zipfile.ZipFile(stream)
        except ValueError as error:
            # A cut zip can give its members places before its start.
            raise zipfile.BadZipFile(str(error)) from error
        with archive:
            for entry in archive.infolist():
                require_inside(entry, name)
            entry = _one_table(archive.infolist(), name)
            _require_open(entry, name)
            with archive.open(entry) as packed, unpacked(packed, entry.filename) as table:
                yield table
    elif name.lower().endswith(parquet.SUFFIX):
        with parquet.as_csv(stream, PurePosixPath(name).name) as table:
            yield table
    else:
        yield stream


def _one_table(entries: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    files = [
        entry
        for entry in entries
        if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
    ]
    tables = [entry for entry in files if entry.filename.lower().endswith(_TABLES)]
    if len(tables) > 1:
        tables = [entry for entry in tables if role_of(entry.filename) == role_of(name)]
    if len(tables) != 1:
        held = shorten([entry.filename for entry in files])
        raise DataError(
            f"{name} holds {held or 'nothing'}; expected one CSV file in it.",
            mend="Unpack it and give --data the folder.",
        )
    return tables[0]


def _find_in_zip(path: Path) -> Source:
    try:
        stamp = _stamp(path.parent, path.name)
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (*DAMAGE, EOFError, NotImplementedError, ValueError, OSError) as error:
        # The list of members stands at a zip's end, so a cut one has its start but no list.
        if start == b"PK\x03\x04":
            raise truncated(path) from error
        raise DataError(
            f"{path} is neither a folder nor a zip; expected a folder with train.csv and "
            "test.csv, or the competition's zip.",
            mend="Give --data the folder that holds the CSV files.",
        ) from error
    for entry in entries:
        require_inside(entry, path)
    files = [entry for entry in entries if not entry.is_dir()]
    members = choose_files([entry.filename for entry in files], str(path))
    for entry in files:
        if entry.filename in members.values():
            _require_open(entry, path)

    @contextmanager
    def opener(name: str) -> Iterator[IO[bytes]]:
        with _named_damage(path, name), ExitStack() as stack:
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
                stream = stack.enter_context(archive.open(name))
                stream = stack.enter_context(unpacked(stream, name))
            except ValueError as error:
                # A cut zip can give its members places before its start.
                raise zipfile.BadZipFile(str(error)) from error
            yield stream

    return Source(path, members, (stamp,), opener)


@contextmanager
def _named_damage(path: Path, member: str) -> Iterator[None]:
    """Turn what zipfile raises for a damaged zip into a DataError that names it."""
    try:
        yield
    except EOFError as error:
        raise truncated(path, member) from error
    except NotImplementedError as error:
        raise DataError(
            f"{member} in {path} is packed in a way that cannot be read here ({error}).",
            mend="Unpack it and give --data the folder.",
        ) from error
    except (*DAMAGE, OSError) as error:
        # What is wrong with a packed file's content has no number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise _unreadable(path, error) from error
        kind = "gzip file" if member.lower().endswith(".gz") else "zip"
        raise DataError(
            f"{member} in {path} is damaged ({error}); expected a whole {kind}.",
            mend="Download it again.",
        ) from error


def require_inside(entry: zipfile.ZipInfo, path: Path | str) -> None:
    """Refuse a member of a zip that would be unpacked elsewhere.

    Raises:
        DataError: Its name leads outside, or it is a link.
    """
    # The name as stored: zipfile itself cuts some of what would give a bad name away.
    name = entry.orig_filename.replace("\\", "/")
    outside = name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/")
    if outside or stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(
            f"{path} has the member {entry.orig_filename!r}, which points outside; expected plain "
            "files only. Nothing was read.",
            mend="Do not trust this zip; download the competition's own.",
        )


def _require_open(entry: zipfile.ZipInfo, where: Path | str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{entry.filename} in {where} is encrypted; expected a zip without a password.",
            mend="Unpack it with its password and give --data the folder.",
        )


def stamp_of(path: Path) -> tuple[str, int, int, int]:
    """Return a file's name, size and times: other ones when it has changed."""
    return _stamp(path.parent, path.name)


def _stamp(folder: Path, name: str) -> tuple[str, int, int, int]:
    # The time of last change too: unpacking and copying can set the time of last writing back,
    # so that two versions of a file of one size would look alike.
    status = (folder / name).stat()
    return name, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def truncated(path: Path, member: str | None = None) -> DataError:
    """Return the error of a zip, or a zip in it, whose end is missing."""
    where = f"{member} in {path}" if member else str(path)
    return DataError(
        f"{where} is truncated or damaged; expected a whole zip.", mend="Download it again."
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}.", mend="Check its permissions."
    )
