"""Copies of the augmentation bank, made by the engine before tasks need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank, Part
from kaggle_digits.engine.engine import Crew, Engine
from kaggle_digits.engine.inline import Inline
from kaggle_digits.engine.processes import Processes
from kaggle_digits.engine.shares import FEWEST_ROWS
from kaggle_digits.engine.tasks import Site, Task
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Silent


def make_copies(
    engine: Engine, bank: Bank, copies: Iterable[int], deadline: Deadline | None = None
) -> None:
    """Make those of a bank's copies that are not there yet, on all cores of this machine.

    Each copy has a seed of its own, so copies are the same whoever makes them. The nodes of a
    cluster make their own.

    Args:
        engine: Whose tasks need them.
        bank: The bank.
        copies: The numbers of those that are wanted.
        deadline: When no further copy is begun; None for when the engine's tasks have to end.

    Raises:
        ArtefactError: They do not fit on the disk.
        OutOfTimeError: The deadline passed first.
        WorkerDiedError: Workers died at one again and again.
    """
    if not engine.is_here:
        return
    missing = bank.missing(copies)
    bank.make_room(len(missing))
    if not missing:
        return
    site = replace(engine.site, deadline=deadline or engine.site.deadline)
    workers = copy_workers(len(missing), bank.size)

    def choose() -> Crew:
        return Inline(site) if workers == 1 else Processes(site, workers, 1)

    tasks = (
        Task(f"copy {index} of the bank {bank.name}", make_copy, (*bank.key, index))
        for index in missing
    )
    with (
        Engine(site, choose) as makers,
        site.progress.task(f"bank {bank.name}", len(missing), "copies") as task,
    ):
        for outcome in makers.run(tasks):
            outcome.result()
            task.advance()


def copy_workers(copies: int, rows: int) -> int:
    """Return how many processes make copies: this one alone where others would start for little.

    Args:
        copies: How many are to be made.
        rows: Images of each.
    """
    return 1 if rows < FEWEST_ROWS else max(min(copies, hardware.available_threads()), 1)


def make_copy(
    site: Site,
    policy: str,
    seed: int,
    part: Part,
    normalisation: str,
    rows: np.ndarray | None,
    index: int,
) -> None:
    """Make one copy in the site's cache; a task's function."""
    site.deadline.check()
    bank = Bank(site.dataset, policy, seed, site.workspace, part, normalisation, rows)
    bank.ensure([index], Silent())
