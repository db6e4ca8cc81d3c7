"""The way in: a competition in whatever form it is there, and the workspace it is worked on in."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kaggle_digits.core.keras_settings import share_compiled
from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.aside import recover_workspace
from kaggle_digits.ground.config import Preset, load_presets
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.events import Event, Track, ignore
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.shapes import ImageShape, parse_size
from kaggle_digits.ground.wanted import PLAIN, Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import streams
from kaggle_digits.shell.console import Console
from kaggle_digits.shell.display import Picture, Shown
from kaggle_digits.shell.tracking import open_tracker

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike

    from kaggle_digits.core.data import Dataset

_MOST_SEED = 2**31 - 1
_PICTURES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Loaded(Shown):
    """A competition and where it is worked on: what every function of the API is given.

    Args:
        dataset: The data, checked.
        workspace: Holds all that calls leave behind; the command line goes on with it, and back.
        preset: How much is searched and trained, where nothing else is said.
        seed: Fixes all that is drawn.
        progress: Who is told of progress; None for bars in a terminal, and lines in a notebook.
        track: Who is told what each step has come to; None for nobody.
        wanted: How the files are read, beside what they show; a kernel reads them so too.
    """

    dataset: Dataset
    workspace: Workspace
    preset: Preset
    seed: int
    progress: Progress | None
    track: str | Track | None = None
    wanted: Wanted = PLAIN

    @property
    def images(self) -> np.ndarray:
        """Training images, uint8 [rows, height, width] or [rows, height, width, 3], read-only."""
        return self.dataset.images

    @property
    def labels(self) -> np.ndarray:
        """Their classes, with the corrections made, int64 [rows]: places in `classes`."""
        return self.dataset.labels

    @property
    def test_images(self) -> np.ndarray:
        """Test images, uint8 [test rows, height, width], in colour with 3 planes, read-only."""
        return self.dataset.test_images

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels as they stand in the data; columns of all probabilities."""
        return self.dataset.competition.classes

    def title(self) -> str:
        """Return the data's name."""
        return f"Competition: {self.dataset.name}"

    def facts(self) -> dict[str, str]:
        """Return what the data are, and how they are worked on."""
        form = self.dataset.competition
        classes = ", ".join(form.classes[:10]) + (", …" if len(form.classes) > 10 else "")
        return {
            "training images": f"{len(self.images)}, {form.height}×{form.width} pixels"
            f"{' in colour' * (form.planes > 1)}",
            "test images": str(len(self.test_images)),
            "classes": f"{len(form.classes)}: {classes}",
            "workspace": str(self.workspace.root),
            "preset": f"{self.preset.name}, seed {self.seed}",
        } | ({} if self.dataset.fixes is None else {"labels": self.dataset.fixes.counts()})

    def pictures(self) -> list[Picture]:
        """Return the first image of each class that has one, corrections made."""
        import numpy as np

        kept = self.dataset.kept
        there, first = np.unique(self.labels[kept], return_index=True)
        return [
            Picture(self.images[row], self.classes[place])
            for place, row in list(zip(there, kept[first], strict=True))[:_PICTURES]
        ]


def load(
    data: str | Path | pd.DataFrame | tuple[ArrayLike, ArrayLike] | None = None,
    test: pd.DataFrame | ArrayLike | None = None,
    *,
    workspace: str | Path = "workspace",
    preset: str = "quick",
    seed: int = 0,
    image_shape: str | tuple[int, int] | tuple[int, int, int] | None = None,
    image_size: int | tuple[int, int] | None = None,
    skip_broken: bool = False,
    groups: str | None = None,
    fold_column: str | None = None,
    labels: str | Path | None = None,
    progress: Progress | bool = True,
    track: str | Callable[[Event], None] | None = None,
) -> Loaded:
    """Load a competition.

    Args:
        data: A folder with train.csv and test.csv, or with images as files, or the competition's
            zip; `shapes` for the embedded drawn shapes; or the training table
            as a DataFrame in the form of train.csv; or images and labels as two arrays, images as
            [n, height, width], [n, height, width, channels] or [n, pixels], of bytes or of other
            numbers, whose range is found and said. None for what the workspace was made from; in a
            new one for `data/` if it is there, else the embedded digits.
        test: With a DataFrame or arrays: the test table or the test images, in the same form.
        workspace: The folder that holds all state, the same as the command line's.
        preset: `quick`, `medium` or `best`: how much is searched and trained.
        seed: Same seed, same machine, same result.
        image_shape: Height and width where the columns' names do not give them, as (4, 16) or
            "4x16", of colour (32, 32, 3), or (3, 32, 32) for one plane after
            another; None for as the workspace was made, at first square.
        image_size: Pixels that image files are scaled to, or height and width; None for as the
            workspace was made, at first their own size, 128 at most.
        skip_broken: Go on without image files that are broken or missing.
        groups: Column of the training table whose equal values stand in one fold.
        fold_column: Column of the training table that gives each row's fold.
        labels: A CSV file of corrected training labels, with the columns row and take (a label, or
            exclude), as the report exports it; None for as the workspace was made, at first those
            of the data.
        progress: True for bars in a terminal and lines in a notebook, False for none; or an object
            of your own with the methods of `Progress`.
        track: A function that is called with an `Event` when `tune`, `cross_validate`, `blend` or
            `distil` is complete, also within `run`; or "mlflow" for MLflow's store in the
            workspace, or at MLFLOW_TRACKING_URI.

    Raises:
        DataError: The data are missing or broken, or the corrections are of other data.
        ConfigurationError: A value is unknown or out of its range.
        ArtefactError: The workspace was made from other data, or cannot be written.

    Example:
        >>> import kaggle_digits as kd
        >>> competition = kd.load(workspace="demo", progress=False)
        >>> competition.images.shape
        (1198, 28, 28)
    """
    from kaggle_digits.core import data as reading
    from kaggle_digits.core.data.provenance import reading_of

    names.require_known("preset", preset, names.PRESETS)
    names.require_count("seed", seed, 0, _MOST_SEED)
    if isinstance(track, str):
        names.require_known("track", track, names.TRACKERS)
    place = Workspace(Path(workspace))
    told: Progress | None = progress if not isinstance(progress, bool) else None
    if progress is False:
        told = Silent()
    shape = shape_of(image_shape)
    with _working(place, told) as (telling, _):
        path: Path | None
        if data is None or isinstance(data, str | Path):
            if test is not None:
                raise ConfigurationError(
                    f"test was given with data={str(data)!r}; a folder or a zip has its own.",
                    mend="Leave test out, or give data as a DataFrame or as arrays.",
                )
            path = None if data is None else Path(data)
        else:
            path, shape = _written(data, test, place, telling, shape)
        wanted = Wanted(shape, _size(image_size), skip_broken, groups, fold_column)
        dataset = reading.load(path, place, telling.say, wanted, path_of(labels))
        wanted = reading_of(place, wanted)
    return Loaded(
        dataset=dataset,
        workspace=place,
        preset=load_presets()[preset],
        seed=seed,
        progress=told,
        track=track,
        wanted=wanted,
    )


@contextmanager
def working(competition: Loaded) -> Iterator[Place]:
    """Give what functions of the wings need; what libraries print goes into the workspace's log."""
    with _working(competition.workspace, competition.progress) as (telling, mine):
        given = competition.track
        track: Track = ignore
        if isinstance(given, str):
            track = open_tracker(given, competition.workspace, telling.say)
        elif given is not None:
            track = _tracking(given, *mine)
        yield Place(competition.workspace, lambda: competition.dataset, telling, track)


def path_of(given: str | Path | None) -> Path | None:
    """Return a path that may be given as text."""
    return None if given is None else Path(given)


def shape_of(given: str | tuple[int, int] | tuple[int, int, int] | None) -> ImageShape | None:
    """Return the shape of images, which may be given as text or as its numbers.

    Raises:
        ConfigurationError: It is none, or has another number of planes.
    """
    if given is None:
        return None
    return ImageShape.parse(given if isinstance(given, str) else "x".join(map(str, given)))


@contextmanager
def _working(
    workspace: Workspace, told: Progress | None
) -> Iterator[tuple[Progress, tuple[TextIO, TextIO]]]:
    """Give who is told of progress, and the streams that reach the user."""
    share_compiled(workspace.cache.absolute() / "compiled")
    with _streams(workspace.root / "log.txt") as mine:
        telling: Progress
        if told is None:
            telling = Console(*mine, quiet=False, as_json=False)
        else:
            telling = told if isinstance(told, Silent) else _Theirs(told, *mine)
        with streams.remarks_shown(telling.say):
            recover_workspace(workspace, telling.say)
            yield telling, mine


@contextmanager
def _streams(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Keep off the user's streams what libraries print, and give those that reach the user.

    The streams are the process's: while one thread has them, others leave them as they are.
    """
    if not _alone.acquire(blocking=False):
        yield sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
        return
    try:
        theirs, errors = sys.stdout, sys.stderr
        with streams.libraries_kept_off(log) as (out, err, _):
            yield _reaching(theirs, out), _reaching(errors, err)
    finally:
        _alone.release()


_alone = threading.Lock()


def _reaching(stream: TextIO, own: TextIO) -> TextIO:
    """Return a stream that reaches the user: a notebook has its own."""
    try:
        is_process = stream.fileno() in (1, 2) and stream in (sys.__stdout__, sys.__stderr__)
    except (OSError, ValueError, AttributeError):
        is_process = False
    return own if is_process else stream


def _tracking(track: Track, out: TextIO, err: TextIO) -> Track:
    """Return a callback that was handed in as one whose prints reach the user."""

    def told(event: Event) -> None:
        with redirect_stdout(out), redirect_stderr(err):
            track(event)

    return told


class _Theirs:
    """A progress that was handed in: it may print, which has to reach the user."""

    def __init__(self, told: Progress, out: TextIO, err: TextIO) -> None:
        self._told = told
        self._out = out
        self._err = err

    def say(self, text: str) -> None:
        with redirect_stdout(self._out), redirect_stderr(self._err):
            self._told.say(text)

    def task(self, label: str, total: int, unit: str = "") -> Any:
        return self._told.task(label, total, unit)


def _size(given: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    return parse_size("x".join(map(str, given)) if isinstance(given, tuple) else str(given))


def _written(
    data: pd.DataFrame | tuple[ArrayLike, ArrayLike],
    test: pd.DataFrame | ArrayLike | None,
    workspace: Workspace,
    progress: Progress,
    shape: ImageShape | None,
) -> tuple[Path, ImageShape | None]:
    """Write what is in memory as a competition's files, so that the command line can go on."""
    import pandas as pd

    if test is None:
        raise ConfigurationError(
            "data was given without test; expected the test table or the test images as well.",
            mend="Give test=, or a folder that has both.",
        )
    if isinstance(data, pd.DataFrame) and isinstance(test, pd.DataFrame):
        tables = data, test
    elif isinstance(data, tuple) and len(data) == 2 and not isinstance(test, pd.DataFrame):
        tables, shape = _tables(data[0], data[1], test, progress, shape)
    else:
        raise ConfigurationError(
            f"data was given as {type(data).__name__} and test as {type(test).__name__}; expected "
            "two DataFrames, or (images, labels) and images."
        )
    contents = [table.to_csv(index=False, lineterminator="\n").encode() for table in tables]
    # Found again by what is in it: the same arrays are the same files, whoever reads them.
    state = hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]
    folder = workspace.root / "given" / state
    for name, content in zip(("train.csv", "test.csv"), contents, strict=True):
        if not (folder / name).is_file():
            write_bytes(folder / name, content)
    return folder, shape


def _tables(
    images: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    progress: Progress,
    shape: ImageShape | None,
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], ImageShape]:
    import numpy as np
    import pandas as pd

    from kaggle_digits.front.images import ArrayError, Scaling, as_images

    found, found_test = (as_images(_numbers(one), shape) for one in (images, test))
    names_of_rows = np.asarray(labels)
    if names_of_rows.shape != (len(found),):
        raise ArrayError(
            f"Labels were given as an array of the shape {names_of_rows.shape}; expected one for "
            f"each of {len(found)} images."
        )
    if found.shape[1:] != found_test.shape[1:]:
        raise ArrayError(
            f"Training images have the shape {found.shape[1:]}, test images "
            f"{found_test.shape[1:]}; expected the same."
        )
    scaling = Scaling.of(found)
    if (scaling.low, scaling.high) != (0.0, 255.0):
        progress.say(f"images: {scaling}")
    columns = [f"pixel{place}" for place in range(found[0].size)]
    train, held = (
        pd.DataFrame(scaling.apply(one).reshape(len(one), -1), columns=columns)
        for one in (found, found_test)
    )
    train.insert(0, "label", [str(label) for label in names_of_rows.tolist()])
    return (train, held), ImageShape(*found.shape[1:])


def _numbers(values: ArrayLike) -> np.ndarray:
    import numpy as np

    from kaggle_digits.front.images import ArrayError

    array = np.asarray(values)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if not array.size or array.dtype.kind not in "uif" or not np.isfinite(array).all():
        raise ArrayError("Images were given without values, or with some that are no numbers.")
    return array
