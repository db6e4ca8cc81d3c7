"""What `import kaggle_digits` offers: names, their help, and what a type checker knows of them."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kaggle_digits as kd

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = [name for name in kd.__all__ if name.islower()]
IN_ORDER = (
    "load", "tune", "study", "cross_validate", "members", "blend", "distil", "Event", "check",
    "submit", "leaderboard", "report", "kernel_build", "DigitsClassifier",
)  # fmt: skip


def test_importing_it_loads_no_library_at_all() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import kaggle_digits as kd; kd.InUseError, dir(kd)\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = set(done.stdout.split()) - {*sys.stdlib_module_names, "kaggle_digits"}
    assert foreign == set()


def test_names_are_the_same_for_users_editors_and_type_checkers() -> None:
    tree = ast.parse(Path(kd.__file__).read_text("utf-8"))
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for inner in node.body
        if isinstance(inner, ast.ImportFrom)
        for alias in inner.names
    }
    assert set(kd.__all__) == typed and sorted(kd.__all__) == list(kd.__all__)
    assert typed <= set(dir(kd))
    for name in kd.__all__:
        assert getattr(kd, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        _ = kd.tunes  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", kd.__all__)
def test_every_name_has_help_of_its_own(name: str) -> None:
    value = getattr(kd, name)
    shown = value.__doc__ or ""
    assert len(shown.split()) > 3
    if name not in FUNCTIONS:
        return
    assert "Raises:" in shown and "Example:" in shown and ">>>" in shown
    for parameter in inspect.signature(value).parameters:
        assert re.search(rf"^ +{parameter}: \S", shown, re.MULTILINE), parameter


@pytest.mark.parametrize("name", [name for name in kd.__all__ if name not in FUNCTIONS])
def test_every_value_says_what_its_fields_are_and_of_every_array_its_shape(name: str) -> None:
    value = getattr(kd, name)
    text = inspect.getdoc(value) or ""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    described = {
        one.name: re.search(rf"^ +{one.name}: (.*(?:\n {{8,}}.*)*)", text, re.MULTILINE)
        for one in fields
    }
    assert [one for one, found in described.items() if found is None] == []
    arrays = [found[1] for one in fields if "np.ndarray" in str(one.type)
              and (found := described[one.name])]  # fmt: skip
    for member in vars(value).values():
        if isinstance(member, property):
            assert member.__doc__
            if "np.ndarray" in str(inspect.signature(member.fget).return_annotation):
                arrays.append(member.__doc__)
    assert [said for said in arrays if not re.search(r"\[.+\]", said, re.DOTALL)] == []
    if issubclass(value, kd.KaggleDigitsError) and value is not kd.KaggleDigitsError:
        assert f"(exit code {value.exit_code})" in " ".join(text.split())


def test_the_examples_of_the_help_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {*IN_ORDER, "predict", "run", "kernel_weights"} - {"DigitsClassifier", "Event"} == set(
        FUNCTIONS
    )
    shared: dict[str, object] = {"kd": kd}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for name in IN_ORDER:
        text = inspect.getdoc(getattr(kd, name)) or ""
        test = doctest.DocTestParser().get_doctest(text, shared, name, None, 0)
        assert test.examples
        runner.run(test, out=said.append, clear_globs=False)
        shared = test.globs
        assert runner.failures == 0, "".join(said)


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    exec(compile(example, "README.md", "exec"), {})
    out, err = capsys.readouterr()
    assert re.match(r"0\.\d{4} ± 0\.\d{4}\nChecked\n", out) and "local accuracy" in out
    assert "cv-train: 2/2 members" in err and "Traceback" not in err
    assert len(kd.leaderboard(kd.load(workspace="first", progress=False), local=True).frame) == 1


def test_a_users_script_passes_a_strict_type_checker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "import kaggle_digits as kd\n"
        "def tell(event: kd.Event) -> None:\n"
        "    print(event.step, event.scores['oof_accuracy'])\n"
        "competition: kd.Loaded = kd.load('x.zip', workspace='w', seed=1, track=tell)\n"
        "tuned: kd.Tuned = kd.tune(competition, trials=2, time_budget='20m')\n"
        "study: kd.Study = kd.study(competition)\n"
        "config: kd.TrainingConfig = tuned.best[0].config\n"
        "trained: kd.CrossValidated = kd.cross_validate(competition, config=[config, 'a.toml'])\n"
        "members: kd.Members = kd.members(competition, all=True)\n"
        "blended: kd.Blended = kd.blend(competition, output=Path('s.csv'))\n"
        "accuracy: float = blended.oof_accuracy + blended.oof_accuracy_se\n"
        "predicted: kd.Predicted = kd.predict(competition, 'new')\n"
        "distilled: kd.Distilled = kd.distil(competition, config=config, output='n.onnx')\n"
        "ran: kd.Ran = kd.run(competition, time_budget=60)\n"
        "path: Path = ran.submission\n"
        "checked: kd.Checked = kd.check(competition)\n"
        "sent: kd.Submission = kd.submit(competition, local=True)\n"
        "board: kd.Leaderboard = kd.leaderboard(competition)\n"
        "made: kd.Reported = kd.report(competition, output='page.html')\n"
        "kernel: kd.Kernel = kd.kernel_build(competition, 'dist')\n"
        "weights: kd.KernelWeights = kd.kernel_weights(competition, dry_run=True)\n"
        "model: kd.DigitsClassifier = kd.DigitsClassifier(config, folds=3).fit([[0]], ['a'])\n"
        "told: kd.Progress | None = competition.progress\n"
        "errors: list[type[kd.KaggleDigitsError]] = [\n"
        "    kd.ArtefactError, kd.ConfigurationError, kd.DataError, kd.InUseError,\n"
        "    kd.ReadOnlyError, kd.ServiceError, kd.TrainingError,\n"
        "]\n"
    )
    used = {node.attr for node in ast.walk(ast.parse(script.read_text()))
            if isinstance(node, ast.Attribute)}  # fmt: skip
    assert set(kd.__all__) <= used
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml"]
    done = subprocess.run([*words, str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    script.write_text("import kaggle_digits as kd\nkd.tune(kd.load(), trials='two')\n")
    done = subprocess.run([*words, str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "arg-type" in done.stdout
