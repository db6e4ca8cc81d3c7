"""Which data a workspace was made from: kept in `data.json`, gone on from, never mixed.

A forgotten `--data` must not make a second study of other images beside the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from kaggle_digits.core import drawn_shapes
from kaggle_digits.core.data.fixes import Fixes, corrected_digest
from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace

EMBEDDED = "embedded digits"
"""How messages name the data that come with the package."""

DRAWN = "embedded shapes"
"""The same for the second of them, and what stands for their path."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The data of a workspace.

    Args:
        path: Absolute path of the folder or zip; None for the embedded digits, `DRAWN` for the
            embedded shapes.
        digest: Of what the files mean, with the corrections.
        image_shape: The shape that was asked for, as `4x16`; None where none was.
        reading: What else was asked for, as `Wanted.to_json`; empty for nothing.
        fixes: Corrections of the labels; None for none.
    """

    path: str | None
    digest: str
    image_shape: str | None
    reading: Mapping[str, Any] = field(default_factory=dict)
    fixes: Fixes | None = None

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Make the value from what a workspace holds.

        Raises:
            FormError: It has other fields or values of other types.
            ConfigurationError: The shape cannot be one.
        """
        fields = Fields(values)
        path, shape = fields.text_or_none("path"), fields.text_or_none("image_shape")
        reading = fields.mapping("reading", {})
        fixes = Fixes.from_json(fields.mapping("labels")) if "labels" in fields else None
        made = cls(path, fields.text("digest"), shape, reading, fixes)
        made.wanted  # noqa: B018  it is parsed
        return made

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        made = {"path": self.path, "digest": self.digest, "image_shape": self.image_shape}
        reading = {"reading": dict(self.reading)} if self.reading else {}
        fixes = {} if self.fixes is None else {"labels": self.fixes.to_json()}
        return made | reading | fixes

    @property
    def name(self) -> str:
        """How messages name the data."""
        return self.path or EMBEDDED

    @property
    def wanted(self) -> Wanted:
        """What was asked for of the way they are read."""
        shape = None if self.image_shape is None else ImageShape.parse(self.image_shape)
        return replace(Wanted.from_json(self.reading), shape=shape)

    @property
    def words(self) -> tuple[str, ...]:
        """The options by which another workspace reads the same files in the same way."""
        path = drawn_shapes.NAME if self.path == DRAWN else self.path
        return (*(() if path is None else ("--data", path)), *self.wanted.words)

    def where(self) -> Path | None:
        """Return where the files are; None for the embedded data.

        Raises:
            DataError: They are no longer there.
        """
        if self.path is None:
            return None
        path = Path(self.path)
        if not path.exists():
            raise DataError(
                f"This workspace was made from {path}, which is no longer there.",
                mend="Give --data the place where the files are now.",
            )
        return path


def read_provenance(workspace: Workspace) -> Provenance | None:
    """Return the data that a workspace was made from; None for a new workspace.

    Raises:
        ArtefactError: The record is broken.
    """
    path = workspace.data_record
    if not path.is_file():
        return None
    return read_artefact(
        path,
        Provenance.from_json,
        "the record of a workspace's data",
        "Delete it, and give --data the files that the workspace was made from.",
    )


def reading_of(workspace: Workspace, asked: Wanted) -> Wanted:
    """Return how a workspace's data are read: what is asked for, and else what it was made with.

    Raises:
        ArtefactError: The record is broken.
    """
    known = read_provenance(workspace)
    return asked if known is None else asked.or_else(known.wanted)


def settle(workspace: Workspace, known: Provenance | None, given: Provenance) -> None:
    """Keep what a workspace is made from, and refuse other data once something was made.

    Args:
        workspace: The workspace.
        known: What it was made from so far.
        given: What was loaded now.

    Raises:
        ArtefactError: It holds results of other data.
    """
    if known == given:
        return
    if known is not None and known.digest != given.digest and holds_results(workspace):
        raise _refusal(workspace, known, given)
    # A workspace that can only be read is read all the same.
    with suppress(ArtefactError):
        write_json(workspace.data_record, given.to_json())


def holds_results(workspace: Workspace) -> bool:
    """Say whether anything in a workspace was made from its data."""
    places = (workspace.tuning, workspace.ensembles, workspace.submissions)
    return any(
        entry.name not in ("folds", "ledger.sqlite") and not entry.name.startswith(".")
        for place in places
        if place.is_dir()
        for entry in place.iterdir()
    )


def _refusal(workspace: Workspace, known: Provenance, given: Provenance) -> ArtefactError:
    same_files = known.path == given.path and known.wanted == given.wanted
    if known.fixes is not None and given.fixes is None:
        same_labels = corrected_digest(given.digest, known.fixes) != known.digest
    else:
        same_labels = known.fixes == given.fixes
    if same_files and same_labels:
        return ArtefactError(
            f"The files of {known.name} have changed since {workspace.root} was made from them "
            f"(digest {known.digest}, now {given.digest}).",
            mend="Put the former files back, or give another --workspace.",
        )
    return ArtefactError(
        f"{workspace.root} was made from {_described(known)}; {_described(given)} is other data.",
        mend="Leave --data, --labels and how images are read out to go on with the former, or give "
        "another --workspace for the latter.",
    )


def _described(one: Provenance) -> str:
    shape = f", images of {one.image_shape}" if one.image_shape else ""
    read = replace(one.wanted, shape=None).suffix
    labels = f", labels of {one.fixes}" if one.fixes else ""
    return f"{one.name} (digest {one.digest}{shape}{read}{labels})"
