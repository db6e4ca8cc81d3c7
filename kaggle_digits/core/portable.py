"""A trained network as files that other programs read: plain Keras, and ONNX.

Both take uint8 images [n, height, width, 1], in colour with 3 planes, as they came and give
probabilities, float32 [n, classes]; nothing of this package is needed to load them.
"""

from __future__ import annotations

import tempfile
import warnings
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.ground.errors import ArtefactError

if TYPE_CHECKING:
    import keras

ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
"""What writing and checking ONNX needs; the extra `onnx` installs them."""

ONNX_TOLERANCE = 1e-4
"""How far a probability by ONNX may lie from the one by Keras: some 1e-7 is usual, by rounding."""

INPUT, OUTPUT = "images", "probabilities"


def missing_for_onnx() -> list[str]:
    """Return the packages that are not installed and without which no ONNX file is written."""
    return [name for name in ONNX_PACKAGES if util.find_spec(name) is None]


def portable(model: keras.Model) -> keras.Model:
    """Return a trained network made of Keras' own layers alone, in float32, with probabilities.

    Args:
        model: From uint8 [batch, height, width, planes] to logits; as `networks.build` makes it.
    """
    import keras
    from keras import layers

    from kaggle_digits.core.networks import FusedBatchNormalization, WholeMapConv2D

    # Ours compute the same as their parents, only faster while training.
    parents: dict[type, Any] = {
        FusedBatchNormalization: layers.BatchNormalization,
        WholeMapConv2D: layers.Conv2D,
    }

    def plain(layer: Any) -> Any:
        config = layer.get_config()
        if not isinstance(layer, layers.InputLayer):
            config["dtype"] = "float32"
        return parents.get(type(layer), type(layer)).from_config(config)

    copy = keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    probabilities = layers.Softmax(dtype="float32", name=OUTPUT)(copy.outputs[0])
    return keras.Model(copy.inputs[0], probabilities)


def keras_bytes(model: keras.Model) -> bytes:
    """Return a Keras file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"  # Keras chooses the form by the name's end
        model.save(path)
        return path.read_bytes()


def load(content: bytes) -> keras.Model:
    """Return the network of a Keras file's bytes."""
    from kaggle_digits.core import inference

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return inference.load(path)


def onnx_bytes(model: keras.Model) -> bytes:
    """Return an ONNX file's bytes; the backend has to be TensorFlow.

    Args:
        model: From `portable`.
    """
    import keras
    import onnx

    _, height, width, channels = model.input_shape
    given = keras.InputSpec(shape=(None, height, width, channels), dtype="uint8", name=INPUT)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # tf2onnx still asks NumPy for names that NumPy 2 no longer has.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        model.export(path, format="onnx", verbose=False, input_signature=[given])
        made = onnx.load(path)
    (output,) = made.graph.output
    for node in made.graph.node:
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
    output.name = OUTPUT
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


class OnnxNetwork:
    """An ONNX file, run by onnxruntime.

    Args:
        content: The file's bytes.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = hardware.prepare().threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities, float32 [n, classes].

        Args:
            images: uint8 [n, height, width], in colour [n, height, width, 3].
        """
        given = images[..., np.newaxis] if images.ndim == 3 else images
        found: np.ndarray = self._session.run(None, {INPUT: given})[0]
        return found


def require_same(found: np.ndarray, wanted: np.ndarray, name: str) -> float:
    """Return how far two networks' probabilities lie apart at most.

    Args:
        found: By the one that is checked, float [n, classes].
        wanted: By the other.
        name: How the message names it.

    Raises:
        ArtefactError: They are not the same within `ONNX_TOLERANCE`.
    """
    apart = float(np.abs(found.astype(np.float64) - wanted).max())
    if not apart <= ONNX_TOLERANCE:
        raise ArtefactError(
            f"{name} gives other probabilities than the network it was made of: they lie "
            f"{apart:.2g} apart, {ONNX_TOLERANCE:g} at most was expected.",
            mend="Please report it, with the versions of tf2onnx and onnxruntime.",
        )
    return apart
