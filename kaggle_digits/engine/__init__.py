"""The engine: who runs tasks, in this process, in processes beside it, or on a cluster."""

from kaggle_digits.engine.copies import copy_workers, make_copies
from kaggle_digits.engine.engine import Engine, Resources, open_engine
from kaggle_digits.engine.tasks import Outcome, Site, Task, WorkerDiedError

__all__ = [
    "Engine",
    "Outcome",
    "Resources",
    "Site",
    "Task",
    "WorkerDiedError",
    "copy_workers",
    "make_copies",
    "open_engine",
]
