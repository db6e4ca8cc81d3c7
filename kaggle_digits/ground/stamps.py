"""What an artefact carries to say what made it: digests of settings, and versions."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_STAMPED = ("kaggle-digits", "keras", "tensorflow", "keras-tuner", "scikit-learn", "albumentations")


def digest(value: object) -> str:
    """Return 16 hex digits that stand for a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of what shapes results, read without importing it."""
    found = {}
    for name in _STAMPED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    found["python"] = ".".join(map(str, sys.version_info[:3]))
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs between two settings as `name: old → new`, comma-separated."""
    names = sorted(set(old) | set(new))
    return ", ".join(
        f"{name}: {old.get(name, 'absent')} → {new.get(name, 'absent')}"
        for name in names
        if old.get(name) != new.get(name)
    )
