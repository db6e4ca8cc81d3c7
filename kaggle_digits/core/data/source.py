"""Where a competition's files lie: a folder or a zip, found by name, opened as byte streams.

Nothing is ever extracted to disk; a zip's members are read as streams.
"""

from __future__ import annotations

import errno
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from kaggle_digits.ground.errors import DataError

Role = Literal["train", "test", "sample"]
"""What a file is for: the labelled images, the images to label, the sample submission."""

Stamp = tuple[tuple[str, int, int, int], ...]
"""For each file its name, size in bytes, and times of last writing and last change in ns."""

_ROLES: tuple[Role, ...] = ("sample", "train", "test")
_USUAL: Mapping[Role, str] = {
    "train": "train.csv",
    "test": "test.csv",
    "sample": "sample_submission.csv",
}
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)


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
        return PurePosixPath(self.members.get(role, _USUAL[role])).name

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


def _find_in_folder(path: Path) -> Source:
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        members = _choose(names, path)
        stamp = tuple(_stamp(path / members[role]) for role in _ROLES if role in members)
    except OSError as error:
        raise _unreadable(path, error) from error

    @contextmanager
    def opener(name: str) -> Iterator[IO[bytes]]:
        try:
            with open(path / name, "rb") as stream:
                yield stream
        except OSError as error:
            raise _unreadable(path / name, error) from error

    return Source(path, members, stamp, opener)


def _find_in_zip(path: Path) -> Source:
    try:
        stamp = _stamp(path)
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (*_DAMAGE, EOFError, NotImplementedError, ValueError, OSError) as error:
        # The list of members stands at a zip's end, so a cut one has its start but no list.
        if start == b"PK\x03\x04":
            raise _truncated(path) from error
        raise DataError(
            f"{path} is neither a folder nor a zip; expected a folder with train.csv and "
            "test.csv, or the competition's zip.",
            mend="Give --data the folder that holds the CSV files.",
        ) from error
    for entry in entries:
        _require_inside(entry, path)
    files = [entry for entry in entries if not entry.is_dir()]
    members = _choose(_in_one_folder([entry.filename for entry in files], path), path)
    for entry in files:
        if entry.filename in members.values() and entry.flag_bits & _ENCRYPTED:
            raise DataError(
                f"{entry.filename} in {path} is encrypted; expected a zip without a password.",
                mend="Unpack it with its password and give --data the folder.",
            )

    @contextmanager
    def opener(name: str) -> Iterator[IO[bytes]]:
        with _named_damage(path, name), ExitStack() as stack:
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
                stream = stack.enter_context(archive.open(name))
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
        raise _truncated(path, member) from error
    except NotImplementedError as error:
        raise DataError(
            f"{member} in {path} is packed in a way that cannot be read here ({error}).",
            mend="Unpack it and give --data the folder.",
        ) from error
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise _unreadable(path, error) from error
        raise DataError(
            f"{member} in {path} is damaged ({error}); expected a whole zip.",
            mend="Download it again.",
        ) from error


def _require_inside(entry: zipfile.ZipInfo, path: Path) -> None:
    # The name as stored: zipfile itself cuts some of what would give a bad name away.
    name = entry.orig_filename.replace("\\", "/")
    outside = name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/")
    if outside or stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(
            f"{path} has the member {entry.orig_filename!r}, which points outside; expected plain "
            "files only. Nothing was read.",
            mend="Do not trust this zip; download the competition's own.",
        )


def _in_one_folder(names: Sequence[str], path: Path) -> list[str]:
    """Return the CSV members at the top, or those of the one folder that has any."""
    tables = [name for name in names if _is_table(name) and not name.startswith("__MACOSX/")]
    folders = sorted({str(PurePosixPath(name).parent) for name in tables})
    if "." in folders:
        return [name for name in tables if "/" not in name]
    if len(folders) > 1:
        raise DataError(
            f"{path} has CSV files in several folders: {', '.join(folders)}; expected them at its "
            "top or in one folder.",
            mend="Unpack it and give --data the right folder.",
        )
    return tables or list(names)


def _choose(names: Sequence[str], path: Path) -> dict[Role, str]:
    """Give each role its file: the usual name, or the one CSV whose name contains the role."""
    tables = [name for name in names if _is_table(name)]
    members: dict[Role, str] = {}
    for role in _ROLES:
        usual = [name for name in tables if _base(name) == _USUAL[role]]
        candidates = usual or [name for name in tables if _role(name) == role]
        if len(candidates) > 1:
            raise DataError(
                f"{path} has {len(candidates)} files that could be {_USUAL[role]}: "
                f"{', '.join(candidates)}; expected one.",
                mend=f"Name the right one {_USUAL[role]}.",
            )
        if candidates:
            members[role] = candidates[0]
        elif role != "sample":
            raise _missing(role, names, path)
    return members


def _missing(role: Role, names: Iterable[str], path: Path) -> DataError:
    shown = sorted(names)[:8]
    archives = [name for name in shown if name.lower().endswith(".zip")]
    if archives and path.is_dir():
        mend = f"Give --data {path / archives[0]}, or unpack it there."
    elif archives:
        mend = f"Unpack {archives[0]} and give --data the folder."
    else:
        mend = "Download the competition's files, or give --data the place where they are."
    return DataError(
        f"{path} has no {_USUAL[role]}; it holds {', '.join(shown) or 'nothing'}.", mend=mend
    )


def _base(name: str) -> str:
    return PurePosixPath(name).name.lower()


def _is_table(name: str) -> bool:
    return _base(name).endswith(".csv") and not _base(name).startswith(".")


def _role(name: str) -> Role | None:
    return next((role for role in _ROLES if role in _base(name)), None)


def _stamp(path: Path) -> tuple[str, int, int, int]:
    # The time of last change too: unpacking and copying can set the time of last writing back,
    # so that two versions of a file of one size would look alike.
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _truncated(path: Path, member: str | None = None) -> DataError:
    where = f"{member} in {path}" if member else str(path)
    return DataError(
        f"{where} is truncated or damaged; expected a whole zip.", mend="Download it again."
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}.", mend="Check its permissions."
    )
