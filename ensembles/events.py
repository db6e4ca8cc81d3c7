"""What trackers are told of members, of a blend, and of a student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensembles.results import Blended, CrossValidated, Distilled
from kaggle_digits.ground.events import Event, known
from kaggle_digits.ground.figures import FIGURES
from kaggle_digits.ground.names import RANKING
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.plan import MemberKey


def of_members(found: CrossValidated, store: MemberStore, preset: str, seed: int) -> Event:
    """Return what a cross-validation has come to: the members' own figures, each on its fold."""
    return Event(
        step="cv-train",
        name="cv-train",
        parameters={
            "preset": preset,
            "seed": seed,
            "folds": found.folds,
            "configurations": found.configurations,
            "fold_sets": found.fold_sets,
        },
        scores={"members": len(found.keys)},
        artefacts={"plan": store.plan},
        parts=tuple(_member(key, store.record(key)) for key in found.keys),
    )


def of_blend(found: Blended, seed: int, submission: Path) -> Event:
    """Return what a blend has come to: its honest figures, the submission, the probabilities.

    Args:
        found: The blend.
        seed: Of the folds.
        submission: The workspace's own file: another place may be a pipe.
    """
    about = found.about
    return Event(
        step="blend",
        name=f"blend {found.method}",
        parameters={
            "method": found.method,
            "seed": seed,
            "members": len(found.members),
            "folds": about["folds"],
            "data": about["data_digest"],
        },
        scores=_figures(about, "oof")
        | _metric(about)
        | known({"temperature": about["temperature"]}),
        artefacts={"submission": submission, "predictions": found.predictions},
    )


def of_student(found: Distilled) -> Event:
    """Return what a distillation has come to: the student's figures beside the blend's."""
    about = found.about
    sizes = (
        "keras_bytes", "onnx_bytes", "ensemble_bytes", "images_per_second",
        "onnx_images_per_second", "ensemble_images_per_second",
    )  # fmt: skip
    files = {"network": found.path} | ({} if found.onnx is None else {"onnx": found.onnx})
    return Event(
        step="distil",
        name="distil",
        parameters=about["config"] | {"epochs": about["epochs"], "seed": about["seed"]},
        scores=_figures(about, "oof")
        | _figures(about, "blend")
        | known({name: about[name] for name in sizes}),
        artefacts=files,
    )


def _member(key: MemberKey, record: Mapping[str, Any]) -> Event:
    judged = record.get("score", {})
    return Event(
        step="member",
        name=key.name,
        parameters=key.config.to_json()
        | {
            "fold": "none" if key.fold is None else key.fold,
            "epochs": key.epochs,
            "repeat": key.repeat,
            "round": key.round,
        },
        scores=known({name: judged.get(name) for name in FIGURES})
        | {"seconds": float(record["seconds"])},
    )


def _metric(about: Mapping[str, Any]) -> dict[str, float]:
    """Return what the competition is scored by, where that is no figure that is told anyway."""
    found = about.get("metric")
    if found is None or found["name"] not in RANKING:
        return {}
    return {f"oof_{found['name']}": found["value"], f"oof_{found['name']}_se": found["se"]}


def _figures(about: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {f"{prefix}_{name}": float(about[f"{prefix}_{name}"]) for name in FIGURES}
