"""What runs on Kaggle's machine before the commands that everyone knows: examine, and adopt.

Both are commands of the kernel's own, so that the script only starts commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import Ranked, ranking_path, write_ranking

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_SIDE = 28


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


def adopt(ranked: Sequence[Ranked], dataset: Dataset, workspace: Workspace, seed: int) -> None:
    """Make given configurations the workspace's ranking, as if a search on this data had ended.

    Args:
        ranked: From best to worst, with the scores of the search they come from.
        dataset: The data they will be trained on.
        workspace: Its tuning folder gets `best.json`.
        seed: Recorded with them.
    """
    write_ranking(ranking_path(workspace), ranked, dataset.digest, seed)


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
