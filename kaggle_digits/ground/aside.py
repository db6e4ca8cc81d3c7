"""What new work replaces: put aside until that work has its first result, else put back.

The old entries of an area move into one folder inside it. Every step that decides is one rename, so
that a kill at any moment leaves one of three states, each with its own way on (`recover`):

- `aside-moving`: some entries are in it, the others are still in their place: all go back;
- `aside`: all entries are in it and new work has begun: that is removed and all go back, unless a
  result of it is there;
- `aside-dropped`: the new work has its result: what is left of the old is removed.

All functions want the area's lock held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import make_folder, remove, write_json
from kaggle_digits.ground.workspace import Workspace

_MOVING, _ASIDE, _DROPPED = "aside-moving", "aside", "aside-dropped"
_CONTENTS = "aside.json"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is put aside.

    Args:
        names: Entries of the area that the new work takes the place of; not all need be there.
        what: How messages name them, as in `the study (6 trials)`.
        result: What the new work's first result is, as in `completed new trial`.
        results: Pattern of files within the area; where one is there the new work has a result,
            even if the process that made it could not say so any more. Empty for none.
    """

    names: tuple[str, ...]
    what: str
    result: str
    results: str = ""


@contextmanager
def put_aside(
    area: Path, contents: Contents, say: Callable[[str], None], *, keep: Path | None = None
) -> Iterator[Callable[[], None]]:
    """Put entries of an area aside for the work in the block, and back if that has no result.

    Args:
        area: The folder they are in.
        contents: Which entries.
        say: Told what is put aside, and of its return.
        keep: Where they go once there is a result; None to drop them.

    Yields:
        What to call when the first result is there; later calls do nothing.

    Raises:
        ArtefactError: Something cannot be moved; then all is in its place.
    """
    recover(area, say)
    if not any(_is_there(area / name) for name in contents.names):
        yield lambda: None
        return
    later = f"kept in {keep}" if keep is not None else "dropped"
    say(
        f"{contents.what} in {area}: put aside; {later} once there is a {contents.result}, back in "
        "place if this ends before"
    )
    _move_out(area, contents)

    def settle() -> None:
        if _is_there(area / _ASIDE):
            _settle(area, keep)

    try:
        yield settle
    finally:
        if _is_there(area / _ASIDE):
            if _has_result(area, contents):
                settle()
            else:
                _put_back(area, contents)
                say(f"{contents.what} in {area}: back in place; there is no {contents.result}")


def take_up(area: Path, kept: Path) -> None:
    """Put back into an area what `put_aside` has kept; nothing of it may be in the area."""
    _rename(kept, area / _MOVING)
    _return(area)


def recover(area: Path, say: Callable[[str], None]) -> None:
    """Finish what a kill has interrupted, so that an area holds the old work or the new one."""
    _return(area)
    if _is_there(area / _ASIDE):
        contents = _read(area / _ASIDE / _CONTENTS)
        if _has_result(area, contents):
            _settle(area, None)
        else:
            _put_back(area, contents)
            say(
                f"{contents.what} in {area}: back in place, the call that had put it aside was "
                f"ended before there was a {contents.result}"
            )
    remove(area / _DROPPED)


def recover_workspace(workspace: Workspace, say: Callable[[str], None]) -> None:
    """Recover every area of a workspace that nobody is at work in."""
    for area in (workspace.tuning, workspace.ensembles):
        if not any(_is_there(area / name) for name in (_MOVING, _ASIDE, _DROPPED)):
            continue
        try:
            with workspace.lock(area):
                recover(area, say)
        except ArtefactError:
            # In use: its process puts back what it has put aside. Read-only: what has to write
            # there says so.
            continue


def _move_out(area: Path, contents: Contents) -> None:
    moving = area / _MOVING
    write_json(moving / _CONTENTS, asdict(contents))
    try:
        for name in contents.names:
            if _is_there(area / name):
                _rename(area / name, moving / name)
        _rename(moving, area / _ASIDE)
    except BaseException:
        _return(area)
        raise


def _put_back(area: Path, contents: Contents) -> None:
    for name in contents.names:
        remove(area / name)
    _rename(area / _ASIDE, area / _MOVING)
    _return(area)


def _return(area: Path) -> None:
    """Move all that is in `aside-moving` to its place; nothing happens when that is not there."""
    moving = area / _MOVING
    if not moving.is_dir():
        return
    for entry in sorted(moving.iterdir()):
        if entry.name != _CONTENTS:
            _rename(entry, area / entry.name)
    remove(moving)


def _settle(area: Path, keep: Path | None) -> None:
    remove(area / _DROPPED)
    if keep is None:
        _rename(area / _ASIDE, area / _DROPPED)
    else:
        make_folder(keep.parent)
        if _is_there(keep):
            _rename(keep, area / _DROPPED)
        _rename(area / _ASIDE, keep)
    remove(area / _DROPPED)


def _has_result(area: Path, contents: Contents) -> bool:
    return bool(contents.results) and any(area.glob(contents.results))


def _read(path: Path) -> Contents:
    def build(values: object) -> Contents:
        fields = Fields(values)
        texts = (fields.text(name) for name in ("what", "result", "results"))
        return Contents(tuple(fields.texts("names")), *texts)

    return read_artefact(
        path,
        build,
        "the list of what was put aside",
        f"Move what is in {path.parent} back into {path.parent.parent} by hand.",
    )


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _rename(old: Path, new: Path) -> None:
    try:
        os.replace(old, new)
    except OSError as error:
        raise ArtefactError(
            f"{old} cannot be moved to {new}: {error.strerror or error}.",
            mend="Check the folder's permissions, and close what has its files open.",
        ) from error
