"""The kernel's way in Python: values come back, nothing is printed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.errors import ConfigurationError
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
