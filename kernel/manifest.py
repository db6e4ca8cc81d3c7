"""kernel.json: what a script's run left, each file with its checksum; the one reader and writer.

The script writes it on Kaggle's machine; a later run that goes on from its output reads it there,
and `kernel fetch` reads it at home.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.sums import Sums, shown

FOLDER = "kaggle-digits"
"""The folder in the script's output that holds the workspace and kernel.json."""

NAME = "kernel.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run left.

    Args:
        code: Digest of the source that made it.
        data: Digest of the data it was made from; None where no member was planned yet.
        finished: Whether all commands were done.
        files: Path in the workspace → sums.
        submission: Of the submission; None where there is none.
        facts: What else a person may want to know: versions, the plan, seconds.
    """

    code: str
    data: str | None
    finished: bool
    files: Mapping[str, Sums]
    submission: Sums | None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def planned(self, name: str) -> str:
        """Return a text of the plan that the run went by; empty where that is not told.

        Args:
            name: A field of `Plan`.
        """
        plan = self.facts.get("plan")
        value = plan.get(name) if isinstance(plan, dict) else None
        return value if isinstance(value, str) else ""

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        values = {
            **self.facts,
            "format": _FORMAT,
            "code": self.code,
            "data": self.data,
            "finished": self.finished,
            "files": {name: sums.to_json() for name, sums in self.files.items()},
            "submission": None if self.submission is None else self.submission.to_json(),
        }
        return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, name: str, mend: str) -> Self:
        """Read and check a file's content.

        Args:
            content: The content.
            name: How messages name it.
            mend: What the user can do where it is broken.

        Raises:
            ArtefactError: It is not what our script writes.
        """
        try:
            return cls._parse(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise ArtefactError(
                f"{name} is not what our script writes: {error}.", mend=mend
            ) from error

    @classmethod
    def _parse(cls, values: Any) -> Self:
        if not isinstance(values, dict):
            raise ValueError(f"{shown(values)} where an object is expected")
        if values.get("format") != _FORMAT:
            raise ValueError(f"format {shown(values.get('format'))}; expected {_FORMAT}")
        expected: dict[str, Any] = {
            "code": str,
            "data": str | None,
            "finished": bool,
            "files": dict,
            "submission": dict | None,
        }
        for name, kind in expected.items():
            if name not in values or not isinstance(values[name], kind):
                raise ValueError(f"{name} is {shown(values.get(name))}")
        files = {name: Sums.from_json(sums) for name, sums in values["files"].items()}
        for name in files:
            if not _is_inside(name):
                raise ValueError(f"the file {name!r} points outside")
        submission = values["submission"]
        return cls(
            code=values["code"],
            data=values["data"],
            finished=values["finished"],
            files=files,
            submission=None if submission is None else Sums.from_json(submission),
            facts={
                name: value
                for name, value in values.items()
                if name not in expected and name != "format"
            },
        )


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    return "\\" not in name and ":" not in name and not {"", ".", ".."} & set(parts)
