"""The report's sections: a table of names and where each one lives, loaded when it is made.

A section that cannot be made (a broken artefact, data that are gone) says so in its own place; the
others stand.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kaggle_digits.ground.errors import ArtefactError, KaggleDigitsError
from kaggle_digits.shell.report.parts import Facts, Section, Subject, Table, Text


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """Where a section lives, and its heading.

    Args:
        name: Its anchor in the page.
        heading: Its heading.
        module: The module that has it.
        attribute: The function there, from a subject to a section.
    """

    name: str
    heading: str
    module: str
    attribute: str


SECTIONS = (
    SectionEntry("search", "Search", "tuning.report", "search"),
    SectionEntry("training", "Training", "ensembles.report", "training"),
    SectionEntry("members", "Members and blend", "ensembles.report", "members"),
    SectionEntry("errors", "Errors", "ensembles.image_report", "errors"),
    SectionEntry("labels", "Labels that look wrong", "ensembles.image_report", "labels"),
    SectionEntry("data", "Data", "ensembles.data_report", "data"),
    SectionEntry("leaderboard", "Leaderboard", "submissions.report", "leaderboard"),
)


_TOP = ("members", "training", "search", "leaderboard")
"""Sections in the order in which their facts stand at the top: the score first."""


@dataclass(frozen=True, slots=True)
class Headed:
    """A section in its place on the page.

    Args:
        name: Its anchor.
        heading: Its heading.
        section: What it holds.
        failed: Whether it could not be made.
    """

    name: str
    heading: str
    section: Section
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report.

    Args:
        top: Facts for its beginning.
        next_command: What to call next.
        sections: In order.
    """

    top: Mapping[str, str]
    next_command: str
    sections: Sequence[Headed]

    @property
    def failed(self) -> list[str]:
        """The headings of the sections that could not be made."""
        return [one.heading for one in self.sections if one.failed]


def collect(subject: Subject) -> Report:
    """Make all sections.

    Args:
        subject: What the report is about.

    Raises:
        ArtefactError: There is no workspace.
    """
    root = subject.workspace.root
    # A command that only looked leaves a log.
    if not root.is_dir() or {entry.name for entry in root.iterdir()} <= {"log.txt", "cache"}:
        raise ArtefactError(
            f"There is no workspace at {root}.",
            mend="Call `kaggle-digits run` first, or give --workspace the folder of one.",
        )
    made = [_make(entry, subject) for entry in SECTIONS]
    sections = [one.section for one in made]
    by_name = {one.name: one.section for one in made}
    top = {name: fact for own in _TOP for name, fact in by_name[own].top.items()}
    wanted = (one.next_words for one in sections if one.next_words)
    return Report(
        top,
        subject.hint(next(wanted, "run --preset medium")),
        [*made, _guarded("provenance", "Provenance", lambda: _provenance(subject, sections))],
    )


def _make(entry: SectionEntry, subject: Subject) -> Headed:
    def make() -> Section:
        section: Section = getattr(importlib.import_module(entry.module), entry.attribute)(subject)
        return section

    return _guarded(entry.name, entry.heading, make)


def _guarded(name: str, heading: str, make: Callable[[], Section]) -> Headed:
    try:
        return Headed(name, heading, make())
    except KaggleDigitsError as error:
        parts = [Text(error.message, is_warning=True), *([Text(error.mend)] if error.mend else [])]
    except Exception as error:
        # A fault of ours must not cost what the other sections have to say; log.txt takes it.
        traceback.print_exc()
        said = f"internal error: {type(error).__name__}: {error}"
        parts = [Text(said, is_warning=True), Text("Its traceback is in the workspace's log.txt.")]
    return Headed(name, heading, Section(parts), failed=True)


def _provenance(subject: Subject, sections: Sequence[Section]) -> Section:
    from kaggle_digits.core.data.provenance import read_provenance
    from kaggle_digits.ground.stamps import versions

    known = read_provenance(subject.workspace)
    facts = {"workspace": str(subject.workspace.root)}
    if known is not None:
        facts |= {"data": known.name, "data digest": known.digest}
        if known.image_shape is not None:
            facts["image shape"] = known.image_shape
        if known.reading:
            facts["read with"] = " ".join(replace(known.wanted, shape=None).words)
        if known.fixes is not None:
            facts["labels"] = str(known.fixes)
    facts |= {name: fact for one in sections for name, fact in one.provenance.items()}
    now = [[name, version] for name, version in versions().items()]
    repeat = [Text("", subject.hint(words)) for one in sections for words in one.repeat]
    return Section(
        [
            Facts(facts),
            Table("Versions that made this page", ("package", "version"), now),
            Text(
                "The commands that make these results again:"
                if repeat
                else "No command is known that makes these results again."
            ),
            *repeat,
        ]
    )
