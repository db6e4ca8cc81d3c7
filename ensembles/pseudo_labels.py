"""Pseudo-labels: confident test predictions that join the training part, fold by fold.

Why out-of-fold predictions stay honest: fold k's pseudo-labels are made from the test predictions
of fold k's members alone, which were trained without the labels of fold k, and join the training of
fold k's next members alone. So whatever reaches the network that predicts a row of fold k, directly
or by way of test images, was made from the labels of the other folds; in every round, since a
round's members of fold k hand on only what they were given. Helpers from all folds would not do:
four of five of them have seen each row of fold k, and what they learned of it would come back
through the labels of test images that look like it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kaggle_digits.core.jobs import PseudoLabels
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.names import (
    HARD,
    PSEUDO_TARGETS,
    SOFT,
    require_beside,
    require_known,
)
from kaggle_digits.ground.stamps import digest
from kaggle_digits.records.plan import MemberKey


@dataclass(frozen=True, slots=True)
class PseudoRule:
    """How test predictions become labels.

    Args:
        threshold: A test image joins if its most probable class has this probability at least; as
            it is, every image does where there are 100 classes or fewer.
        share: The part of the test images that may join at most, the most confident first.
        rounds: How many times members are trained anew on what the ones before predicted.
        targets: `soft` for the probabilities as they are, `hard` for the class alone.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    threshold: float = 0.01
    share: float = 1.0
    rounds: int = 1
    targets: str = SOFT

    def __post_init__(self) -> None:
        """Check the values, so that a rule that exists can be followed."""
        for option, value, low, high in (
            ("--pseudo-threshold", self.threshold, 0.0, 1.0),
            ("--pseudo-share", self.share, 0.0, 1.0),
            ("--pseudo-rounds", self.rounds, 0, 10),
        ):
            if not low < value <= high:
                raise ConfigurationError(
                    f"{option} was given as {value}; expected above {low} and {high} at most."
                )
        require_known("--pseudo-targets", self.targets, PSEUDO_TARGETS)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)


def make_rule(options: Mapping[str, Any], *, wanted: bool) -> PseudoRule | None:
    """Make a rule of the command line's options.

    Args:
        options: By `pseudo_` and the field's name; None where not given.
        wanted: Whether pseudo-labels are asked for.

    Raises:
        ConfigurationError: A value is out of its range, or given without --pseudo-label.
    """
    given = {
        name.removeprefix("pseudo_"): value for name, value in options.items() if value is not None
    }
    if wanted:
        return PseudoRule(**given)
    require_beside("--pseudo-label", {f"--pseudo-{name}": True for name in given})
    return None


def helpers(members: Sequence[MemberKey], fold: int) -> list[MemberKey]:
    """Return the members whose test predictions may become labels for a fold's next members.

    Args:
        members: All members of the round before.
        fold: The fold: only members that never saw it help.
    """
    return [key for key in members if key.fold == fold]


def decided_by(rule: PseudoRule, names: Sequence[str]) -> str:
    """Return 16 hex digits that stand for what decides a member's pseudo-labels.

    Known before a helper is trained, so that members can be planned. The number of rounds has no
    part in it: a second round goes on from the members of the first.

    Args:
        rule: How labels are made.
        names: The helpers.
    """
    values = rule.to_json() | {"smoothing": "taken out"}
    del values["rounds"]
    return digest([values, sorted(names)])


def unsmoothed(probabilities: np.ndarray, label_smoothing: float) -> np.ndarray:
    """Return what a network would predict had its labels not been smoothed.

    A network that is trained with a smoothing of s answers p·(1 − s) + s/classes where it would
    have answered p. Left in, no label would be much surer than 1 − s, however sure the network is,
    and a network trained on such labels would be smoothed twice. No label is needed to take it out,
    as a temperature would need: those of the fold must not be looked at.

    Args:
        probabilities: Softmax, float [rows, classes].
        label_smoothing: What the network was trained with.

    Returns:
        float64 [rows, classes], rows that sum to 1.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    values = np.maximum(values - label_smoothing / values.shape[1], 0.0)
    unit: np.ndarray = values / values.sum(axis=1, keepdims=True)
    return unit


def select(predictions: Sequence[np.ndarray], rule: PseudoRule) -> PseudoLabels:
    """Choose test images and their labels from helpers' predictions.

    Args:
        predictions: One softmax output for each helper, float [test rows, classes].
        rule: How.

    Returns:
        The chosen rows, ascending; none where no image is confident enough. Of images with the
        same confidence, the one that stands first in the test file is taken first.
    """
    mean = np.mean([np.asarray(each, dtype=np.float64) for each in predictions], axis=0)
    confidence = mean.max(axis=1)
    # Rounded first: 0.29 × 100 is a little less than 29.
    most = int(round(rule.share * len(mean), 6))
    by_confidence = np.argsort(-confidence, kind="stable")[:most]
    rows = np.sort(by_confidence[confidence[by_confidence] >= rule.threshold]).astype(np.int64)
    targets = mean[rows]
    if rule.targets == HARD:
        targets = np.eye(mean.shape[1])[targets.argmax(axis=1)]
    return PseudoLabels(rows, targets.astype(np.float32))


def require_some(labels: PseudoLabels, fold: int, rule: PseudoRule) -> None:
    """Refuse a rule that no test image fulfils: its members would be trained on nothing new.

    Raises:
        ConfigurationError: The fold and the rule are named.
    """
    if not len(labels.rows):
        raise ConfigurationError(
            f"No test image becomes a pseudo-label for fold {fold}: none of the share of "
            f"{rule.share} has a class with a probability of {rule.threshold} or more.",
            mend="Give a lower --pseudo-threshold or a larger --pseudo-share.",
        )
