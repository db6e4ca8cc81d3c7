"""Locks: one process at a time in a folder.

The operating system's lock where the file system keeps one: it goes with its process, however that
ends. Network shares and FUSE often keep none; there a lock file takes its place, which names host,
process and time, and which a later call on the same host takes over once that process is gone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from kaggle_digits.ground.errors import InUseError
from kaggle_digits.ground.files import HOST, disk_error, is_running, make_folder

NO_LOCKS = (
    "this file system keeps no locks; lock files that name host, process and time take their place"
)

_log = logging.getLogger(__name__)
_UNFINISHED_SECONDS = 60.0
"""A lock file whose writer was killed before its text was in it counts as held so long."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a folder.

    Args:
        host: The machine.
        process: Its number there.
        started: When the process started, in the host's own ticks; 0 where it cannot be read.
        since: When it took the lock, ISO 8601 with the zone.
    """

    host: str
    process: int
    started: int
    since: str

    def __str__(self) -> str:
        """Return it as a message names it."""
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether it surely no longer runs; of other hosts' processes nothing is known here."""
        if self.host != HOST:
            return False
        # A number is given out again: it must be the same process, too.
        return not is_running(self.process) or _started(self.process) != self.started


@contextmanager
def hold(area: Path) -> Iterator[None]:
    """Hold a folder for this process alone; it is made if it is not there.

    Raises:
        InUseError: Another process holds it.
        ArtefactError: It cannot be written.
    """
    make_folder(area)
    path = area / ".lock"
    try:
        opened = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed by the with below
    except OSError as error:
        raise disk_error(error, path) from error
    with opened as handle:
        try:
            _lock(handle.fileno())
        except BlockingIOError:
            handle.seek(0)
            raise _in_use(area, handle.read().strip()) from None
        except OSError:
            keeps_locks = False
        else:
            keeps_locks = True
            with suppress(OSError):  # only for others to read: a full disk must not cost the lock
                handle.seek(0)
                handle.truncate()
                handle.write(str(_myself()))
                handle.flush()
        if keeps_locks:
            yield
        else:
            _log.warning(NO_LOCKS)
            with _hold_by_file(area):
                yield


@contextmanager
def _hold_by_file(area: Path) -> Iterator[None]:
    path = area / ".lock-file"
    text = json.dumps(asdict(_myself()))
    while not _create(path, text):
        _take_away_if_left(path, area)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == text:
                path.unlink()


def _create(path: Path, text: str) -> bool:
    """Make a file that must not be there yet; say whether it was made."""
    try:
        with open(path, "x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise disk_error(error, path) from error
    return True


def _take_away_if_left(path: Path, area: Path) -> None:
    """Remove a lock file whose holder is gone.

    Raises:
        InUseError: Its holder may still run.
    """
    found = _read(path)
    if found is not None:
        text, holder = found
        if holder is None or not holder.is_gone:
            raise _in_use(area, str(holder or "another process"), path)
        # One at a time: or two could see the same abandoned file, and the slower of them would
        # remove the lock that the faster has made since.
        breaking = path.with_name(f"{path.name}.breaking")
        if not _create(breaking, text):
            if time.time() - breaking.stat().st_mtime > _UNFINISHED_SECONDS:
                breaking.unlink(missing_ok=True)
            raise _in_use(area, "another process that begins", path)
        try:
            again = _read(path)
            if again is not None and again[0] == text:
                path.unlink(missing_ok=True)
        finally:
            breaking.unlink(missing_ok=True)


def _read(path: Path) -> tuple[str, Holder | None] | None:
    """Return a lock file's text and whom it names; None where the file is gone."""
    try:
        text = path.read_text(encoding="utf-8")
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        return text, Holder(**json.loads(text))
    except (ValueError, TypeError):
        # Its writer is at it, or was killed at it.
        left = Holder(HOST, 0, -1, "") if age > _UNFINISHED_SECONDS else None
        return text, left


def _in_use(area: Path, holder: str, file: Path | None = None) -> InUseError:
    mend = "Wait until it has ended, or give another --workspace."
    if file is not None:
        mend = f"{mend} If it no longer runs, delete {file}."
    return InUseError(f"{area} is in use by {holder or 'another process'}.", mend=mend)


def _myself() -> Holder:
    process = os.getpid()
    return Holder(HOST, process, _started(process), datetime.now(UTC).isoformat(timespec="seconds"))


def _started(process: int) -> int:
    """Return when a process of this host started, in ticks since boot; 0 where it is not told."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        # The second field is the program's name, which may hold blanks and brackets.
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Lock a file, or raise BlockingIOError where it is locked, OSError where none can be."""
        # Far beyond the text, so that others can still read who holds it.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Lock a file, or raise BlockingIOError where it is locked, OSError where none can be."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
