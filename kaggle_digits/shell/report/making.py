"""From a workspace to its report: what the command and the Python API call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits import __version__
from kaggle_digits.core.place import Place
from kaggle_digits.ground.errors import ReadOnlyError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.shell.display import Shown

if TYPE_CHECKING:
    from kaggle_digits.shell.report.collecting import Report


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reported(Shown):
    """A report of a workspace.

    Args:
        path: The page; None where none was written.
        headline: What stands at its top, as names and values.
        sections: The headings of its sections, in order.
        failed: Those of sections that could not be made; the page says why.
        next_command: The command line that goes on.
    """

    path: Path | None
    headline: Mapping[str, str]
    sections: tuple[str, ...]
    failed: tuple[str, ...]
    next_command: str

    def title(self) -> str:
        """Return the first line."""
        return "Report" if self.path is None else f"Report: {self.path}"

    def facts(self) -> Mapping[str, str]:
        """Return the headline, what the page holds, and what to do next."""
        failed = {"could not be made": ", ".join(self.failed)} if self.failed else {}
        sections = {"sections": ", ".join(self.sections)}
        return dict(self.headline) | sections | failed | {"next": self.next_command}


def report(
    place: Place,
    hint: Callable[[str], str],
    *,
    output: Path | None = None,
    page: bool = True,
) -> Reported:
    """Make the report of a workspace.

    Args:
        place: Gives data and workspace.
        hint: Makes of a command's words a line to paste.
        output: Where the page goes; None for `report.html` in the workspace.
        page: Write it.

    Raises:
        ConfigurationError: No file can be written there.
        ArtefactError: There is no workspace, or it cannot be written.
    """
    from kaggle_digits.shell.report.collecting import collect
    from kaggle_digits.shell.report.parts import Subject

    if output is not None:
        require_output(output, "--output")
    made = collect(Subject(place.workspace, place.data, hint))
    for heading in made.failed:
        place.progress.say(f"report: the section {heading} could not be made; the page says why")
    path = None
    if page:
        path = output or place.workspace.root / "report.html"
        _write(made, path, place.workspace.root.absolute().name)
    return Reported(
        path=path,
        headline=made.top,
        sections=tuple(one.heading for one in made.sections),
        failed=tuple(made.failed),
        next_command=made.next_command,
    )


def _write(made: Report, path: Path, name: str) -> None:
    from kaggle_digits.shell.report.page import render

    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    content = render(made, f"Report: {name}", f"{when}, kaggle-digits {__version__}")
    try:
        write_bytes(path, content)
    except ReadOnlyError as error:
        raise ReadOnlyError(
            error.message, mend="Give --output a place that can be written, or --text."
        ) from error
