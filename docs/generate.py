"""Write docs/commands.md anew from the command line's own declarations: `make docs`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from kaggle_digits.shell.cli import COMMANDS, load_command
from kaggle_digits.shell.grouping import grouped

PLACE = Path(__file__).with_name("commands.md")
_WIDTH = 100
_HEAD = """\
# Commands

<!-- Written by `python docs/generate.py` from the declarations of the commands; do not edit. -->

What each command is for, its options, and their defaults. `kaggle-digits COMMAND --help` shows the
same in the terminal. Results go to stdout, progress and remarks to stderr; [exit codes](errors.md)
say how it ended. Options that every command takes are listed with each.
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the visible commands in the order of use, each after its words."""
    for name in COMMANDS:
        loaded = load_command(name)
        yield name, loaded
        if isinstance(loaded, click.Group):
            for inner, command in loaded.commands.items():
                if not command.hidden:
                    yield f"{name} {inner}", command


def text() -> str:
    """Return the whole page."""
    parts = [_HEAD, _index()]
    for words, command in commands():
        parts.append(f"## {words}\n")
        parts += [_filled(paragraph) for paragraph in (command.help or "").split("\n\n")]
        context = click.Context(command, info_name=f"kaggle-digits {words}")
        parts.append(f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n")
        if isinstance(command, click.Group):
            continue
        for title, options in grouped(command.params):
            parts.append(f"| {title} | |\n|---|---|")
            parts += [_row(option, context) for option in options]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _index() -> str:
    rows = [
        f"| [`{words}`](#{words.replace(' ', '-')}) | {command.get_short_help_str(200)} |"
        for words, command in commands()
    ]
    return "\n".join(["| command | what it does |", "|---|---|", *rows, ""])


def _row(option: click.Parameter, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None, "hidden options are not among them"
    names, help_text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {help_text} |"


def _filled(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), _WIDTH) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text(), "utf-8")
