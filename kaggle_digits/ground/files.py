"""The one atomic writer, and what else touches the disk.

A file that is there is complete: it is written under a temporary name beside its place, flushed
to the disk and renamed. A kill leaves at most a temporary, which carries its writer's host and
process number and is swept away by the next locked use on that host once the process is gone, or
on any host when it is old.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, ReadOnlyError

HOST = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64] or "unnamed"
"""This machine's name, in letters that a file's name can hold."""

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_TEMPORARY = ".part-"
_FORMER = ".former"
_TRIES = 100
_OLD_SECONDS = 86_400.0
"""No file takes a day to write: a temporary of another host is left over by then."""


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        ArtefactError: It cannot be made (a file is in the way, no permission).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    A link is followed: what it leads to is replaced. What is there and is no regular file, a device
    or a pipe, stays and is written through.

    Raises:
        ArtefactError: The disk is full, the place cannot be written, or a folder is there.
    """
    if path.is_dir():
        raise ArtefactError(
            f"{path} is a folder; a file is to be written there.",
            mend="Move it away, or give another place.",
        )
    if path.exists() and not path.is_file():
        _write_through(path, content)
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _drop(temporary)
        raise disk_error(error, path) from error
    except BaseException:
        _drop(temporary)
        raise


def require_output(path: Path, option: str, name: str | None = None) -> None:
    """Refuse a place that a user gives for a file and that cannot take one; nothing is made.

    Args:
        path: The place. Links are followed; devices and pipes are fine.
        option: The option it was given by, as messages name it.
        name: The file's name where the place is that of its folder; None where it is the file's.

    Raises:
        ConfigurationError: It is a folder, a stream of this process, or its folder cannot be
            written.
    """
    place = path if name is None else path / name
    why = None
    if place.is_dir():
        why = "which is a folder; expected a file"
    elif any(_is_stream(place, number) for number in range(3)):
        why = "which is one of this command's own streams; expected a file or a pipe"
    elif place.exists() and not place.is_file():
        why = None if os.access(place, os.W_OK) else "which cannot be written"
    elif place.is_symlink() and os.path.islink(os.path.realpath(place)):
        why = "a link that leads to itself"
    else:
        folder = Path(os.path.realpath(place)).parent
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        if not there.is_dir():
            why = f"but {there} is no folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            why = f"but the folder {there} cannot be written"
    if why is not None:
        inside = "" if name is None else f", where {name} is to be written"
        raise ConfigurationError(
            f"{option} was given as {path}{inside}, {why}.",
            mend=f"Give the path of a {'file' if name is None else 'folder'}.",
        )


def write_json(path: Path, value: object) -> None:
    """Write a JSON file (sorted keys, two spaces, newline at the end) whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes its name only when the block ends without an error.

    A folder that already has the name is replaced: it is moved beside first and removed last, so
    that a kill loses neither (`sweep` puts it back where the new one did not take its place).

    Raises:
        ArtefactError: The disk is full or the place cannot be written.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    former = temporary.with_name(temporary.name + _FORMER)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        for entry in temporary.iterdir():
            with open(entry, "rb+") as handle:
                os.fsync(handle.fileno())
        if path.exists():
            os.replace(path, former)
        os.replace(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, path) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        _settle(former)


def folder_bytes(path: Path) -> int:
    """Return the bytes of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens when it is not there.

    Of a link, the link goes and not what it leads to.

    Raises:
        ArtefactError: It cannot be removed.
    """
    for left in reversed(range(_TRIES)):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError as error:
            if isinstance(error, FileNotFoundError) and left:
                continue  # another process removes it, too: once more, for what is left
            raise ArtefactError(
                f"{path} cannot be removed: {error.strerror or error}.",
                mend="Check the folder's permissions.",
            ) from error


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuse work whose result would not fit on the disk.

    Args:
        folder: Where it would be written.
        needed: Bytes.
        purpose: What for, as the message names it.

    Raises:
        ArtefactError: Less is free.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ArtefactError(
            f"No room on the disk for {purpose}: {needed / 1e6:,.0f} MB are needed at {folder}, "
            f"{free / 1e6:,.0f} MB are free.",
            mend="Make room, or put --workspace on another disk.",
        )


def is_temporary(path: Path) -> bool:
    """Say whether a writer is at work on it, or left it: it is not what its name begins with."""
    return _TEMPORARY in path.name


def sweep(folder: Path) -> None:
    """Remove what writers that no longer run have left; of other hosts, once it is old.

    What such a writer had moved beside to replace it goes back where nothing took its place.
    """
    leftovers = [
        Path(place, name)
        # A folder that vanishes meanwhile is passed over.
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if _TEMPORARY in name
    ]
    for leftover in leftovers:
        mark = leftover.name.rpartition(_TEMPORARY)[2]
        host, _, writer = mark.removesuffix(_FORMER).rpartition("-")
        if not writer.isdigit():
            continue
        if is_running(int(writer)) if host == HOST else _age(leftover) <= _OLD_SECONDS:
            continue
        if mark.endswith(_FORMER):
            _settle(leftover)
        else:
            remove(leftover)


def _settle(former: Path) -> None:
    """Put back what was moved beside, or remove it where something has its name again."""
    path = former.with_name(former.name.rpartition(_TEMPORARY)[0])
    if not path.exists():
        with suppress(OSError):  # another process does it, too
            os.replace(former, path)
    elif former.exists():
        remove(former)


def disk_error(error: OSError, path: Path) -> ArtefactError:
    """Return what to tell a user of an error of the disk while `path` was written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArtefactError(
            f"No room on the disk while writing {path}; nothing half-written was left.",
            mend="Make room, or put --workspace on another disk, and call the command again.",
        )
    kind = ReadOnlyError if error.errno in _READ_ONLY else ArtefactError
    return kind(
        f"{path} cannot be written: {error.strerror or error}.",
        mend="Check its permissions, or give another --workspace (or --output).",
    )


def _write_through(path: Path, content: bytes) -> None:
    try:
        with open(path, "wb", buffering=0) as handle:
            left = memoryview(content)
            while left:
                left = left[handle.write(left) or 0 :]
    except OSError as error:
        raise disk_error(error, path) from error


def _is_stream(path: Path, number: int) -> bool:
    """Say whether a path is a name of stdin, stdout or stderr: they are led elsewhere by then."""
    names = [f"/dev/{('stdin', 'stdout', 'stderr')[number]}", f"/dev/fd/{number}"]
    names += [f"/proc/{process}/fd/{number}" for process in ("self", os.getpid())]
    return os.path.abspath(path) in names


def is_running(process: int) -> bool:
    """Say whether a process of this host runs; True where that cannot be found out."""
    if sys.platform == "win32":
        return True  # there is no asking without the right to end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}{_TEMPORARY}{HOST}-{os.getpid()}")


def _drop(temporary: Path) -> None:
    with suppress(OSError):  # a read-only disk refuses even to remove what is not there
        temporary.unlink()


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
