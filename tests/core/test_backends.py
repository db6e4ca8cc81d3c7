"""The core on Keras' other backends, where these are installed (the extras `jax` and `torch`).

A backend is chosen before Keras is loaded, so each has a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = ("test_networks.py", "test_training.py")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_core_passes_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(str(HERE / name) for name in CORE)],
        cwd=HERE.parents[1],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
