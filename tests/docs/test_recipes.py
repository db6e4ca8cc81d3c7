"""What docs/architecture.md says of adding things, applied to a copy of the sources and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_reading import ROOT, fenced

RECIPES = {
    "plain": """
from kaggle_digits.core.architecture import FAMILIES, Convolution, blocks_of, megamacs
from kaggle_digits.ground import names
from kaggle_digits.ground.config import TrainingConfig
config = TrainingConfig(family="plain", depth=2)
assert tuple(FAMILIES) == names.FAMILIES
assert sum(isinstance(block, Convolution) for block in blocks_of(config, 28, 28)) == 6
assert megamacs(config, 28, 28, 10) > 1
from tuning.space import SPACE
assert "plain" in next(one for one in SPACE if one.name == "family").values
""",
    "upright": """
import numpy as np
from kaggle_digits.core.augmentation import POLICIES, augment, find_policy
from kaggle_digits.ground import names
from kaggle_digits.ground.config import TrainingConfig
TrainingConfig(augmentation="upright")
assert tuple(POLICIES) == names.POLICIES
image = np.zeros((1, 28, 28), np.uint8)
image[0, 8:20, 13:15] = 255
bent = augment(image, find_policy("upright"), (0, 0))
assert bent.shape == image.shape and bent.any() and (bent != image).any()
""",
    "squared": """
import numpy as np
from ensembles.methods import METHODS
from kaggle_digits.ground import names
assert tuple(METHODS) == names.METHODS
pool = np.array([[[0.9, 0.1]], [[0.4, 0.6]]], np.float32)
rule = METHODS["squared"].fit(pool, np.array([0]))
root = np.sqrt((pool.astype(float) ** 2).mean(axis=0))
assert np.allclose(rule.apply(pool), root / root.sum())
""",
    "size": """
import json, pathlib, subprocess, sys
pathlib.Path("w").mkdir()
pathlib.Path("w/file").write_bytes(bytes(1000))
call = [sys.executable, "-m", "kaggle_digits", "size", "--workspace", "w", "--json"]
done = subprocess.run(call, capture_output=True, text=True)
assert done.returncode == 0, done.stderr
assert json.loads(done.stdout)["bytes"] >= 1000
""",
}


def diffs() -> list[str]:
    return fenced(ROOT / "docs/architecture.md", "diff")


def test_each_recipe_is_short() -> None:
    assert len(diffs()) == len(RECIPES)
    assert all(len(diff.splitlines()) < 30 for diff in diffs())


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the recipes")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    (diff,) = [diff for diff in diffs() if f'"{name}"' in diff]
    for package in ("kaggle_digits", "tuning", "ensembles", "submissions", "kernel"):
        ignored = shutil.ignore_patterns("__pycache__", "dist")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "GIT_CEILING_DIRECTORIES": "/"}
    given = {"cwd": tmp_path, "text": True, "capture_output": True, "env": environment}
    before = subprocess.run([sys.executable, "-c", RECIPES[name]], **given)  # type: ignore[call-overload]
    assert before.returncode != 0, "the check must not pass without the recipe"
    shutil.rmtree(tmp_path / "w", ignore_errors=True)
    applied = subprocess.run(["git", "apply", "-C0"], input=diff, **given)  # type: ignore[call-overload]
    assert applied.returncode == 0, applied.stderr
    after = subprocess.run([sys.executable, "-c", RECIPES[name]], **given)  # type: ignore[call-overload]
    assert after.returncode == 0, after.stderr
    ruff = [sys.executable, "-m", "ruff"]
    files = [line[6:] for line in diff.splitlines() if line.startswith("+++ b/")]
    for words in (["check"], ["format", "--check"]):
        call = [*ruff, *words, "--config", ROOT / "pyproject.toml", *files]
        linted = subprocess.run(call, **given)  # type: ignore[call-overload]
        assert linted.returncode == 0, linted.stdout
