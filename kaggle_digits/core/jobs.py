"""A training job as a value: everything that decides what a trained network will be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.stamps import digest


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """Test images that join the training part, with the labels that members gave them.

    Args:
        rows: int64 [n], test rows, ascending.
        targets: float32 [n, classes], probabilities.
    """

    rows: np.ndarray
    targets: np.ndarray

    @property
    def digest(self) -> str:
        """16 hex digits that stand for rows and targets."""
        return digest([self.rows.tolist(), self.targets.astype(np.float64).tolist()])


@dataclass(frozen=True, slots=True, eq=False)
class TrainingJob:
    """One configuration trained on one part of the rows with one seed.

    Args:
        name: How progress and messages name it.
        config: The configuration.
        train_rows: int64, the rows to train on.
        held_out_rows: int64, the rows to predict un-augmented; disjoint from `train_rows`.
        epochs: Passes over `train_rows`, fixed beforehand.
        copies: Augmented copies the passes walk through.
        seed: Fixes initial weights, dropout, and the order of rows and copies.
        predict_test: Whether the test images are predicted as well.
        pseudo_labels: Test images that join every pass; None for none.
        targets: Probabilities to learn in place of the labels of `train_rows`, float32
            [train rows, classes]; None for the labels.
    """

    name: str
    config: TrainingConfig
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    epochs: int
    copies: int
    seed: int
    predict_test: bool
    pseudo_labels: PseudoLabels | None = None
    targets: np.ndarray | None = None

    def made_by(self, data_digest: str, bank_digest: str) -> dict[str, Any]:
        """Return what decides the result, as a dictionary that JSON can hold.

        Args:
            data_digest: The data set's digest.
            bank_digest: The digest of the augmentation bank of the job's policy.
        """
        told = self.targets
        return {
            "config": self.config.to_json(),
            "data": data_digest,
            "rows": digest([self.train_rows.tolist(), self.held_out_rows.tolist()]),
            "epochs": self.epochs,
            "copies": self.copies,
            "seed": self.seed,
            "bank": bank_digest,
            "pseudo_labels": self.pseudo_labels.digest if self.pseudo_labels else None,
            **({} if told is None else {"targets": digest(told.astype(np.float64).tolist())}),
        }
