"""The page: Jinja2 templates that escape all they are given, styles and script within.

Nothing is fetched: the content security policy allows no request, and no script but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from kaggle_digits import __version__
from kaggle_digits.shell.report.collecting import Headed, Report
from kaggle_digits.shell.report.parts import Part, Section

_TEMPLATES = resources.files("kaggle_digits.shell.report").joinpath("templates")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def render(report: Report, title: str, made: str) -> bytes:
    """Return the page as UTF-8.

    Args:
        report: What it shows.
        title: The page's heading.
        made: When and by what it was made.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    script = _read("page.js")
    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"data_uri": data_uri, "tag_values": tag_values, "svg": Markup}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html").render(
        report=report, title=title, made=made, style=Markup(_read("page.css")),
        script=Markup(script), script_digest=digest,
    )  # fmt: skip
    # What no page may hold, and half of a surrogate pair, which no encoding has.
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).encode("utf-8", "replace")


def render_parts(title: str, parts: Sequence[Part]) -> bytes:
    """Return a page of a few parts, without the rest of a report.

    Args:
        title: Its heading.
        parts: What it shows.
    """
    section = Headed("content", "", Section(parts))
    return render(Report({}, "", [section]), title, f"kaggle-digits {__version__}")


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def tag_values(names: Iterable[str], tags: Mapping[str, str]) -> list[str]:
    """Return a picture's tags in the order of the filters."""
    return [tags.get(name, "") for name in names]


def _read(name: str) -> str:
    return _TEMPLATES.joinpath(name).read_text("utf-8")
