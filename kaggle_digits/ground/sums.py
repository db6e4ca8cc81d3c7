"""What tells a file from another: its size and its checksum."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Self

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Sums:
    """What tells a file from another.

    Args:
        size: Its bytes.
        sha256: 64 hex digits.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the sums of a file's content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())

    def to_json(self) -> dict[str, Any]:
        """Return the sums as a dictionary that JSON can hold."""
        return {"bytes": self.size, "sha256": self.sha256}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Make sums of their JSON form.

        Raises:
            ValueError: They are none.
        """
        if not isinstance(values, dict) or set(values) != {"bytes", "sha256"}:
            raise ValueError(f"{shown(values)} where bytes and sha256 are expected")
        size, sha256 = values["bytes"], values["sha256"]
        if type(size) is not int or size < 0:
            raise ValueError(f"{shown(size)} bytes")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"the sha256 {shown(sha256)}")
        return cls(size, sha256)


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
