"""What is trained and how much of it: frozen values with a JSON round trip.

A `TrainingConfig` is the one value that goes from the search to the training engine; a `Preset`
is the plan of a whole run, read from `presets.toml` beside this module.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Self

from kaggle_digits.ground import names
from kaggle_digits.ground.errors import ConfigurationError, did_you_mean
from kaggle_digits.ground.stamps import digest

PRECISION_VARIABLE = "KAGGLE_DIGITS_PRECISION"
"""The environment variable that hands the precision down to worker processes."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One configuration: a network and the recipe it is trained by (docs/networks.md).

    Args:
        family: Name of the network family, one of `kaggle_digits.ground.names.FAMILIES`.
        depth: Convolutions (residual: units of two) per stage (resolution), 1 to 4; the family
            `valid` takes as many as its kernels need instead.
        filters: Channels of the first stage, 4 to 256.
        growth: Factor from one stage's channels to the next, 1 to 4.
        kernel_size: Side of the convolutions' kernels in pixels: 3, 5 or 7.
        spatial_dropout: Share of whole channels dropped after each stage, 0 to below 1.
        dropout: Share of features dropped before the classifier, 0 to below 1.
        dense_units: Width of a hidden dense layer before the classifier; 0 for none.
        batch_norm: Whether a batch norm follows each convolution; without, it has a bias.
        optimizer: `adamw`; `muon` for the convolutions' kernels with AdamW for the rest; or `sgd`
            with Nesterov momentum 0.9, which wants some 20 times the learning rate.
        learning_rate: Peak learning rate of the one-cycle schedule.
        weight_decay: Decoupled weight decay; each step takes rate × decay of a kernel.
        weight_averaging: Decay per step of an exponential moving average of the weights, which
            then predicts in their place; 0 for none.
        label_smoothing: Probability mass spread over all classes, 0 to below 1.
        mixup: Both parameters of the beta distribution that pairs of images are mixed by; 0 for
            none (Zhang et al. 2018).
        cutmix: The same for pasted rectangles (Yun et al. 2019); with mixup, each batch takes one
            of the two.
        batch_size: Images per step, 16 to 4096; less on data too small for 16 steps per epoch, with
            the learning rate lowered by the root of the ratio.
        normalisation: How images are normalised before anything else, in training and prediction
            alike, one of `kaggle_digits.ground.names.NORMALISATIONS`.
        augmentation: Name of the policy, one of `kaggle_digits.ground.names.POLICIES`.
        views: Test-time augmentation: softmax is averaged over so many small turns and shifts of
            each image, the image itself first; 1 for none. What the network is sure of after three
            is not shown to it again.
        class_weights: `balanced` lets the rows of each class count the same together, those of rare
            classes more each: n / (classes · n of the class), as scikit-learn's; `none` for all
            rows alike.

    Raises:
        ConfigurationError: A value is of another type, out of its range, or an unknown name.
    """

    family: str = "strided"
    depth: int = 2
    filters: int = 32
    growth: float = 1.5
    kernel_size: int = 3
    spatial_dropout: float = 0.0
    dropout: float = 0.3
    dense_units: int = 0
    batch_norm: bool = True
    optimizer: str = "adamw"
    learning_rate: float = 0.01
    weight_decay: float = 0.05
    weight_averaging: float = 0.0
    label_smoothing: float = 0.05
    mixup: float = 0.0
    cutmix: float = 0.0
    batch_size: int = 256
    normalisation: str = "none"
    augmentation: str = "standard"
    views: int = 1
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Check every field, so that a configuration that exists can be trained."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value).__name__ != field.type:
                raise ConfigurationError(
                    f"{field.name} was given as {value!r}; expected {_KINDS[str(field.type)]}."
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigurationError(f"{name} was given as {value}; expected {low} to {high}.")
        if self.kernel_size not in (3, 5, 7):
            raise ConfigurationError(
                f"kernel_size was given as {self.kernel_size}; expected 3, 5 or 7."
            )
        names.require_known("family", self.family, names.FAMILIES)
        names.require_known("optimizer", self.optimizer, names.OPTIMIZERS)
        names.require_known("normalisation", self.normalisation, names.NORMALISATIONS)
        names.require_known("augmentation", self.augmentation, names.POLICIES)
        names.require_known("class_weights", self.class_weights, names.CLASS_WEIGHTS)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold.

        A field that came later is left out where it has its neutral value, so that digests, and
        the names and seeds of members made from them, stay what they were before it came.
        """
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if _ADDED.get(name) != value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration from `to_json`'s dictionary; fields left out take their defaults.

        Raises:
            ConfigurationError: An unknown name, or a value out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigurationError(
                    f"{name!r} is not a field of a configuration.", mend=did_you_mean(name, known)
                )
        return cls(**values)

    @property
    def inputs(self) -> str:
        """Name of what decides the augmented copies: normalisation, if any, and policy."""
        if self.normalisation == _ADDED["normalisation"]:
            return self.augmentation
        return f"{self.normalisation}-{self.augmentation}"

    @property
    def digest(self) -> str:
        """16 hex digits that stand for all fields."""
        return _digest_of(self)


@lru_cache(maxsize=1024)  # a plan asks for it at every price
def _digest_of(config: TrainingConfig) -> str:
    return digest(config.to_json())


@dataclass(frozen=True, slots=True)
class Preset:
    """The plan of a whole run.

    Args:
        name: One of `names.PRESETS`.
        strategy: How `run` searches: hyperband gives most trials few epochs, which with a few
            trials would rank configurations by how fast they begin.
        diverse: Whether the search puts the `top_k` whose average is best first: where several are
            trained, the second may well be one that other images mislead.
        trials: Configurations that `tune` tries, the default one first.
        trial_epochs: Passes over the trial's rows, for each trial.
        trial_rows: Rows a trial trains on at most; as many again by half are held out to score it.
        max_megamacs: Largest cost of a network in millions of multiply-adds per image.
        top_k: Configurations that `cv-train` takes from `best.json`.
        folds: Folds of the cross-validation.
        epochs: Passes over the training part, for each member.
        copies: Augmented copies in the bank; an epoch walks through one.
        trial_images: Images a trial sees at least; small data is passed over more often.
        member_images: Images a member sees at least, likewise.

    Raises:
        ConfigurationError: The preset's or the strategy's name is unknown.
    """

    name: str
    strategy: str
    diverse: bool
    trials: int
    trial_epochs: int
    trial_rows: int
    max_megamacs: float
    top_k: int
    folds: int
    epochs: int
    copies: int
    trial_images: int
    member_images: int

    def __post_init__(self) -> None:
        """Check the names, so that a preset that exists can be followed."""
        names.require_known("preset", self.name, names.PRESETS)
        names.require_known("strategy", self.strategy, names.STRATEGIES)

    def trial_passes(self, rows: int) -> int:
        """Return the epochs of a trial on data of so many rows."""
        return max(self.trial_epochs, -(-self.trial_images // min(rows, self.trial_rows)))

    def member_passes(self, rows: int) -> int:
        """Return the epochs of a member on data of so many rows."""
        return max(self.epochs, -(-self.member_images // rows))


def load_presets() -> dict[str, Preset]:
    """Read the bundled presets, in the order of their cost."""
    text = resources.files("kaggle_digits.ground").joinpath("presets.toml").read_text("utf-8")
    return {name: Preset(name=name, **values) for name, values in tomllib.loads(text).items()}


def load_portfolio(planes: int = 1) -> list[TrainingConfig]:
    """Read the bundled configurations that have stood the test of experiments.

    Args:
        planes: Of the images: 1 for grey; those in colour are varied as photographs are.

    Returns:
        Distinct configurations of different families, the default one first. A search tries them
        before it proposes its own.
    """
    text = resources.files("kaggle_digits.ground").joinpath("portfolio.toml").read_text("utf-8")
    found = [TrainingConfig.from_json(values) for values in tomllib.loads(text)["configuration"]]
    if planes == 1:
        return found
    return [
        dataclasses.replace(config, augmentation=_AS_PHOTO[config.augmentation])
        for config in found
        if config.normalisation == _ADDED["normalisation"]  # photographs show no ink
    ]


_AS_PHOTO = {"standard": "photo-unflipped", "elastic": "photo"}
"""What the portfolio's policies become for images in colour: not mirrored by default, since what
is mirrored may be another class (signs, letters), and mirrored where several are tried."""


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a name",
    "bool": "true or false",
}
_ADDED: dict[str, bool | str | float | int] = {
    "batch_norm": True,
    "optimizer": "adamw",
    "weight_averaging": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "views": 1,
    "normalisation": "none",
    "class_weights": "none",
}
_RANGES: dict[str, tuple[float, float]] = {
    "depth": (1, 4),
    "filters": (4, 256),
    "growth": (1, 4),
    "spatial_dropout": (0, 0.9),
    "dropout": (0, 0.9),
    "dense_units": (0, 4096),
    "learning_rate": (1e-6, 1),
    "weight_decay": (0, 1),
    "weight_averaging": (0, 0.9999),
    "label_smoothing": (0, 0.5),
    "mixup": (0, 10),
    "cutmix": (0, 10),
    "views": (1, 25),
    "batch_size": (16, 4096),
}
