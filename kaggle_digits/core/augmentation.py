"""Augmentation by albumentations: named policies, and the bank of whole augmented copies.

An augmented copy of the training images depends on the data, the policy and the seed, not on the
fold or the network. So copies are made once, in parallel processes, each from its own seed, and
memory-mapped; every trial, fold, network and seed shares them. A row's copies train only networks
whose training part holds the row: the split is over rows, never over copies.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kaggle_digits.core.normalisation import find_normalisation, normalise
from kaggle_digits.core.processes import become_worker
from kaggle_digits.ground.errors import ConfigurationError, did_you_mean
from kaggle_digits.ground.files import folder_bytes, remove, require_room, whole_folder, write_json
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


MOST_BYTES = 4 * 2**30
"""What the banks of a workspace may take on disk together; one that needs more stands alone."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How strongly images are bent; all values are the ends of symmetric ranges.

    Args:
        rotation: Degrees.
        scale: Relative change of size.
        shift: Relative to the image's side.
        shear: Degrees.
        elastic: Strength of the elastic transform (albumentations' alpha); 0 for none.
        elastic_share: Probability of the elastic transform for each image.
    """

    rotation: float
    scale: float
    shift: float
    shear: float
    elastic: float = 0.0
    elastic_share: float = 0.5

    def compose(self, seed: int) -> Callable[..., dict[str, Any]]:
        """Return albumentations' pipeline of this policy with its own random stream.

        Pixels from outside the image are black, as the digits' background is. Interpolation is
        cubic: linear interpolation blurs, and leaves networks to train on images with two fifths
        more grey pixels than those they predict; cubic with one fifth more.
        """
        # It asks a package index for its newest version on import, also on a machine without net.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations
        import cv2

        steps: list[Any] = [
            albumentations.Affine(
                rotate=(-self.rotation, self.rotation),
                scale=(1 - self.scale, 1 + self.scale),
                translate_percent=(-self.shift, self.shift),
                shear=(-self.shear, self.shear),
                interpolation=cv2.INTER_CUBIC,
                fill=0,
                p=1.0,
            )
        ]
        if self.elastic:
            steps.append(
                albumentations.ElasticTransform(
                    alpha=self.elastic,
                    sigma=5,
                    interpolation=cv2.INTER_CUBIC,
                    fill=0,
                    p=self.elastic_share,
                )
            )
        pipeline: Callable[..., dict[str, Any]] = albumentations.Compose(steps, seed=seed)
        return pipeline


POLICIES: dict[str, Policy | None] = {
    "none": None,
    "light": Policy(rotation=8, scale=0.08, shift=0.06, shear=0),
    "standard": Policy(rotation=12, scale=0.12, shift=0.08, shear=8),
    "elastic": Policy(rotation=12, scale=0.12, shift=0.08, shear=8, elastic=24),
    "strong": Policy(rotation=15, scale=0.15, shift=0.1, shear=10, elastic=32, elastic_share=0.7),
}


def find_policy(name: str) -> Policy | None:
    """Return a policy by its name.

    Raises:
        ConfigurationError: The name is unknown.
    """
    if name not in POLICIES:
        raise ConfigurationError(
            f"augmentation was given as {name!r}.", mend=did_you_mean(name, POLICIES)
        )
    return POLICIES[name]


class Bank:
    """The augmented copies of a data set's training images, or of its test images.

    Args:
        dataset: The data.
        policy: Name of the policy.
        seed: Fixes all copies; copy c has its own stream, from (seed, c).
        workspace: The bank lives in its cache.
        part: `train` or `test`: which images.
        normalisation: How they are normalised before they are augmented.

    Raises:
        ConfigurationError: The policy or the normalisation is unknown.
    """

    def __init__(
        self,
        dataset: Dataset,
        policy: str,
        seed: int,
        workspace: Workspace,
        part: Literal["train", "test"] = "train",
        normalisation: str = "none",
    ) -> None:
        self._raw = dataset.images if part == "train" else dataset.test_images
        self._policy = find_policy(policy)
        self._normalisation = normalisation
        normalised_by = find_normalisation(normalisation)
        self._seed = seed
        made_by = {
            "data": dataset.digest,
            "policy": asdict(self._policy) if self._policy else None,
            "seed": seed,
            "interpolation": "cubic",
        }
        if part != "train":
            made_by["part"] = part
        if normalised_by is not None:
            made_by["normalisation"] = asdict(normalised_by)
        name = policy if normalised_by is None else f"{normalisation}-{policy}"
        self.name = name if part == "train" else f"{name} ({part})"
        self.digest = digest(made_by)
        self._folder = workspace.cache / "bank" / f"{name}-{self.digest}"
        self._made_by = made_by

    def copy(self, index: int) -> np.ndarray:
        """Return one augmented copy, uint8 [rows, height, width], memory-mapped.

        The policy `none` has the normalised images as its only copy. One that is missing is made.
        """
        if self._policy is None:
            return self._images
        if not self._path(index).exists():
            # Another run of this workspace has made room for its own copies.
            self.ensure_only([index], 1, Silent())
        images: np.ndarray = np.load(self._path(index) / "images.npy", mmap_mode="r")
        return images

    def ensure(self, copies: int, workers: int, progress: Progress) -> None:
        """Make those of the first `copies` copies that are not there yet.

        Args:
            copies: How many are wanted.
            workers: Processes to make them in.
            progress: Told of each copy.

        Raises:
            ArtefactError: They do not fit on the disk.
        """
        self.ensure_only(range(copies), workers, progress)

    def ensure_only(self, copies: Iterable[int], workers: int, progress: Progress) -> None:
        """Make those of the copies with these numbers that are not there yet, as `ensure` does."""
        if self._policy is None:
            return
        missing = [index for index in copies if not self._is_made(index)]
        stamp = self._folder / "bank.json"
        if stamp.exists():
            stamp.touch()  # in use: the last to make room for others
        if not missing:
            return
        images = self._images
        make_room(self._folder, len(missing) * images.nbytes)
        require_room(self._folder, len(missing) * images.nbytes, "the augmentation bank")
        write_json(stamp, self._made_by)
        tasks = [
            (images, self._policy, (self._seed, index), self._path(index)) for index in missing
        ]
        with progress.task(f"bank {self.name}", len(missing), "copies") as task:
            for _ in _in_processes(tasks, min(workers, len(tasks))):
                task.advance()

    def order(self, seed: int, copies: int, epochs: int) -> list[int]:
        """Return the copy each epoch walks through: every copy once before any comes again.

        Args:
            seed: A member's own; members walk in orders of their own.
            copies: How many copies the member may use.
            epochs: Length of the list.
        """
        if self._policy is None:
            return [0] * epochs
        random = np.random.default_rng([seed, 7])
        rounds = -(-epochs // copies)
        walk = [int(index) for _ in range(rounds) for index in random.permutation(copies)]
        return walk[:epochs]

    @cached_property
    def _images(self) -> np.ndarray:
        return normalise(self._raw, self._normalisation)

    def _path(self, index: int) -> Path:
        return self._folder / f"copy-{index:03d}"

    def _is_made(self, index: int) -> bool:
        try:
            images = np.load(self._path(index) / "images.npy", mmap_mode="r")
        except (OSError, ValueError):
            return False
        return bool(images.shape == self._raw.shape)


def make_room(folder: Path, wanted: int) -> None:
    """Drop the banks that were not used for longest, until all of them keep within the limit.

    Args:
        folder: The bank that grows; it stays.
        wanted: Bytes it is to grow by.
    """
    used: dict[Path, float] = {}
    for stamp in folder.parent.glob("*/bank.json"):
        used[stamp.parent] = stamp.stat().st_mtime
    sizes = {bank: folder_bytes(bank) for bank in used}
    total = sum(sizes.values()) + wanted
    for bank in sorted(used, key=lambda bank: used[bank]):
        if total <= MOST_BYTES:
            return
        if bank != folder:
            total -= sizes[bank]
            remove(bank)


def augment(images: np.ndarray, policy: Policy, seed: tuple[int, int]) -> np.ndarray:
    """Return one augmented copy of images.

    Args:
        images: uint8 [rows, height, width].
        policy: How to bend them.
        seed: Fixes the copy.

    Returns:
        uint8 [rows, height, width].
    """
    import cv2

    # The processes are the parallelism; OpenCV's own threads would only fight them.
    cv2.setNumThreads(0)
    pipeline = policy.compose(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    made = np.empty_like(images)
    for row, image in enumerate(images):
        made[row] = pipeline(image=image[..., np.newaxis])["image"].reshape(image.shape)
    return made


def _make_copy(task: tuple[np.ndarray, Policy, tuple[int, int], Path]) -> None:
    images, policy, seed, path = task
    with whole_folder(path) as folder:
        np.save(folder / "images.npy", augment(images, policy, seed))


def _in_processes(tasks: list[Any], workers: int) -> Iterator[None]:
    if workers <= 1:
        for task in tasks:
            _make_copy(task)
            yield
        return
    # Spawned, not forked: a fork of a process that holds TensorFlow's threads can hang.
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=become_worker
    )
    try:
        for future in as_completed([pool.submit(_make_copy, task) for task in tasks]):
            future.result()
            yield
    except BaseException:
        # Interrupted, or no room: nobody waits for the copies that are under way.
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
