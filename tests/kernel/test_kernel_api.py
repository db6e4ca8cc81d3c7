"""The kernel's way in Python: values come back, nothing is printed."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, ReadOnlyError, naming
from kaggle_digits.ground.progress import Silent
from kernel import api


def test_build_push_and_status_give_values_and_print_nothing(
    server: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    preset = load_presets()["quick"]
    made = api.build(tmp_path / "d", preset, 3, owner="tester", title="My Digits", budget=60.0)
    assert (made.id, made.title, made.plan.seed) == ("tester/my-digits", "My Digits", 3)
    assert made.script.stat().st_size == made.size and made.metadata.is_file()
    assert api.built_name(tmp_path / "d") == made.id
    pushed = api.push(tmp_path / "d", Silent())
    assert (pushed.kernel, pushed.version, pushed.state) == (made.id, 1, "started")
    assert server.saved[0]["text"] == made.script.read_text() and pushed.code == made.code
    assert api.status(made.id).state in ("queued", "running", "complete")
    for value in (made, pushed):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.code = "x"  # type: ignore[misc]
    assert capfd.readouterr() == ("", "")


def test_the_same_values_make_the_same_bytes_as_the_command(call: Any, tmp_path: Path) -> None:
    preset = load_presets()["medium"]
    made = api.build(tmp_path / "a", preset, 0, owner="tester")
    assert call("build", "--owner", "tester", "--preset", "medium", "--dir", tmp_path / "b")[0] == 0
    for path in (made.script, made.metadata):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_name_that_is_none_is_refused_before_kaggle_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no kernel's name"):
        api.status("alone")


def test_what_is_no_way_with_rare_classes_is_refused(tmp_path: Path) -> None:
    preset = load_presets()["quick"]
    for name, value in (("rare", "dorp"), ("class_weights", "even")):
        with pytest.raises(ConfigurationError, match=f"{name} was given as '{value}'"):
            api.build(tmp_path / "d", preset, 0, **{name: value})
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("number", "kind", "mend"),
    [
        (
            errno.ENOSPC,
            ArtefactError,
            "Make room, or put --dir on another disk, and call the command again.",
        ),
        (errno.EROFS, ReadOnlyError, "Check its permissions, or give another --dir."),
    ],
)
def test_a_place_that_takes_no_script_is_told_by_its_own_option(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[ArtefactError],
    mend: str,
) -> None:
    """It was to be put right by another --workspace, which the script does not go into."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArtefactError, match=r"kaggle_digits_kernel\.py") as refused:
        api.build(tmp_path / "d", load_presets()["quick"], 0)
    assert type(refused.value) is kind and refused.value.mend == mend
    assert list((tmp_path / "d").iterdir()) == []


def test_an_error_that_has_no_mend_gets_none() -> None:
    with pytest.raises(ArtefactError, match="It is broken") as refused, naming("--dir"):
        raise ArtefactError("It is broken.")
    assert refused.value.mend is None
