"""A trained network as files that other programs read: plain Keras, and ONNX.

Both take uint8 images [n, height, width, 1], in colour with 3 planes, as they came and give
probabilities, float32 [n, classes]; nothing of this package is needed to load them.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, first_line, shorten

if TYPE_CHECKING:
    import keras

ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
"""What writing and checking ONNX needs; the extra `onnx` installs them."""

ONNX_TOLERANCE = 1e-4
"""How far a probability by ONNX may lie from the one by Keras: some 1e-7 is usual, by rounding."""

INPUT, OUTPUT = "images", "probabilities"
CLASSES = "classes"
"""The entry of an ONNX file's metadata that names the columns, a list as JSON."""

_KERAS, _ONNX = FORMS = ".keras", ".onnx"
_ONNX_BATCH = 2048
_MEND = "Give a network that `kaggle-digits distil` made for this competition."


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


def onnx_bytes(model: keras.Model, classes: Sequence[str]) -> bytes:
    """Return an ONNX file's bytes; the backend has to be TensorFlow.

    Args:
        model: From `portable`.
        classes: Names of the columns of its probabilities.
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
    onnx.helper.set_model_props(made, {CLASSES: json.dumps(list(classes))})
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


class OnnxNetwork:
    """An ONNX file, run by onnxruntime.

    Args:
        content: The file's bytes.

    Attributes:
        shape: Height, width and planes of the images that it takes; empty where it takes others
            than `onnx_bytes` writes.
        classes: Names of the columns; empty where the file has none.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = hardware.prepare().threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        takes = {(one.name, one.type): one.shape for one in self._session.get_inputs()}
        self.shape = tuple(takes.get((INPUT, "tensor(uint8)"), ())[1:])
        about = self._session.get_modelmeta().custom_metadata_map
        self.classes = tuple(json.loads(about.get(CLASSES, "[]")))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities, float32 [n, classes].

        Args:
            images: uint8 [n, height, width], in colour [n, height, width, 3].
        """
        given = images[..., np.newaxis] if images.ndim == 3 else images
        starts = range(0, max(len(given), 1), _ONNX_BATCH)  # no image at all has an answer as well
        parts = [given[start : start + _ONNX_BATCH] for start in starts]
        return np.concatenate([self._session.run(None, {INPUT: part})[0] for part in parts])


def require_form(option: str, path: Path) -> None:
    """Refuse a network's name that says neither of the two forms.

    Args:
        option: Which option the name was given by.
        path: The name.

    Raises:
        ConfigurationError: It is such a name.
    """
    if path.suffix not in FORMS:
        raise ConfigurationError(
            f"--{option} was given as {path}; expected a name that ends in {' or '.join(FORMS)}."
        )


def open_network(
    path: Path, image: tuple[int, int, int], classes: Sequence[str]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what a network's file answers.

    Args:
        path: The file, in one of the two forms.
        image: Height, width and planes of the images that it will be asked about.
        classes: Names of the columns that are expected.

    Returns:
        A function from uint8 [n, height, width], in colour [n, height, width, 3], to probabilities,
        float32 [n, classes].

    Raises:
        ConfigurationError: Its name says no form, it cannot be read, or onnxruntime is missing.
        ArtefactError: It is no such network, or one of other images or classes; the function
            raises it too, for answers that are no probabilities.
    """
    require_form("model", path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"--model was given as {path}, which cannot be read: {error.strerror or error}.",
            mend=_MEND,
        ) from error
    ask: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int | None, ...]
    named: tuple[str, ...] = ()
    if path.suffix == _KERAS:
        from kaggle_digits.core import inference

        model = inference.load(path, _MEND)
        ask = partial(inference.outputs, model)
        shape = tuple(model.input_shape[1:])
    else:
        if util.find_spec("onnxruntime") is None:
            raise ConfigurationError(
                f"--model was given as {path}; onnxruntime is not installed.",
                mend="Call pip install 'kaggle-digits[onnx]', or give the .keras file.",
            )
        try:
            network = OnnxNetwork(content)
        except Exception as error:  # onnxruntime's errors have no class of their own in common
            raise ArtefactError(
                f"{path} cannot be read as a network: {first_line(error)}", mend=_MEND
            ) from error
        ask, shape, named = network.predict, network.shape, network.classes
    if shape != image:
        raise ArtefactError(
            f"{path} takes images of shape {shape}; expected {image} (height, width, planes), as "
            "in the competition.",
            mend=_MEND,
        )
    if named and named != tuple(classes):
        raise ArtefactError(
            f"{path} tells {shorten(named)} apart; expected {shorten(classes)}, as in the "
            "competition.",
            mend=_MEND,
        )

    def answer(images: np.ndarray) -> np.ndarray:
        found = ask(images)
        require_softmax(found, (len(images), len(classes)), f"What {path} answers", _MEND)
        return found

    return answer


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
