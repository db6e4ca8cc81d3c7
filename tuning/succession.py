"""Which study is in its place: the one that is there, a new one, or one that was kept.

Studies that `run` leaves for one of another preset or metric lie in `tuning/earlier`, each under
the digest of its settings, and are taken up when those are asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaggle_digits.ground.aside import Contents, put_aside, take_up
from kaggle_digits.ground.progress import counted
from kaggle_digits.ground.stamps import differences, digest
from tuning.study import StudyOnDisk

_MAY_DIFFER = frozenset({"epochs", "rows", "copies", "max_megamacs", "strategy", "metric"})
"""What may differ between two studies of which one is kept for the other."""


@contextmanager
def succeeding(
    study: StudyOnDisk,
    asked: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    fresh: bool,
    keep_other: bool,
) -> Iterator[Callable[[], None]]:
    """Make room for the study that is asked for, if there is to be another than the one there.

    What is in its place then comes back if the new study does not get a completed trial.

    Args:
        study: The workspace's.
        asked: The settings asked for.
        say: Told of what is put aside, and of its return.
        fresh: Whether the study that is there shall go, whatever its settings.
        keep_other: Whether one of another preset is kept for one of these settings; else it stays
            in its place, where opening it with other settings is refused.

    Yields:
        What to call when a trial has been completed.
    """
    contents = Contents(
        study.entries, f"the study ({counted(study.size, 'trial')})", "completed new trial"
    )
    if fresh:
        with put_aside(study.folder, contents, say) as settle:
            yield settle
        return
    wanted = _kept(study, asked)
    if not keep_other or not _may_be_left(study, asked):
        if keep_other and wanted.is_dir() and not study.is_there() and not study.size:
            # A kill came between the leave of one study and the return of the other.
            take_up(study.folder, wanted)
        yield _nothing_to_do
        return
    old = study.settings()
    say(f"tune: the study in {study.folder} has other settings ({differences(old, asked)})")
    with put_aside(study.folder, contents, say, keep=_kept(study, old)) as settle:
        if wanted.is_dir():
            settle()
            take_up(study.folder, wanted)
            say(f"tune: the study of these settings is taken up from {wanted}")
        yield settle


def _may_be_left(study: StudyOnDisk, asked: Mapping[str, Any]) -> bool:
    """Say whether the study that is there differs in nothing but this."""
    if not study.is_there():
        return False
    old = study.settings()
    names = {name for name in old.keys() | asked.keys() if old.get(name) != asked.get(name)}
    return bool(names) and names <= _MAY_DIFFER


def _kept(study: StudyOnDisk, settings: Mapping[str, Any]) -> Path:
    return study.folder / "earlier" / digest(dict(settings))


def _nothing_to_do() -> None:
    """Stand in for what settles where nothing was put aside."""
