"""The command `report`, and what `run` makes at its end."""

from __future__ import annotations

from pathlib import Path

import click

from kaggle_digits.ground import names
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome
from kaggle_digits.shell.report import making


@command("report", short_help="One HTML page of the workspace: scores, errors, data.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the page goes.  [default: report.html in the workspace]",
)
@click.option("--text", is_flag=True, help="Show the essentials here; write no page.")
def report(
    session: Session, *, open_it: bool = False, output: Path | None = None, text: bool = False
) -> Outcome:
    """Make one HTML page of all that the workspace holds.

    It needs no network and no other file: search, training, members and blend, errors with their
    images, labels that look wrong, data, leaderboard, provenance. A section without data says which
    command brings them; one whose files are broken says that, and the others stand.
    """
    if text:
        given = {"--open": open_it, "--output": output is not None}
        names.require_apart("--text", "writes no page", given)
    made = making.report(session.place, session.hint, output=output, page=not text)
    if made.path is not None and open_it:
        click.launch(made.path.absolute().as_uri())
    return Outcome(
        values={
            "report": None if made.path is None else str(made.path),
            "facts": dict(made.headline),
            "failed": list(made.failed),
            "next": made.next_command,
            "seconds": round(session.seconds, 1),
        },
        facts=dict(made.headline) if text else {},
        written={} if made.path is None else {"report": str(made.path)},
        next_command=made.next_command if text else None,
    )


def make_report(session: Session) -> Path | None:
    """Make the page at the end of a chain of commands; None where the workspace cannot take it."""
    try:
        return making.report(session.place, session.hint).path
    except ArtefactError as error:
        session.console.say(f"report: {error.message}")
        return None
