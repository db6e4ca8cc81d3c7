"""What decides a search's proposals, and the words that Keras Tuner and this wing share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.names import STRATEGIES, require_known
from tuning.space import Space

OBJECTIVE = "log_loss"
"""What oracles bring down; where a metric ranks, they are told what it lacks of 1."""

EPOCHS = "tuner/epochs"

Accepts = Callable[[TrainingConfig], bool]


@dataclass(frozen=True, slots=True)
class ProposalSettings:
    """What decides a search's proposals.

    Args:
        epochs: Epochs of a whole trial; hyperband's early rounds have fewer.
        seed: Fixes the proposals; 0 is a seed.
        strategy: One of `names.STRATEGIES`.
        space: What is searched.
        portfolio: Well-tried configurations, proposed first, in this order; empty for none.

    Raises:
        ConfigurationError: The strategy is unknown.
    """

    epochs: int
    seed: int
    strategy: str = "hyperband"
    space: Space = field(default_factory=Space)
    portfolio: tuple[TrainingConfig, ...] = ()

    def __post_init__(self) -> None:
        """Check the strategy, so that settings that exist have an oracle."""
        require_known("--strategy", self.strategy, STRATEGIES)
