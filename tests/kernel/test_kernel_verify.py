"""`kernel verify`: it must catch a script that differs, fails, or writes where it must not."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.figures import Figure
from kaggle_digits.records.ranking import Ranked, write_ranking
from kaggle_digits.shell.console import Console
from kernel import bundle, verification
from kernel.metadata import Kernel, read_kernel
from kernel.plan import Plan
from kernel.verification import VerificationError, Verified, lessen, verify

GOOD = """
import json, os, pathlib
root = pathlib.Path(os.environ["KAGGLE_DIGITS_KERNEL_ROOT"])
plan = json.loads(os.environ["KAGGLE_DIGITS_KERNEL_PLAN"])
inputs = root / "input" / "competitions" / plan["competition"]
(root / "working" / "submission.csv").write_bytes(b"ImageId,Label\\r\\n1,2\\r\\n")
"""
SAME = b"ImageId,Label\r\n1,2\r\n"


@pytest.fixture
def prove(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Verify any text as a script; the package's own submission is `SAME`."""
    monkeypatch.setattr(verification, "_run_package", lambda *given: SAME)
    data = tools.competition(tmp_path / "data")

    def prove(script: str) -> Any:
        kernel = Kernel("me", "kaggle-digits", {}, script.encode(), tmp_path / "script.py")
        console = Console(io.StringIO(), io.StringIO(), quiet=True, as_json=False)
        return verify(kernel, tools.plan(), data, console)

    return prove


def test_a_script_that_does_the_same_passes(prove: Callable[..., Any]) -> None:
    found = prove(GOOD)
    assert (found.rows, dict(found.outputs)) == (1, {"submission.csv": len(SAME)})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("(root / 'working' / 'submission.csv').write_bytes(b'ImageId,Label\\n1,2')", "differs"),
        ("(root / 'working' / 'submission.csv').unlink()", "There is no submission.csv"),
        ("raise SystemExit(3)", "exit code 3"),
        ("import sys; print('kernel: error: that', file=sys.stderr); sys.exit(1)", "error: that"),
        ("os.abort()", "exit code -6"),
        ("pathlib.Path('here').write_text('x')", "the folder it was started in"),
        ("os.chmod(inputs, 0o755); (inputs / 'new').write_text('x')", "changed its inputs"),
        ("(root / 'working' / 'w.npz').write_text('x')", "left w.npz in its output"),
        ("import kaggle_digits_is_not_here", "exit code 1"),
        (
            "import urllib.request; urllib.request.urlopen('http://example.com', timeout=5)",
            "exit code 1",
        ),
    ],
)
def test_a_script_that_does_otherwise_is_caught(
    prove: Callable[..., Any], more: str, says: str
) -> None:
    with pytest.raises(VerificationError) as error:
        prove(GOOD + more)
    assert says in error.value.message


def test_the_script_gets_neither_our_path_nor_our_environment(
    prove: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/planted/path")
    monkeypatch.setenv("KAGGLE_KEY", "planted")
    prove(GOOD + "import sys\nassert 'planted' not in str(os.environ) + str(sys.path)\n")


def test_it_must_be_built_of_this_source(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("build", "--preset", "quick", "--dir", tmp_path / "d")
    changed = bundle.read_sources() | {"tuning/space.py": b"x = 1\n"}
    monkeypatch.setattr(verification, "read_sources", lambda: changed)
    code, values, _ = call("verify", "--dir", tmp_path / "d")
    assert code == 1 and "carries other source" in values["error"]


def test_changed_command_lines_are_caught(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("build", "--preset", "quick", "--seed", "5", "--dir", tmp_path / "d")
    path = tmp_path / "d" / "kaggle_digits_kernel.py"
    path.write_text(path.read_text().replace('"--top-k",\n   "1"', '"--top-k",\n   "2"'))
    script = bundle.read_script(path.read_bytes(), "s")
    monkeypatch.setattr(verification, "code_digest", lambda sources: script.code)
    code, values, _ = call("verify", "--dir", tmp_path / "d")
    assert code == 1 and "other command lines" in values["error"]


def test_data_that_are_not_there_are_no_fault_of_the_script(
    prove: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "data" / "test.csv").unlink()
    with pytest.raises(DataError, match=r"has no test\.csv"):
        prove(GOOD)


def test_the_lesser_plan_is_of_the_same_kind(tools: Any) -> None:
    plan = tools.plan(top_k=4, trials=None, max_epochs=None, folds=None, epochs=None, gpu=True)
    less = lessen(plan)
    assert (less.seed, less.preset, less.top_k, less.gpu) == (plan.seed, plan.preset, 2, False)
    words = [line[0] for line in less.commands()]
    assert words == ["tune", "cv-train", "blend", "check", "cv-train", "blend", "check"]
    assert json.loads(json.dumps(less.for_script()))["commands"] == less.commands()


def test_all_of_a_script_is_compared_in_one_run_whatever_ends_or_begins_it(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the output of another run to go on from, or an end by the clock, it could not pass."""
    asked: list[Plan] = []

    def note(kernel: Kernel, plan: Plan, *_: Any) -> Verified:
        asked.append(plan)
        return Verified("0" * 64, 1, {}, "c" * 16)

    monkeypatch.setattr(verification, "verify", note)
    monkeypatch.setattr(verification, "require_own_build", lambda *_: None)
    monkeypatch.setattr(verification, "files_for", lambda *_: (tmp_path, "mine"))
    going_on = ("--continue", "tester/kaggle-digits", "--time-budget", "8h")
    built = ("build", "--preset", "quick", "--owner", "tester", "--dir", tmp_path / "d")
    for more in ((), going_on):
        assert call(*built, *more)[0] == 0
        code, _, err = call("verify", "--full", "--dir", tmp_path / "d")
        assert code == 0
        assert ("without --continue and --time-budget" in err) == bool(more)
    whole, less_bound = asked
    assert whole.trials is None and less_bound == whole


@pytest.mark.slow
def test_script_and_package_make_the_same_bytes(call: Any, tmp_path: Path) -> None:
    """About two minutes: search, two fold sets, and all again."""
    call("build", "--preset", "best", "--seed", "4", "--dir", tmp_path / "d")
    code, values, err = call("verify", "--dir", tmp_path / "d")
    assert code == 0 and values["same"] is True, err
    assert values["rows"] == 599 and "rehearsal: all packages fit" in err
    assert len([name for name in values["outputs"] if name.endswith("member.json")]) == 4


@pytest.mark.slow
def test_script_and_package_make_the_same_bytes_of_images_in_colour(
    call: Any, tmp_path: Path
) -> None:
    """About two minutes: the drawn shapes, files in a zip, in a search and a fold set, twice."""
    call("build", "--preset", "quick", "--seed", "4", "--dir", tmp_path / "d")
    code, values, err = call("verify", "--data", "shapes", "--dir", tmp_path / "d")
    assert code == 0 and values["same"] is True, err
    assert values["rows"] == 600 and "no small sample is made of image files" in err


def test_a_ranking_that_says_all_it_can_makes_a_script_that_is_its_own_build(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, rows, folds and metric were lost on the way back, and each such script refused."""
    by_qwk = Figure("qwk", 0.75, 0.0125, 500)
    ranked = [
        Ranked(TrainingConfig(filters=filters), trial, 0.125, 0.9, 0.01, 0.02, 500, 3, by_qwk)
        for trial, filters in enumerate((8, 16))
    ]
    write_ranking(tmp_path / "best.json", ranked, "0" * 16, 0)
    given = ("--preset", "best", "--best", tmp_path / "best.json")
    code, _, err = call("build", *given, "--dir", tmp_path / "d")
    assert code == 0, err
    built = read_kernel(tmp_path / "d")
    script = bundle.read_script(built.script, "s")
    assert list(script.plan.ranked) == ranked and script.given == script.plan.for_script()
    monkeypatch.setattr(verification, "code_digest", lambda sources: script.code)
    verification.require_own_build(built, script)
    # In scripts, a metric that nobody said is a null.
    values = script.plan.to_json()
    values["ranked"][0]["metric"] = None
    read = Plan.from_json(values).ranked[0]
    assert read == dataclasses.replace(ranked[0], metric=None)
