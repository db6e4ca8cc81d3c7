"""Holds the house's rules: the arrows by import-linter, and here what it cannot say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WINGS = ("tuning", "ensembles", "submissions", "kernel")
FLOORS = ("ground", "core", "engine", "records", "kaggle_service", "shell", "front")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]
OURS = ("kaggle_digits", *WINGS)
NUMERICAL = {
    "albumentations", "cv2", "keras", "keras_tuner", "kaggle", "matplotlib", "numpy", "pandas",
    "scipy", "sklearn", "tensorflow",
}  # fmt: skip


def modules() -> dict[str, ast.Module]:
    """Every module of the packages: dotted name → syntax tree."""
    found = {}
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    """Names of imported modules; those under `if TYPE_CHECKING` are no imports at run time."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(inner for child in node.body for inner in ast.walk(child))
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)


def area(module: str) -> str:
    """`ground`, `core`, `shell`, or the wing's name."""
    parts = module.split(".")
    if parts[0] != "kaggle_digits":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "root"


def test_every_package_has_its_place_in_the_layers() -> None:
    """A package that no contract names could import what it likes."""
    layers = CONTRACTS[0]["layers"]
    named = {name for layer in layers for name in re.findall(r"[\w.]+", layer)}
    floors = {
        f"kaggle_digits.{path.parent.name}" for path in ROOT.glob("kaggle_digits/*/__init__.py")
    }
    assert {*floors, *WINGS} <= named


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of a folder, by the contracts of its pyproject.toml."""
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_imports_run_down() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The packages' frame alone, with the project's own contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    floors = FLOORS
    for package in ("kaggle_digits", *WINGS, *(f"kaggle_digits/{floor}" for floor in floors)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "module.py").touch()
    (tmp_path / "kaggle_digits/kaggle_service/module.py").write_text("import kaggle, kagglesdk")
    return tmp_path


def test_the_frame_alone_is_right(house) -> None:
    assert linted(house).returncode == 0


@pytest.mark.parametrize(
    ("place", "imports"),
    [
        ("kaggle_digits/ground", "kaggle_digits.core"),
        ("kaggle_digits/core", "kaggle_digits.engine"),
        ("kaggle_digits/engine", "kaggle_digits.records"),
        ("kaggle_digits/records", "kaggle_digits.shell"),
        ("kaggle_digits/kaggle_service", "kaggle_digits.core"),
        ("kaggle_digits/shell", "kaggle_digits.kaggle_service"),
        ("kaggle_digits/shell", "tuning"),
        ("tuning", "ensembles.module"),
        ("submissions", "kaggle"),
        ("kaggle_digits/core", "kagglesdk.kernels"),
    ],
)
def test_an_arrow_the_wrong_way_is_refused(house, place, imports) -> None:
    (house / place / "late.py").write_text(f"def late():\n    import {imports}\n")
    done = linted(house)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout and f"{place.replace('/', '.')}.late" in done.stdout


@pytest.mark.parametrize("module", [name for name in sorted(MODULES) if area(name) == "ground"])
def test_ground_is_standard_library_only(module: str) -> None:
    outside = [
        name
        for name in imports(MODULES[module])
        if name.split(".")[0] not in {*sys.stdlib_module_names, "kaggle_digits"}
    ]
    assert outside == []


@pytest.mark.parametrize(
    "module", [n for n in sorted(MODULES) if n.endswith(".commands") or area(n) == "shell"]
)
def test_the_command_line_loads_no_numerical_library(module: str) -> None:
    top = {name.split(".")[0] for name in imports(MODULES[module], top_level=True)}
    assert top & NUMERICAL == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_shell_and_commands_print_and_exit(module: str) -> None:
    if area(module) == "shell" or module.endswith(".commands"):
        return
    calls = [
        ast.unparse(node.func) for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)
    ]
    assert [call for call in calls if call in ("print", "exit", "quit", "sys.exit")] == []


@pytest.mark.parametrize(("file", "owner"), [("plan.json", "plan"), ("best.json", "ranking")])
def test_a_record_has_one_module_that_knows_its_file(file: str, owner: str) -> None:
    users = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == file
    }
    assert users == {f"kaggle_digits.records.{owner}"}


def test_one_training_loop() -> None:
    callers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("fit", "train_on_batch")
        and any(keyword.arg in ("epochs", "steps_per_epoch") for keyword in node.keywords)
    }
    assert callers == {"kaggle_digits.core.training"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_is_too_long(module: str) -> None:
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert len(path.read_text("utf-8").splitlines()) < 500
