"""Where Kaggle's client looks for credentials, and what is wrong with what lies there.

The client ignores in silence what it cannot read. This names it; no part of a secret is shown, not
even of a file that only looks like one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kaggle_digits.kaggle_service.transport import CredentialsError

_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_NEW_FORM = "KGAT_"
_LONGEST = 1_000_000


def explain_missing(config: Path) -> CredentialsError:
    """Return the error for credentials that the client did not find.

    Args:
        config: The `kaggle.json` that it reads.
    """
    for place, defect in _defects(config):
        return CredentialsError(f"No Kaggle credentials could be used: {place} {defect}.")
    return CredentialsError("No Kaggle credentials were found.")


def describe_source(method: str, config: Path) -> str:
    """Return where credentials that were used came from, and what speaks against them.

    Args:
        method: The client's word for the way, with `TOKEN`, `LEGACY` or `OAUTH` in it.
        config: The `kaggle.json` that it reads.
    """
    if "OAUTH" in method:
        return str(_home() / "credentials.json")
    if "LEGACY" not in method:
        if os.environ.get("KAGGLE_API_TOKEN"):
            return "KAGGLE_API_TOKEN"
        return str(next((path for path in _token_files() if path.is_file()), _token_files()[0]))
    if os.environ.get("KAGGLE_KEY"):
        new_form = os.environ["KAGGLE_KEY"].startswith(_NEW_FORM)
        place = "KAGGLE_USERNAME and KAGGLE_KEY"
    else:
        key = _entries(config).get("key")
        new_form = isinstance(key, str) and key.startswith(_NEW_FORM)
        place = str(config)
    hint = f" (a token in the new form: {_NEW_PLACES})" if new_form else ""
    return place + hint


_NEW_PLACES = "it belongs into ~/.kaggle/access_token or KAGGLE_API_TOKEN"


def _defects(config: Path) -> Iterator[tuple[str, str]]:
    """Give each place where something lies that cannot be used, in the client's order."""
    token = os.environ.get("KAGGLE_API_TOKEN")
    if token:
        named = Path(token)
        if len(token) < 256 and named.is_file():
            yield "the file that KAGGLE_API_TOKEN names", _token_defect(named)
        else:
            yield "KAGGLE_API_TOKEN", _token_text_defect(token)
    for path in _token_files():
        if os.path.lexists(path):
            yield str(path), _token_defect(path)
    given = {name: bool(os.environ.get(name)) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY")}
    if any(given.values()) and not all(given.values()):
        there, absent = sorted(given, key=lambda name: not given[name])
        yield there, f"is set, but {absent} is not"
    if os.path.lexists(config):
        yield str(config), _config_defect(config)
    oauth = _home() / "credentials.json"
    if os.path.lexists(oauth):
        yield str(oauth), _json_defect(oauth, ("refresh_token",)) or "was not taken by Kaggle"
    for path in _misplaced(config):
        yield str(path), f"is not where Kaggle's client reads it; it reads {config}"


def _token_files() -> tuple[Path, Path]:
    return _home() / "access_token", _home() / "access_token.txt"


def _misplaced(config: Path) -> list[Path]:
    places = [
        _home() / "kaggle.json",
        Path.home() / ".config" / "kaggle" / "kaggle.json",
        config.with_name("kaggle.json.txt"),
        config.with_name("access_token") if config.parent != _home() else config,
    ]
    return [path for path in places if path != config and path.is_file()]


def _token_defect(path: Path) -> str:
    content, defect = _read(path)
    return defect or _token_text_defect(content.decode("utf-8", "replace"))


def _token_text_defect(text: str) -> str:
    text = text.strip()
    if text.startswith(("{", "[")):
        return "holds JSON; expected the token alone (what you have may be a kaggle.json)"
    if len(text.split()) > 1:
        return "holds more than one word; expected the token alone"
    if text[:1] in "\"'":
        return "holds the token in quotes; expected the token alone"
    return "was not taken by Kaggle: its token is expired, revoked, or not whole"


def _config_defect(path: Path) -> str:
    content, defect = _read(path)
    if defect is None and content.strip().strip(b"\"'").startswith(_NEW_FORM.encode()):
        return f"holds a token in the new form, not JSON; {_NEW_PLACES}"
    return _json_defect(path, ("username", "key")) or "was not used"


def _json_defect(path: Path, fields: tuple[str, ...]) -> str | None:
    content, defect = _read(path)
    if defect is not None:
        return defect
    try:
        values = json.loads(content)
    except ValueError as error:
        at = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        return f"is broken or cut short: its {len(content)} bytes are not JSON{at}"
    if not isinstance(values, dict):
        return f"holds a JSON {type(values).__name__}; expected an object with {_and(fields)}"
    absent = [name for name in fields if name not in values]
    if absent and any(str(value).startswith(_NEW_FORM) for value in values.values()):
        return f"holds a token in the new form; {_NEW_PLACES}"
    if absent:
        return f"holds no {_and(absent)}"
    for name in fields:
        if not isinstance(values[name], str) or not values[name].strip():
            return f"holds a {name} that is empty or no text"
    return None


def _read(path: Path) -> tuple[bytes, str | None]:
    """Return a file's bytes, or what keeps it from being read as text."""
    if path.is_dir():
        return b"", "is a folder; expected a file"
    try:
        with open(path, "rb") as handle:
            content = handle.read(_LONGEST)
    except FileNotFoundError:
        return b"", "is a link that leads nowhere"
    except OSError as error:
        return b"", f"cannot be read: {error.strerror or error}"
    if not content.strip():
        return b"", "is empty"
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return b"", (
                f"starts with a byte-order mark ({name}), which Kaggle's client cannot read; save "
                "it as UTF-8 without one"
            )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return b"", "is not UTF-8 text"
    return content, None


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _home() -> Path:
    return Path(os.path.expanduser("~")) / ".kaggle"


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(names)
