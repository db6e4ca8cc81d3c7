"""The checkpoint of a training run: all a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.files import remove, write_bytes

if TYPE_CHECKING:
    import keras


_UNFIT = (
    OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, SyntaxError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a file that is no checkpoint, or half of one, makes NumPy raise."""


@dataclass(slots=True)
class Progressed:
    """How far a run is.

    Args:
        history: Mean loss of each epoch done, nats.
        seconds: Wall time they took.
    """

    history: list[float]
    seconds: float


class Checkpoint:
    """Every variable of a model and its optimizer, and how far the run is, in one file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, model: keras.Model, state: Progressed) -> None:
        """Write the file, whole."""
        from keras.ops import convert_to_numpy

        arrays: dict[str, Any] = {
            f"v{i}": convert_to_numpy(v) for i, v in enumerate(_variables(model))
        }
        about = json.dumps({"history": state.history, "seconds": state.seconds})
        buffer = io.BytesIO()
        np.savez(buffer, about=np.asarray(about), **arrays)
        write_bytes(self.path, buffer.getvalue())

    def restore(self, model: keras.Model) -> Progressed:
        """Bring a model to the checkpoint's state; a missing or unfit file means the start."""
        variables = _variables(model)
        try:
            # Opened here: NumPy would leave a file that is none open.
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                about = Fields(json.loads(str(stored["about"])))
                state = Progressed(about.numbers("history"), about.number("seconds"))
                arrays = [stored[f"v{i}"] for i in range(len(variables))]
        except _UNFIT:
            return Progressed([], 0.0)
        if any(tuple(v.shape) != a.shape for v, a in zip(variables, arrays, strict=True)):
            return Progressed([], 0.0)
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        return state

    def drop(self) -> None:
        """Remove the file."""
        remove(self.path)


def _variables(model: keras.Model) -> list[Any]:
    # Layers' variables include the dropouts' random streams; metrics are made anew every epoch.
    seen = {id(v): v for layer in model.layers for v in layer.variables}
    return [*seen.values(), *model.optimizer.variables]
