"""The machine a script finds itself on: packages and versions, devices, inputs, what it can train.

Only the standard library is imported here, so that a package that is missing is told of.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.ground.errors import ConfigurationError, DataError, KaggleDigitsError

if TYPE_CHECKING:
    from kaggle_digits.core.data.image_source import ImageSource
    from kaggle_digits.core.data.source import Source


class Stop(KaggleDigitsError):
    """Ends a script's run with one line (exit code 1)."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that the commands need.

    Args:
        module: What is imported.
        names: Distributions that bring it.
        first: The first version it was tried with.
        below: The version below which those tried end.
    """

    module: str
    names: tuple[str, ...]
    first: str
    below: str

    def version(self) -> str | None:
        """Return the installed version without importing it; None where it is not installed."""
        if importlib.util.find_spec(self.module) is None:
            return None
        for name in self.names:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return "unknown"

    def was_tried(self, version: str) -> bool:
        """Say whether a version is among those it was tried with."""
        return _number(self.first) <= _number(version) < _number(self.below)


_SIDE = 28
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python",
           "opencv-contrib-python-headless")  # fmt: skip
PACKAGES = (
    Package("numpy", ("numpy",), "2.0", "2.5"),
    Package("pandas", ("pandas",), "2.2", "3.2"),
    Package("scipy", ("scipy",), "1.13", "2"),
    Package("sklearn", ("scikit-learn",), "1.5", "1.10"),
    Package("tensorflow", ("tensorflow", "tensorflow-cpu", "tf-nightly"), "2.18", "2.22"),
    Package("keras", ("keras",), "3.8", "3.16"),
    Package("keras_tuner", ("keras-tuner",), "1.4", "1.5"),
    Package("albumentations", ("albumentations",), "2.0.8", "2.1"),
    Package("cv2", _OPENCV, "4.9", "6"),
    Package("click", ("click",), "8.1.8", "9"),
    Package("rich", ("rich",), "13", "16"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine offers.

    Args:
        devices: What computing runs on, each by its name.
        precision: Keras dtype policy that training will use, and why.
        threads: Processors this process may use.
    """

    devices: tuple[str, ...]
    precision: str
    threads: int


def installed() -> Iterator[tuple[Package, str | None]]:
    """Yield each package and its version here; None where it is not installed."""
    for package in PACKAGES:
        yield package, package.version()


def report(say: Callable[[str], None], spared: Mapping[str, str]) -> None:
    """Tell of all versions and devices.

    Args:
        say: Told line by line.
        spared: Packages that the run does without, each with the reason.

    Raises:
        Stop: A package is missing.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    say(f"Python {platform.python_version()} on {platform.platform()}, {cores} cores")
    missing = []
    for package, version in installed():
        if version is None:
            missing.append(package.module)
            continue
        tried = "" if package.was_tried(version) else (
            f"  (not tried: {package.first} to below {package.below} were)"
        )  # fmt: skip
        say(f"  {package.module} {version}{tried}")
    say("devices: " + ("; ".join(_gpus()) or "no NVIDIA GPU"))
    for name in [name for name in missing if name in spared]:
        missing.remove(name)
        say(f"{name} is not needed: {spared[name]}")
    if missing:
        raise Stop("not installed on this machine: " + ", ".join(missing))


def examine(*, gpu: bool) -> Machine:
    """Use albumentations as every policy does, and start the backend.

    Args:
        gpu: Whether a GPU must be there.

    Raises:
        ConfigurationError: albumentations does not fit, or there is no GPU.
    """
    _bend_images()
    from kaggle_digits.core import hardware

    ran_on = hardware.prepare()
    if gpu and ran_on.device == "cpu":
        raise ConfigurationError(
            "A GPU was asked for at the build, and there is none on this machine.",
            mend="Choose an accelerator in the kernel's settings, or build without --gpu.",
        )
    return Machine(
        devices=_devices(ran_on.backend) or (ran_on.device,),
        precision=f"{ran_on.precision} ({ran_on.reason})",
        threads=ran_on.threads,
    )


def find_inputs(inputs: Path, competition: str) -> Source | ImageSource:
    """Return the competition's files: at the new mount, at the old one, or found.

    What files of a folder are a competition's is the data reader's rule, the same as at home.

    Args:
        inputs: Where Kaggle mounts what a kernel reads.
        competition: The competition's short name.

    Raises:
        Stop: No folder holds them, or several do.
        DataError: The competition's own folder is there and does not hold them.
    """
    from kaggle_digits.core.data.image_source import find_images
    from kaggle_digits.core.data.source import find

    for place in (inputs / "competitions" / competition, inputs / competition):
        if place.is_dir() and any(place.iterdir()):
            return find_images(place) or find(place)
    found = list(_search(inputs))
    if not found:
        raise Stop(
            f"no folder with train.csv and test.csv under {inputs}; is the competition "
            f"{competition} among the kernel's inputs, and were its rules accepted?"
        )
    if len(found) > 1:
        places = [str(source.path) for source in found]
        more = f" and {len(places) - 10} more" if len(places) > 10 else ""
        raise Stop("several folders have train.csv and test.csv: " + ", ".join(places[:10]) + more)
    return found[0]


def find_weights(inputs: Path, name: str, digest: str) -> Path:
    """Return the folder of the networks that a kernel only predicts with.

    Args:
        inputs: Where Kaggle mounts what a kernel reads.
        name: `owner/slug` of the data set.
        digest: Of the networks that the kernel was built for.

    Raises:
        Stop: They are not there, or are others.
    """
    wanted = f"weights-{digest}.json"
    found = sorted(inputs.rglob("weights-*.json"))
    here = [path for path in found if path.name == wanted]
    if here:
        return here[0].parent
    if found:
        raise Stop(
            f"the networks in {found[0].parent} are others than this kernel was built for (digest "
            f"{found[0].stem.removeprefix('weights-')}, expected {digest}); build it again by "
            "`kernel build --predict-only`, or upload them again by `kernel weights`"
        )
    held = ", ".join(sorted(path.name for path in inputs.iterdir())) if inputs.is_dir() else ""
    raise Stop(
        f"no networks under {inputs} (a file {wanted}); is the data set {name} among the kernel's "
        f"inputs? There is: {held or 'nothing'}"
    )


def _search(folder: Path) -> Iterator[Source]:
    """Yield the topmost folders below one that hold a competition's files."""
    from kaggle_digits.core.data.source import find

    if not folder.is_dir():
        return
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        try:
            yield find(place)
        except DataError:
            yield from _search(place)


def _gpus() -> list[str]:
    try:
        shown = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split(" (UUID")[0] for line in shown.stdout.splitlines() if line.strip()]


def _number(version: str) -> list[int]:
    parts = []
    for part in version.split(".")[:3]:
        digits = "".join(sign for sign in part if sign.isdigit())
        parts.append(int(digits or 0))
    return parts


def _bend_images() -> None:
    import numpy as np

    from kaggle_digits.core.augmentation import POLICIES, augment

    images = np.zeros((2, _SIDE, _SIDE), np.uint8)
    images[:, 8:20, 8:20] = 200
    for name, policy in POLICIES.items():
        if policy is None:
            continue
        try:
            bent = augment(images, policy, (0, 0))
        except Exception as error:  # whatever another version makes of our call
            raise ConfigurationError(
                f"The installed albumentations does not fit: the policy {name!r} fails with "
                f"{type(error).__name__}: {error}.",
                mend="This was tried with albumentations 2.0.8.",
            ) from error
        if not bent.any():
            raise ConfigurationError(
                f"The installed albumentations does not fit: the policy {name!r} makes black "
                "images.",
                mend="This was tried with albumentations 2.0.8.",
            )


def _devices(backend: str) -> tuple[str, ...]:
    if backend != "tensorflow":
        return ()
    import tensorflow

    found = []
    for device in tensorflow.config.list_physical_devices("GPU"):
        details = tensorflow.config.experimental.get_device_details(device)
        found.append(f"{device.name} {details.get('device_name', '')}".strip())
    return tuple(found)
