"""Network families as plans: pure values, from which layers are built and costs are counted.

A plan is made for a configuration and an image size so that no feature map can vanish: the image is
halved until its side is 8 or less, and unpadded convolutions stand only where they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError, did_you_mean

_LAST_SIDE = 8


@dataclass(frozen=True, slots=True)
class Convolution:
    """Convolution without bias, batch norm, ReLU.

    Args:
        filters: Output channels.
        kernel: Side of the kernel in pixels.
        stride: Step in pixels.
        padded: Whether the map keeps its size (before the stride).
    """

    filters: int
    kernel: int
    stride: int = 1
    padded: bool = True


@dataclass(frozen=True, slots=True)
class Pooling:
    """2×2 maximum; the map is halved, rounded down."""


@dataclass(frozen=True, slots=True)
class ChannelDropout:
    """Dropout of whole channels (spatial dropout).

    Args:
        rate: Share dropped.
    """

    rate: float


Block = Convolution | Pooling | ChannelDropout


def plan(config: TrainingConfig, height: int, width: int) -> tuple[Block, ...]:
    """Return the blocks between the image and the classifier's flattening.

    Args:
        config: Names the family and its sizes.
        height: Image height in pixels.
        width: Image width in pixels.

    Raises:
        ConfigurationError: The family is unknown.
    """
    if config.family not in FAMILIES:
        raise ConfigurationError(
            f"family was given as {config.family!r}.", mend=did_you_mean(config.family, FAMILIES)
        )
    return tuple(FAMILIES[config.family](config, height, width))


def megamacs(config: TrainingConfig, height: int, width: int, classes: int) -> float:
    """Return the cost of one image's forward pass in millions of multiply-adds.

    Convolutions: output pixels × kernel² × input channels × output channels; dense layers:
    inputs × outputs. Element-wise passes are left out.
    """
    channels, total = 1, 0
    for block in plan(config, height, width):
        height, width = _after(block, height, width)
        if isinstance(block, Convolution):
            total += height * width * block.kernel**2 * channels * block.filters
            channels = block.filters
    features = height * width * channels
    hidden = config.dense_units
    total += features * hidden + hidden * classes if hidden else features * classes
    return total / 1e6


def _strided(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """A 5×5 stem halves the image at once, so that no stage works at full resolution.

    On CPUs, where element-wise passes over large maps cost as much as convolutions, this is the
    family with the best accuracy per second.
    """
    halvings = _halvings(height, width)
    blocks: list[Block] = [
        Convolution(config.filters, kernel=5, stride=2 if halvings else 1, padded=True)
    ]
    height, width = _after(blocks[0], height, width)
    return blocks + _stages(config, height, width, max(halvings - 1, 0), first=1)


def _pooled(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """Convolutions at full resolution first, then a pooling after each stage."""
    return _stages(config, height, width, _halvings(height, width), first=0)


FAMILIES: dict[str, Callable[[TrainingConfig, int, int], Sequence[Block]]] = {
    "strided": _strided,
    "pooled": _pooled,
}


def _stages(
    config: TrainingConfig, height: int, width: int, poolings: int, *, first: int
) -> list[Block]:
    blocks: list[Block] = []
    for stage in range(poolings + 1):
        filters = _channels(config, first + stage)
        last = stage == poolings
        # The last stage has one convolution more, and its last two are unpadded: they bring 7×7
        # down to 3×3 for the classifier instead of an average that forgets where strokes are.
        count = config.depth + 1 if last else config.depth
        for index in range(count):
            fits = min(height, width) > config.kernel_size
            padded = not (last and fits and index >= count - 2)
            block = Convolution(filters, config.kernel_size, padded=padded)
            height, width = _after(block, height, width)
            blocks.append(block)
        if not last:
            blocks.append(Pooling())
            height, width = _after(Pooling(), height, width)
        if config.spatial_dropout:
            blocks.append(ChannelDropout(config.spatial_dropout))
    return blocks


def _halvings(height: int, width: int) -> int:
    count, side = 0, min(height, width)
    while side > _LAST_SIDE:
        count, side = count + 1, side // 2
    return count


def _channels(config: TrainingConfig, stage: int) -> int:
    # Multiples of 8 fill the vector units.
    return max(8, round(config.filters * config.growth**stage / 8) * 8)


def _after(block: Block, height: int, width: int) -> tuple[int, int]:
    match block:
        case Convolution(kernel=kernel, stride=stride, padded=padded):
            if not padded:
                height, width = height - kernel + 1, width - kernel + 1
            return -(-height // stride), -(-width // stride)
        case Pooling():
            return height // 2, width // 2
        case ChannelDropout():
            return height, width
