"""The competition's data: fetched aside, checked, unpacked safely, then put in place.

Until every file has been checked nothing in the data folder is touched. What an interrupted
download left is kept beside it and gone on from.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from kaggle_digits.ground.errors import ArtefactError, DataError, naming
from kaggle_digits.ground.files import make_folder, remove, require_room
from kaggle_digits.ground.progress import Progress, counted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.transport import CallError, clean

_STAGING = ".download"
_LARGEST = 20_000_000_000
_MOST_FILES = 2_000_000
_SHOWN = 10


class Provider(Protocol):
    """Where the data comes from."""

    def files(self) -> dict[str, int]:
        """List names and sizes in bytes."""

    def download_data(self, folder: Path, progress: Progress) -> Path:
        """Fetch the zip into a folder."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What came of a download.

    Args:
        files: Names and sizes in bytes.
        fetched: False where everything was there already.
    """

    files: dict[str, int]
    fetched: bool


def download(provider: Provider, folder: Path, progress: Progress, *, replace: bool) -> Downloaded:
    """Bring a competition's files into a folder.

    Args:
        provider: Where they come from.
        folder: Where they go.
        progress: Where to tell of it.
        replace: Put new files in the place of other ones.

    Raises:
        DataError: Another file is in the place of one of them.
        CallError: What came is not what was listed, or could lead out of the folder.
        ArtefactError: The disk is full or cannot be written, or another process is downloading.
    """
    listed = provider.files()
    if not listed:
        raise CallError("Kaggle lists no data files for this competition.")
    for name in listed:
        _require_safe(name)
    there = {name: size for name, size in listed.items() if _has_size(folder / name, size)}
    if len(there) == len(listed) and not replace:
        return Downloaded(listed, fetched=False)
    for name in listed:
        if (folder / name).is_dir():
            raise DataError(
                f"{folder / name} is a folder; expected a file or nothing in its place.",
                mend="Move it away, or give another folder with --data.",
            )
    if not replace:
        for name, size in listed.items():
            if name not in there and (folder / name).exists():
                raise _in_the_way(folder / name, f"Kaggle's has {size:,} bytes")
    with naming("--data"):
        _bring(provider, folder, listed, progress, replace=replace)
    return Downloaded(listed, fetched=True)


def _bring(
    provider: Provider,
    folder: Path,
    listed: Mapping[str, int],
    progress: Progress,
    *,
    replace: bool,
) -> None:
    staging = folder / _STAGING
    with Workspace(folder).lock(staging):
        try:
            require_room(folder, 2 * sum(listed.values()), "the competition's files")
            progress.say(f"downloading {len(listed)} files, {sum(listed.values()) / 1e6:,.1f} MB")
            unpacked = _unpack(provider.download_data(staging, progress), listed, staging)
            _install(unpacked, folder, listed, progress, replace=replace)
        except OSError as error:
            raise ArtefactError(
                f"{folder} cannot be written: {error.strerror or error}.",
                mend="Make room or check its permissions; call `download` again to go on.",
            ) from error
        for leftover in ("data.zip", "data.zip.kaggle-partial", "unpacked"):
            remove(staging / leftover)


def _unpack(path: Path, listed: Mapping[str, int], staging: Path) -> Path:
    target = staging / "unpacked"
    remove(target)
    make_folder(target)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive, listed)
            for member in members:
                place = target / member.filename
                make_folder(place.parent)
                # Reading checks each member's CRC; a size that lies is cut off by the loop.
                with archive.open(member) as source, open(place, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                    out.flush()
                    os.fsync(out.fileno())
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        zipfile.error,
    ) as error:
        _discard(path)
        raise CallError(
            f"What came from Kaggle is no whole zip file ({clean(str(error))}); nothing was "
            "overwritten.",
            mend="Call `download` again.",
        ) from None
    except CallError:
        _discard(path)
        raise
    return target


def _checked(archive: zipfile.ZipFile, listed: Mapping[str, int]) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > _MOST_FILES or sum(member.file_size for member in members) > _LARGEST:
        raise CallError("The zip from Kaggle would unpack to more than 20 GB.")
    names: set[str] = set()
    for member in members:
        _require_safe(member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise CallError(f"The zip from Kaggle holds a link, {clean(member.filename)!r}.")
        if member.filename.lower() in names:
            raise CallError(f"The zip from Kaggle holds {clean(member.filename)!r} twice.")
        names.add(member.filename.lower())
    sizes = {member.filename: (member.file_size, member.compress_size) for member in members}
    for name, size in listed.items():
        if name not in sizes:
            raise CallError(f"The zip from Kaggle lacks {clean(name)!r}, which is listed.")
        if size not in sizes[name]:
            raise CallError(
                f"{clean(name)!r} in the zip from Kaggle has {sizes[name][0]:,} bytes; listed are "
                f"{size:,}."
            )
    return [member for member in members if member.filename in listed]


def _install(
    unpacked: Path,
    folder: Path,
    listed: Mapping[str, int],
    progress: Progress,
    *,
    replace: bool,
) -> None:
    other = [
        name
        for name in listed
        if (folder / name).exists() and not filecmp.cmp(unpacked / name, folder / name, False)
    ]
    if other and not replace:
        raise _in_the_way(folder / other[0], "Kaggle's differs")
    if other:
        shown = ", ".join(other[:_SHOWN]) + (" …" if len(other) > _SHOWN else "")
        progress.say(f"--fresh replaces {counted(len(other), 'file')} in {folder}: {shown}")
    for name in listed:
        place = folder / name
        make_folder(place.parent)
        os.replace(unpacked / name, place)


def _require_safe(name: str) -> None:
    """Refuse a name that leads out of the folder it is put in, on any system."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith(("/", "~"))
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or any(part in ("..", ".") or part.startswith(_STAGING) for part in parts)
    ):
        raise CallError(
            f"Kaggle names a file {clean(name)!r}, which would lead out of the data folder; "
            "nothing was written."
        )


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _in_the_way(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is there already and is another file ({why}).",
        mend="Move it away, or replace it with --fresh.",
    )


def _discard(path: Path) -> None:
    remove(path)
    remove(path.with_name(path.name + ".kaggle-partial"))
