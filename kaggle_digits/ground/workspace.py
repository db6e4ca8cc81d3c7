"""The workspace: all state on disk, its paths, and what is held of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.ground.files import sweep
from kaggle_digits.ground.locks import hold


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
    def data_record(self) -> Path:
        """Which data it was made from; not there yet in a new one."""
        return self.root / "data.json"

    @property
    def cache(self) -> Path:
        """What can be made again: parsed data, the bank, checkpoints."""
        return self.root / "cache"

    @contextmanager
    def lock(self, area: Path) -> Iterator[None]:
        """Hold one area (a folder of the workspace) for this process alone.

        Raises:
            InUseError: Another process holds the area.
            ArtefactError: It cannot be written.
        """
        with hold(area):
            # The cache has no holder: several commands may fill it at once.
            for folder in (area, self.cache):
                sweep(folder)
            yield
