"""`kernel build`: what the script carries, that it is the same every time, and Kaggle's rules."""

from __future__ import annotations

import ast
import base64
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits import __version__
from kaggle_digits.ground import names, slugs
from kaggle_digits.ground.config import PRECISION_VARIABLE, TrainingConfig, load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import Ranked, write_ranking
from kernel import bundle
from kernel.bundle import code_digest, pack, read_script, read_sources, render
from kernel.plan import LABELS, Plan

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., tuple[int, dict[str, Any], str]]


def carried(script: Path) -> dict[str, bytes]:
    (text,) = [
        node.value.value
        for node in ast.parse(script.read_text()).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "ARCHIVE"
        and isinstance(node.value, ast.Constant)
    ]
    content = zlib.decompress(base64.b85decode("".join(text.split())))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_writes_a_script_and_its_metadata(call: Call, tmp_path: Path) -> None:
    code, values, _ = call("build", "--owner", "someone", "--dir", tmp_path / "d")
    assert code == 0
    script = tmp_path / "d" / "kaggle_digits_kernel.py"
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        script.name,
        "kernel-metadata.json",
    ]
    assert values["bytes"] == script.stat().st_size < 900_000
    text = script.read_text()
    head = text[: text.index("import base64")]
    assert f"kaggle-digits {__version__}" in head and values["code"] in head
    best = load_presets()["best"]
    assert (
        f"preset best, seed 0: search of {best.trials} trials, then the best {best.top_k} × "
        f"{best.folds} folds, blended after each fold set"
    ) in head
    lines = [line.lstrip("# ") for line in head.splitlines() if "cv-train --preset" in line]
    beginning = "cv-train --preset best --seed 0 --top-k"
    assert lines == [f"{beginning} {k}" for k in range(1, best.top_k + 1)]
    compile(text, str(script), "exec")
    about = json.loads((tmp_path / "d" / "kernel-metadata.json").read_text())
    assert about["id"] == "someone/kaggle-digits" and about["title"] == "Kaggle Digits"
    assert about["enable_internet"] is False and about["enable_gpu"] is False
    assert about["competition_sources"] == ["digit-recognizer"]
    assert "machine_shape" not in about


def test_a_gpu_is_asked_for_and_required(call: Call, tmp_path: Path) -> None:
    call("build", "--gpu", "--dir", tmp_path / "d")
    about = json.loads((tmp_path / "d" / "kernel-metadata.json").read_text())
    assert about["enable_gpu"] is True and about["machine_shape"] == "NvidiaTeslaT4"
    script = (tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes()
    assert read_script(script, "s").given["examine"] == ["kernel", "examine", "--gpu"]


def test_the_script_carries_our_source_and_nothing_else(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "planted9key8value7")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_planted6token5")
    code, values, _ = call("build", "--dir", tmp_path / "d")
    files = carried(tmp_path / "d" / "kaggle_digits_kernel.py")
    assert code_digest(files) == values["code"]
    expected = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for package in bundle.PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: files[name] for name in expected} == expected
    others = sorted(set(files) - set(expected))
    assert others == [
        "kaggle_digits/ground/portfolio.toml",
        "kaggle_digits/ground/presets.toml",
        "kernel/kernel-metadata.json",
        "kernel/template.py.txt",
    ]
    everything = b"".join(
        [*files.values(), *(path.read_bytes() for path in (tmp_path / "d").iterdir())]
    )
    assert b"planted" not in everything
    assert not [name for name in files if "test" in name.split("/")[0] or "__pycache__" in name]


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    """Another process, folder, hash seed and installation: a copy of the packages alone."""
    installed = tmp_path / "site"
    for package in bundle.PACKAGES:
        kept = shutil.ignore_patterns("__pycache__", "dist")
        shutil.copytree(ROOT / package, installed / package, ignore=kept)
    (installed / "kernel" / "dist").mkdir()
    (installed / "kernel" / "dist" / "kernel-metadata.json").write_text("{}")
    (installed / "tuning" / "notes.md").write_text("x")
    (installed / "tuning" / "data").mkdir()
    (installed / "tuning" / "data" / "stray.py").write_text("x")
    built = []
    for number, place in enumerate((ROOT, installed)):
        out = tmp_path / f"out{number}"
        subprocess.run(
            [sys.executable, "-m", "kaggle_digits", "kernel", "build", "--dir", str(out)],
            env=os.environ | {"PYTHONPATH": str(place), "PYTHONHASHSEED": str(number)},
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        built.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert built[0] == built[1] and len(built[0]) == 2


def test_another_source_has_another_digest() -> None:
    sources = read_sources()
    changed = sources | {"tuning/space.py": sources["tuning/space.py"] + b"\n"}
    renamed = {name.replace("tuning/space", "tuning/place"): c for name, c in sources.items()}
    assert len({code_digest(one) for one in (sources, changed, renamed)}) == 3
    assert pack(sources) == pack(dict(reversed(sources.items()))) != pack(changed)


def test_building_imports_neither_wings_nor_numerical_libraries(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom kaggle_digits.shell.cli import cli\n"
        "try: cli(sys.argv[1:], prog_name='kaggle-digits')\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    for words in (
        ["kernel", "--help"],
        ["kernel", "fetch", "--help"],
        ["kernel", "build", "--dir", "d"],
    ):
        out = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        loaded = set(out.splitlines()[-1].split())
        assert "kernel" in loaded
        assert loaded & {"numpy", "keras", "tensorflow", "kaggle", "requests", "cv2"} == set()
        assert loaded & {"tuning", "ensembles", "submissions"} == set()


def test_a_script_too_large_for_kaggle_is_refused(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    code, values, _ = call("build", "--dir", tmp_path / "d")
    assert code == 2 and "Kaggle takes less than 1,000" in values["error"]
    assert not (tmp_path / "d").exists()


def test_given_configurations_take_the_place_of_the_search(call: Call, tmp_path: Path) -> None:
    configs = [TrainingConfig(filters=8), TrainingConfig(filters=16)]
    ranked = [Ranked(config, number, 0.1, 0.9) for number, config in enumerate(configs)]
    write_ranking(tmp_path / "best.json", ranked, "0" * 16, 0)
    code, _, _ = call("build", "--best", tmp_path / "best.json", "--dir", tmp_path / "d")
    assert code == 0
    script = read_script((tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes(), "s")
    assert [entry.config for entry in script.plan.ranked] == configs
    assert script.plan.top_k == 2
    words = [line[0] for line in script.given["commands"]]
    assert words == ["kernel", *["cv-train", "blend", "check"] * 2]
    text = (tmp_path / "d" / "kaggle_digits_kernel.py").read_text()
    assert f"configuration 2 ({configs[1].digest})" in text and "filters 16" in text


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": "x", "configurations": []}'])
def test_a_broken_ranking_is_refused(call: Call, tmp_path: Path, content: str) -> None:
    (tmp_path / "best.json").write_text(content)
    code, values, _ = call("build", "--best", tmp_path / "best.json", "--dir", tmp_path / "d")
    assert code == 4 and "best.json" in values["error"]
    assert not (tmp_path / "d").exists()


def test_names_in_a_configuration_never_become_code(tools: Any) -> None:
    hostile = "x\nimport os; os.abort()\n''' \\ @@ARCHIVE@@ \u2028 r'''"
    config = TrainingConfig()
    object.__setattr__(config, "augmentation", hostile)  # no configuration of such a name exists
    content = render(tools.plan(ranked=(Ranked(config, 0, 0.1, 0.9),)), read_sources())
    with pytest.raises(ArtefactError, match="augmentation was given as"):
        read_script(content, "s")
    assert "os.abort" not in "".join(
        ast.unparse(node) for node in ast.parse(content).body if not isinstance(node, ast.Assign)
    )


def test_a_plan_survives_its_json(tools: Any) -> None:
    plan = tools.plan(ranked=(Ranked(TrainingConfig(), 3, 0.25, 0.5),), goes_on="a/bcdef")
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    with pytest.raises(ConfigurationError):
        Plan.from_json({"preset": "quick"})
    with pytest.raises(ConfigurationError, match="preset was given as 'bets'") as caught:
        Plan.from_json(plan.to_json() | {"preset": "bets"})
    assert caught.value.mend == "Did you mean 'best'?"


@pytest.mark.parametrize("content", [b"", b"VERSION = 1", b"def", b"\xff\xfe"])
def test_what_is_no_script_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(ArtefactError, match="no script of this tool"):
        read_script(content, "s")


@pytest.mark.parametrize(
    ("words", "name", "title"),
    [
        (["--slug", "my-digits"], "my-digits", "My Digits"),
        (["--title", "Zwölf Ziffern, 3 Netze!"], "zwolf-ziffern-3-netze", None),
        (["--title", "My Digits", "--slug", "my-digits"], "my-digits", "My Digits"),
    ],
)
def test_title_and_slug_go_together(
    call: Call, tmp_path: Path, words: list[str], name: str, title: str | None
) -> None:
    code, values, _ = call("build", "--owner", "me", "--dir", tmp_path / "d", *words)
    assert (code, values["id"]) == (0, f"me/{name}")
    assert title is None or values["title"] == title


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--title", "Tiny"], "4 characters"),
        (["--title", "x" * 51], "51 characters"),
        (["--title", "!!!!!!"], "Of the title '!!!!!!' Kaggle would make the slug ''"),
        (["--slug", "abcd"], "4 characters"),
        (["--slug", "Upper-Case"], "The slug 'Upper-Case' cannot be one"),
        (["--slug", "one-name", "--title", "Another Name"], "Kaggle would make it 'another-name'"),
        (["--owner", "a b"], "--owner was given as 'a b'"),
        (["--competition", "a\nimport os"], "competition's short name"),
        (["--continue", "alone"], "expected owner/slug"),
        (["--time-budget", "8"], "8h, 90m or 45s"),
        (["--time-budget", "-1h"], "8h, 90m or 45s"),
        (["--time-budget", "39s"], "'39s'; expected 40s or more"),
    ],
)
def test_unfit_names_are_refused(call: Call, tmp_path: Path, words: list[str], says: str) -> None:
    code, values, _ = call("build", "--dir", tmp_path / "d", *words)
    assert code == 2 and says in values["error"]
    assert not (tmp_path / "d").exists()


def test_slugs_are_kaggles_own() -> None:
    slugify = pytest.importorskip("slugify").slugify
    for title in ("Kaggle Digits", "  A  b--c_d ", "Zwölf Ziffern", "v1.2 / done", "ÀÉÎ", "x" * 50):
        assert slugs.slugify(title) == slugify(title)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"enable_internet": 1}, "expected a bool"),
        ({"enable_internet": None}, "has no enable_internet"),
        ({"enable_gpus": True}, "Kaggle would ignore"),
        ({"competition_sources": "digit-recognizer"}, "expected a list"),
        ({"code_file": "../x.py"}, "expected a file's name"),
        ({"kernel_type": "notebook"}, "not that of a Python script"),
        ({"id": "me/another-name"}, "does not go with"),
    ],
)
def test_changed_metadata_is_checked_before_a_push(
    call: Call, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    call("build", "--owner", "me", "--dir", tmp_path / "d")
    path = tmp_path / "d" / "kernel-metadata.json"
    changed = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    code, values, _ = call("push", "--dir", tmp_path / "d")
    assert code == 2 and says in values["error"]


def test_the_competition_can_be_another(call: Call, tmp_path: Path) -> None:
    call("build", "--competition", "kannada-mnist", "--dir", tmp_path / "d")
    about = json.loads((tmp_path / "d" / "kernel-metadata.json").read_text())
    assert about["competition_sources"] == ["kannada-mnist"]
    assert "/kaggle/input/kannada-mnist/" in (tmp_path / "d" / about["code_file"]).read_text()


def test_corrections_of_labels_go_with_the_script(
    made: Any, call: Call, tmp_path: Path, workspace: Any
) -> None:
    from kaggle_digits.core.data import load

    fixes = tmp_path / "fixes.csv"
    fixes.write_text("row,take\n4,2\n2,exclude\n")
    dataset = load(made.folder, workspace, labels=fixes)
    plan = Plan("quick", 0, 1, "digit-recognizer", labels=dataset.fixes.to_csv().decode())
    assert "2 training labels corrected or left out" in plan.describe(load_presets()["quick"])
    script = read_script(render(plan, read_sources()), "it")
    assert script.plan == plan
    named = {words[0]: words for words in plan.commands()}
    for words in ("tune", "cv-train", "blend"):
        place = named[words].index("--labels")
        assert named[words][place + 1] == LABELS
    # The rehearsal is on a sample, whose rows are others.
    assert not any("--labels" in words for words in plan.rehearsal())
    # There they are the same data as at home.
    (tmp_path / "there.csv").write_text(script.plan.labels)
    there = load(made.folder, Workspace(tmp_path / "there"), labels=tmp_path / "there.csv")
    assert there.digest == dataset.digest


@pytest.mark.parametrize("name", names.PRESETS)
def test_the_script_searches_as_run_does(name: str) -> None:
    """It searched by hyperband whatever the preset says."""
    (words,) = [one for one in Plan(name, 0, 1, "digit-recognizer").commands() if one[0] == "tune"]
    assert words[words.index("--strategy") + 1] == load_presets()[name].strategy
    assert words[words.index("--race") + 1] == "0"


def test_what_the_competition_is_scored_by_goes_with_the_script(call: Call, tmp_path: Path) -> None:
    plan = Plan("quick", 0, 1, "digit-recognizer", metric="qwk")
    named = {words[0]: words for words in plan.commands()}
    for words in ("tune", "blend"):
        assert named[words][named[words].index("--metric") + 1] == "qwk"
    assert "--metric" not in named["cv-train"] + named["check"]
    assert read_script(render(plan, read_sources()), "it").plan == plan
    place = tmp_path / "w"
    place.mkdir()
    (place / "metric.json").write_text('{"metric": "auc"}')
    code, _, err = call("build", "--owner", "tester", "--dir", tmp_path / "k", "--workspace", place)
    assert code == 0, err
    (script,) = (tmp_path / "k").glob("*.py")
    assert read_script(script.read_bytes(), "it").plan.metric == "auc"


def test_the_precision_that_is_asked_for_goes_with_the_script(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kernel build --precision float32` was taken, and computed in what suits the machine."""
    monkeypatch.setenv(PRECISION_VARIABLE, names.AUTO)  # the command line sets it
    words = ("build", "--owner", "tester", "--dir", tmp_path / "d", "--precision", "float32")
    assert call(*words)[0] == 0
    content = (tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes()
    plan = read_script(content, "it").plan
    assert plan.precision == "float32" and b"CPU or GPU in float32; no internet" in content
    given = plan.for_script()
    told = [given["examine"], *given["rehearsal"], *given["commands"]]
    assert {words[0] for words in told} == {"kernel", "tune", "cv-train", "blend", "check"}
    for words in told:
        asked = words[words.index("--precision") + 1] if "--precision" in words else None
        assert asked == (None if words[0] == "check" else "float32"), words
    predicting = dataclasses.replace(plan, weights="me/weights").commands()
    assert predicting[0][0] == "predict" and predicting[0][-2:] == ["--precision", "float32"]
    given = dataclasses.replace(plan, ranked=(Ranked(TrainingConfig(), 0, 0.1, 0.9),)).rehearsal()
    assert given[1][0] == "cv-train" and given[1][-2:] == ["--precision", "float32"]
    with pytest.raises(ConfigurationError, match="precision was given as 'float8'"):
        dataclasses.replace(plan, precision="float8")


def test_a_folder_that_is_a_file_is_named_as_it_was_given(call: Call, tmp_path: Path) -> None:
    """It spoke of notes.txt/kaggle_digits_kernel.py, and asked for the path of a file."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    code, values, _ = call("build", "--dir", notes)
    assert code == 2 and values["mend"] == "Give the path of a folder."
    assert values["error"] == (
        f"--dir was given as {notes}, where kaggle_digits_kernel.py is to be written, but "
        f"{notes.resolve()} is no folder."
    )
    assert notes.read_text() == "mine"


def test_a_workspaces_own_corrections_are_carried(call: Call, made: Any, tmp_path: Path) -> None:
    from kaggle_digits.core.data import load

    fixes = tmp_path / "fixes.csv"
    fixes.write_text("row,take\n4,2\n")
    words = ("build", "--dir", tmp_path / "d", "--workspace", tmp_path / "w")
    plain = call(*words)[0], (tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes()
    assert plain[0] == 0 and not read_script(plain[1], "it").plan.labels
    load(made.folder, Workspace(tmp_path / "w"), labels=fixes)
    assert call(*words)[0] == 0
    content = (tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes()
    assert read_script(content, "it").plan.labels == "row,label,take\n4,1,2\n"


def test_how_rare_classes_are_trained_goes_with_the_script(call: Call, tmp_path: Path) -> None:
    """It could not be said, so that a class of few rows ended the run on Kaggle's machine."""
    given = ["--rare", "drop", "--class-weights", "balanced"]
    words = ("build", "--preset", "quick", "--dir", tmp_path / "d")
    assert call(*words, *given)[0] == 0
    content = (tmp_path / "d" / "kaggle_digits_kernel.py").read_bytes()
    plan = read_script(content, "it").plan
    assert plan.training == " ".join(given) and f"trains with {plan.training}".encode() in content
    carried = dataclasses.replace(plan, ranked=(Ranked(TrainingConfig(), 0, 0.1, 0.9),))
    for one, trained in ((plan, ["tune", "tune", "cv-train"]), (carried, ["cv-train"] * 2)):
        lines = [*one.rehearsal(), *one.commands()]
        assert [line[0] for line in lines if line[-4:] == given] == trained
        assert not any({"--rare", "--class-weights"} & set(line[:-4]) for line in lines)
    for option, value in (given[:2], given[2:]):
        code, values, _ = call(*words, "--predict-only", option, value)
        assert code == 2 and f"{option} was given with --predict-only" in values["error"]
