"""The whole way, really run: build, push, run what arrived, fetch, blend; and runs in parts."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.shell import cli
from kernel.bundle import read_script

pytestmark = pytest.mark.slow


def ours(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words), "--quiet"], prog_name="kaggle-digits")
    return int(ended.value.code or 0)


def outputs(working: Path) -> dict[str, bytes]:
    return {
        path.relative_to(working).as_posix(): path.read_bytes()
        for path in working.rglob("*")
        if path.is_file()
    }


def test_what_the_server_received_runs_and_its_members_blend_with_ours(
    call: Any, server: Any, tools: Any, tmp_path: Path, capfd: Any
) -> None:
    """Search at home; its best is trained at home, its second on Kaggle; both blend."""
    data, home = tools.competition(tmp_path / "data"), tmp_path / "w"
    shared = ["--data", data, "--workspace", home, "--seed", 3]
    assert ours("tune", *shared, "--trials", 2, "--max-epochs", 1) == 0
    best = json.loads((home / "tuning" / "best.json").read_text())
    second = best | {"configurations": best["configurations"][1:]}
    (tmp_path / "second.json").write_text(json.dumps(second))
    capfd.readouterr()
    code, _, _ = call(
        "build", "--owner", "tester", "--best", tmp_path / "second.json", "--seed", 3,
        "--dir", tmp_path / "d",
    )  # fmt: skip
    assert code == 0
    assert call("push", "--dir", tmp_path / "d")[0] == 0

    arrived = tmp_path / "bare" / "script.py"
    arrived.parent.mkdir()
    arrived.write_text(server.saved[0]["text"])
    plan = read_script(arrived.read_bytes(), "arrived").plan
    less = tools.plan(ranked=plan.ranked, folds=2, epochs=1, preset=plan.preset).for_script()
    shutil.copytree(data, tmp_path / "kaggle" / "input" / "competitions" / "digit-recognizer")
    ended = tools.run(arrived, tmp_path / "kaggle", less)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "rehearsal: all packages fit" in ended.stdout
    rows = list(csv.reader((tmp_path / "kaggle/working/submission.csv").read_text().splitlines()))
    assert len(rows) == 16

    members = ["--top-k", 1, "--folds", 2, "--epochs", 1]
    assert ours("cv-train", *shared, *members) == 0
    server.files = outputs(tmp_path / "kaggle" / "working")
    capfd.readouterr()
    code, values, _ = call("fetch", "--data", data, "--workspace", home, "--dir", tmp_path / "d")
    assert code == 0 and len(values["added"]) == 2, values
    assert ours("blend", *shared) == 0
    made = json.loads((home / "submissions" / "submission.json").read_text())
    assert len(made["members"]) == 4 and set(values["added"]) < set(made["members"])


def test_a_run_ended_by_its_budget_is_gone_on_from_to_the_same_blend(
    tools: Any, tmp_path: Path
) -> None:
    plan = tools.plan(
        trials=2, top_k=2, rehearse=False, max_epochs=1, epochs=1, competition="digit-recognizer"
    )
    script = tools.script(tmp_path / "src", plan)
    base = plan.for_script() | {"examine": []}

    def run(name: str, more: dict[str, Any], earlier: Path | None = None) -> Path:
        root = tmp_path / name / "kaggle"
        tools.competition(root / "input" / "digit-recognizer")
        if earlier is not None:
            shutil.copytree(earlier, root / "input" / "notebooks" / "me" / "earlier")
        ended = tools.run(script, root, base | more)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        (tmp_path / name / "said.txt").write_text(ended.stdout + ended.stderr)
        return root / "working"

    long = run("long", {})
    first = long.parent.parent
    took = json.loads((long / "kaggle-digits" / "kernel.json").read_text())["seconds"]
    parts, earlier, working = 0, None, long
    while parts < 6:
        parts += 1
        more = {"budget": took * 0.55, "goes_on": "me/earlier" if earlier else ""}
        working = run(f"part{parts}", more, earlier)
        about = json.loads((working / "kaggle-digits" / "kernel.json").read_text())
        if about["finished"]:
            break
        said = (tmp_path / f"part{parts}" / "said.txt").read_text()
        assert "the time budget ended this run" in said
        earlier = working
    assert parts > 1 and about["finished"]
    assert (working / "submission.csv").read_bytes() == (long / "submission.csv").read_bytes()
    one, many = (
        {k: v for k, v in outputs(w / "kaggle-digits").items() if k.endswith(".npy")}
        for w in (long, working)
    )
    # Held-out and test rows of four members, the blend's, the two trials' predictions.
    assert one == many and len(one) == 4 * 2 + 2 + 2
    assert "files taken up" in (tmp_path / f"part{parts}" / "said.txt").read_text()
    assert first.exists()


def test_it_is_built_from_an_installed_wheel_as_from_the_checkout(tmp_path: Path) -> None:
    """The wheel is made of a copy of the checkout, and unpacked as an installer would."""
    pytest.importorskip("build")
    root = Path(__file__).resolve().parents[2]
    kept = shutil.ignore_patterns("__pycache__", ".git", ".venv", "*.egg-info", "dist", "tests")
    shutil.copytree(root, tmp_path / "copy", ignore=kept)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "wheel"), "."],
        cwd=tmp_path / "copy",
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "wheel").iterdir()
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    built = []
    for number, place in enumerate((tmp_path / "copy", tmp_path / "site")):
        out = tmp_path / f"out{number}"
        code = f"import sys; sys.path.insert(0, {str(place)!r}); " + (
            "from kaggle_digits.shell.cli import main; main()"
        )
        subprocess.run(
            [sys.executable, "-I", "-c", code, "kernel", "build", "--dir", str(out)],
            cwd=tmp_path,
            check=True,
        )
        built.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert built[0] == built[1]
