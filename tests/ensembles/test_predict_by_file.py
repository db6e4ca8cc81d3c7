"""New images, labelled by one network's file in place of the members (`predict --model`)."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kaggle_digits as kd
from kaggle_digits.core import hardware, inference, portable
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.shell import cli

PAGE = Path(__file__).resolve().parents[2] / "docs/distil.md"
CLASSES = ("0", "1", "2")
SMALL = kd.TrainingConfig(filters=4, depth=1, augmentation="none")


def untrained() -> Any:
    """Return a network as members are: it gives logits."""
    hardware.prepare()
    from kaggle_digits.core import networks

    return networks.build(SMALL, 8, 8, len(CLASSES), 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one untrained network in both forms, as `distil` writes them."""
    for name in portable.ONNX_PACKAGES:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("network")
    model = portable.portable(untrained())
    (folder / "student.keras").write_bytes(portable.keras_bytes(model))
    (folder / "student.onnx").write_bytes(portable.onnx_bytes(model, CLASSES))
    return folder


@pytest.fixture
def images(make: Callable[..., Any]) -> Path:
    """A competition of 8×8 images whose workspace has no members."""
    folder: Path = make(height=8, width=8).folder
    return folder


def predict(capfd: Any, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.cli(["predict", *map(str, words)], prog_name="kaggle-digits")
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize("name", ["student.keras", "student.onnx"])
def test_a_distilled_network_labels_new_images_without_members(
    files: Path, images: Path, name: str, tmp_path: Path, capfd: Any
) -> None:
    output = tmp_path / "new.csv"
    given = ["--images", images / "test.csv", "--data", images, "--workspace", tmp_path / "w"]
    code, out, err = predict(
        capfd, *given, "--model", files / name, "--output", output, "--json", "--quiet"
    )
    assert code == 0, err
    shown = json.loads(out)
    assert shown["model"] == str(files / name) and shown["members"] == 0
    competition = kd.load(images, workspace=tmp_path / "w", progress=False)
    wanted = inference.outputs(inference.load(files / "student.keras"), competition.test_images)
    with open(output, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = [[float(row[f"p_{one}"]) for one in CLASSES] for row in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert [row["label"] for row in rows] == [CLASSES[best] for best in wanted.argmax(axis=1)]
    again = kd.predict(
        competition, images / "test.csv", model=files / name, output=tmp_path / "again.csv"
    )
    assert again.path.read_bytes() == output.read_bytes()
    assert again.facts()["network"] == str(files / name) and again.members == 0


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("network.h5", b"", 2, "expected a name that ends in .keras or .onnx"),
        ("none.onnx", None, 2, "cannot be read: No such file"),
        ("broken.onnx", b"no network", 4, "broken.onnx cannot be read as a network"),
        ("broken.keras", b"no network", 4, "broken.keras cannot be read as a network"),
    ],
)
def test_a_file_that_is_no_such_network_is_named(
    images: Path, name: str, content: bytes | None, code: int, says: str, tmp_path: Path, capfd: Any
) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    output = tmp_path / "new.csv"
    ended, out, err = predict(
        capfd, "--images", images / "test.csv", "--data", images, "--workspace", tmp_path / "w",
        "--model", tmp_path / name, "--output", output,
    )  # fmt: skip
    assert ended == code and out == "" and says in err and not output.exists()
    assert "Traceback" not in err and "cv-train" not in err


@pytest.mark.parametrize("name", ["student.keras", "student.onnx"])
def test_a_network_of_another_competition_is_refused(files: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"of shape \(8, 8, 1\); expected \(28, 28, 1\)"):
        portable.open_network(files / name, (28, 28, 1), CLASSES)
    others = ("a", "b", "c") if name.endswith(".onnx") else ("0", "1")
    says = "tells 0, 1, 2 apart" if name.endswith(".onnx") else "has shape"
    with pytest.raises(ArtefactError, match=says) as error:
        portable.open_network(files / name, (8, 8, 1), others)(np.zeros((2, 8, 8), np.uint8))
    assert "kaggle-digits distil" in str(error.value.mend)


def test_a_members_own_network_is_no_such_file(tmp_path: Path) -> None:
    untrained().save(tmp_path / "model.keras")
    shown = np.random.default_rng(0).integers(0, 256, (5, 8, 8)).astype(np.uint8)
    with pytest.raises(ArtefactError, match="is no probability distribution"):
        portable.open_network(tmp_path / "model.keras", (8, 8, 1), CLASSES)(shown)


def test_without_onnxruntime_the_message_says_what_to_install(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="onnxruntime is not installed") as error:
        portable.open_network(files / "student.onnx", (8, 8, 1), CLASSES)
    assert "kaggle-digits[onnx]" in str(error.value.mend)


def test_the_lines_of_the_page_label_images_without_this_package(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert "kaggle_digits" not in lines
    shutil.copy(files / "student.onnx", tmp_path)
    monkeypatch.chdir(tmp_path)
    shown = np.random.default_rng(0).integers(0, 256, (2500, 8, 8)).astype(np.uint8)
    names: dict[str, Any] = {"images": shown}
    exec(compile(lines, "distil.md", "exec"), names)
    wanted = portable.open_network(files / "student.onnx", (8, 8, 1), CLASSES)(shown)
    np.testing.assert_allclose(names["probabilities"], wanted, atol=1e-5)
    assert list(names["labels"]) == [CLASSES[best] for best in wanted.argmax(axis=1)]
