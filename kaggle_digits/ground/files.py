"""The one atomic writer, and what else touches the disk.

A file that is there is complete: it is written under a temporary name beside its place, flushed
to the disk and renamed. A kill leaves at most a temporary, which carries its writer's process
number and is swept away by the next locked use once that process is gone.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaggle_digits.ground.errors import ArtefactError

_TEMPORARY = ".part-"


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

    Raises:
        ArtefactError: The disk is full or the place cannot be written.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Write a JSON file (sorted keys, two spaces, newline at the end) whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of the workspace.

    Raises:
        ArtefactError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is not there.") from error
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path} cannot be read as JSON: {error}.",
            mend="Delete it, or start anew with --fresh.",
        ) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes its name only when the block ends without an error.

    A folder that already has the name is replaced.

    Raises:
        ArtefactError: The disk is full or the place cannot be written.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        for entry in temporary.iterdir():
            with open(entry, "rb+") as handle:
                os.fsync(handle.fileno())
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, path) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def folder_bytes(path: Path) -> int:
    """Return the bytes of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_size if not file.is_dir() else 0
        except OSError:
            continue
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens when it is not there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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


def sweep(folder: Path) -> None:
    """Remove temporaries whose writer no longer runs."""
    for leftover in list(folder.rglob(f"*{_TEMPORARY}*")):
        writer = leftover.name.rpartition(_TEMPORARY)[2]
        if writer.isdigit() and not _is_running(int(writer)):
            remove(leftover)


def disk_error(error: OSError, path: Path) -> ArtefactError:
    """Return what to tell a user of an error of the disk while `path` was written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArtefactError(
            f"No room on the disk while writing {path}; nothing half-written was left.",
            mend="Make room, or put --workspace on another disk, and call the command again.",
        )
    return ArtefactError(
        f"{path} cannot be written: {error.strerror or error}.",
        mend="Check the folder's permissions, or give another place.",
    )


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}")


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        return True  # there is no asking without the right to end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
