"""The script with other versions: run by interpreters of other environments, really installed.

`KAGGLE_DIGITS_PYTHONS` names them, separated by the system's path separator.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernel.verification import lessen

PYTHONS = [path for path in os.environ.get("KAGGLE_DIGITS_PYTHONS", "").split(os.pathsep) if path]


@pytest.mark.slow
@pytest.mark.skipif(not PYTHONS, reason="KAGGLE_DIGITS_PYTHONS names no interpreter")
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("images", ["columns", "colour files"])
def test_the_script_runs_with_other_versions(
    tools: Any, ran: Any, tmp_path: Path, python: str, images: str
) -> None:
    plan = lessen(tools.plan(top_k=2))
    script = tools.script(tmp_path / "src", plan)
    data = tmp_path / "kaggle" / "input" / "digit-recognizer"
    if images == "columns":
        shutil.copytree(ran.data, data)
    else:
        tools.pictures(data)
    ended = tools.run(script, tmp_path / "kaggle", python=python)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # Of image files no sample is made.
    assert ("rehearsal: all packages fit" in ended.stdout) == (images == "columns")
    assert "(not tried:" not in ended.stdout
    assert len((tmp_path / "kaggle/working/submission.csv").read_text().splitlines()) == 16
