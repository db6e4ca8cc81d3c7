"""A user's own settings of Keras: they change no result, break nothing, and the backend is checked.

Keras reads them when it is imported, so each case has a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_digits.core import keras_settings
from kaggle_digits.ground.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]

ASK = """
import json, multiprocessing, os
def ask():
    from kaggle_digits.core import hardware
    ran_on = hardware.begin_network()
    import keras
    print(json.dumps({
        "floatx": keras.config.floatx(), "epsilon": keras.config.epsilon(),
        "format": keras.config.image_data_format(), "backend": keras.config.backend(),
        "epochs": keras.config.max_epochs(), "steps": keras.config.max_steps_per_epoch(),
        "nnx": keras.config.is_nnx_enabled(), "policy": keras.config.dtype_policy().name,
        "recorded": ran_on.to_json(),
    }), flush=True)
if __name__ == "__main__":
    ask()
    if "ALONE" in os.environ:
        raise SystemExit
    worker = multiprocessing.get_context("spawn").Process(target=ask)
    worker.start()
    worker.join()
"""

ANOTHER_PROJECTS = {
    "floatx": "float64", "epsilon": 0.5, "image_data_format": "channels_first",
    "backend": "torch", "nnx_enabled": True,
}  # fmt: skip
REFUSED_BY_KERAS = {"floatx": "float8", "epsilon": 1, "image_data_format": "x"}


def said(tmp_path: Path, home: Path, **environment: str) -> list[dict]:
    """What this process and a worker of it say of their settings."""
    script = tmp_path / "ask.py"
    script.write_text(ASK)
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KERAS") and name != "TF_ENABLE_ONEDNN_OPTS"
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**given, "HOME": str(home), "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict:
    """The settings of somebody who has set nothing."""
    place = tmp_path_factory.mktemp("usual")
    (own,) = said(place, place, ALONE="1")
    assert not (place / ".keras").exists()
    return own


def test_what_holds_is_recorded(usual):
    assert usual["recorded"]["settings"] == {
        "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last",
        "environment": {},
    }  # fmt: skip
    assert (usual["floatx"], usual["format"]) == ("float32", "channels_last")
    assert usual["policy"] == usual["recorded"]["precision"]


def test_another_projects_file_and_environment_change_nothing(usual, tmp_path):
    """In this process and in a worker."""
    elsewhere = tmp_path / "keras"
    elsewhere.mkdir()
    (elsewhere / "keras.json").write_text(json.dumps(ANOTHER_PROJECTS))
    own, worker = said(
        tmp_path,
        tmp_path,
        KERAS_HOME=str(elsewhere),
        KERAS_BACKEND="",
        KERAS_MAX_EPOCHS="1",
        KERAS_MAX_STEPS_PER_EPOCH="many",
        KERAS_NNX_ENABLED="true",
        KERASTUNER_ORACLE_IP="10.0.0.1",
        TF_ENABLE_ONEDNN_OPTS="0",
    )
    assert own == worker
    assert own["recorded"]["settings"].pop("environment") == {"TF_ENABLE_ONEDNN_OPTS": "0"}
    expected = json.loads(json.dumps(usual))
    del expected["recorded"]["settings"]["environment"]
    assert own == expected
    assert json.loads((elsewhere / "keras.json").read_text()) == ANOTHER_PROJECTS


def test_a_file_that_keras_refuses_breaks_nothing(usual, tmp_path):
    folder = tmp_path / ".keras"
    folder.mkdir()
    (folder / "keras.json").write_text(json.dumps(REFUSED_BY_KERAS))
    assert said(tmp_path, tmp_path, ALONE="1") == [usual]


def test_keras_that_was_loaded_before_is_set_right_too():
    from kaggle_digits.core import hardware

    hardware.prepare()
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.5)
    keras.config.set_max_epochs(1)
    assert keras_settings.load_keras()["floatx"] == "float32"
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.max_epochs() is None


COMPUTING = (["run"], ["tune"], ["cv-train"], ["predict", "--images", "x.png"])


@pytest.mark.parametrize("words", COMPUTING, ids=" ".join)
@pytest.mark.parametrize(
    ("backend", "says"),
    [("tensorfow", "Did you mean 'tensorflow'?"), ("jax", "not installed"), ("numpy", "Known are")],
)
def test_a_backend_that_cannot_be_is_one_line_before_anything_runs(
    words, backend, says, made, call, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    find = importlib.util.find_spec
    monkeypatch.setattr(keras_settings, "find_spec", lambda n: None if n == "jax" else find(n))
    code, out, err = call(*words, "--data", made.folder, "--workspace", tmp_path / "w")
    assert code == 2 and out == ""
    lines = err.splitlines()
    assert len(lines) == 2 and f"KERAS_BACKEND={backend}" in lines[0].replace("'", "")
    assert says in err
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["log.txt"]


def test_what_computes_nothing_asks_for_no_backend(call, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "none")
    assert call("clean", "--workspace", tmp_path / "w")[0] == 0
    code, _, err = call("tune", "--show", "--workspace", tmp_path / "w")
    assert code == 4 and "There is no study" in err


def test_a_backend_that_is_installed_and_broken_is_named(tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise ImportError('no libjax here')")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from kaggle_digits.core import hardware\n"
            "from kaggle_digits.ground.errors import ConfigurationError\n"
            "try: hardware.prepare()\n"
            "except ConfigurationError as error: print(error.message)",
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "KERAS_BACKEND": "jax",
        },
    )
    assert "Keras cannot be loaded on the backend jax: no libjax here" in done.stdout
    assert ConfigurationError.exit_code == 2
