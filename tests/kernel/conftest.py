"""What the tests of `kernel` share: the stand-in, a built script, and the command line."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kaggle_digits.shell import cli
from kernel import api
from kernel.bundle import code_digest, read_sources, render
from kernel.plan import Plan

HERE = Path(__file__).parent


def _load(name: str) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running stand-in that this process's client is led to."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    with _load("kernel_stand_in").KernelStandIn().running() as made:
        for name, value in made.environment(home).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def call(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Call `kaggle-digits kernel …` here; return exit code, JSON outcome and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "read_sources", frozen_sources)

    def call(*words: object) -> tuple[int, dict[str, Any], str]:
        with pytest.raises(SystemExit) as ended:
            cli.cli(["kernel", *map(str, words), "--json"], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), json.loads(out) if out else {}, err

    return call


CLASSES = ("0", "1", "2")
ROWS, TEST_ROWS, SIDE = 60, 15, 12
TINY = {"trials": 1, "max_epochs": 1, "top_k": 1, "folds": 2, "epochs": 1}


def write_competition(folder: Path, *, seed: int = 0) -> Path:
    """Write a small competition: bright squares whose place is their class."""
    draw = np.random.RandomState(seed)
    pixels = [f"pixel{number}" for number in range(SIDE * SIDE)]

    def image(kind: int) -> list[str]:
        made = draw.randint(0, 60, (SIDE, SIDE))
        made[2:9, 1 + 3 * kind : 5 + 3 * kind] += 180
        return [str(value) for value in made.ravel()]

    kinds = [row % 3 for row in range(ROWS)]
    train = [["label", *pixels], *([CLASSES[kind], *image(kind)] for kind in kinds)]
    test = [pixels, *(image(row % 3) for row in range(TEST_ROWS))]
    folder.mkdir(parents=True)
    for name, rows in (("train.csv", train), ("test.csv", test)):
        (folder / name).write_text("".join(",".join(row) + "\n" for row in rows))
    return folder


def write_pictures(folder: Path) -> Path:
    """Write a small competition in colour, as PNG files: squares whose hue is their class."""
    import cv2

    draw = np.random.RandomState(1)
    for part, count in (("train", ROWS), ("test", TEST_ROWS)):
        (folder / part).mkdir(parents=True)
        for number in range(count):
            image = draw.randint(0, 60, (16, 16, 3)).astype(np.uint8)
            image[3:12, 4:13, number % 3] += 180
            cv2.imwrite(str(folder / part / f"{part}{number}.png"), image)
    rows = [f"train{number},{CLASSES[number % 3]}" for number in range(ROWS)]
    (folder / "train.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    rows = [f"test{number},0" for number in range(TEST_ROWS)]
    (folder / "sample_submission.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    return folder


def make_plan(**changes: Any) -> Plan:
    """Make a plan of the least work."""
    values = TINY | {"preset": "quick", "seed": 3, "competition": "digit-recognizer"} | changes
    return Plan(**values)


def write_script(folder: Path, plan: Plan) -> Path:
    """Write the script of a plan."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kaggle_digits_kernel.py"
    path.write_bytes(render(plan, frozen_sources()))
    return path


@cache
def frozen_sources() -> dict[str, bytes]:
    """Return our source as it was when the tests began: someone may edit it meanwhile."""
    return read_sources()


def run_on_mock(
    script: Path,
    root: Path,
    plan: dict[str, Any] | None = None,
    *,
    python: str = sys.executable,
    path: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a script on a mock of Kaggle's layout; isolated, unless a search path is given."""
    (root / "working").mkdir(parents=True, exist_ok=True)
    empty, temporary = root.parent / "empty", root.parent / "temporary"
    empty.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "KAGGLE_DIGITS_KERNEL_ROOT": str(root),
        "KAGGLE_DIGITS_KERNEL_PLAN": json.dumps(plan or {}),
    }
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return subprocess.run(
        [python, *(["-I"] if path is None else []), str(script)],
        cwd=empty,
        env=variables,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


@dataclass(frozen=True)
class Ran:
    """One real run of a script: what it printed, and what it left."""

    ended: subprocess.CompletedProcess[str]
    base: Path
    data: Path
    plan: Plan
    code: str

    @property
    def working(self) -> Path:
        return self.base / "kaggle" / "working"

    def output(self) -> dict[str, bytes]:
        """What Kaggle would list as the run's output."""
        return {
            path.relative_to(self.working).as_posix(): path.read_bytes()
            for path in self.working.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The one real run that all quick tests look at, made by the first process that wants it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    kept = place / "ran.pickle"
    with open(place / "ran.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(_run_once(place / "ran")))
        made: Ran = pickle.loads(kept.read_bytes())
    return made


def _run_once(base: Path) -> Ran:
    plan = make_plan(rehearse=False)
    script = write_script(base / "src", plan)
    data = write_competition(base / "kaggle" / "input" / "competitions" / "digit-recognizer")
    examined = plan.for_script()["examine"]
    ended = run_on_mock(script, base / "kaggle", {"examine": examined})
    return Ran(ended, base, data, plan, code_digest(frozen_sources()))


@pytest.fixture(scope="session")
def competition_in() -> Callable[..., Path]:
    """`write_competition`, for fixtures that last."""
    return write_competition


@pytest.fixture
def tools() -> Any:
    """This module's functions, for tests that run scripts of their own."""
    return SimpleNamespace(
        competition=write_competition,
        pictures=write_pictures,
        plan=make_plan,
        script=write_script,
        run=run_on_mock,
    )
