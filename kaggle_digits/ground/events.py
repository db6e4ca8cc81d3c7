"""What a step tells whoever keeps track of experiments: parameters, scores, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a step has come to, told once when it is complete; a callback is given it.

    Args:
        step: `tune`, `cv-train`, `blend` or `distil`; of a part, `trial` or `member`.
        name: Its name, unlike those of the other parts, as `trial 3`.
        parameters: What was asked for, values that JSON can hold.
        scores: Figures; beside each that has one, its standard error with `_se` at the end of the
            name. Log-losses in nats, accuracies from 0 to 1.
        artefacts: Files and folders that it left, by name.
        parts: What it is made of: the trials of a search, the members of a cross-validation.

    Example:
        >>> def tell(event: kd.Event) -> None:
        ...     print(event.step, sorted(event.scores)[:2])
        >>> tracked = kd.load(workspace="demo", progress=False, track=tell)
        >>> blended = kd.blend(tracked)
        blend ['oof_accuracy', 'oof_accuracy_se']
    """

    step: str
    name: str
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    artefacts: Mapping[str, Path] = field(default_factory=dict)
    parts: tuple[Event, ...] = ()


Track = Callable[[Event], None]
"""Whoever is told of events."""


def ignore(event: Event) -> None:
    """Keep track of nothing."""


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return those figures that there are."""
    return {name: float(value) for name, value in values.items() if value is not None}
