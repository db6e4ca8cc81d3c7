"""Small generated competitions for the tests of the core."""

from __future__ import annotations

import gc
import signal
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from kaggle_digits.ground.workspace import Workspace

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A suite that is started in the background ignores Ctrl-C, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Few, and the same ones every time: a suite that fails must fail again.
hypothesis.settings.register_profile("few", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("many", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("few")


@pytest.fixture(autouse=True, scope="module")
def _loaded_once() -> None:
    """Keep what earlier tests have loaded out of the collector's sight.

    Training collects garbage after every network. In a process that holds all that a whole suite
    has loaded, each time would take longer than the tests' own networks.
    """
    gc.freeze()


@dataclass
class MadeCompetition:
    """A competition in a folder, small and random, to be bent into what a test needs."""

    folder: Path
    height: int = 4
    width: int = 4
    classes: Sequence[str] = ("0", "1", "2")
    rows: int = 30
    test_rows: int = 12
    pixel: Callable[[int], str] = "pixel{}".format
    label_column: str = "label"
    ids: Sequence[str] | None = None
    id_column: str | None = None
    newline: str = "\n"
    images: np.ndarray = field(init=False)
    test_images: np.ndarray = field(init=False)
    labels: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Draw the images and write the files."""
        draw = np.random.RandomState(0)
        size = self.height * self.width
        self.images = draw.randint(0, 256, (self.rows, size)).astype(np.uint8)
        self.test_images = draw.randint(0, 256, (self.test_rows, size)).astype(np.uint8)
        self.labels = [self.classes[row % len(self.classes)] for row in range(self.rows)]
        names = [self.pixel(number) for number in range(size)]
        self.write(
            "train.csv",
            [[self.label_column, *names]]
            + [
                [label, *map(str, image)]
                for label, image in zip(self.labels, self.images.tolist(), strict=True)
            ],
        )
        test = [names, *(list(map(str, image)) for image in self.test_images.tolist())]
        if self.id_column is not None:
            assert self.ids is not None
            test = [
                [left, *row] for left, row in zip([self.id_column, *self.ids], test, strict=True)
            ]
        self.write("test.csv", test)

    def write(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        """Write one CSV file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = "".join(",".join(row) + self.newline for row in rows)
        (self.folder / name).write_bytes(text.encode())

    def rows_of(self, name: str) -> list[list[str]]:
        """Return a file's fields; line n is item n - 1."""
        text = (self.folder / name).read_text(encoding="utf-8")
        return [line.split(",") for line in text.splitlines()]

    def set(self, name: str, line: int, column: int, value: str) -> None:
        """Replace one field."""
        rows = self.rows_of(name)
        assert rows[line - 1][column] != value
        rows[line - 1][column] = value
        self.write(name, rows)

    def move_columns(self, name: str, order: Sequence[int]) -> None:
        """Put a file's columns into another order, or leave some out."""
        self.write(name, [[row[column] for column in order] for row in self.rows_of(name)])

    def sample(self, ids: Sequence[str], header: Sequence[str] = ("ImageId", "Label")) -> None:
        """Write a sample submission."""
        self.write("sample_submission.csv", [list(header), *([name, "0"] for name in ids)])

    def zipped(self, path: Path, inside: str = "") -> Path:
        """Return a zip of the folder's files."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(self.folder.iterdir()):
                archive.write(file, inside + file.name)
        return path


@pytest.fixture(scope="session")
def made_in() -> type[MadeCompetition]:
    """`MadeCompetition`, for what a whole module shares."""
    return MadeCompetition


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., MadeCompetition]:
    """Make a competition in a folder of its own; arguments are `MadeCompetition`'s."""

    def make(name: str = "competition", **form: object) -> MadeCompetition:
        return MadeCompetition(tmp_path / name, **form)  # type: ignore[arg-type]

    return make


@pytest.fixture
def made(make: Callable[..., MadeCompetition]) -> MadeCompetition:
    """A competition of 30 + 12 images of 4×4 pixels in 3 classes, without a sample submission."""
    return make()


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `kaggle-digits` in this process, in this test's folder: no seconds to start one."""
    from kaggle_digits.shell.cli import cli

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli([*map(str, words)], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A competition of sixteen colour images as files, with a site and a fold of each."""
    import cv2

    folder = tmp_path / "pictures"
    rows = ["id,label,site,part"]
    for number in range(16):
        part = "train" if number < 12 else "test"
        (folder / part).mkdir(parents=True, exist_ok=True)
        image = np.full((6, 6, 3), number * 12, np.uint8)
        assert cv2.imwrite(str(folder / part / f"{number}.png"), image)
        if part == "train":
            rows.append(f"{number},{number % 2},s{number // 2},f{number // 2 % 3}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder
