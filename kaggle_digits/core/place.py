"""Where a call works: what every function of the wings is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaggle_digits.ground.events import Track, ignore
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True)
class Place:
    """What every call needs.

    Args:
        workspace: Holds all that calls leave behind.
        data: Gives the competition's data; called only where they are needed.
        progress: Where to tell of it.
        track: Told what each step has come to.
    """

    workspace: Workspace
    data: Callable[[], Dataset]
    progress: Progress
    track: Track = ignore
