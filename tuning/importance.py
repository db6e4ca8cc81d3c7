"""Which of the searched values matter: permutation importances of a random forest on the trials.

A forest of 200 trees is fitted to the logarithm of the completed trials' log-losses (of what a
metric that ranks lacks of 1), the epochs being one more feature (hyperband's rounds differ in
them). A feature's importance is the drop of the out-of-bag R² when its column is permuted (Breiman
2001, "Random Forests"): 0 for a feature without influence, below 0 by chance. It says what mattered
among the trials made, not what would matter elsewhere in the space, and with few trials it says
little: `Importances.is_weak`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kaggle_digits.ground import seeds
from tuning.study import Trial

_TREES = 200
_FEWEST = 8
_TRIALS_EACH = 4
_EPOCHS = "epochs"


@dataclass(frozen=True, slots=True)
class Importances:
    """What mattered.

    Args:
        shares: Feature and drop of the out-of-bag R², largest first.
        fit: Out-of-bag R² of the forest; at or below 0 it has learned nothing.
        trials: Completed trials it was fitted to.
    """

    shares: tuple[tuple[str, float], ...]
    fit: float
    trials: int

    @property
    def is_weak(self) -> bool:
        """Whether the trials are too few, or the forest too poor, to be relied on."""
        return self.fit < 0.3 or self.trials < _TRIALS_EACH * len(self.shares)


def importances(trials: Sequence[Trial]) -> Importances | None:
    """Return what mattered among a study's trials.

    Returns:
        None where fewer than 8 trials are completed, or nothing varied.
    """
    done = [trial for trial in trials if trial.log_loss is not None]
    if len(done) < _FEWEST:
        return None
    rows = [asdict(trial.config) | {_EPOCHS: trial.epochs} for trial in done]
    names = [name for name in rows[0] if len({row[name] for row in rows}) > 1]
    if not names:
        return None
    features = np.array([[_number(row[name], rows, name) for name in names] for row in rows])
    losses = np.log(np.maximum([trial.loss or 0.0 for trial in done], 1e-9))
    return _permuted(names, features, losses)


def _permuted(names: list[str], features: np.ndarray, losses: np.ndarray) -> Importances:
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(seeds.FIXED)
    total, count = np.zeros(len(losses)), np.zeros(len(losses))
    moved = np.zeros((len(names), len(losses)))
    # Tree by tree: a forest's own out-of-bag prediction cannot be asked about permuted columns.
    for tree in range(_TREES):
        drawn = random.integers(len(losses), size=len(losses))
        out = np.setdiff1d(np.arange(len(losses)), drawn)
        if len(out) == 0:
            continue
        grown = DecisionTreeRegressor(max_features=max(1, len(names) // 2), random_state=tree).fit(
            features[drawn], losses[drawn]
        )
        total[out] += grown.predict(features[out])
        count[out] += 1
        for place in range(len(names)):
            shuffled = features[out].copy()
            shuffled[:, place] = features[random.integers(len(losses), size=len(out)), place]
            moved[place, out] += grown.predict(shuffled)
    known = count > 0
    spread = float(((losses[known] - losses[known].mean()) ** 2).sum())
    if spread == 0:
        return Importances(tuple((name, 0.0) for name in names), 0.0, len(losses))

    def fit(sums: np.ndarray) -> float:
        return 1 - float(((losses[known] - sums[known] / count[known]) ** 2).sum()) / spread

    whole = fit(total)
    shares = sorted(
        ((name, whole - fit(moved[place])) for place, name in enumerate(names)),
        key=lambda share: -share[1],
    )
    return Importances(tuple(shares), whole, len(losses))


def _number(value: Any, rows: Sequence[dict[str, Any]], name: str) -> float:
    if isinstance(value, str):
        # Names in the order of their mean result would leak it; the alphabet does not.
        return float(sorted({row[name] for row in rows}).index(value))
    if name in ("learning_rate", "weight_decay") and value > 0:
        return float(np.log(value))
    return float(value)
