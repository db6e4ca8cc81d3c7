"""Network families as blocks: pure values, from which layers are built and costs are counted.

They are chosen for a configuration and an image size so that no feature map can vanish: the image
is brought down until its side is 8 or less, and unpadded convolutions stand only where they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaggle_digits.ground.config import TrainingConfig

_LAST_SIDE = 8
_STEM_KERNEL = 5


@dataclass(frozen=True, slots=True)
class Convolution:
    """Convolution, batch norm, ReLU.

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
class Residual:
    """Two padded convolutions whose result is added to their input, then ReLU (He et al. 2016).

    Where the channels change, the input passes through a 1×1 convolution on its way.

    Args:
        filters: Output channels.
        kernel: Side of the kernels in pixels.
    """

    filters: int
    kernel: int


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


Block = Convolution | Residual | Pooling | ChannelDropout


def blocks_of(config: TrainingConfig, height: int, width: int) -> tuple[Block, ...]:
    """Return the blocks between the image and the classifier's flattening.

    Args:
        config: Names the family and its sizes.
        height: Image height in pixels.
        width: Image width in pixels.
    """
    return tuple(FAMILIES[config.family](config, height, width))


def megamacs(
    config: TrainingConfig, height: int, width: int, classes: int, planes: int = 1
) -> float:
    """Return the cost of one image's forward pass in millions of multiply-adds.

    Convolutions: output pixels × kernel² × input channels × output channels; dense layers:
    inputs × outputs. Element-wise passes are left out.
    """
    channels, total = planes, 0
    for block in blocks_of(config, height, width):
        height, width = _after(block, height, width)
        match block:
            case Convolution(filters=filters, kernel=kernel):
                total += height * width * kernel**2 * channels * filters
                channels = filters
            case Residual(filters=filters, kernel=kernel):
                weights = kernel**2 * filters * (channels + filters)
                weights += channels * filters if channels != filters else 0
                total += height * width * weights
                channels = filters
    features = height * width * channels
    hidden = config.dense_units
    total += features * hidden + hidden * classes if hidden else features * classes
    return total / 1e6


def _strided(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """A 5×5 stem halves the image at once, so that no stage works at full resolution.

    On CPUs, where element-wise passes over large maps cost as much as convolutions, this is the
    family with the best accuracy per second.
    """
    stem, height, width, halvings = _stem(config, height, width)
    return [stem, *_stages(config, height, width, halvings, first=1)]


def _pooled(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """Convolutions at full resolution first, then a pooling after each stage."""
    return _stages(config, height, width, _halvings(height, width), first=0)


def _residual(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """The strided stem, then `depth` residual units per stage, and one unpadded convolution."""
    stem, height, width, poolings = _stem(config, height, width)
    blocks: list[Block] = [stem]
    for stage in range(poolings + 1):
        filters = _channels(config, 1 + stage)
        blocks += [Residual(filters, config.kernel_size)] * config.depth
        if stage < poolings:
            blocks.append(Pooling())
            height, width = _after(Pooling(), height, width)
        else:
            blocks.append(_unpadded(filters, config.kernel_size, height, width))
        blocks += _channel_dropout(config)
    return blocks


def _wide(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """Few and wide: kernels of 5 or more that step by two in place of poolings.

    Twice the configuration's filters; `depth` convolutions per stage, the stepping one included.
    """
    blocks: list[Block] = []
    kernel = max(_STEM_KERNEL, config.kernel_size)
    stages = max(_halvings(height, width), 1)
    for stage in range(stages):
        filters = _channels(config, stage, factor=2)
        stride = 2 if _halvings(height, width) else 1
        blocks.append(Convolution(filters, kernel, stride=stride))
        height, width = _after(blocks[-1], height, width)
        blocks += [Convolution(filters, config.kernel_size)] * (config.depth - 1)
        if stage + 1 == stages:
            blocks.append(
                _unpadded(_channels(config, stages, factor=2), config.kernel_size, height, width)
            )
        blocks += _channel_dropout(config)
    return blocks


def _valid(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """Unpadded convolutions alone bring the image down, without pooling or stride.

    Channels grow by the same number from one to the next: with 32 filters and a growth of 2, a
    kernel of 5 is M5 of An et al. 2020, "An Ensemble of Simple Convolutional Neural Network Models
    for MNIST Digit Recognition"; a kernel of 3 with a growth of 1.5 is their M3.
    """
    blocks: list[Block] = []
    while not blocks or min(height, width) > _LAST_SIDE:
        filters = _to_eight(config.filters * (1 + (config.growth - 1) * len(blocks)))
        blocks.append(_unpadded(filters, config.kernel_size, height, width))
        height, width = _after(blocks[-1], height, width)
    return blocks + _channel_dropout(config)


def _stepped(config: TrainingConfig, height: int, width: int) -> list[Block]:
    """Unpadded 3×3 convolutions, then a 5×5 one that steps by two; a 4×4 one ends it.

    With 32 filters and a growth of 2 it is the network of the best-known public notebook on these
    digits: 32c3-32c3-32c5s2-64c3-64c3-64c5s2-128c4.
    """
    blocks: list[Block] = []
    stage = 0
    while not blocks or min(height, width) > _LAST_SIDE:
        filters = _channels(config, stage)
        for _ in range(config.depth):
            blocks.append(_unpadded(filters, 3, height, width))
            height, width = _after(blocks[-1], height, width)
        stride = 2 if min(height, width) > 4 else 1
        blocks.append(Convolution(filters, _STEM_KERNEL, stride=stride))
        height, width = _after(blocks[-1], height, width)
        blocks += _channel_dropout(config)
        stage += 1
    last = min(4, height, width)
    blocks.append(Convolution(_channels(config, stage), last, padded=False))
    return blocks


FAMILIES: dict[str, Callable[[TrainingConfig, int, int], Sequence[Block]]] = {
    "strided": _strided,
    "pooled": _pooled,
    "residual": _residual,
    "wide": _wide,
    "valid": _valid,
    "stepped": _stepped,
}


def _stem(config: TrainingConfig, height: int, width: int) -> tuple[Block, int, int, int]:
    """Return the stepping stem, the map's size after it, and the halvings still to be done."""
    halvings = _halvings(height, width)
    stem = Convolution(config.filters, _STEM_KERNEL, stride=2 if halvings else 1)
    return stem, *_after(stem, height, width), max(halvings - 1, 0)


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
            block = Convolution(filters, config.kernel_size)
            if last and index >= count - 2:
                block = _unpadded(filters, config.kernel_size, height, width)
            height, width = _after(block, height, width)
            blocks.append(block)
        if not last:
            blocks.append(Pooling())
            height, width = _after(Pooling(), height, width)
        blocks += _channel_dropout(config)
    return blocks


def _unpadded(filters: int, kernel: int, height: int, width: int) -> Convolution:
    # Padded after all where nothing, or nothing but one pixel, would be left of the map.
    return Convolution(filters, kernel, padded=min(height, width) <= kernel)


def _channel_dropout(config: TrainingConfig) -> list[Block]:
    return [ChannelDropout(config.spatial_dropout)] if config.spatial_dropout else []


def _halvings(height: int, width: int) -> int:
    count, side = 0, min(height, width)
    while side > _LAST_SIDE:
        count, side = count + 1, side // 2
    return count


def _channels(config: TrainingConfig, stage: int, factor: int = 1) -> int:
    return _to_eight(factor * config.filters * config.growth**stage)


def _to_eight(channels: float) -> int:
    # Multiples of 8 fill the vector units.
    return max(8, round(channels / 8) * 8)


def _after(block: Block, height: int, width: int) -> tuple[int, int]:
    match block:
        case Convolution(kernel=kernel, stride=stride, padded=padded):
            if not padded:
                height, width = height - kernel + 1, width - kernel + 1
            return -(-height // stride), -(-width // stride)
        case Pooling():
            return height // 2, width // 2
        case _:
            return height, width
