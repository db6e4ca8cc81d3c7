"""The account of the blend that was made last: where it lies, and what must stand in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.figures import require_figures
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
    return fields.all()
