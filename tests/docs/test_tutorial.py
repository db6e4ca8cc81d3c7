"""docs/getting-started.md line by line, and the artefacts it leaves against docs/workspace.md."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from docs_reading import ROOT, fenced

from kaggle_digits.core.data.fixes import Fix, Fixes
from kaggle_digits.core.data.provenance import DRAWN, Provenance
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.shell import cli as cli_module

TUTORIAL = ROOT / "docs/getting-started.md"
WORKSPACE = (ROOT / "docs/workspace.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tutorial was gone through."""
    place = tmp_path_factory.mktemp("tutorial")
    back = Path.cwd()
    os.chdir(place)
    try:
        made: list[dict[Path, int]] = []
        lines = [line for block in fenced(TUTORIAL, "sh") for line in block.splitlines()]
        assert len(lines) >= 10
        for line in lines:
            if line.startswith("kaggle-digits "):
                with pytest.raises(SystemExit) as ended:
                    cli_module.cli(shlex.split(line)[1:], prog_name="kaggle-digits")
                assert not ended.value.code, line
            else:
                subprocess.run(line, shell=True, check=True)
            if " cv-train " in line:
                members = place.glob("workspace/ensembles/members/*/*")
                made.append({path: path.stat().st_mtime_ns for path in members})
        assert len(made) == 2 and made[0] == made[1] and len(made[0]) == 6
    finally:
        os.chdir(back)
    return place / "workspace"


def section(heading: str) -> str:
    """Return what the page says below a heading."""
    pattern = rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)"
    (found,) = re.findall(pattern, WORKSPACE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_what_follows_the_tutorial_is_done_in_a_workspace_of_its_own() -> None:
    """The tutorial's own has the embedded digits, and goes on with them."""
    lines = [line for block in fenced(TUTORIAL, "") for line in block.splitlines()]
    later = [line for line in lines if line.startswith("kaggle-digits ")]
    assert later[0] == "kaggle-digits download" and len(later) >= 4
    assert [line for line in later[1:] if "--workspace digit-recognizer" not in line] == []


def test_every_line_of_the_tutorial_works_and_leaves_a_submission(folder: Path) -> None:
    lines = (folder / "submissions/submission.csv").read_text("utf-8").splitlines()
    assert lines[0] == "ImageId,Label" and len(lines) == 600
    assert (folder / "submissions/ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("pattern", "heading"),
    [
        ("data.json", "data.json"),
        ("tuning/study.json", "tuning/study.json"),
        ("tuning/time.json", "tuning/study.json"),
        ("tuning/trials/0000.json", "tuning/trials/NNNN.json"),
        ("tuning/best.json", "tuning/best.json"),
        ("ensembles/folds/*.json", "ensembles/folds/"),
        ("ensembles/plan.json", "ensembles/plan.json"),
        ("ensembles/members/*/member.json", "ensembles/members/NAME/member.json"),
        (
            "ensembles/blend/blend.json",
            "ensembles/blend/blend.json and submissions/submission.json",
        ),
        (
            "submissions/submission.json",
            "ensembles/blend/blend.json and submissions/submission.json",
        ),
    ],
)
def test_every_field_of_an_artefact_stands_in_the_page(
    folder: Path, pattern: str, heading: str
) -> None:
    values = json.loads(next(folder.glob(pattern)).read_text("utf-8"))
    names = set(values)
    for inner in ("settings", "key", "record"):
        names |= {name for name in values.get(inner, {}) if not name.startswith("space ")}
    for entry in values.get("configurations", ()):
        names |= set(entry)
    text = section(heading)
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_field_that_data_json_can_have_stands_in_the_page() -> None:
    asked = Wanted(size=(48, 64), skip_broken=True, groups="writer").to_json()
    asked |= Wanted(fold_column="fold").to_json()
    fixes = Fixes("fixes.csv", (Fix(0, "3", None),))
    values = Provenance("data", "0" * 16, "4x16", asked, fixes).to_json()
    names = {*values, *values["reading"], *values["labels"]}
    text = section("data.json")
    assert len(asked) == 4 and [name for name in sorted(names) if f"`{name}`" not in text] == []
    assert f"`{DRAWN}` for the embedded shapes" in text


def test_every_column_of_the_ledger_stands_in_the_page(folder: Path) -> None:
    import sqlite3

    base = sqlite3.connect(folder / "submissions/ledger.sqlite")
    columns = {row[1] for row in base.execute("PRAGMA table_info(submissions)")}
    base.close()
    text = section("submissions/ledger.sqlite")
    named = {name for name in columns if not name.startswith("cv_")} - {"id"}
    assert columns and [name for name in sorted(named) if f"`{name}`" not in text] == []
