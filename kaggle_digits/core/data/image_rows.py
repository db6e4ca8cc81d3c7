"""Which image file is which row: read off a table of ids and labels, or off folders per class."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from kaggle_digits.core.data.columns import (
    LABEL_NAMES,
    is_text,
    read_header,
    require_column,
    text_of,
)
from kaggle_digits.core.data.image_source import ImageFiles
from kaggle_digits.core.data.labels import is_missing
from kaggle_digits.ground.errors import DataError, shorten
from kaggle_digits.ground.filenames import USUAL, Role, is_image, role_of

_LOOKED_AT = 50


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """A table without pixels.

    Args:
        name: How messages name the file.
        columns: Its columns by name, each of as many fields as there are rows.
    """

    name: str
    columns: dict[str, list[str]]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The training images.

    Args:
        table: How messages name where the labels stand.
        ids: As they stand there.
        images: The image file of each; None where there is none.
        labels: As they stand there.
        label_column: The label's name.
        id_column: The id's name.
        remarks: What a user should know.
        kept: Other columns that were asked for.
    """

    table: str
    ids: list[str]
    images: list[str | None]
    labels: list[str]
    label_column: str
    id_column: str
    remarks: list[str]
    kept: tuple[list[str], ...] = ()


def tables_of(files: ImageFiles) -> dict[Role, str]:
    """Give each role its table: by its name, else `labels.csv` or the like is that of training.

    Raises:
        DataError: Several tables could be one of them.
    """
    found: dict[Role, str] = {}
    roles: tuple[Role, ...] = ("sample", "train", "test")
    depth = min((name.count("/") for name in files.tables), default=0)
    top = [name for name in files.tables if name.count("/") <= depth + 1]
    for role in roles:
        named = [name for name in top if role_of(name) == role]
        usual = [name for name in named if PurePosixPath(name).name.lower() == USUAL[role]]
        candidates = usual or named
        if len(candidates) > 1:
            raise DataError(
                f"There are {len(candidates)} files that could be {USUAL[role]}: "
                f"{shorten(candidates)}; expected one.",
                mend=f"Name the right one {USUAL[role]}, or leave the others out.",
            )
        if candidates:
            found[role] = candidates[0]
    others = [name for name in top if role_of(name) is None]
    labels = [name for name in others if "label" in PurePosixPath(name).name.lower()]
    if "train" not in found and len(labels or others) == 1:
        found["train"] = (labels or others)[0]
    return found


def read_label_table(files: ImageFiles, name: str) -> LabelTable:
    """Read a table of texts.

    Raises:
        DataError: It cannot be read, is empty or not text, or a line has another number of fields
            than the header.
    """
    short = PurePosixPath(name).name
    content = files.table(name)
    header = read_header(io.BytesIO(content), short)
    columns: list[list[str]] = [[] for _ in header.columns]
    line = 1
    try:
        with text_of(io.BytesIO(content)) as text:
            reader = csv.reader(text, delimiter=header.separator)
            rows = (row for row in reader if "".join(row).strip())
            next(rows)
            for row in rows:
                line = reader.line_num
                if len(row) != len(columns) or not all(map(is_text, row)):
                    what = "is not UTF-8 text" if len(row) == len(columns) else (
                        f"has {len(row)} fields; expected {len(columns)}, as in its header"
                    )  # fmt: skip
                    raise DataError(f"{short} line {line} {what}.", mend="Mend or remove the line.")
                for column, field in zip(columns, row, strict=True):
                    column.append(field.strip())
    except csv.Error as error:
        raise DataError(
            f"{short} line {line + 1} cannot be read: {error}.",
            mend='Look for a quotation mark (") that is not closed.',
        ) from error
    if not columns[0]:
        raise DataError(
            f"{short} is empty: it has a header but no rows.", mend="Download it again."
        )
    return LabelTable(short, dict(zip(header.columns, columns, strict=True)))


class Index:
    """Finds an image file by what a table says of it.

    That is a path or an end of one, with or without the extension.

    Args:
        names: Of the image files.
        common: How many folders all of them have in common.
        role: Whose images they are: those in folders of the other role are looked at last.
    """

    def __init__(self, names: Sequence[str], role: Role) -> None:
        common = _common_depth(names)
        roles = [_folder_role(name, common) for name in names]
        if not any(roles):
            # All of them are of one role, whose folder is among those in common.
            roles = [_folder_role(name, 0) for name in names]
        of_role: dict[Role | None, list[str]] = {"train": [], "test": [], None: []}
        for name, found in zip(names, roles, strict=True):
            of_role[found].append(name)
        other: Role = "test" if role == "train" else "train"
        self._own = _keys([*of_role[role], *of_role[None]])
        self._other = of_role[other]
        self._of_other: dict[str, list[str]] | None = None
        self.own = of_role[role]
        """The images in folders that bear the role's name."""

        self.neutral = of_role[None]
        """The images in folders that bear no role's name."""

    def find(self, given: str) -> str | None:
        """Return the file that is meant; None where there is none.

        Raises:
            DataError: It could be several.
        """
        wanted = given.replace("\\", "/").removeprefix("./").strip("/")
        found = self._own.get(wanted)
        if found is None:
            if self._of_other is None:
                self._of_other = _keys(self._other)
            found = self._of_other.get(wanted)
        if found is None:
            return None
        if len(found) > 1:
            raise DataError(
                f"{given!r} could be {len(found)} images: {shorten(found, 3)}; expected one.",
                mend="Give paths with folders and extensions, or remove the others.",
            )
        return found[0]


def labelled_by_table(
    table: LabelTable, index: Index, hint: str | None, keep: Sequence[str]
) -> Labelled:
    """Return the training images that a table names.

    Args:
        table: The table.
        index: Finds images.
        hint: The sample submission's label column, where it has one.
        keep: Columns that are to be read as they are.

    Raises:
        DataError: No column names images, or none is the label.
    """
    for name in keep:
        require_column(name, tuple(table.columns), table.name)
    id_column = image_column(table, index)
    others = [name for name in table.columns if name != id_column and name not in keep]
    label_column, labels, remarks = _labels(table, others, hint)
    ids = table.columns[id_column]
    for line, label in enumerate(labels, start=2):
        if is_missing(label):
            raise DataError(
                f"{table.name} line {line} has no label: column {label_column!r} holds {label!r}; "
                "expected a class.",
                mend="Fill in the label, or remove the line.",
            )
    images = [index.find(value) for value in ids]
    unnamed = len(set(index.own) - set(images))
    if unnamed:
        remarks.append(f"{unnamed:,} training images have no row in {table.name}; left out")
    kept = tuple(table.columns[name] for name in keep)
    return Labelled(table.name, ids, images, labels, label_column, id_column, remarks, kept)


def image_column(table: LabelTable, index: Index) -> str:
    """Return the column whose values are images' names.

    Raises:
        DataError: There is none.
    """
    hits = {
        name: sum(index.find(value) is not None for value in values[:_LOOKED_AT])
        for name, values in table.columns.items()
    }
    best = max(hits, key=lambda name: hits[name])
    if not hits[best]:
        shown = {name: values[0] for name, values in table.columns.items()}
        held = shorten([f"{name} {value!r}" for name, value in shown.items()], 3)
        images = shorten([*index.own, *index.neutral], 3) or "none"
        raise DataError(
            f"No column of {table.name} names an image (the first row has {held}); the images are "
            f"{images}.",
            mend="Give --data the folder that holds both the table and the images.",
        )
    return best


def labelled_by_folder(index: Index, id_column: str) -> Labelled:
    """Return the training images that stand in a folder for each class, in order of their names.

    The order is that of the files' own names, whatever the class, so that images numbered through
    stand as they are numbered.

    Raises:
        DataError: There are no such folders.
    """
    names = in_order(index)
    common = _common_depth(names)
    if not names or any(name.count("/") <= common for name in names):
        raise DataError(
            "There is no table of labels, and the training images are not in a folder for each "
            f"class; found {shorten([*index.own, *index.neutral], 3) or 'no images'}.",
            mend="Give train.csv with an id and a label, or folders such as train/cat/1.png.",
        )
    labels = [PurePosixPath(name).parts[common] for name in names]
    count = len(set(labels))
    return Labelled(
        table=f"the folders of {PurePosixPath(*PurePosixPath(names[0]).parts[:common])}",
        ids=[PurePosixPath(name).name for name in names],
        images=list(names),
        labels=labels,
        label_column="label",
        id_column=id_column,
        remarks=[f"labels are the names of {count} folders, images in the order of their names"],
    )


def in_order(index: Index) -> list[str]:
    """Return the images of an index's role in order of their own names, for want of a table."""
    return sorted(index.own, key=lambda name: (natural(PurePosixPath(name).name), name))


def without_extension(name: str) -> str:
    """Return a file's own name without its extension."""
    base = PurePosixPath(name).name
    return base.rpartition(".")[0] if is_image(base) else base


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts `9.png` before `10.png`."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


def _labels(
    table: LabelTable, others: Sequence[str], hint: str | None
) -> tuple[str, list[str], list[str]]:
    """Return the label column's name, the labels, and remarks."""
    for names in ({(hint or "").casefold()}, LABEL_NAMES):
        named = [name for name in others if name.casefold() in names]
        if len(named) == 1:
            unused = [name for name in others if name != named[0]]
            remark = f"{table.name}: left out what is no image or label: {shorten(unused)}"
            return named[0], table.columns[named[0]], [remark] if unused else []
    if len(others) == 1:
        return others[0], table.columns[others[0]], []
    one_hot = _one_hot(table, others)
    if one_hot is not None:
        return "label", one_hot, [f"{table.name}: labels are the one column of each row that is 1"]
    raise DataError(
        f"{table.name} has {len(others) or 'no'} columns beside the image that could be the label"
        f"{f' ({shorten(others)})' if others else ''}; expected one.",
        mend="Name the label column label.",
    )


def _one_hot(table: LabelTable, others: Sequence[str]) -> list[str] | None:
    if len(others) < 2 or any(
        set(table.columns[name]) - {"0", "1", "0.0", "1.0"} for name in others
    ):
        return None
    rows = zip(*(table.columns[name] for name in others), strict=True)
    places = [[place for place, value in enumerate(row) if value.startswith("1")] for row in rows]
    if any(len(found) != 1 for found in places):
        return None
    return [others[found[0]] for found in places]


def _keys(names: Sequence[str]) -> dict[str, list[str]]:
    """Return all that a file can be called: its path's ends, with the extension and without."""
    found: dict[str, list[str]] = {}
    for name in names:
        stem = name.rpartition(".")[0]
        for whole in (name, stem):
            rest = whole
            while True:
                found.setdefault(rest, []).append(name)
                _, cut, rest = rest.partition("/")
                if not cut:
                    break
    return found


def _folder_role(name: str, common: int) -> Role | None:
    for part in name.lower().split("/")[common:-1]:
        if "train" in part:
            return "train"
        if "test" in part:
            return "test"
    return None


def _common_depth(names: Sequence[str]) -> int:
    """Return how many folders all files have in common."""
    if not names:
        return 0
    first, last = (name.split("/")[:-1] for name in (min(names), max(names)))
    depth = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        depth += 1
    return depth
