"""What the engine runs to distil: a member that tells of training images, a student that learns.

A student is trained by the same loop as a member, with probabilities in place of labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.core import inference, portable
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.training import train
from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.files import remove

_MODEL = "student.keras"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A student to be trained.

    Args:
        name: How progress names it.
        place: Name of the folder for its checkpoint; stands for all that decides it.
        config: What it is.
        train_rows: int64, the training rows it learns from.
        held_out_rows: int64, those it is judged on; none for the one that is delivered.
        targets: The teachers' probabilities of `train_rows`, float32 [train rows, classes]; None
            to learn the labels.
        test_targets: Those of all test images, float32 [test rows, classes].
        epochs: Passes over both.
        copies: Augmented copies that the passes walk through.
        seed: Its own.
        bank_seed: Fixes the copies.
    """

    name: str
    place: str
    config: TrainingConfig
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    targets: np.ndarray | None
    test_targets: np.ndarray
    epochs: int
    copies: int
    seed: int
    bank_seed: int

    @property
    def is_delivered(self) -> bool:
        """Whether its network is wanted, and not its figures."""
        return not len(self.held_out_rows)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A student that has been trained.

    Args:
        held_out: Softmax on its held-out rows, float32 [held-out rows, classes].
        model: Its network as a portable Keras file's bytes, where it is delivered; else None.
    """

    held_out: np.ndarray
    model: bytes | None


def tell(site: Site, content: bytes, config: TrainingConfig) -> np.ndarray:
    """Return a network's probabilities of all training images, float32 [rows, classes].

    Args:
        site: Gives the images.
        content: The network's Keras file.
        config: What it was trained by, which says how it sees images.

    Raises:
        ArtefactError: It cannot be read.
    """
    return answers(content, site.dataset.images, config)


def answers(content: bytes, images: np.ndarray, config: TrainingConfig) -> np.ndarray:
    """Return a network's probabilities of images, float32 [n, classes]."""
    return inference.predict(portable.load(content), images, config)


def delivered(content: bytes) -> bytes:
    """Return the Keras file of a trained network in the form that other programs read."""
    return portable.keras_bytes(portable.portable(portable.load(content)))


def teach(site: Site, lesson: Lesson) -> Learned:
    """Train a student; what its node lacks of the bank is made first.

    Raises:
        TrainingError: It diverged or ran out of memory.
        ArtefactError: The site's cache cannot be written.
    """
    dataset = site.dataset
    banks = [
        Bank.of(lesson.config, dataset, lesson.bank_seed, site.workspace, part)
        for part in ("train", "test")
    ]
    for bank in banks:
        bank.ensure(range(lesson.copies), site.progress)
    place = site.workspace.cache / "checkpoints" / lesson.place
    model = place / _MODEL if lesson.is_delivered else None
    trained = train(
        TrainingJob(
            name=lesson.name,
            config=lesson.config,
            train_rows=lesson.train_rows,
            held_out_rows=lesson.held_out_rows,
            epochs=lesson.epochs,
            copies=lesson.copies,
            seed=lesson.seed,
            predict_test=False,
            pseudo_labels=PseudoLabels(np.arange(len(lesson.test_targets)), lesson.test_targets),
            targets=lesson.targets,
        ),
        dataset,
        banks[0],
        place,
        site.progress,
        deadline=site.deadline,
        test_bank=banks[1],
        model_file=model,
    )
    content = None
    if model is not None:
        content = delivered(model.read_bytes())
    if not site.is_home:
        remove(place)  # the driver cannot; it removes its own once the student is stored
    return Learned(trained.held_out, content)
