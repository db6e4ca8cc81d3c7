"""Every choice that the command line and the values share, typed once.

What stands behind a name (a network, a policy, an oracle, a fit) is in a table of its own floor or
wing; tests hold that each table has exactly these names, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kaggle_digits.ground.errors import ConfigurationError, did_you_mean

AUTO = "auto"
"""Of a precision or a blending method: whatever suits best here."""

PRESETS = ("quick", "medium", "best")

FAMILIES = ("strided", "pooled", "residual", "wide", "valid", "stepped")
OPTIMIZERS = ("adamw", "muon", "sgd")
NORMALISATIONS = ("none", "deslant", "box14", "box20", "deslant-box14", "deslant-box20")
INK_POLICIES = ("none", "light", "standard", "elastic", "strong")
"""Augmentation of ink on an even ground, such as digits: what a search of grey images goes over."""

PHOTO_POLICIES = ("photo", "photo-unflipped")
"""Augmentation of photographs: lit, cropped, turned a little, and mirrored or not."""

POLICIES = (*INK_POLICIES, *PHOTO_POLICIES)
PRECISIONS = (AUTO, "bfloat16", "float16", "float32")

STRATEGIES = ("hyperband", "bayesian", "random", "grid")

METHODS = ("mean", "geometric", "vote", "power", "weighted", "greedy", "stack")
"""How members are joined, the simplest first."""

DISTANCES: tuple[str, ...] = ("none", "deslant-box20")
"""The normalisations that nearest images are looked for in, a distance each."""

METRICS = ("accuracy", "log-loss", "macro-f1", "auc", "qwk")
"""What a competition may be scored by; qwk is Cohen's kappa with quadratic weights."""

OF_PROBABILITIES = ("log-loss", "auc")
"""Those that probabilities are submitted for."""

RANKING = ("macro-f1", "auc", "qwk")
"""Those that a search ranks trials by, and that are told beside accuracy and log-loss. Where one of
these two counts, or nothing was said, it is log-loss, which tells configurations apart on fewer
rows and epochs than accuracy does."""

CLASS_WEIGHTS = ("none", "balanced")
"""How much each training row counts: all the same, or rows of each class together the same."""

SOFT, HARD = "soft", "hard"
PSEUDO_TARGETS = (SOFT, HARD)


def require_known(what: str, given: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of the known ones.

    Args:
        what: The option or field, as the message names it.
        given: What was given for it.
        known: The names it may have.

    Raises:
        ConfigurationError: The nearest known name, or all of them, are in its mend.
    """
    names = tuple(known)
    if given not in names:
        raise ConfigurationError(f"{what} was given as {given!r}.", mend=did_you_mean(given, names))


def require_count(what: str, given: int | None, least: int, most: int | None = None) -> None:
    """Refuse a count that is too small or too large; None, for what is usual, is right.

    Args:
        what: The option or field, as the message names it.
        given: What was given for it.
        least: The smallest that it may be.
        most: The largest that it may be; None for no limit.

    Raises:
        ConfigurationError: It is no whole number, or out of this range.
    """
    if given is None:
        return
    is_whole = isinstance(given, int) and not isinstance(given, bool)
    if not is_whole or given < least or (most is not None and given > most):
        upper = "or more" if most is None else f"to {most}"
        raise ConfigurationError(
            f"{what} was given as {given!r}; expected a whole number, {least} {upper}."
        )


def require_apart(option: str, why: str, others: Mapping[str, bool]) -> None:
    """Refuse options that would have no effect beside another.

    Args:
        option: The one that was given.
        why: What it does, after "which", so that they have none.
        others: Each one's name, and whether it was given.

    Raises:
        ConfigurationError: The first that was given is named.
    """
    for other, given in others.items():
        if given:
            raise ConfigurationError(
                f"{other} was given with {option}, which {why}.", mend="Leave one of them out."
            )


def require_beside(option: str, others: Mapping[str, bool], usage: str = "") -> None:
    """Refuse options that have an effect beside another alone, which was not given.

    Args:
        option: The one that was not given.
        others: Each one's name, and whether it was given.
        usage: How the option is written with its value; empty for the option alone.

    Raises:
        ConfigurationError: The first that was given is named.
    """
    for other, given in others.items():
        if given:
            raise ConfigurationError(
                f"{other} was given without {option}.",
                mend=f"Add {usage or option}, or leave it out.",
            )


RARE = ("keep-in-train", "drop")
"""What can be done with classes of fewer rows than folds: train on them always, or never."""

INVERT = (AUTO, "yes", "no")
"""Whether new images are inverted before they are predicted."""

TRACKERS = ("mlflow",)
"""Who can keep track of experiments."""
