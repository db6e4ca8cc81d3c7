"""The account of the blend that was made last: where it lies, and what must stand in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.figures import require_figures
from kaggle_digits.ground.names import DISTANCES
from kaggle_digits.ground.workspace import Workspace

MEND = "Call `kaggle-digits blend` again; the members stay."


def blend_folder(workspace: Workspace) -> Path:
    """Return where the blend's account and its probabilities lie."""
    return workspace.ensembles / "blend"


def has_blend(workspace: Workspace) -> bool:
    """Say whether a blend has been made."""
    return blend_folder(workspace).is_dir()


def read_account(workspace: Workspace, data: str) -> dict[str, Any]:
    """Read the blend's account.

    Args:
        workspace: Whose.
        data: Digest of the data it must have been made from.

    Raises:
        ArtefactError: It is not there, broken, or was made from other data.
    """
    folder = blend_folder(workspace)
    about = read_artefact(folder / "blend.json", build_account, "a blend's account", MEND)
    if about["data_digest"] != data:
        raise ArtefactError(
            f"The blend in {folder} was made from other data than these (digest "
            f"{about['data_digest']}, expected {data}).",
            mend=MEND,
        )
    return about


def is_account(path: Path) -> bool:
    """Say whether what lies beside a submission is its account, and no file of the user's own."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, Mapping) and {"sha256", "members"} <= values.keys()


def require_known_distances(account: Mapping[str, Any]) -> None:
    """Refuse a blend that asked neighbours in a way that this version does not ask in.

    Args:
        account: The blend's.

    Raises:
        ArtefactError: What neighbours said counts in it, by other distances.
    """
    near = account.get("neighbours")
    if near and near["helps"] and near.get("distances") != list(DISTANCES):
        raise ArtefactError(
            "The blend asked nearest images as an earlier version did, by other distances; this "
            "version would say other things of the same images.",
            mend="Call `kaggle-digits blend` and `kaggle-digits kernel weights` again, and `kernel "
            "build --predict-only` where a kernel predicts.",
        )


def build_account(values: object) -> dict[str, Any]:
    """Hold an account against its form; for `read_artefact`.

    Raises:
        FormError: It is none.
    """
    fields = Fields(values)
    fields.text("data_digest")
    fields.text("method")
    fields.texts("members")
    fields.whole("rows", least=1)
    require_figures(fields, "oof_")
    fields.number_or_none("temperature")
    fields.text_or_none("call")
    if "labels" in fields:
        labels = fields.within("labels")
        for name in ("corrected", "left_out", "rows"):
            labels.whole(name)
        require_figures(labels, "oof_")
    if "weights" in fields:
        fields.mapping("weights")
    if "neighbours" in fields:
        near = fields.within("neighbours")
        near.flag("helps")
        near.whole("rows")
        near.whole("test_rows")
        if "images" in near:
            for name in ("images", "log_loss"):
                if len(near.numbers(name)) != 3:
                    raise FormError(f"neighbours.{name} are not a difference and its interval")
            distances = near.texts("distances") if "distances" in near else ["deslant"]
            if len(near.numbers("exponents")) != 1 + len(distances):
                raise FormError("neighbours.exponents are not as many as distances, and one more")
    return fields.all()
