"""Names as they stand in Kaggle's addresses: `owner/slug` of a kernel or of a data set."""

from __future__ import annotations

import re
import unicodedata

from kaggle_digits.ground.errors import ConfigurationError

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def split_id(name: str, what: str = "kernel") -> tuple[str, str]:
    """Return owner and slug of `owner/slug`.

    Args:
        name: The name.
        what: What it is the name of, as messages say it.

    Raises:
        ConfigurationError: It is not of that form.
    """
    owner, _, slug = name.partition("/")
    if not OWNER.fullmatch(owner) or not SLUG.fullmatch(slug):
        raise ConfigurationError(
            f"{name!r} is no {what}'s name; expected owner/slug as in its address, the slug of "
            "small letters and digits (a to z, 0 to 9) with single hyphens between."
        )
    return owner, slug


def slugify(title: str) -> str:
    """Return a title as it stands in addresses: small letters and digits, hyphens between."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
