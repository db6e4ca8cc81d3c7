"""Which of many files are a competition's: told by their names alone, packed or not.

Standard library only and nothing is opened, so that whatever lists a folder or a zip can ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from kaggle_digits.ground.errors import DataError, shorten

Role = Literal["train", "test", "sample"]
"""What a file is for: the labelled images, the images to label, the sample submission."""

ROLES: tuple[Role, ...] = ("sample", "train", "test")
USUAL: Mapping[Role, str] = {
    "train": "train.csv",
    "test": "test.csv",
    "sample": "sample_submission.csv",
}
PACKINGS = (".gz", ".zip")
_TABLE = re.compile(r"[^.].*\.([ct]sv(\.gz|\.zip)?|parquet(\.zip)?)", re.DOTALL)
_PLAIN_ZIPS = frozenset({"train.zip", "test.zip", "sample_submission.zip"})
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def is_table(name: str) -> bool:
    """Say whether a file's name is a table's: `.csv`, `.tsv`, `.parquet`; also in `.gz` or `.zip`.

    `train.zip`, `test.zip` and `sample_submission.zip` are taken for a table in a zip, too.
    """
    base = _base(name)
    return bool(_TABLE.fullmatch(base)) or base in _PLAIN_ZIPS


def is_image(name: str) -> bool:
    """Say whether a file's name is an image's: PNG, JPEG, BMP, TIFF, GIF or WebP."""
    # By text alone: there may be a hundred thousand names.
    return name.lower().endswith(_IMAGES) and not name.rpartition("/")[2].startswith(".")


def choose_files(names: Iterable[str], where: str) -> dict[Role, str]:
    """Give each role its file: the usual name, or the one table whose name contains the role.

    Where the tables' common folder lacks train or test, the folders one below it are looked at too.

    Args:
        names: Of files in a folder or a zip, relative to it, with `/` between folders.
        where: How messages name the folder or the zip.

    Raises:
        DataError: Train or test is missing, or several files could be one of them.
    """
    listed = [name for name in names if not name.startswith("__MACOSX/")]
    tables = [name for name in listed if is_table(name)]
    depth = _common_depth(tables)
    top = [name for name in tables if _depth(name) == depth]
    below = [name for name in tables if _depth(name) == depth + 1]
    members = {role: found for role in ROLES if (found := _pick(role, top, where))}
    if not {"train", "test"} <= set(members):
        members |= {
            role: found
            for role in ROLES
            if role not in members and (found := _pick(role, below, where))
        }
    for role in ("train", "test"):
        if role not in members:
            raise _missing(role, listed, where)
    return members


def is_complete(names: Iterable[str]) -> bool:
    """Say whether names hold a train and a test table, so that no sub-folder need be listed."""
    roles = {role_of(name) for name in names if is_table(name)}
    return {"train", "test"} <= roles


def role_of(name: str) -> Role | None:
    """Return the role that a file's name speaks of."""
    return next((role for role in ROLES if role in _base(name)), None)


def _pick(role: Role, tables: Sequence[str], where: str) -> str | None:
    named = [name for name in tables if role_of(name) == role]
    # A table that lies unpacked beside its packed self is the same file.
    plain = set(named)
    named = [name for name in named if name == _unpacked(name) or _unpacked(name) not in plain]
    usual = [name for name in named if _base(_unpacked(name)) == USUAL[role]]
    stem = USUAL[role].removesuffix(".csv")
    usual = usual or [name for name in named if _base(_unpacked(name)) == f"{stem}.parquet"]
    candidates = usual or named
    if len(candidates) > 1:
        raise DataError(
            f"{where} has {len(candidates)} files that could be {USUAL[role]}: "
            f"{shorten(candidates)}; expected one.",
            mend=f"Name the right one {USUAL[role]}, or give --data a folder with it alone.",
        )
    return candidates[0] if candidates else None


def _missing(role: Role, names: Sequence[str], where: str) -> DataError:
    shown = sorted(names)
    archives = [name for name in shown if name.lower().endswith(".zip") and not is_table(name)]
    if archives and where.lower().endswith(".zip"):
        mend = f"Unpack {archives[0]} and give --data the folder."
    elif archives:
        mend = f"Give --data {PurePosixPath(where) / archives[0]}, or unpack it there."
    elif where.lower().endswith(PACKINGS) and role_of(where):
        mend = "Give --data the folder that the file lies in."
    else:
        mend = "Download the competition's files, or give --data the place where they are."
    return DataError(
        f"{where} has no {USUAL[role]}; it holds {shorten(shown) or 'nothing'}.", mend=mend
    )


def _common_depth(tables: Sequence[str]) -> int:
    """Return how many folders all tables have in common."""
    parents = [PurePosixPath(name).parts[:-1] for name in tables]
    if not parents:
        return 0
    depth = 0
    for level in zip(*parents, strict=False):
        if len(set(level)) > 1:
            break
        depth += 1
    return depth


def _depth(name: str) -> int:
    return len(PurePosixPath(name).parts) - 1


def _unpacked(name: str) -> str:
    for packing in PACKINGS:
        if name.lower().endswith(packing):
            stem = name[: -len(packing)]
            return stem if is_table(stem) else f"{stem}.csv"
    return name


def _base(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
