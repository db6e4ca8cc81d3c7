"""Write the pages that are made of the code anew: `make docs`.

commands.md comes from the command line's own declarations, python-api.md from the docstrings of
what `kaggle_digits` and the wings' api modules make public.
"""

from __future__ import annotations

import html
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import kaggle_digits
from kaggle_digits.shell.cli import COMMANDS, load_command
from kaggle_digits.shell.grouping import grouped

_WIDTH = 100
_COMMANDS_HEAD = """\
# Commands

<!-- Written by `python docs/generate.py` from the declarations of the commands; do not edit. -->

What each command is for, its options, and their defaults. `kaggle-digits COMMAND --help` shows the
same in the terminal. Results go to stdout, progress and remarks to stderr; [exit codes](errors.md)
say how it ended. Options that every command takes are listed with each.
"""

_API_HEAD = """\
# Python

<!-- Written by `python docs/generate.py` from docstrings; do not edit. -->

Everything a command does is a typed function that returns values and prints nothing; errors are the
classes of [errors and exit codes](errors.md). Signatures and docstrings are those of the code.
"""
_MODULES = ("submissions.api", "kernel.api")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the visible commands in the order of use, each after its words."""
    for name in COMMANDS:
        loaded = load_command(name)
        yield name, loaded
        if isinstance(loaded, click.Group):
            for inner, command in loaded.commands.items():
                if not command.hidden:
                    yield f"{name} {inner}", command


def commands_page() -> str:
    """Return the page of all commands."""
    parts = [_COMMANDS_HEAD, _index()]
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
    names, help_text = (" ".join(part.split()) for part in record)
    shown = f"`{names}`"
    if "|" in names:  # what reads the page differs in how a bar is written within backticks
        shown = f"<code>{html.escape(names).replace('|', '&#124;')}</code>"
    return f"| {shown} | {help_text.replace('|', '&#124;')} |"


def _filled(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), _WIDTH) + "\n"


def api_page() -> str:
    """Return the page of all public Python names."""
    parts = [_API_HEAD]
    for title, module, names in _public():
        parts.append(f"## {title}\n")
        # What is called first, then what it gives.
        for name in sorted(names, key=lambda name: isinstance(getattr(module, name), type)):
            value = getattr(module, name)
            if not _is_error(value):
                parts.append(f"### {name}\n\n{_described(name, value)}")
        errors = [name for name in names if _is_error(getattr(module, name))]
        if errors:
            parts.append("### Errors\n\n| class | meaning |\n|---|---|")
            parts += [f"| `{name}` | {_summary(getattr(module, name))} |" for name in errors]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _public() -> Iterator[tuple[str, Any, list[str]]]:
    """Yield a title, a module and its public names for each part of the page."""
    front = list(getattr(kaggle_digits, "__all__", ()))
    shown = [name for name in front if not name.startswith("_")]
    if shown:
        yield "kaggle_digits", kaggle_digits, shown
    for name in _MODULES:
        module = importlib.import_module(name)
        own = [
            attribute
            for attribute, value in vars(module).items()
            if not attribute.startswith("_")
            and inspect.isfunction(value)
            and value.__module__ == name
            and attribute not in shown
        ]
        yield name, module, own


def _described(name: str, value: Any) -> str:
    if not callable(value):
        return f"{value!r}\n"
    doc = inspect.getdoc(value) or ""
    signatures = [_signature(name, value)]
    if getattr(value, "_is_protocol", False):
        methods = {key: one for key, one in vars(value).items() if inspect.isfunction(one)}
        own = [_signature(key, one) for key, one in methods.items() if not key.startswith("_")]
        signatures = [f"class {name}:", *(f"    def {one}" for one in own)]
    parts = ["```python", *signatures, "```\n", _sections(doc)]
    if isinstance(value, type):
        rows = [
            f"| `{member}` | {_summary(one)} |"
            for member, one in vars(value).items()
            if not member.startswith("_")
            and (inspect.isfunction(one) or isinstance(one, property | classmethod))
        ]
        if rows:
            parts += ["\n".join(["| member | |", "|---|---|", *rows, ""])]
    return "\n".join(parts)


def _signature(name: str, value: Any) -> str:
    signature = inspect.signature(value)
    if isinstance(value, type):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    parameters = [re.sub(r"(: )'([^']*)'", r"\1\2", str(one)) for one in _written(signature)]
    end = "" if isinstance(value, type) else f" -> {_type(signature.return_annotation)}"
    line = f"{name}({', '.join(parameters)}){end}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){end}"


def _written(signature: inspect.Signature) -> Iterator[str]:
    """Yield parameters as they are written, the star before those that need their names too."""
    starred = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield str(parameter)


def _type(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return "None"
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _sections(doc: str) -> str:
    """Return a Google docstring as Markdown: text, and a list for each section."""
    doc, _, example = doc.partition("\nExample:\n")
    out: list[str] = []
    in_entries = False
    for line in doc.splitlines():
        if re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes):", line):
            out += [f"**{line[:-1]}**", ""]
            in_entries = True
        elif in_entries and re.match(r" {4}\S", line):
            entry = re.sub(r"^([*\w]+):(?= )", r"`\1`:", line.strip())
            out.append(f"- {entry}")
        elif in_entries and re.match(r" {8}\S", line):
            out.append(f"  {line.strip()}")
        else:
            in_entries = in_entries and not line.strip()
            out.append(line)
    if example:
        out += ["", "**Example**", "", "```pycon", textwrap.dedent(example).rstrip(), "```"]
    return "\n".join(out) + "\n"


def _summary(value: Any) -> str:
    function = value.__func__ if isinstance(value, classmethod) else value
    doc = inspect.getdoc(function) or ""
    return " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def pages() -> dict[str, str]:
    """Return all pages that are made of the code, by their names."""
    return {"commands.md": commands_page(), "python-api.md": api_page()}


if __name__ == "__main__":
    for page, content in pages().items():
        Path(__file__).with_name(page).write_text(content, "utf-8")
