"""The pages as their tests read them: fenced blocks, inline code, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / ".github")
    for path in folder.glob("**/*.md" if folder.name == ".github" else "*.md")
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"[A-Z_]+=\S*")
_ENDS = {"&&", "||", "|", ";", ">", ">>"}
_NUMBER = "2"
"""What stands in a command's place for `N`."""


def fenced(page: Path, language: str | None = None) -> list[str]:
    """Return the contents of a page's fenced blocks, of one language or of all."""
    found = _FENCE.findall(page.read_text("utf-8"))
    return [content for name, content in found if language in (None, name)]


def links(page: Path) -> list[str]:
    """Return where a page's links lead; code is left out."""
    prose = _INLINE.sub("", _FENCE.sub("", page.read_text("utf-8")))
    return _LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as MkDocs and the repository's page make them."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def command_lines(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the words after `program` wherever a page calls it, in blocks and in inline code."""
    text = page.read_text("utf-8")
    lines = [line for _, content in _FENCE.findall(text) for line in content.splitlines()]
    lines += [code for code in _INLINE.findall(_FENCE.sub("", text)) if program in code]
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a line of prose, or of another language
        part: list[str] = []
        for word in [*words, ";"]:
            if word not in _ENDS:
                part.append(_NUMBER if word == "N" else word)
                continue
            while part and _VARIABLE.fullmatch(part[0]):
                part.pop(0)
            if part and part[0].rpartition("/")[2] == program:
                yield part[1:]
            part = []
