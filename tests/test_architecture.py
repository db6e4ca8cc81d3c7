"""Holds the house's rules: which floor and wing may import what, and who may print or exit."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WINGS = ("tuning", "ensembles", "submissions", "kernel")
FLOORS = ("ground", "core", "engine", "records", "kaggle_service", "shell")
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
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "front"


def test_all_areas_are_there() -> None:
    assert {area(name) for name in MODULES} == {*WINGS, *FLOORS, "front"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_down(module: str) -> None:
    here = area(module)
    allowed = {
        "ground": {"ground"},
        "core": {"ground", "core", "front"},
        "engine": {"ground", "core", "engine", "front"},
        "records": {"ground", "core", "records"},
        "kaggle_service": {"ground", "kaggle_service", "front"},
        "shell": {"ground", "core", "engine", "records", "shell", "front"},
        "front": {"shell"},
    }.get(here, {*FLOORS, "front", here})
    ours = [name for name in imports(MODULES[module]) if name.split(".")[0] in OURS]
    assert [name for name in ours if area(name) not in allowed] == []


@pytest.mark.parametrize("module", [name for name in sorted(MODULES) if area(name) == "ground"])
def test_ground_is_standard_library_only(module: str) -> None:
    outside = [
        name
        for name in imports(MODULES[module])
        if name.split(".")[0] not in {*sys.stdlib_module_names, "kaggle_digits"}
    ]
    assert outside == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_kaggle_is_imported_in_one_place(module: str) -> None:
    if area(module) == "kaggle_service":
        return
    assert [n for n in imports(MODULES[module]) if n.split(".")[0] in ("kaggle", "kagglesdk")] == []


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
