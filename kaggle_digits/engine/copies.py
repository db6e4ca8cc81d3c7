"""Copies of the augmentation bank, made by the engine before tasks need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank, Part
from kaggle_digits.engine.engine import Crew, Engine
from kaggle_digits.engine.inline import Inline
from kaggle_digits.engine.processes import Processes
from kaggle_digits.engine.shares import FEWEST_ROWS
from kaggle_digits.engine.tasks import Site, Task
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


def make_copies(
    bank: Bank,
    copies: int,
    dataset: Dataset,
    workspace: Workspace,
    progress: Progress,
    deadline: Deadline | None = None,
) -> None:
    """Make those of a bank's first copies that are not there yet, on all cores of this machine.

    Each copy has a seed of its own, so copies are the same whoever makes them.

    Args:
        bank: The bank.
        copies: How many are wanted.
        dataset: The data it is of.
        workspace: Where it lies.
        progress: Told of each.
        deadline: When no further copy is begun.

    Raises:
        ArtefactError: They do not fit on the disk.
        OutOfTimeError: The deadline passed first.
        WorkerDiedError: Workers died at one again and again.
    """
    missing = bank.missing(range(copies))
    bank.make_room(len(missing))
    if not missing:
        return
    until = deadline or Deadline()
    workers = copy_workers(len(missing), len(dataset.images))

    def choose() -> Crew:
        if workers == 1:
            return Inline(dataset, workspace, progress, until)
        return Processes(dataset, workspace, workers, 1, progress, until)

    tasks = (
        Task(f"copy {index} of the bank {bank.name}", make_copy, (*bank.key, index))
        for index in missing
    )
    with (
        Engine(choose, progress) as engine,
        progress.task(f"bank {bank.name}", len(missing), "copies") as task,
    ):
        for outcome in engine.run(tasks):
            outcome.result()
            task.advance()


def copy_workers(copies: int, rows: int) -> int:
    """Return how many processes make copies: this one alone where others would start for little.

    Args:
        copies: How many are to be made.
        rows: Of the training data.
    """
    return 1 if rows < FEWEST_ROWS else max(min(copies, hardware.available_threads()), 1)


def make_copy(
    site: Site, policy: str, seed: int, part: Part, normalisation: str, index: int
) -> None:
    """Make one copy in the site's cache; a task's function."""
    site.deadline.check()
    Bank(site.dataset, policy, seed, site.workspace, part, normalisation).ensure([index], Silent())
