"""The student on disk: its files, its figures beside the blend's, and how fast both are."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.blending import figures
from ensembles.by_metric import Judge, judge_of
from ensembles.distilling import Course, Teachers, made_by
from ensembles.evaluation import compare, row_results
from ensembles.results import Distilled
from ensembles.stored import StoredBlend
from kaggle_digits.core import inference, portable
from kaggle_digits.core.arrays import load_array, npy_bytes
from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.core.metrics import fit_thresholds, named_by
from kaggle_digits.core.predictions import require_softmax, score
from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.figures import Figure, require_figures
from kaggle_digits.ground.files import whole_folder, write_json
from kaggle_digits.ground.progress import Progress, counted
from kaggle_digits.ground.stamps import versions
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.plan import MemberKey

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

KERAS, ONNX = "student.keras", "student.onnx"
_ABOUT = "student.json"
_OOF, _TEST = "oof.npy", "test.npy"
_SHOWN = 2048
_CALLS = 3
_MEND = "Delete its folder and call `kaggle-digits distil` again."


def folder_of(workspace: Workspace) -> Path:
    """Return where the student is."""
    return workspace.ensembles / "distilled"


def read(workspace: Workspace) -> dict[str, Any] | None:
    """Return the account of the student that is there; None where there is none.

    Raises:
        ArtefactError: It is broken, or a file beside it is not the one that was stored.
    """
    folder = folder_of(workspace)
    if not folder.is_dir():
        return None
    about = read_artefact(folder / _ABOUT, _build, "a student's account", _MEND)
    for name, wanted in about["sha256"].items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ArtefactError(
                f"{folder / name} cannot be read: {error.strerror or error}.", mend=_MEND
            ) from error
        if found != wanted:
            raise ArtefactError(f"{folder / name} is not the file that was stored.", mend=_MEND)
    return about


def read_arrays(
    workspace: Workspace, about: dict[str, Any], dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored probabilities: of the judged rows, and of the test images.

    Raises:
        ArtefactError: They are not what the account says.
    """
    classes = len(dataset.competition.classes)
    arrays = []
    for name, rows in ((_OOF, about["rows"]), (_TEST, len(dataset.test_images))):
        path = folder_of(workspace) / name
        try:
            array = load_array(path)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read: {error}.", mend=_MEND) from error
        require_softmax(array, (rows, classes), str(path), _MEND)
        arrays.append(array)
    return arrays[0], arrays[1]


def remarks(teachers: Teachers, blend: StoredBlend, planned: Sequence[MemberKey]) -> list[str]:
    """Return what of a blend a student does not learn, or learns otherwise, in words.

    Args:
        teachers: Who teaches.
        blend: What is learned.
        planned: All members of the plan.

    Raises:
        ArtefactError: The blend was not judged on all rows that the student will be judged on.
    """
    _of_blend(blend, teachers.pool.rows)  # before hours are spent
    said = []
    joined, teaching = set(blend.about["members"]), {key.name for key in teachers.keys}
    extras = {extra["name"] for extra in blend.about.get("extras", ())}
    of_all = joined & {key.name for key in planned if key.fold is None}
    gone = joined - {key.name for key in planned} - extras
    others = joined - of_all - gone - teaching
    if of_all:
        said.append(
            f"{counted(len(of_all), 'member')} of all rows cannot teach: they have seen every label"
        )
    near = blend.about.get("neighbours")
    if isinstance(near, Mapping) and near.get("helps"):
        said.append("what the nearest training images said is not taught: no network says it")
    if others:
        said.append(
            f"{counted(len(others), 'prediction')} of the blend cannot teach: made elsewhere, "
            "or by members of other folds than the plan's"
        )
    if gone or teaching - joined:
        said.append(
            f"the plan has changed since the blend: {counted(len(teaching - joined), 'teacher')} "
            f"not in it, {counted(len(gone), 'member')} of it no longer planned and not teaching"
        )
    if not teachers.has_networks:
        said.append(
            "the members' networks were not kept, so training images teach by their labels, and "
            "test images by what the blend says; `cv-train --add --keep-weights` keeps them"
        )
    return said


def require_form(output: Path) -> None:
    """Refuse a name for the network that says no form, or one that cannot be written here.

    Raises:
        ConfigurationError: It is such a name.
    """
    portable.require_form("output", output)
    if output.suffix == ".onnx" and (reason := _no_onnx()):
        raise ConfigurationError(f"--output was given as {output}; {reason[0]}.", mend=reason[1])


def content(workspace: Workspace, output: Path) -> bytes:
    """Return the network's file in the form that a name asks for."""
    return (folder_of(workspace) / f"student{output.suffix}").read_bytes()


def publish(
    workspace: Workspace,
    dataset: Dataset,
    teachers: Teachers,
    course: Course,
    blend: StoredBlend,
    oof: np.ndarray,
    network: bytes,
    progress: Progress,
) -> dict[str, Any]:
    """Judge a student, write its files, and return its account.

    Args:
        workspace: Where it is stored.
        dataset: The data.
        teachers: Who taught.
        course: How.
        blend: What was learned.
        oof: Softmax of the folds' students on the pool's rows, float [rows, classes].
        network: The delivered student as a portable Keras file.
        progress: Told why there is no ONNX file, where there is none.

    Raises:
        ArtefactError: A network is broken, or the place cannot be written.
    """
    model = portable.load(network)
    test = inference.outputs(model, dataset.test_images)
    store = MemberStore(workspace)
    kept = teachers.has_networks
    about = {
        "made_by": made_by(teachers, course),
        "data_digest": dataset.digest,
        "config": course.config.to_json(),
        "epochs": course.epochs,
        "seed": course.seed,
        "method": course.method,
        "members": [key.name for key in teachers.keys],
        "learned": "probabilities" if kept else "labels and probabilities",
        **_beside(workspace, dataset, teachers, blend, oof, test),
        "parameters": int(model.count_params()),
        "images_per_second": pace(partial(inference.outputs, model), dataset.test_images),
        "ensemble_bytes": sum(store.model_path(key).stat().st_size for key in teachers.keys)
        if kept
        else None,
        "ensemble_images_per_second": ensemble_pace(store, teachers.keys, dataset.test_images)
        if kept
        else None,
    }
    return _store(workspace, about, oof, test, network, dataset, progress)


def take_up(
    workspace: Workspace,
    about: dict[str, Any],
    dataset: Dataset,
    teachers: Teachers,
    blend: StoredBlend,
    progress: Progress,
) -> dict[str, Any]:
    """Return the account of a student that is there, beside the blend as it is now.

    A blend by another metric, or of further predictions of the test images, is another one to stand
    beside, though the student learned nothing else. The ONNX file is written if there is none, and
    it can be written now.

    Raises:
        ArtefactError: Its probabilities are broken, ONNX gives others, or the place cannot be
            written.
    """
    oof, test = read_arrays(workspace, about, dataset)
    now = {name: value for name, value in about.items() if name not in ("metric", "thresholds")}
    now |= _beside(workspace, dataset, teachers, blend, oof, test)
    if about["onnx_bytes"] is None:
        network = (folder_of(workspace) / KERAS).read_bytes()
        return _store(workspace, now, oof, test, network, dataset, progress)
    if now != about:
        write_json(folder_of(workspace) / _ABOUT, now)
    return now


def _beside(
    workspace: Workspace,
    dataset: Dataset,
    teachers: Teachers,
    blend: StoredBlend,
    oof: np.ndarray,
    test: np.ndarray,
) -> dict[str, Any]:
    """Return a student's figures beside the blend's, on the rows that both are judged on."""
    rows = teachers.pool.rows
    labels = dataset.labels[rows]
    blended = _of_blend(blend, rows)
    groups = dataset.groups_of(rows)
    own, theirs = score(oof, labels, groups), score(blended, labels, groups)
    judge = judge_of(kept_metric(workspace), labels, teachers.folds.of_row[rows], groups)
    found = {
        **figures("oof", own),
        **figures("blend", theirs),
        "rows": own.rows,
        "against_blend": asdict(
            compare(row_results(oof, labels), row_results(blended, labels), groups)
        ),
    }
    thresholds = None
    if judge is not None:
        found["metric"] = _by_metric(judge, oof, blended)
        if judge.metric == "qwk":
            thresholds = fit_thresholds(oof, labels)
            found["thresholds"] = list(thresholds)
    answers = named_by(blend.about.get("thresholds"), blend.test)
    agreed = named_by(thresholds, test) == answers
    return found | {"test_agreement": float(np.mean(agreed))}


def _of_blend(blend: StoredBlend, rows: np.ndarray) -> np.ndarray:
    """Return what a blend says of training rows, float32 [rows, classes].

    Raises:
        ArtefactError: It was not judged on some of them.
    """
    judged = np.isin(rows, blend.rows)
    if not judged.all():
        raise ArtefactError(
            f"The blend was judged on {int(judged.sum()):,} of the {len(rows):,} training rows "
            "that the student is judged on; expected all of them.",
            mend="Call `kaggle-digits blend` again; where planned members of other folds leave "
            "rows out of it, call `kaggle-digits cv-train` without --add first.",
        )
    return blend.oof[np.searchsorted(blend.rows, rows)]


def _by_metric(judge: Judge, oof: np.ndarray, blended: np.ndarray) -> dict[str, Any]:
    own, theirs = judge(oof), judge(blended)
    return {
        "oof": own.figure.to_json(),
        "blend": theirs.figure.to_json(),
        "against_blend": asdict(own.against(theirs)),
    }


def value(
    workspace: Workspace, about: dict[str, Any], dataset: Dataset, *, trained: bool
) -> Distilled:
    """Return a student as the API does.

    Args:
        workspace: Where it is.
        about: Its account.
        dataset: The data.
        trained: Whether it was trained now.

    Raises:
        ArtefactError: Its probabilities are broken.
    """
    oof, test = read_arrays(workspace, about, dataset)
    folder = folder_of(workspace)
    return Distilled(
        path=folder / KERAS,
        onnx=None if about["onnx_bytes"] is None else folder / ONNX,
        oof=oof,
        test=test,
        about=about,
        trained=trained,
        classes=dataset.competition.classes,
    )


def _no_onnx() -> tuple[str, str] | None:
    """Return why no ONNX file can be written, and how to mend it; None if it can."""
    missing = portable.missing_for_onnx()
    if missing:
        return f"not installed: {', '.join(missing)}", "Call pip install 'kaggle-digits[onnx]'."
    if require_backend() != "tensorflow":
        return "ONNX is written on TensorFlow alone", "Call it with KERAS_BACKEND=tensorflow."
    return None


def pace(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """Return images per second, once the first call has been made.

    Args:
        predict: From uint8 [n, height, width] to probabilities.
        images: Some; they are repeated until they are enough.
    """
    shown = np.resize(images, (_SHOWN, *images.shape[1:]))
    predict(shown)
    started = time.perf_counter()
    for _ in range(_CALLS):
        predict(shown)
    return _CALLS * _SHOWN / (time.perf_counter() - started)


def ensemble_pace(store: MemberStore, keys: Sequence[MemberKey], images: np.ndarray) -> float:
    """Return images per second of all members' networks together, one after the other.

    One network of each configuration is timed; the others like it take as long.

    Raises:
        ArtefactError: A network is broken.
    """
    seconds = 0.0
    alike = Counter(key.config for key in keys)
    for config, count in alike.items():
        model = inference.load(
            store.checked_model(next(key for key in keys if key.config == config))
        )

        def predict(shown: np.ndarray, model: Any = model, config: Any = config) -> np.ndarray:
            return inference.predict(model, shown, config)

        seconds += count / pace(predict, images)
    return 1 / seconds


def _store(
    workspace: Workspace,
    about: dict[str, Any],
    oof: np.ndarray,
    test: np.ndarray,
    network: bytes,
    dataset: Dataset,
    progress: Progress,
) -> dict[str, Any]:
    """Store a student whole or not at all; return its account with what is known of its files."""
    arrays = {_OOF: oof, _TEST: test}
    out = {name: npy_bytes(one.astype(np.float32)) for name, one in arrays.items()}
    out[KERAS] = network
    of_onnx: dict[str, Any] = {
        "onnx_bytes": None, "onnx_apart": None, "onnx_images_per_second": None
    }  # fmt: skip
    reason = _no_onnx()
    if reason is None:
        images = dataset.test_images
        classes = dataset.competition.classes
        out[ONNX] = portable.onnx_bytes(portable.load(network), classes)
        answers = portable.OnnxNetwork(out[ONNX]).predict
        of_onnx = {
            "onnx_bytes": len(out[ONNX]),
            "onnx_apart": portable.require_same(answers(images), test, ONNX),
            "onnx_images_per_second": pace(answers, images),
        }
    else:
        progress.say(f"distil: no ONNX file: {' '.join(reason)} Then call it again.")
    whole = {
        **about,
        **of_onnx,
        "keras_bytes": len(network),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in out.items()},
        "versions": versions(),
    }
    with whole_folder(folder_of(workspace)) as folder:
        for name, content in out.items():
            (folder / name).write_bytes(content)
        write_json(folder / _ABOUT, whole)
    return whole


def _build(values: object) -> dict[str, Any]:
    fields = Fields(values)
    fields.text("made_by")
    fields.whole("rows", least=1)
    fields.texts("members")
    for prefix in ("oof", "blend"):
        require_figures(fields, f"{prefix}_")
    apart = fields.within("against_blend")
    for name in ("images", "images_low", "images_high", "log_loss", "log_loss_low",
                 "log_loss_high"):  # fmt: skip
        apart.number(name)
    if "metric" in fields:
        told = fields.within("metric")
        for prefix in ("oof", "blend"):
            Figure.from_json(told.within(prefix))
        for name in ("value", "low", "high"):
            told.within("against_blend").number(name)
    fields.mapping("sha256")
    fields.whole("parameters", least=1)
    fields.whole("keras_bytes", least=1)
    for name in ("onnx_bytes", "onnx_apart", "onnx_images_per_second", "images_per_second",
                 "ensemble_bytes", "ensemble_images_per_second", "test_agreement"):  # fmt: skip
        fields.number_or_none(name)
    return fields.all()
