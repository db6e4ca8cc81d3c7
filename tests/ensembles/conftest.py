"""A learner in the place of networks: quick, and what it says depends on all it was shown."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ensembles import member_training, teaching
from kaggle_digits.core.data import load
from kaggle_digits.core.predictions import softmax
from kaggle_digits.engine import tasks


@dataclass
class PlantedTraining:
    """Takes the place of `train`: the mean image of each class, over rows and pseudo-labels.

    Time passes only as it is told: `now` moves by `start_up` and `epoch` seconds per member.
    """

    jobs: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    now: float = 0.0
    start_up: float = 1.0
    epoch: float = 1.0
    sharpness: float = 2e-3

    def clock(self) -> float:
        """Return the time in seconds."""
        return self.now

    def train(
        self,
        job: Any,
        dataset: Any,
        bank: Any,
        checkpoints: Path,
        progress: Any,
        *,
        deadline: Any = None,
        test_bank: Any = None,
        model_file: Path | None = None,
    ) -> Any:
        """Stand in for `kaggle_digits.core.training.train`."""
        self.jobs.append(job)
        self.now += self.start_up + self.epoch * job.epochs
        classes = len(dataset.competition.classes)
        shown = [flat(dataset.images[job.train_rows])]
        targets = [np.eye(classes)[dataset.labels[job.train_rows]]]
        if job.targets is not None:
            targets = [job.targets.astype(np.float64)]
        if job.pseudo_labels is not None:
            assert test_bank is not None
            shown.append(flat(dataset.test_images[job.pseudo_labels.rows]))
            targets.append(job.pseudo_labels.targets.astype(np.float64))
        means = per_class(np.concatenate(shown), np.concatenate(targets))
        # The seed has a say too, as it has in a network.
        means += np.random.default_rng(job.seed).normal(size=means.shape)

        if model_file is not None:
            model_file.parent.mkdir(parents=True, exist_ok=True)
            np.save(model_file.with_suffix(".npy"), means)
            model_file.with_suffix(".npy").rename(model_file)
        result = SimpleNamespace(
            held_out=self.say(means, dataset.images[job.held_out_rows]),
            test=self.say(means, dataset.test_images),
            history=[1.0, 0.5],
            seconds=self.epoch * job.epochs,
            record={"hardware": {}},
            checkpoint=checkpoints / "none.npz",
        )
        self.results.append(result)
        return result

    def say(self, means: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the softmax of what was learned."""
        distances = ((flat(images)[:, np.newaxis] - means) ** 2).sum(axis=2)
        return softmax(-self.sharpness * distances)

    def answers(self, content: bytes, images: np.ndarray, config: Any) -> np.ndarray:
        """Stand in for `ensembles.teaching.answers`."""
        return self.say(np.load(io.BytesIO(content)), images)


def flat(images: np.ndarray) -> np.ndarray:
    """Return float64 [n, pixels]."""
    return np.asarray(images, dtype=np.float64).reshape(len(images), math.prod(images.shape[1:]))


def per_class(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each class's mean image, float64 [classes, pixels]."""
    means: np.ndarray = targets.T @ images / targets.sum(axis=0)[:, np.newaxis]
    return means


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> PlantedTraining:
    """Put the learner in the place of training, and let no bank be made."""
    made = PlantedTraining()
    monkeypatch.setattr(member_training, "train", made.train)
    monkeypatch.setattr(teaching, "train", made.train)
    monkeypatch.setattr(teaching, "answers", made.answers)
    monkeypatch.setattr(teaching, "delivered", lambda content: content)
    monkeypatch.setattr("ensembles.distilling.make_copies", lambda *_: None)
    monkeypatch.setattr("kaggle_digits.core.augmentation.Bank.ensure", lambda *_: None)
    monkeypatch.setattr("ensembles.trainer.make_copies", lambda *_: None)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=made.clock))
    return made


@pytest.fixture
def dataset(made, workspace):  # type: ignore[no-untyped-def]
    """The small generated competition."""
    return load(made.folder, workspace)


@pytest.fixture
def measured(monkeypatch, planted):  # type: ignore[no-untyped-def]
    """Measured speeds: exact for the planted learner unless `wrong` says by which factor."""
    about = SimpleNamespace(calls=[], wrong=1.0, cost=0.5)

    def measure(config, dataset, bank, *, seconds):
        about.calls.append((config, seconds))
        planted.now += about.cost
        rows = len(dataset.images) * 2 / 3
        speed = rows / planted.epoch * about.wrong
        # What storing takes is added to the start-up.
        return SimpleNamespace(
            images_per_second=speed,
            start_up=planted.start_up / about.wrong - 0.3,
            predictions_per_second=1e9,
        )

    monkeypatch.setattr(member_training, "measure", measure)
    return about
