"""The command `report`, and what `run` makes at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaggle_digits import __version__
from kaggle_digits.ground.errors import ArtefactError, ReadOnlyError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome

if TYPE_CHECKING:
    from kaggle_digits.shell.report.collecting import Report


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
    if output is not None:
        require_output(output, "--output")
    made = _collect(session)
    for heading in made.failed:
        session.console.say(f"report: the section {heading} could not be made; the page says why")
    path = None if text else write_page(session, made, output)
    if path is not None and open_it:
        click.launch(path.absolute().as_uri())
    return Outcome(
        values={
            "report": None if path is None else str(path),
            "facts": dict(made.top),
            "failed": made.failed,
            "next": made.next_command,
            "seconds": round(session.seconds, 1),
        },
        facts=dict(made.top) if text else {},
        written={} if path is None else {"report": str(path)},
        next_command=made.next_command if text else None,
    )


def make_report(session: Session) -> Path | None:
    """Make the page at the end of a chain of commands; None where the workspace cannot take it."""
    try:
        return write_page(session, _collect(session), None)
    except ArtefactError as error:
        session.console.say(f"report: {error.message}")
        return None


def write_page(session: Session, made: Report, output: Path | None) -> Path:
    """Write a report as a page.

    Args:
        session: The session.
        made: The report.
        output: Where it goes; None for the workspace.

    Raises:
        ArtefactError: The place cannot be written.
    """
    from kaggle_digits.shell.report.page import render

    path = output or session.workspace.root / "report.html"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    name = session.workspace.root.absolute().name
    content = render(made, f"Report: {name}", f"{when}, kaggle-digits {__version__}")
    try:
        write_bytes(path, content)
    except ReadOnlyError as error:
        raise ReadOnlyError(
            error.message, mend="Give --output a place that can be written, or --text."
        ) from error
    return path


def _collect(session: Session) -> Report:
    from kaggle_digits.shell.report.collecting import collect
    from kaggle_digits.shell.report.parts import Subject

    return collect(Subject(session.workspace, session.dataset, session.hint))
