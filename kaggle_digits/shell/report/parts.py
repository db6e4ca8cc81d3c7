"""What a report is made of: sections of typed parts, which hold text and never HTML.

A wing says what it found; how that looks is the frame's affair. Texts may come from anywhere: the
templates escape them, and charts are built as XML trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence.

    Args:
        text: What it says.
        command: The command that it speaks of, shown to be copied; None for none.
        is_warning: Whether it must not be overlooked.
    """

    text: str
    command: str | None = None
    is_warning: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values.

    Args:
        facts: The value of each name.
    """

    facts: Mapping[str, str]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose columns can be sorted by.

    Args:
        title: What it shows.
        header: The columns' names.
        rows: A cell for each column; numbers as a person reads them.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and what it shows as a table.

    Args:
        title: What it shows.
        svg: The drawing, as `charts` makes it.
        data: Its numbers.
        note: How to read it.
        is_wide: Too wide to stand beside another.
    """

    title: str
    svg: str
    data: Table
    note: str = ""
    is_wide: bool = False
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the data.

    Args:
        png: The image as a PNG file.
        alt: What it shows, for who cannot see it.
        caption: What stands below it.
        details: Names and values that are shown when it is opened.
        tags: What it is found by: the value of each of its gallery's filters.
    """

    png: bytes
    alt: str
    caption: str
    details: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images beside one another.

    Args:
        title: What they are.
        pictures: In order.
        name: By which a matrix finds it; letters only.
        filters: What can be chosen from: a name that the pictures' tags have, and its values.
        columns: How many stand in a line; 0 for as many as there is room for.
    """

    title: str
    pictures: Sequence[Picture]
    name: str
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: int = 0
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts of two classes each; a cell shows its images in a gallery.

    Args:
        title: What is counted.
        classes: Of rows and columns.
        counts: A row of counts for each class.
        gallery: The name of the gallery with the images.
        filters: The gallery's filters that row and column set.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    gallery: str
    filters: tuple[str, str]
    kind: ClassVar[str] = "matrix"


@dataclass(frozen=True, slots=True)
class Download:
    """A file within the page.

    Args:
        label: The link's text.
        name: The file's name.
        content: Its bytes.
        media_type: What it is, as `text/csv`.
    """

    label: str
    name: str
    content: bytes
    media_type: str = "text/csv"
    kind: ClassVar[str] = "download"


Part = Text | Facts | Table | Chart | Gallery | Matrix | Download


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a report, and what it has to say elsewhere on the page.

    Args:
        parts: What it shows, in order.
        top: Facts for the top of the page, which `report --text` shows as well.
        provenance: Facts about what the results were made with.
        repeat: Commands that make the results again, without --data and --workspace.
        next_words: The command to call next, as far as this section knows; None if it knows none.
    """

    parts: Sequence[Part]
    top: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    repeat: Sequence[str] = ()
    next_words: str | None = None


def in_words(name: str, most: int = 24) -> str:
    """Return a name from elsewhere as it can stand among other words.

    Args:
        name: The name. One that runs from right to left would take what follows with it.
        most: Signs at most.
    """
    short = name if len(name) <= most else f"{name[: most - 1]}…"
    if short.isascii():
        return short
    return f"\N{FIRST STRONG ISOLATE}{short}\N{POP DIRECTIONAL ISOLATE}"


class Subject:
    """What a report is about.

    Args:
        workspace: The workspace.
        data: Gives the competition's data.
        hint: Makes of a command's words a line to paste.
    """

    def __init__(
        self, workspace: Workspace, data: Callable[[], Dataset], hint: Callable[[str], str]
    ) -> None:
        self.workspace = workspace
        self.data = data
        self.hint = hint
        self._known: dict[object, object] = {}

    def once(self, make: Callable[[Subject], Made]) -> Made:
        """Return what a function makes of the subject, made once for all sections."""
        if make not in self._known:
            self._known[make] = make(self)
        return cast(Made, self._known[make])

    def missing(self, what: str, words: str) -> Text:
        """Return a sentence in the place of what is not there yet.

        Args:
            what: What is not there, as a sentence.
            words: The command that brings it.
        """
        return Text(what, self.hint(words))
