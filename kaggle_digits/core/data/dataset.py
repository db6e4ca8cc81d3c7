"""The front of `core.data`: a path in, a dataset out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from kaggle_digits.core import demo
from kaggle_digits.core.data import cache
from kaggle_digits.core.data.reading import Parsed, read_competition
from kaggle_digits.core.data.source import Source, find
from kaggle_digits.ground.competition import Competition, read_labels
from kaggle_digits.ground.errors import ArtefactError, ReadOnlyError
from kaggle_digits.ground.workspace import Workspace

DEFAULT_FOLDER = Path("data")
"""What is read when no path is given, if it is there."""

EMBEDDED = "embedded digits"
"""How messages name the data that come with the package."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A competition's data, checked.

    Args:
        competition: Shape, classes and the submission's form.
        images: uint8 [rows, height, width], read-only memory map.
        labels: int64 [rows], class indices into `competition.classes`, read-only.
        test_images: uint8 [test rows, height, width], read-only memory map.
        test_ids: In the order of `test_images`.
        digest: 16 hex digits of what the files mean: equal for the same competition given as a
            zip or a folder, whatever the order of the columns.
        name: How messages name it: the path given, or "embedded digits".
        truth: True label of each test id, for the embedded data only.
    """

    competition: Competition
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_ids: tuple[str, ...]
    digest: str
    name: str
    truth: dict[str, str] | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process of this machine by path and digest, where that can be.

        The truth stays behind: nothing that trains may know it.
        """
        file = getattr(self.images, "filename", None)
        if file is None:
            values = (getattr(self, name) for name in self.__slots__)
            return Dataset, tuple(values)
        return _reopened, (Path(file).parents[3], self.digest, self.name)

    def packed(self) -> dict[str, Any]:
        """Return what another machine needs, arrays and all; `unpacked` makes a data set of it."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        return {
            **arrays,
            "competition": self.competition.to_json(),
            "test_ids": self.test_ids,
            "digest": self.digest,
            "name": self.name,
        }

    @classmethod
    def unpacked(cls, values: Mapping[str, Any]) -> Self:
        """Return the data set of `packed`'s dictionary, its truth left out."""
        competition = Competition.from_json(values["competition"])
        return cls(**{**values, "competition": competition, "truth": None})


_ARRAYS = ("images", "labels", "test_images")


@lru_cache(maxsize=4)
def _reopened(root: Path, digest: str, name: str) -> Dataset:
    parsed = cache.fetch(digest, Workspace(root))
    if parsed is None:
        raise ArtefactError(
            f"The parsed images of {name} in {root} are gone.",
            mend="Call the command again; they are read anew.",
        )
    return Dataset(
        competition=parsed.competition,
        images=parsed.images,
        labels=parsed.labels,
        test_images=parsed.test_images,
        test_ids=parsed.test_ids,
        digest=digest,
        name=name,
        truth=None,
    )


def load(
    path: Path | None, workspace: Workspace, say: Callable[[str], None] = lambda text: None
) -> Dataset:
    """Read a competition; what was read once comes from the workspace's cache.

    Args:
        path: A folder with train.csv and test.csv, or the competition's zip. None for `data/`
            under the current folder if it is there, else the embedded data.
        workspace: Where the cache is.
        say: Gets a line before each long step.

    Raises:
        DataError: The files are missing or broken.
        ArtefactError: The cache cannot be written; where it may only be read, the data are read
            without it.
    """
    if path is None and DEFAULT_FOLDER.is_dir():
        path = DEFAULT_FOLDER
    if path is not None:
        return _load(find(path), str(path), None, workspace, say)
    place = workspace.cache / "embedded"
    try:
        if not demo.is_complete(place):
            with cache.alone(workspace, say):
                demo.embedded(place)
        return _load_embedded(place, workspace, say)
    except ReadOnlyError:
        with TemporaryDirectory() as folder:
            return _load_embedded(Path(folder), workspace, say)


def _load_embedded(place: Path, workspace: Workspace, say: Callable[[str], None]) -> Dataset:
    folder, truth_file = demo.embedded(place)
    truth = read_labels(truth_file.read_bytes(), str(truth_file))
    return _load(find(folder), EMBEDDED, truth, workspace, say)


def _load(
    source: Source,
    name: str,
    truth: dict[str, str] | None,
    workspace: Workspace,
    say: Callable[[str], None],
) -> Dataset:
    found = _cached(source, workspace)
    if found is None:
        try:
            with cache.alone(workspace, say):
                found = _cached(source, workspace) or _read(source, workspace, say)
        except ReadOnlyError:
            # Who only looks is served all the same; who trains here is refused elsewhere.
            parsed = read_competition(source, say)
            found = cache.digest_of(parsed), parsed
    digest, parsed = found
    return Dataset(
        competition=parsed.competition,
        images=parsed.images,
        labels=parsed.labels,
        test_images=parsed.test_images,
        test_ids=parsed.test_ids,
        digest=digest,
        name=name,
        truth=truth,
    )


def _cached(source: Source, workspace: Workspace) -> tuple[str, Parsed] | None:
    digest = cache.remembered(source, workspace)
    parsed = None if digest is None else cache.fetch(digest, workspace)
    return None if digest is None or parsed is None else (digest, parsed)


def _read(source: Source, workspace: Workspace, say: Callable[[str], None]) -> tuple[str, Parsed]:
    parsed = read_competition(source, say)
    digest = cache.digest_of(parsed)
    if cache.fetch(digest, workspace) is None:
        cache.store(parsed, digest, workspace)
    cache.remember(source, workspace, digest)
    stored = cache.fetch(digest, workspace)
    if stored is None:
        raise ArtefactError(
            f"The parsed images in {workspace.cache} cannot be read back.",
            mend="Check the disk, or give another --workspace.",
        )
    return digest, stored
