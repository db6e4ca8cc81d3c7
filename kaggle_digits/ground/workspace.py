"""The workspace: all state on disk, its paths, and the lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.ground.errors import InUseError
from kaggle_digits.ground.files import disk_error, make_folder, sweep


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that holds everything a competitor's runs leave behind.

    Args:
        root: The folder itself; made when first written to.
    """

    root: Path

    @property
    def tuning(self) -> Path:
        """The study: its settings, its trials, `best.json`."""
        return self.root / "tuning"

    @property
    def ensembles(self) -> Path:
        """Folds, members and the blend."""
        return self.root / "ensembles"

    @property
    def submissions(self) -> Path:
        """Submission files and the ledger."""
        return self.root / "submissions"

    @property
    def cache(self) -> Path:
        """What can be made again: parsed data, the bank, checkpoints."""
        return self.root / "cache"

    @contextmanager
    def lock(self, area: Path) -> Iterator[None]:
        """Hold one area (a folder of the workspace) for this process alone.

        The operating system drops the lock when the process ends, however it ends.

        Raises:
            InUseError: Another process holds the area.
            ArtefactError: It cannot be written.
        """
        make_folder(area)
        path = area / ".lock"
        try:
            opened = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed by the with below
        except OSError as error:
            raise disk_error(error, path) from error
        with opened as handle:
            if not _try_lock(handle.fileno()):
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise InUseError(
                    f"{area} is in use by {holder}.",
                    mend="Wait until it has ended, or give another --workspace.",
                )
            handle.seek(0)
            handle.truncate()
            handle.write(f"process {os.getpid()}")
            handle.flush()
            # The cache has no holder: several commands may fill it at once.
            for folder in (area, self.cache):
                sweep(folder)
            yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            # Far beyond the text, so that others can still read who holds it.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
