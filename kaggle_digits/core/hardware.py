"""Keras made ready: which backend, how many threads, which precision, and no noise.

Nothing else sets these: they must be fixed before Keras is imported the first time. Libraries'
greetings on stdout and stderr are kept off by the shell, which owns the streams.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kaggle_digits.core import keras_settings
from kaggle_digits.ground.config import PRECISION_VARIABLE
from kaggle_digits.ground.names import AUTO, PRECISIONS, require_known

_MIXED_BF16 = "mixed_bfloat16"
_MIXED_F16 = "mixed_float16"
_FLOAT32 = "float32"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What training runs on, as it is stamped into every record.

    Args:
        backend: Keras backend: tensorflow, jax or torch.
        device: `cpu` or the accelerator's name.
        precision: Keras dtype policy.
        reason: Why this precision.
        threads: Threads of the CPU that computing may use.
        settings: Keras' own settings, which are the same for everybody, and what of the
            environment was left as it was.
    """

    backend: str
    device: str
    precision: str
    reason: str
    threads: int
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)


def set_threads(threads: int) -> bool:
    """Let this process compute with so many threads.

    Returns:
        Whether it will: once Keras is made ready, the number cannot be changed.
    """
    global _threads
    if prepare.cache_info().currsize:
        return prepare().threads == threads
    _threads = threads
    return True


_threads: int | None = None


@cache
def prepare() -> Hardware:
    """Import Keras with everything set, once in a process, and say what it runs on.

    Raises:
        ConfigurationError: The backend is unknown or missing, or the precision is unknown.
    """
    settings = _import_keras()
    import keras

    backend = str(keras.backend.backend())
    threads = _threads or available_threads()
    accelerator, capability = _accelerator(backend, threads)
    wanted = os.environ.get(PRECISION_VARIABLE, AUTO)
    if wanted == AUTO:
        precision, reason = choose_precision(backend, accelerator, capability, cpu_flags())
    else:
        precision, reason = named_precision(wanted), "asked for by name"
    keras.mixed_precision.set_dtype_policy(precision)
    return Hardware(backend, accelerator or "cpu", precision, reason, threads, settings)


def _import_keras() -> dict[str, Any]:
    """Import Keras with its surroundings set; return the settings that are recorded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # JAX would take three quarters of a GPU's memory at once, and leave none to other workers.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Whatever JAX has compiled is worth keeping, where the shell has named a folder for it.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    return keras_settings.load_keras()


def _backend() -> str:
    """Return the backend's name; Keras is imported for it, the number of threads stays open."""
    _import_keras()
    import keras

    return str(keras.backend.backend())


def begin_network() -> Hardware:
    """Forget the networks of this process, so that the next one is built on clean ground.

    Keras' clearing drops the precision as well, without a word; it is set again here.
    """
    ran_on = prepare()
    import keras

    keras.backend.clear_session()
    keras.mixed_precision.set_dtype_policy(ran_on.precision)
    return ran_on


def choose_precision(
    backend: str,
    accelerator: str | None,
    capability: tuple[int, int] | None,
    flags: frozenset[str],
) -> tuple[str, str]:
    """Choose the Keras dtype policy that is fast and safe on a device.

    Args:
        backend: Keras backend.
        accelerator: The GPU's name, or None for a CPU.
        capability: Its CUDA compute capability, None when unknown.
        flags: The CPU's feature flags as Linux names them.

    Returns:
        The policy's name, and the reason in words.
    """
    if accelerator is not None:
        if capability is not None and capability >= (8, 0):
            return _MIXED_BF16, f"{accelerator} multiplies bfloat16"
        if capability is not None and capability >= (7, 0):
            return _MIXED_F16, f"{accelerator} multiplies float16"
        return _FLOAT32, f"{accelerator} is not known to be faster with less"
    if backend == "jax":
        # Seen with jax 0.11.2 and avx512_bf16: logits of 1e37 from a network whose operations,
        # called one by one, gave 1.5.
        return _FLOAT32, "JAX compiles bfloat16 wrongly for CPUs"
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return _MIXED_BF16, f"the CPU has {flag}"
    return _FLOAT32, "the CPU has no bfloat16 units"


def named_precision(name: str) -> str:
    """Return the Keras dtype policy of a precision's name.

    Raises:
        ConfigurationError: The name is unknown.
    """
    require_known("The precision", name, [known for known in PRECISIONS if known != AUTO])
    return name if name == _FLOAT32 else f"mixed_{name}"


def available_gpus() -> int:
    """Return how many GPUs the backend sees; the number of threads stays open."""
    return len(_gpus(_backend()))


def is_accelerated() -> bool:
    """Say whether the backend computes on something else than the CPU."""
    backend = _backend()
    if backend != "jax":
        return bool(_gpus(backend))
    import jax

    return bool(jax.devices()[0].platform != "cpu")  # a TPU too


def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as Linux names them; empty where they cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def available_cores() -> list[int]:
    """Return the numbers of the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_threads() -> int:
    """Return how many threads computing may use: one for each core this process may use."""
    return len(available_cores())


def _accelerator(backend: str, threads: int) -> tuple[str | None, tuple[int, int] | None]:
    if backend == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        devices = _gpus(backend)
        if not devices:
            return None, None
        for device in devices:
            tensorflow.config.experimental.set_memory_growth(device, True)
        details = tensorflow.config.experimental.get_device_details(devices[0])
        return details.get("device_name", "GPU"), details.get("compute_capability")
    if backend == "torch":
        import torch

        if _gpus(backend):
            return torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
        return None, None
    import jax

    devices = jax.devices()  # a TPU too
    if devices[0].platform == "cpu":
        return None, None
    text = str(getattr(devices[0], "compute_capability", ""))
    major, _, minor = text.partition(".")
    capability = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return str(devices[0].device_kind), capability


def _gpus(backend: str) -> list[Any]:
    """Return the GPUs a backend sees, each as the backend itself names it."""
    if backend == "tensorflow":
        import tensorflow

        return list(tensorflow.config.list_physical_devices("GPU"))
    if backend == "torch":
        import torch

        return list(range(torch.cuda.device_count()))
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]
