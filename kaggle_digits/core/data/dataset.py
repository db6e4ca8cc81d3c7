"""The front of `core.data`: a path in, a dataset out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from kaggle_digits.core import demo, drawn_shapes
from kaggle_digits.core.data import cache
from kaggle_digits.core.data.fixes import Fixes, corrected_digest, fixed_labels, read_fixes
from kaggle_digits.core.data.image_reading import Room, in_memory, read_image_competition
from kaggle_digits.core.data.image_source import ImageSource, find_images
from kaggle_digits.core.data.provenance import (
    DRAWN,
    EMBEDDED,
    Provenance,
    holds_results,
    read_provenance,
    settle,
)
from kaggle_digits.core.data.reading import Parsed, read_competition
from kaggle_digits.core.data.source import Source, Stamp, find, stamp_of
from kaggle_digits.ground.competition import Competition, read_labels
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, ReadOnlyError
from kaggle_digits.ground.wanted import PLAIN, Wanted
from kaggle_digits.ground.workspace import Workspace

DEFAULT_FOLDER = Path("data")
"""What is read when no path is given, if it is there."""

_SHAPES = Path(drawn_shapes.NAME)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A competition's data, checked.

    Args:
        competition: Shape, classes and the submission's form.
        images: uint8 [rows, height, width], in colour [rows, height, width, 3] (red, green, blue),
            read-only memory map.
        labels: int64 [rows], class indices into `competition.classes`, corrected where there are
            `fixes`, read-only.
        test_images: uint8 of the same shape but for the rows, read-only memory map.
        test_ids: In the order of `test_images`.
        digest: 16 hex digits of what the files mean: equal for the same competition given as a
            zip or a folder, whatever the order of the columns; corrected labels are other data.
        name: How messages name it: the path given, or "embedded digits".
        truth: True label of each test id, for the embedded data only.
        groups: int64 [rows], rows with equal numbers stand in one fold; None for no groups.
        given_folds: int64 [rows], each row's fold where the files say it; else None.
        fixes: What is corrected in train.csv's labels; None for nothing.
    """

    competition: Competition
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_ids: tuple[str, ...]
    digest: str
    name: str
    truth: dict[str, str] | None
    groups: np.ndarray | None = None
    given_folds: np.ndarray | None = None
    fixes: Fixes | None = None

    @classmethod
    def of(
        cls, parsed: Parsed, digest: str, name: str, truth: dict[str, str] | None = None
    ) -> Self:
        """Return the data set of parsed files."""
        return cls(
            competition=parsed.competition,
            images=parsed.images,
            labels=parsed.labels,
            test_images=parsed.test_images,
            test_ids=parsed.test_ids,
            digest=digest,
            name=name,
            truth=truth,
            groups=parsed.groups,
            given_folds=parsed.folds,
        )

    @property
    def together(self) -> np.ndarray | None:
        """What rows must have in common to stand on one side of every split, int64 [rows].

        The group, or the fold that the files give: whoever made it may have had reasons that only
        they know. Rows that all folds train on have -1. None where rows are free.
        """
        return self.groups if self.groups is not None else self.given_folds

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the groups of these rows, int64 [rows]; None where they tell nothing.

        Without groups, or where all rows are of one: how far groups lie apart is not to be seen.
        """
        groups = None if self.groups is None else self.groups[rows]
        return None if groups is None or len(np.unique(groups)) < 2 else groups

    @property
    def given_labels(self) -> np.ndarray:
        """The labels as train.csv has them, int64 [rows]."""
        if self.fixes is None:
            return self.labels
        given = self.labels.copy()
        for one in self.fixes.changes:
            given[one.row] = self.competition.classes.index(one.label)
        return given

    @property
    def left_out(self) -> np.ndarray:
        """The rows that nothing trains on and nothing judges, int64, ascending."""
        changes = () if self.fixes is None else self.fixes.changes
        return np.array([one.row for one in changes if one.take is None], dtype=np.int64)

    @property
    def kept(self) -> np.ndarray:
        """All other rows, int64, ascending."""
        return np.setdiff1d(np.arange(len(self.labels)), self.left_out)

    def fixed(self, fixes: Fixes) -> Self:
        """Return the data with corrected labels.

        Raises:
            ValueError: The corrections are of other data.
        """
        labels = fixed_labels(self.labels, self.competition.classes, fixes)
        digest = corrected_digest(self.digest, fixes)
        return replace(self, labels=labels, fixes=fixes, digest=digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process of this machine by path and digest, where that can be.

        The truth stays behind: nothing that trains may know it.
        """
        file = getattr(self.images, "filename", None)
        if file is None:
            return Dataset.unpacked, (self.packed(),)
        place = Path(file).parent  # named by the digest of the files, without corrections
        return _reopened, (place.parents[2], place.name, self.name, self.fixes)

    def packed(self) -> dict[str, Any]:
        """Return what another machine needs, arrays and all; `unpacked` makes a data set of it."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        return {
            **arrays,
            "competition": self.competition.to_json(),
            "test_ids": self.test_ids,
            "digest": self.digest,
            "name": self.name,
            "groups": self.groups,
            "given_folds": self.given_folds,
            "fixes": None if self.fixes is None else self.fixes.to_json(),
        }

    @classmethod
    def unpacked(cls, values: Mapping[str, Any]) -> Self:
        """Return the data set of `packed`'s dictionary, its truth left out."""
        competition, fixes = Competition.from_json(values["competition"]), values["fixes"]
        made = {"competition": competition, "fixes": fixes and Fixes.from_json(fixes)}
        return cls(**{**values, **made, "truth": None})


_ARRAYS = ("images", "labels", "test_images")


@lru_cache(maxsize=4)
def _reopened(root: Path, digest: str, name: str, fixes: Fixes | None) -> Dataset:
    parsed = cache.fetch(digest, Workspace(root))
    if parsed is None:
        raise ArtefactError(
            f"The parsed images of {name} in {root} are gone.",
            mend="Call the command again; they are read anew.",
        )
    made = Dataset.of(parsed, digest, name)
    return made if fixes is None else made.fixed(fixes)


def load(
    path: Path | None,
    workspace: Workspace,
    say: Callable[[str], None] = lambda text: None,
    wanted: Wanted = PLAIN,
    labels: Path | None = None,
) -> Dataset:
    """Read a competition; what was read once comes from the workspace's cache.

    Args:
        path: A folder with train.csv and test.csv or with image files, or the competition's zip;
            `shapes` for the embedded drawn shapes. None for what the workspace was made from; in a
            new one for `data/` under the current folder if it is there, else the embedded digits.
        workspace: Where the cache is.
        say: Gets a line before each long step, and what was chosen.
        wanted: How they are to be read; what is left open is as the workspace was made, in a new
            one as the files show.
        labels: A file of corrected labels; None for what the workspace was made with.

    Raises:
        DataError: The files are missing or broken, or the corrections are of other data.
        ConfigurationError: The images are not of the shape that was asked for.
        ArtefactError: The cache cannot be written (where it may only be read, the data are read
            without it), or the workspace was made from other data.
    """
    known = read_provenance(workspace)
    usual = DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else None
    if path is None and known is None:
        path = usual
    elif path is None and known is not None:
        path = _SHAPES if known.path == DRAWN else known.where()
        if usual is not None and _absolute(usual) != known.path:
            say(f"going on with this workspace's own data, {known.name}; {usual} is not read")
    is_known = known is not None and known.path == _absolute(path)
    if known is not None and (is_known or holds_results(workspace)):
        wanted = wanted.or_else(known.wanted)
    if path is None or drawn_shapes.are_meant(path):
        dataset = _load_embedded(workspace, say, wanted, drawn=path is not None)
    else:
        dataset = _load_files(path, workspace, say, wanted)
    dataset = _corrected(dataset, labels, known, say)
    given = Provenance(
        path=_absolute(path),
        digest=dataset.digest,
        image_shape=str(wanted.shape) if wanted.shape else None,
        reading=wanted.to_json(),
        fixes=dataset.fixes,
    )
    settle(workspace, known, given)
    return dataset


def _corrected(
    dataset: Dataset, labels: Path | None, known: Provenance | None, say: Callable[[str], None]
) -> Dataset:
    """Return the data with the corrections that are given, else with the workspace's own."""
    before = None if known is None else known.fixes
    if labels is not None:
        fixes = read_fixes(labels, dataset.labels, dataset.competition.classes)
        if fixes is None:
            say(f"labels: {labels} changes nothing")
            return dataset
        # The same corrections from another file are the same.
        if before is not None and before.digest == fixes.digest:
            fixes = before
        say(f"labels: {fixes}")
        return dataset.fixed(fixes)
    if known is None or before is None:
        return dataset
    with suppress(ValueError):  # of other data, which are refused or taken up without them
        made = dataset.fixed(before)
        if made.digest == known.digest:
            say(f"going on with this workspace's own labels, {before}")
            return made
    return dataset


def _absolute(path: Path | None) -> str | None:
    if path is not None and drawn_shapes.are_meant(path):
        return DRAWN
    return None if path is None else str(path.resolve())


@dataclass(frozen=True, slots=True)
class _Unopened:
    """A zip that nobody has looked into."""

    path: Path
    stamp: Stamp


def _load_files(
    path: Path, workspace: Workspace, say: Callable[[str], None], wanted: Wanted
) -> Dataset:
    if path.is_file():
        # A zip of many files takes long to list; one that has not changed need not be.
        with suppress(OSError):
            found = _cached(_Unopened(path, (stamp_of(path),)), workspace, wanted)
            if found is not None:
                return Dataset.of(found[1], found[0], str(path))
    source = find_images(path) or find(path)
    return _load(source, str(path), None, workspace, say, wanted)


def _load_embedded(
    workspace: Workspace, say: Callable[[str], None], wanted: Wanted, *, drawn: bool
) -> Dataset:
    made, load_one = (drawn_shapes, _load_shapes) if drawn else (demo, _load_demo)
    place = workspace.cache / ("shapes" if drawn else "embedded")
    try:
        if not made.is_complete(place):
            with cache.alone(workspace, say):
                made.embedded(place)
        return load_one(place, workspace, say, wanted)
    except ReadOnlyError:
        with TemporaryDirectory() as folder:
            return load_one(Path(folder), workspace, say, wanted)


def _load_shapes(
    place: Path, workspace: Workspace, say: Callable[[str], None], wanted: Wanted
) -> Dataset:
    packed, truth_file = drawn_shapes.embedded(place)
    truth = read_labels(truth_file.read_bytes(), str(truth_file))
    return replace(_load_files(packed, workspace, say, wanted), name=DRAWN, truth=truth)


def _load_demo(
    place: Path, workspace: Workspace, say: Callable[[str], None], wanted: Wanted
) -> Dataset:
    folder, truth_file = demo.embedded(place)
    truth = read_labels(truth_file.read_bytes(), str(truth_file))
    # Their shape is known, so that there is no choice to be told of.
    wanted = replace(wanted, shape=wanted.shape or demo.SHAPE)
    return _load(find(folder), EMBEDDED, truth, workspace, say, wanted)


def _load(
    source: Source | ImageSource,
    name: str,
    truth: dict[str, str] | None,
    workspace: Workspace,
    say: Callable[[str], None],
    wanted: Wanted,
) -> Dataset:
    found = _cached(source, workspace, wanted)
    if found is None:
        try:
            with cache.alone(workspace, say):
                found = _cached(source, workspace, wanted) or _read(source, workspace, say, wanted)
        except ReadOnlyError:
            # A command that only reads goes on; one that trains here is refused elsewhere.
            parsed = _parse(source, say, wanted)
            found = cache.digest_of(parsed), parsed
    digest, parsed = found
    return Dataset.of(parsed, digest, name, truth)


def _parse(
    source: Source | ImageSource,
    say: Callable[[str], None],
    wanted: Wanted,
    room: Room = in_memory,
) -> Parsed:
    if isinstance(source, ImageSource):
        return read_image_competition(source, say, wanted, room)
    if wanted.size is not None:
        raise ConfigurationError(
            f"--image-size was given, but the images of {source.path} are pixels in columns, which "
            "are not scaled.",
            mend="Leave it out; the shape of pixels in columns is --image-shape.",
        )
    return read_competition(source, say, wanted)


def _cached(
    source: cache.Stamped, workspace: Workspace, wanted: Wanted
) -> tuple[str, Parsed] | None:
    digest = cache.remembered(source, workspace, wanted)
    parsed = None if digest is None else cache.fetch(digest, workspace)
    return None if digest is None or parsed is None else (digest, parsed)


def _read(
    source: Source | ImageSource, workspace: Workspace, say: Callable[[str], None], wanted: Wanted
) -> tuple[str, Parsed]:
    parsed = _parse(source, say, wanted, cache.room(workspace))
    digest = cache.digest_of(parsed)
    if cache.fetch(digest, workspace) is None:
        cache.store(parsed, digest, workspace)
    cache.remember(source, workspace, digest, wanted)
    stored = cache.fetch(digest, workspace)
    if stored is None:
        raise ArtefactError(
            f"The parsed images in {workspace.cache} cannot be read back.",
            mend="Check the disk, or give another --workspace.",
        )
    return digest, stored
