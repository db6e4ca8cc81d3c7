"""The bundler: the packages' source as one archive inside one script; same input, same bytes.

Sources are opened as files through the resource readers of the packages' specs, which works in a
checkout and from an installed wheel; none of the packages is imported for it.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import re
import textwrap
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kaggle_digits import __version__
from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kernel.plan import Plan

PACKAGES = ("ensembles", "kaggle_digits", "kernel", "submissions", "tuning")
MOST_BYTES = 900_000
"""Kaggle refuses a source of 1 MB; its client does not look."""

_SUFFIXES = (".py", ".toml", ".json", ".py.txt")
_DATE = (1980, 1, 1, 0, 0, 0)
_WIDTH = 96
_BEGIN = b"# kaggle-digits "
_END = b"\n    sys.exit(1 if failure else 0)\n"


@dataclass(frozen=True, slots=True)
class Script:
    """A built script, read back.

    Args:
        version: The version of the packages it carries.
        code: The digest of the source it carries.
        plan: What it runs.
        given: The plan as it stands in the script, command lines included.
    """

    version: str
    code: str
    plan: Plan
    given: dict[str, Any]


def read_sources() -> dict[str, bytes]:
    """Return all source files of our packages: path in the archive → content, sorted by path.

    Tests, built scripts and anything else that is no part of a package is left out.

    Raises:
        ArtefactError: A package's files cannot be found.
    """
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        found.update(_walk(_open(package), package))
    return dict(sorted(found.items()))


def code_digest(sources: Mapping[str, bytes]) -> str:
    """Return 16 hex digits that stand for the names and contents of source files."""
    total = hashlib.sha256()
    for name, content in sorted(sources.items()):
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:16]


def pack(sources: Mapping[str, bytes]) -> bytes:
    """Return the files as a compressed archive (zlib over a zip of stored members)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in sorted(sources.items()):
            member = zipfile.ZipInfo(name, _DATE)
            member.create_system = 3
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)
    return zlib.compress(out.getvalue(), 9)


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the files that `pack` has packed.

    Raises:
        ValueError: It is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(zlib.decompress(archive))) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    except (zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"its archive is damaged ({error})") from error


def render(plan: Plan, sources: Mapping[str, bytes]) -> bytes:
    """Return the script.

    Args:
        plan: What it shall run.
        sources: What it carries.

    Raises:
        ConfigurationError: The script would be too large for Kaggle.
    """
    template = resources.files("kernel").joinpath("template.py.txt").read_text("utf-8")
    described = plan.describe(load_presets()[plan.preset])
    archive = base64.b85encode(pack(sources)).decode()
    values = {
        "SUMMARY": _comment(described),
        "COMMANDS": _comment(" ".join(words) for words in plan.commands()),
        "COMPETITION": plan.competition,
        "VERSION": __version__,
        "CODE": code_digest(sources),
        "FILES": str(len(sources)),
        # Apostrophes as escapes: the script holds the JSON between some.
        "PLAN": json.dumps(plan.for_script(), indent=1, sort_keys=True).replace("'", "\\u0027"),
        "ARCHIVE": "\n".join(textwrap.wrap(archive, _WIDTH)),
    }
    content = re.sub("@@([A-Z]+)@@", lambda found: values[found[1]], template).encode()
    if len(content) >= MOST_BYTES:
        raise ConfigurationError(
            f"The script has {len(content):,} bytes; Kaggle takes less than {MOST_BYTES:,}.",
            mend="Carry fewer configurations.",
        )
    return content


def is_ours(path: Path) -> bool:
    """Say whether a file begins as the scripts that are built do, whole or not."""
    try:
        with open(path, "rb") as handle:
            return handle.read(len(_BEGIN)) == _BEGIN
    except OSError:
        return False


def read_script(content: bytes, name: str) -> Script:
    """Read a built script's constants, without running it, and check that it is whole.

    Args:
        content: The script.
        name: How messages name it.

    Raises:
        ArtefactError: It is no script of ours.
    """
    mend = "Build it again: kaggle-digits kernel build"
    try:
        constants = dict(_constants(ast.parse(content)))
        version, code = constants["VERSION"], constants["CODE"]
        given = json.loads(constants["PLAN"])
        plan = Plan.from_json({name: given[name] for name in Plan.__slots__})
        archive = base64.b85decode("".join(constants["ARCHIVE"].split()))
        if code_digest(unpack(archive)) != code or not content.endswith(_END):
            raise ValueError("it is not whole")
    except (SyntaxError, ValueError, LookupError, TypeError, ConfigurationError) as error:
        raise ArtefactError(f"{name} is no script of this tool: {error}.", mend=mend) from error
    return Script(version, code, plan, given)


def _comment(lines: Iterable[str]) -> str:
    # One line each, whatever stands in names: nothing of a configuration may become code.
    return "\n".join("#   " + "".join(c if c.isprintable() else " " for c in s) for s in lines)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the module's names that are set to a text, or to a call with a text."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node.targets[0].id, value.value


def _open(package: str) -> Traversable:
    spec = find_spec(package)
    reader = getattr(spec.loader, "get_resource_reader", None) if spec is not None else None
    opened = reader(package) if reader is not None else None
    if opened is None:
        raise ArtefactError(
            f"The source of the package {package!r} cannot be found.", mend="Install it again."
        )
    files: Traversable = opened.files()
    return files


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        inside = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.joinpath("__init__.py").is_file():
                yield from _walk(entry, inside)
        elif entry.name.endswith(_SUFFIXES):
            yield inside, entry.read_bytes()
