"""What the tests of `submissions` share: a small competition, a session on it, the stand-in."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell.command import Session
from kaggle_digits.shell.console import Console

HERE = Path(__file__).parent
CLASSES = tuple("0123456789")


@dataclass(frozen=True, slots=True, eq=False)
class SmallDataset:
    """Has what the commands use of `core.data.Dataset`."""

    competition: Competition
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_ids: tuple[str, ...]
    digest: str
    name: str
    truth: dict[str, str] | None


def make_dataset(rows: int = 200, *, truth: bool = True) -> SmallDataset:
    """Make a competition of `rows` test images, 8 x 8 pixels, ten classes."""
    generator = np.random.default_rng(7)
    ids = tuple(str(number) for number in range(1, rows + 1))
    labels = generator.integers(0, 10, rows)
    return SmallDataset(
        competition=Competition(8, 8, CLASSES, SubmissionFormat()),
        images=generator.integers(0, 256, (40, 8, 8), dtype=np.uint8),
        labels=np.arange(40) % 10,
        test_images=generator.integers(0, 256, (rows, 8, 8), dtype=np.uint8),
        test_ids=ids,
        digest="d" * 16,
        name="small",
        truth={key: str(label) for key, label in zip(ids, labels, strict=True)} if truth else None,
    )


def make_csv(dataset: SmallDataset, wrong: int = 3, *, first: int = 0) -> bytes:
    """Make a submission with `wrong` wrong labels, from row `first` on."""
    truth = make_dataset(len(dataset.test_ids)).truth
    assert truth is not None
    labels = [truth[key] for key in dataset.test_ids]
    for row in range(first, first + wrong):
        labels[row] = str((int(labels[row]) + 1) % 10)
    return dataset.competition.form.render(dataset.test_ids, labels)


@pytest.fixture
def dataset() -> SmallDataset:
    """A competition whose truth is known."""
    return make_dataset()


@pytest.fixture
def csv_of() -> Callable[..., bytes]:
    """`make_csv`."""
    return make_csv


@pytest.fixture
def session_on(tmp_path: Path) -> Callable[..., Session]:
    """Make a session in this test's own workspace; what it says is in `.console.said`."""

    def make(dataset: Any, workspace: Path | None = None) -> Session:
        return Session(
            workspace=Workspace(workspace or tmp_path / "workspace"),
            data=None,
            preset=load_presets()["quick"],
            seed=0,
            fresh=False,
            console=Console(io.StringIO(), io.StringIO(), quiet=False, as_json=False),
            started=time.monotonic(),
            _dataset=dataset,
        )

    return make


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known wherever these tests are run from."""
    config.addinivalue_line("markers", "slow: exhaustive; minutes")


def load_beside(name: str) -> Any:
    """Load a module of this folder by its path; one copy for all tests."""
    known = f"submissions_tests_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


def find_planted(folder: Path) -> tuple[int, list[str]]:
    """Search all files for planted credentials; return how many were read, and the findings."""
    stand_in = load_beside("stand_in")
    basic = base64.b64encode(f"{stand_in.USER}:{stand_in.KEY}".encode())
    planted = [stand_in.KEY.encode(), stand_in.TOKEN.encode(), basic, stand_in.SIGNATURE.encode()]
    read, found = 0, []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            read += 1
            found += [f"{path}: {one!r}" for one in planted if one in content]
    return read, found


@pytest.fixture(scope="session", autouse=True)
def nothing_planted_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After all tests of this folder, none of their artefacts and logs holds a credential."""
    yield
    assert find_planted(tmp_path_factory.getbasetemp())[1] == []


@pytest.fixture
def planted_in() -> Callable[[Path], tuple[int, list[str]]]:
    """`find_planted`."""
    return find_planted


@pytest.fixture(scope="session")
def standing() -> Any:
    """The module of the stand-in: `Fault`, the planted credentials, `make_zip`."""
    return load_beside("stand_in")


@pytest.fixture
def server(
    standing: Any, dataset: SmallDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A running stand-in that this process's client is led to."""
    made = standing.StandIn()
    made.truth = dict(dataset.truth or {})
    made.board = [("us", "0.90000")] + [(f"t{i}", f"{1 - i / 100:.5f}") for i in range(1, 30)]
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    with made.running():
        for name, value in made.environment(home).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for matplotlib's list of fonts, which takes seconds to make."""
    return tmp_path_factory.mktemp("fonts")


@pytest.fixture
def command_line(tmp_path: Path, fonts: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `kaggle-digits` in a process of its own, in this test's folder."""

    def run(
        *words: str, server: Any = None, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        kept = {
            k: v for k, v in os.environ.items() if "KAGGLE" not in k and "PROXY" not in k.upper()
        }
        kept |= {"PYTHONPATH": str(HERE.parents[1]), "HOME": str(home), "MPLCONFIGDIR": str(fonts)}
        if server is not None:
            kept |= server.environment(home)
        return subprocess.run(
            [sys.executable, "-m", "kaggle_digits", *words],
            cwd=tmp_path,
            env=kept | (variables or {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
