"""What a user's own settings of Keras could change, fixed: the same seed, the same result.

Keras reads `~/.keras/keras.json` and variables of the environment when it is imported. A file that
somebody wrote for another project must neither change what is trained here nor keep Keras from
being loaded. The backend alone is the user's choice, by KERAS_BACKEND.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kaggle_digits.ground.errors import ConfigurationError, did_you_mean

BACKENDS = ("tensorflow", "jax", "torch")
BACKEND_VARIABLE = "KERAS_BACKEND"

_HOME = "KERAS_HOME"
_FLOATX, _EPSILON, _FORMAT = "float32", 1e-7, "channels_last"
_DROPPED = (
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
    "KERASTUNER_TUNER_ID",
    "JAX_ENABLE_X64",
)
_RECORDED = (
    "JAX_DEFAULT_MATMUL_PRECISION",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)
"""What a machine may be set up with and what the last digits of a result can depend on."""


def require_backend() -> str:
    """Return the name of the backend that Keras will run on, without loading anything.

    Raises:
        ConfigurationError: KERAS_BACKEND names none, or one that is not installed.
    """
    name = os.environ.get(BACKEND_VARIABLE) or BACKENDS[0]
    if name not in BACKENDS:
        raise ConfigurationError(
            f"The Keras backend was given as {BACKEND_VARIABLE}={name!r}.",
            mend=did_you_mean(name, BACKENDS),
        )
    if find_spec(name) is None:
        raise ConfigurationError(
            f"The Keras backend was given as {BACKEND_VARIABLE}={name}, which is not installed.",
            mend=f"Install it (`pip install {name}`), or leave {BACKEND_VARIABLE} unset for "
            f"{BACKENDS[0]}.",
        )
    return name


def share_compiled(folder: Path) -> None:
    """Let JAX keep what it compiles in a folder, unless the user has said where.

    It compiles each network anew, for longer than a member trains on a fast GPU.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))


def load_keras() -> dict[str, Any]:
    """Import Keras as it comes, whatever the user has set, and say what holds.

    Returns:
        What is recorded beside each result: the fixed settings, and those variables of the
        environment that are left alone though the last digits of a result can depend on them.

    Raises:
        ConfigurationError: There is no such backend, or it cannot be loaded.
    """
    os.environ[BACKEND_VARIABLE] = backend = require_backend()
    for name in _DROPPED:
        os.environ.pop(name, None)
    theirs = os.environ.get(_HOME)
    # An empty place, so that no file is read; Keras writes one there with its own defaults.
    with TemporaryDirectory(prefix="kaggle-digits-") as home:
        os.environ[_HOME] = home
        try:
            import keras
        except ImportError as error:
            raise ConfigurationError(
                f"Keras cannot be loaded on the backend {backend}: {error}.",
                mend=f"Install {backend} anew, or leave {BACKEND_VARIABLE} unset for "
                f"{BACKENDS[0]}.",
            ) from error
        finally:
            if theirs is None:
                del os.environ[_HOME]
            else:
                os.environ[_HOME] = theirs
    # Once more, for a process that had loaded Keras before.
    keras.config.set_floatx(_FLOATX)
    keras.config.set_epsilon(_EPSILON)
    keras.config.set_image_data_format(_FORMAT)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    return {
        "floatx": _FLOATX,
        "epsilon": _EPSILON,
        "image_data_format": _FORMAT,
        "environment": {name: os.environ[name] for name in _RECORDED if name in os.environ},
    }
