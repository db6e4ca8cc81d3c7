"""How a value of the Python API is shown: as lines in a terminal, as HTML in a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Rows = Sequence[Sequence[str]]

_SIDE = 56
"""Pixels that the longer side of a small picture has on the page."""

_PICTURE = "display:inline-block;text-align:center;margin:4px;font-size:smaller"
_IMAGE = "image-rendering:pixelated;display:block;margin:auto"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A small picture with a line below it.

    Args:
        image: uint8 [height, width], or [height, width, 3] in red, green and blue.
        caption: The line.
    """

    image: np.ndarray
    caption: str


class Shown:
    """A value that tells what it is: its facts, a table, small pictures."""

    __slots__ = ()

    def title(self) -> str:
        """Return the first line."""
        return type(self).__name__

    def facts(self) -> Mapping[str, str]:
        """Return what there is to know, as names and values."""
        return {}

    def table(self) -> Rows:
        """Return a table's rows, its header first; none for no table."""
        return ()

    def pictures(self) -> Sequence[Picture]:
        """Return small pictures; none for no pictures."""
        return ()

    def __repr__(self) -> str:
        facts, rows = self.facts(), self.table()
        width = max(map(len, facts), default=0)
        lines = [self.title(), *(f"  {name:<{width}}  {value}" for name, value in facts.items())]
        if rows:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += [
                "  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
            ]  # fmt: skip
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<b>{html.escape(self.title())}</b>"]
        facts, rows, pictures = self.facts(), self.table(), self.pictures()
        if facts:
            parts.append(
                "<table>"
                + "".join(_row((name, value), ("th", "td")) for name, value in facts.items())
                + "</table>"
            )
        if rows:
            header, *body = rows
            parts.append(
                "<table><thead>"
                + _row(header, ["th"] * len(header))
                + "</thead><tbody>"
                + "".join(_row(row, ["td"] * len(row)) for row in body)
                + "</tbody></table>"
            )
        if pictures:
            parts.append(f"<div>{''.join(map(_picture, pictures))}</div>")
        # Else a notebook would set what stands between two dollar signs as a formula.
        return f'<div class="tex2jax_ignore mathjax_ignore">{"".join(parts)}</div>'


def _row(cells: Sequence[str], tags: Sequence[str]) -> str:
    inside = "".join(
        f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>'
        for tag, cell in zip(tags, cells, strict=True)
    )
    return f"<tr>{inside}</tr>"


def _picture(picture: Picture) -> str:
    from kaggle_digits.core.arrays import png_bytes

    height, width = picture.image.shape[:2]
    scale = _SIDE / max(height, width)
    data = base64.b64encode(png_bytes(picture.image)).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<span style="{_PICTURE}"><img style="{_IMAGE}" width="{width * scale:.0f}" '
        f'height="{height * scale:.0f}" alt="{caption}" src="data:image/png;base64,{data}">'
        f"{caption}</span>"
    )
