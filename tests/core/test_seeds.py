"""Named streams are the ones that all results so far were drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.batches import Batches
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.ground import seeds
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.seeds import Purpose


def drawn(entropy) -> list[int]:
    return np.random.default_rng(entropy).integers(2**31, size=20).tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_streams_begin_where_they_always_did(seed) -> None:
    assert drawn(seeds.of_network(seed, Purpose.WALK)) == drawn([seed, 7])
    assert drawn(seeds.of_network(seed, Purpose.ROWS, 5)) == drawn([seed, 11, 5])
    assert drawn(seeds.of_trial(seed, 3, Purpose.PROPOSALS)) == drawn([seed, 3, 1])
    assert drawn(seeds.of_trial(seed, 3, Purpose.CANDIDATES)) == drawn([seed, 3, 2])
    assert seeds.of_dropout(seed, 4) == seed * 1000 + 4
    assert drawn(seeds.FIXED) == drawn(0)


def test_a_known_draw() -> None:
    """Numbers written down: the same formula on both sides could move together."""
    assert drawn(seeds.of_network(5, Purpose.WALK))[:3] == [648312543, 1100563540, 1818002699]
    assert drawn(seeds.of_network(5, Purpose.ROWS, 2))[:3] == [1321845893, 971197850, 1226260605]
    assert drawn(seeds.of_trial(5, 2, Purpose.PROPOSALS))[:3] == [1428516327, 1708600912, 801844267]


def test_the_bank_and_the_batches_draw_from_them(make, workspace) -> None:
    dataset = load(make(height=8, width=8, rows=60).folder, workspace)
    bank = Bank(dataset, "none", 0, workspace)
    bent = Bank(dataset, "light", 0, workspace)
    random = np.random.default_rng([9, 7])
    assert bent.order(9, 4, 8) == [*random.permutation(4), *random.permutation(4)]
    job = TrainingJob(
        name="job",
        config=TrainingConfig(batch_size=16),
        train_rows=np.arange(40),
        held_out_rows=np.arange(40, 60),
        epochs=2,
        copies=1,
        seed=9,
        predict_test=False,
    )
    batches = Batches(job, dataset, bank)
    seen = np.concatenate([images[..., 0] for images, _ in batches.after(0)])
    wanted = [
        dataset.images[np.random.default_rng([9, 11, epoch]).permutation(40)[: batches.rows]]
        for epoch in (0, 1)
    ]
    assert np.array_equal(seen, np.concatenate(wanted))
