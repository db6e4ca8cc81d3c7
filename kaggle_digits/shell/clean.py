"""`clean`: give back the disk space of what can be made again."""

from __future__ import annotations

import click

from kaggle_digits.ground.files import folder_bytes, remove
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome

_MB = 1e6


@command("clean", short_help="Drop what can be made again: parsed data, augmented copies.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Drop the checkpoints of unfinished trainings too; they would begin again.",
)
def clean(session: Session, *, checkpoints: bool = False) -> Outcome:
    """Drop the parsed data, the augmentation bank and compiled networks.

    Later commands make them again.

    Studies, members, weights, submissions and the ledger stay.
    """
    workspace = session.workspace
    freed = 0
    # No search and no training may be under way: it reads the bank.
    with workspace.lock(workspace.tuning), workspace.lock(workspace.ensembles):
        if workspace.cache.is_dir():
            for entry in sorted(workspace.cache.iterdir()):
                if entry.name == "checkpoints" and not checkpoints:
                    continue
                freed += folder_bytes(entry) if entry.is_dir() else entry.stat().st_size
                remove(entry)
    return Outcome(
        values={"freed_bytes": freed, "path": str(workspace.cache)},
        facts={"freed": f"{freed / _MB:.1f} MB"},
        written={},
    )
