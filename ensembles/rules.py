"""Rules: how the softmax outputs of several predictors become one, once everything is fitted.

A rule takes float [members, rows, classes] and gives float64 [rows, classes] whose rows sum to 1.
Sums run over the members one after another, not through a matrix product, so that the result does
not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kaggle_digits.core.calibration import temper
from kaggle_digits.core.predictions import logarithm, normalised, softmax64
from kaggle_digits.ground.errors import ArtefactError

_TEMPERATURES = "member_temperatures"


class Rule(Protocol):
    """How members' softmax outputs are joined."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join them.

        Args:
            probabilities: float [members, rows, classes], rows that sum to 1.

        Returns:
            float64 [rows, classes], rows that sum to 1.
        """

    @property
    def weights(self) -> tuple[float, ...] | None:
        """One weight per member; None where no such weights decide."""

    def to_json(self) -> dict[str, Any]:
        """Return what was fitted beside the weights, as a dictionary that JSON can hold."""


@dataclass(frozen=True, slots=True)
class LinearRule:
    """The weighted mean of probabilities.

    Args:
        weights: One per member, none negative, together 1.
    """

    weights: tuple[float, ...]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        total = np.zeros(probabilities.shape[1:])
        # Equal weights are left out, so that the sum of float32 values stays exact in float64 and
        # a tie between two classes stays a tie whatever the number of members.
        equal = len(set(self.weights)) == 1
        for weight, member in zip(self.weights, probabilities, strict=True):
            if equal:
                total += member
            elif weight > 0:
                total += weight * member.astype(np.float64)
        return normalised(total)

    def to_json(self) -> dict[str, Any]:
        """Return nothing: the weights are all."""
        return {}


@dataclass(frozen=True, slots=True)
class LogLinearRule:
    """The softmax of a weighted sum of log-probabilities and a bias per class.

    With equal weights and no bias it is the geometric mean.

    Args:
        weights: One per member, of any sign.
        bias: One per class, in nats.
    """

    weights: tuple[float, ...]
    bias: tuple[float, ...]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        logits = np.broadcast_to(np.asarray(self.bias), probabilities.shape[1:]).copy()
        for weight, member in zip(self.weights, probabilities, strict=True):
            if weight != 0:
                logits += weight * logarithm(member.astype(np.float64))
        return softmax64(logits)

    def to_json(self) -> dict[str, Any]:
        """Return the bias."""
        return {"bias": list(self.bias)}


@dataclass(frozen=True, slots=True)
class PowerRule:
    """The power mean (mean of p^r)^(1/r) over the members, normalised.

    Args:
        exponent: r; 1 is the arithmetic mean, 0 the geometric one, larger ones listen more to the
            members that are sure.
    """

    exponent: float

    @property
    def weights(self) -> None:
        """None: all members count alike."""
        return None

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        mean = np.zeros(probabilities.shape[1:])
        for member in probabilities:
            log = logarithm(member.astype(np.float64))
            mean += np.exp(self.exponent * log) if self.exponent else log
        return softmax64(power_logits(mean / len(probabilities), self.exponent))

    def to_json(self) -> dict[str, Any]:
        """Return the exponent."""
        return {"exponent": self.exponent}


@dataclass(frozen=True, slots=True)
class VoteRule:
    """Each member has one vote for its most probable class; ties go by the mean probability.

    The probabilities are the mean over the members that voted for the winner, so the winner is the
    most probable class, members that all agree keep the probabilities of their mean, and log-loss
    is defined on every row. What the outvoted said is not in them: votes are sure of themselves.
    """

    @property
    def weights(self) -> None:
        """None: all members count alike."""
        return None

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        shape = probabilities.shape[1:]
        rows = np.arange(shape[0])
        votes, total = np.zeros(shape), np.zeros(shape)
        choices = probabilities.argmax(axis=2)
        for member, choice in zip(probabilities, choices, strict=True):
            votes[rows, choice] += 1
            total += member
        # The mean is at most 1: half of it can decide between equal votes only.
        winners = (votes + total / (2 * len(probabilities))).argmax(axis=1)
        joined = np.zeros(shape)
        for member, choice in zip(probabilities, choices, strict=True):
            joined += np.where((choice == winners)[:, None], member, 0)
        return normalised(joined)

    def to_json(self) -> dict[str, Any]:
        """Return nothing: there is nothing fitted."""
        return {}


@dataclass(frozen=True, slots=True)
class EvenedRule:
    """Another rule on members that are each as sure as they should be.

    Args:
        rule: The other rule.
        temperatures: One per member; its probabilities are taken to the power 1/T, normalised.
    """

    rule: Rule
    temperatures: tuple[float, ...]

    @property
    def weights(self) -> tuple[float, ...] | None:
        """The other rule's."""
        return self.rule.weights

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        weights = self.weights or self.temperatures
        # A member that has no weight need not be evened out.
        used = [1.0 if not w else t for w, t in zip(weights, self.temperatures, strict=True)]
        return self.rule.apply(evened(probabilities, used))

    def to_json(self) -> dict[str, Any]:
        """Return the temperatures and what the other rule tells."""
        return self.rule.to_json() | {_TEMPERATURES: list(self.temperatures)}


@dataclass(frozen=True, slots=True)
class CalibratedRule:
    """Another rule's probabilities to the power 1/T, normalised (temperature scaling).

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks (2017), section 4.2.

    Args:
        rule: The other rule.
        temperature: T; above 1 makes less sure. A row's most probable class stays.
    """

    rule: Rule
    temperature: float

    @property
    def weights(self) -> tuple[float, ...] | None:
        """The other rule's."""
        return self.rule.weights

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Join members' outputs, as in `Rule`."""
        return temper(self.rule.apply(probabilities), self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Return the temperature and what the other rule tells."""
        return self.rule.to_json() | {"temperature": self.temperature}


def evened(probabilities: np.ndarray, temperatures: Sequence[float]) -> np.ndarray:
    """Return members' probabilities, each with its temperature, float32 of the same shape.

    In float32, which is half the time: weights and sums are made in float64 from it.
    """
    even = np.empty(probabilities.shape, dtype=np.float32)
    for out, member, temperature in zip(even, probabilities, temperatures, strict=True):
        if temperature == 1:
            out[:] = member
            continue
        np.multiply(logarithm(member.astype(np.float32)), np.float32(1 / temperature), out=out)
        out -= out.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
    return even


def power_logits(mean: np.ndarray, exponent: float) -> np.ndarray:
    """Return the logarithm of a power mean.

    Args:
        mean: Mean over members of p^exponent, or of ln p where the exponent is 0.
        exponent: The exponent.
    """
    if not exponent:
        return mean
    logits: np.ndarray = np.log(np.maximum(mean, np.finfo(mean.dtype).tiny)) / exponent
    return logits


def told_of(rule: Rule, names: Sequence[str]) -> dict[str, Any]:
    """Return what `rule_of` makes a rule anew of, as JSON can hold it.

    Args:
        rule: The rule.
        names: Of what it joins. What belongs to one of these stands under its name: JSON objects
            come back sorted, lists do not.
    """
    fitted, weights = rule.to_json(), rule.weights
    if _TEMPERATURES in fitted:
        fitted[_TEMPERATURES] = dict(zip(names, fitted[_TEMPERATURES], strict=True))
    named = None if weights is None else dict(zip(names, weights, strict=True))
    return {"weights": named, "rule": fitted}


def rule_of(account: Mapping[str, Any]) -> Rule:
    """Make a blend's rule anew of its account, for what it joins in the order of its `weights`.

    Args:
        account: As `blending.account` writes it.

    Raises:
        ArtefactError: An earlier version wrote it, without whose temperatures are whose.
    """
    fitted, named = account["rule"], account["weights"]
    weights = None if named is None else tuple(named.values())
    rule: Rule
    if "exponent" in fitted:
        rule = PowerRule(fitted["exponent"])
    elif weights is None:
        rule = VoteRule()
    elif "bias" in fitted:
        rule = LogLinearRule(weights, tuple(fitted["bias"]))
    else:
        rule = LinearRule(weights)
    if _TEMPERATURES in fitted:
        temperatures = fitted[_TEMPERATURES]
        if isinstance(temperatures, Mapping):
            temperatures = [temperatures[name] for name in named]
        elif len(temperatures) > 1:
            raise ArtefactError(
                "The blend's account lists the temperatures of its sets without their names, as an "
                "earlier version wrote it.",
                mend="Call `kaggle-digits blend` and `kaggle-digits kernel weights` again.",
            )
        rule = EvenedRule(rule, tuple(temperatures))
    if "temperature" in fitted:
        rule = CalibratedRule(rule, fitted["temperature"])
    return rule
