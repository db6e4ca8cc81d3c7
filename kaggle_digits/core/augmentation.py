"""Augmentation by albumentations: named policies, and the bank of whole augmented copies.

An augmented copy of the training images depends on the data, the policy and the seed, not on the
fold or the network. So copies are made once, in parallel processes, each from its own seed, and
memory-mapped; every trial, fold, network and seed shares them. A row's copies train only networks
whose training part holds the row: the split is over rows, never over copies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.normalisation import find_normalisation, normalise
from kaggle_digits.ground import seeds
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ArtefactError, InUseError
from kaggle_digits.ground.files import folder_bytes, remove, require_room, whole_folder, write_json
from kaggle_digits.ground.names import require_known
from kaggle_digits.ground.progress import Progress, Silent
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.ground.config import TrainingConfig


MOST_BYTES = 4 * 2**30
"""What the banks of a workspace may take on disk together, those in use aside."""

_IN_USE_SECONDS = 3600
"""How long a bank counts as in use: longer than an epoch takes, each of which says so anew."""

_WAIT_SECONDS = 0.1
_LONGEST_WAIT = 600.0

Part = Literal["train", "test"]
"""Of a data set: its training images or its test images."""

BankKey = tuple[str, int, Part, str, np.ndarray | None]


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


@dataclass(frozen=True, slots=True)
class PhotoPolicy:
    """How photographs are varied; what comes in at the edges is the image itself, mirrored.

    Args:
        flip: Whether left and right are exchanged, by an even chance.
        rotation: Degrees, to either side.
        shrink: Least size, relative.
        zoom: Largest size, relative: what is then outside is cut off.
        shift: Relative to the image's side, to either side.
        light: Largest change of brightness and of contrast, relative.
    """

    flip: bool
    rotation: float = 8
    shrink: float = 0.9
    zoom: float = 1.2
    shift: float = 0.1
    light: float = 0.2

    def compose(self, seed: int) -> Callable[..., dict[str, Any]]:
        """Return albumentations' pipeline of this policy with its own random stream."""
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations
        import cv2

        steps: list[Any] = [
            albumentations.Affine(
                rotate=(-self.rotation, self.rotation),
                scale=(self.shrink, self.zoom),
                translate_percent=(-self.shift, self.shift),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_REFLECT_101,
                p=1.0,
            ),
            albumentations.RandomBrightnessContrast(
                brightness_limit=self.light, contrast_limit=self.light, p=0.8
            ),
        ]
        if self.flip:
            steps.insert(0, albumentations.HorizontalFlip(p=0.5))
        pipeline: Callable[..., dict[str, Any]] = albumentations.Compose(steps, seed=seed)
        return pipeline


AnyPolicy = Policy | PhotoPolicy

POLICIES: dict[str, AnyPolicy | None] = {
    "none": None,
    "light": Policy(rotation=8, scale=0.08, shift=0.06, shear=0),
    "standard": Policy(rotation=12, scale=0.12, shift=0.08, shear=8),
    "elastic": Policy(rotation=12, scale=0.12, shift=0.08, shear=8, elastic=24),
    "strong": Policy(rotation=15, scale=0.15, shift=0.1, shear=10, elastic=32, elastic_share=0.7),
    "photo": PhotoPolicy(flip=True),
    "photo-unflipped": PhotoPolicy(flip=False),
}


def find_policy(name: str) -> AnyPolicy | None:
    """Return a policy by its name.

    Raises:
        ConfigurationError: The name is unknown.
    """
    require_known("augmentation", name, POLICIES)
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
        rows: Which of the images, int64 and increasing, for networks that see no others; None for
            all of them.

    Attributes:
        name: How progress names it.
        size: Images of each copy.
        digest: 16 hex digits that stand for all copies.
        key: Policy, seed, part, normalisation and rows: with the data, what decides all copies.

    Raises:
        ConfigurationError: The policy or the normalisation is unknown.
    """

    def __init__(
        self,
        dataset: Dataset,
        policy: str,
        seed: int,
        workspace: Workspace,
        part: Part = "train",
        normalisation: str = "none",
        rows: np.ndarray | None = None,
    ) -> None:
        self.key: BankKey = (policy, seed, part, normalisation, rows)
        self._raw = dataset.images if part == "train" else dataset.test_images
        self._rows = rows
        self.size = len(self._raw) if rows is None else len(rows)
        self._policy = find_policy(policy)
        self._normalisation = normalisation
        normalised_by = find_normalisation(normalisation)
        self._seed = seed
        self._workspace = workspace
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
        if rows is not None:
            made_by["rows"] = digest(rows.tolist())
        name = policy if normalised_by is None else f"{normalisation}-{policy}"
        self.name = name if part == "train" else f"{name} ({part})"
        if rows is not None:
            self.name += f", {len(rows):,} rows"
        self.digest = digest(made_by)
        self._folder = workspace.cache / "bank" / f"{name}-{self.digest}"
        self._made_by = made_by

    @classmethod
    def of(
        cls,
        config: TrainingConfig,
        dataset: Dataset,
        seed: int,
        workspace: Workspace,
        part: Part = "train",
        rows: np.ndarray | None = None,
    ) -> Self:
        """Return the bank that a configuration's networks are trained on."""
        return cls(dataset, config.augmentation, seed, workspace, part, config.normalisation, rows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows of the data stand in the bank's copies, int64.

        Raises:
            ValueError: The bank has no copies of some of them.
        """
        if self._rows is None:
            return rows
        found = np.searchsorted(self._rows, rows)
        if not np.array_equal(self._rows[np.minimum(found, len(self._rows) - 1)], rows):
            raise ValueError(f"The bank {self.name} has no copies of some of {len(rows):,} rows.")
        return found

    def copy(self, index: int) -> np.ndarray:
        """Return one augmented copy, uint8 of the images' own sides, memory-mapped.

        The policy `none` has the normalised images as its only copy. One that is missing is made.
        """
        if self._policy is None:
            return self._images
        self._say_in_use()
        if not self._is_made(index):
            # Another run of this workspace has made room for its own copies.
            self.ensure([index], Silent())
        return load_array(self._path(index) / "images.npy", mmap_mode="r")

    def missing(self, copies: Iterable[int]) -> list[int]:
        """Return which of the copies with these numbers are not there; nothing is made."""
        if self._policy is None:
            return []
        return [index for index in copies if not self._is_made(index)]

    def make_room(self, copies: int) -> None:
        """Say that the bank is in use, and see that so many more copies fit on the disk.

        Raises:
            ArtefactError: They do not.
        """
        self._say_in_use()
        if copies:
            wanted = copies * int(np.prod(self._shape))
            make_room(self._folder, wanted)
            require_room(self._folder, wanted, "the augmentation bank")
            write_json(self._stamp, self._made_by)

    def ensure(
        self, copies: Iterable[int], progress: Progress, deadline: Deadline | None = None
    ) -> None:
        """Make those of the copies with these numbers that are not there yet, one after another.

        Processes that want the same copies at once make each one once: what another one is at is
        left to it, and waited for at the end. One that takes too long for it may be gone, though
        its lock file is still there: the copy is then made beside it, which is the same.

        Args:
            copies: Their numbers.
            progress: Told of each copy.
            deadline: Until when copies are begun; None for no limit.

        Raises:
            ArtefactError: They do not fit on the disk.
            OutOfTimeError: The deadline passed.
        """
        missing = self.missing(copies)
        self.make_room(len(missing))
        if not missing:
            return
        deadline = deadline or Deadline()
        with progress.task(f"bank {self.name}", len(missing), "copies") as task:
            waited_since = time.monotonic()
            while missing:
                left = []
                for index in missing:
                    deadline.check()
                    if not self._make(index):
                        left.append(index)
                task.advance(len(missing) - len(left))
                if len(left) < len(missing):
                    waited_since = time.monotonic()
                elif time.monotonic() - waited_since > _LONGEST_WAIT:
                    progress.say(f"bank {self.name}: another process is long at copy {left[0]}")
                    self._write(left[0])
                else:
                    time.sleep(_WAIT_SECONDS)
                missing = left

    def _make(self, index: int) -> bool:
        """Make a copy unless another process is at it; return whether it is there now."""
        if self._is_made(index):
            return True
        self._say_in_use()
        try:
            with self._workspace.lock(self._folder / f"making-{index:03d}"):
                if not self._is_made(index):
                    self._write(index)
        except InUseError:
            return False
        return True

    def _write(self, index: int) -> None:
        assert self._policy is not None
        with whole_folder(self._path(index)) as folder:
            np.save(folder / "images.npy", augment(self._images, self._policy, (self._seed, index)))

    def order(self, seed: int, copies: int, epochs: int) -> list[int]:
        """Return the copy each epoch walks through: every copy once before any comes again.

        Args:
            seed: A member's own; members walk in orders of their own.
            copies: How many copies the member may use.
            epochs: Length of the list.
        """
        if self._policy is None or copies == 1:
            return [0] * epochs
        random = np.random.default_rng(seeds.of_network(seed, seeds.Purpose.WALK))
        rounds = -(-epochs // copies)
        walk = [int(index) for _ in range(rounds) for index in random.permutation(copies)]
        return walk[:epochs]

    @cached_property
    def _images(self) -> np.ndarray:
        raw = self._raw if self._rows is None else self._raw[self._rows]
        return normalise(raw, self._normalisation)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.size, *self._raw.shape[1:])

    @property
    def _stamp(self) -> Path:
        return self._folder / "bank.json"

    def _say_in_use(self) -> None:
        """Keep the bank from making room for another one's copies."""
        with suppress(OSError):  # there is none yet, or it can only be read
            os.utime(self._stamp)

    def _path(self, index: int) -> Path:
        return self._folder / f"copy-{index:03d}"

    def _is_made(self, index: int) -> bool:
        try:
            images = load_array(self._path(index) / "images.npy", mmap_mode="r")
        except (OSError, ValueError):
            return False
        return bool(images.shape == self._shape and images.dtype == self._raw.dtype)


def make_room(folder: Path, wanted: int) -> None:
    """Drop the banks that were not used for longest, until all of them keep within the limit.

    Those in use stay: other networks are trained on them.

    Args:
        folder: The bank that grows; it stays.
        wanted: Bytes it is to grow by.
    """
    used: dict[Path, float] = {}
    for stamp in folder.parent.glob("*/bank.json"):
        with suppress(OSError):  # another process has dropped it
            used[stamp.parent] = stamp.stat().st_mtime
    sizes = {bank: folder_bytes(bank) for bank in used}
    total = sum(sizes.values()) + wanted
    idle_since = time.time() - _IN_USE_SECONDS
    for bank in sorted(used, key=lambda bank: used[bank]):
        if total <= MOST_BYTES or used[bank] > idle_since:
            return
        if bank != folder:
            total -= sizes[bank]
            with suppress(ArtefactError):  # another process may drop it too
                remove(bank)


def augment(images: np.ndarray, policy: AnyPolicy, seed: tuple[int, int]) -> np.ndarray:
    """Return one augmented copy of images.

    Args:
        images: uint8 [rows, height, width], in colour [rows, height, width, 3].
        policy: How to bend them.
        seed: Fixes the copy.

    Returns:
        uint8 of the same shape.
    """
    import cv2

    # The processes are the parallelism; OpenCV's own threads would only fight them.
    cv2.setNumThreads(0)
    pipeline = policy.compose(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    made = np.empty_like(images)
    sides = images.shape[1:] if images.ndim == 4 else (*images.shape[1:], 1)
    for row, image in enumerate(images):
        made[row] = pipeline(image=image.reshape(sides))["image"].reshape(image.shape)
    return made
