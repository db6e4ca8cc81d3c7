"""Whoever trains, with one thread a network: the same study, members and submission, in bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_digits.shell.cli import cli

WAYS = ("inline", "processes", "ray")
CONFIG = 'family = "pooled"\nfilters = 8\ndepth = 1\naugmentation = "light"\nbatch_size = 16\n'


def run(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def way(request):
    def way(name: str) -> list[str]:
        if name == "ray":
            address = request.getfixturevalue("ray_cluster").address
            return ["--threads", "1", "--cluster", address]
        return ["--threads", "1", "--workers", "1" if name == "inline" else "2"]

    return way


def test_members_and_submission(make, tmp_path, way):
    data = make(height=8, width=8, rows=60, test_rows=12).folder
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    made = {}
    for name in WAYS:
        place = ["--data", str(data), "--workspace", str(tmp_path / name), "--quiet"]
        run(["cv-train", *place, "--config", str(config), "--folds", "3", "--epochs", "3"]
            + way(name))  # fmt: skip
        cli(["blend", *place], standalone_mode=False)
        made[name] = members_of(tmp_path / name)
    assert made["inline"] == made["processes"] == made["ray"]
    assert len(made["inline"]) == 3 * 2 + 2
    for name in WAYS:
        records = tmp_path.glob(f"{name}/ensembles/members/*/member.json")
        assert {json.loads(p.read_text())["record"]["hardware"]["threads"] for p in records} == {1}


def members_of(workspace: Path) -> dict[str, bytes]:
    """What training and blending have made, by name: arrays and the submission."""
    found = [*workspace.glob("ensembles/**/*.npy"), workspace / "submissions/submission.csv"]
    found.append(workspace / "ensembles/plan.json")
    return {
        str(path.relative_to(workspace)): path.read_bytes()
        for path in found
        if "blend" not in path.parts
    }


@pytest.mark.parametrize("other", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_study(make, tmp_path, way, other):
    """To a search an engine is an engine; that Ray trains the same is shown above as well."""
    data = make(height=8, width=8, rows=60, test_rows=12).folder
    space = tmp_path / "space.toml"
    space.write_text('family = ["pooled"]\nfilters = [16]\naugmentation = "none"\n')
    made = {}
    for name in ("inline", other):
        words = ["tune", "--data", str(data), "--workspace", str(tmp_path / name), "--quiet"]
        words += ["--trials", "3", "--max-epochs", "2", "--strategy", "random", "--race", "0"]
        run([*words, "--no-portfolio", "--space", str(space), *way(name)])
        made[name] = study_of(tmp_path / name)
    assert made["inline"] == made[other]
    assert len(made["inline"]) == 4


def study_of(workspace: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in workspace.glob("tuning/trials/*.json"):
        trial = json.loads(path.read_text())
        del trial["seconds"]
        found[path.name] = trial
    best = json.loads((workspace / "tuning/best.json").read_text())
    return found | {"best": best["configurations"]}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be assigned here")
def test_the_default_hangs_on_the_machine_and_the_data_alone():
    from kaggle_digits.engine.shares import usual_threads

    assert usual_threads(42_000, 2, 0) == usual_threads(42_000, 8, 0) == 1
    assert usual_threads(42_000, 16, 0) == 2
    assert usual_threads(1_000, 2, 0) == 2
    assert usual_threads(42_000, 16, 1) == 4
