"""The way to Kaggle: push a built kernel, and wait for its run."""

from __future__ import annotations

from kaggle_digits.ground.errors import ConfigurationError, ServiceError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.kaggle_service.kernels import COMPLETE, KaggleKernels, RunState, Saved
from kernel.metadata import UNKNOWN_OWNER, Kernel

_LONGEST_RUN = 13 * 3600
"""Seconds; Kaggle ends a run after 12 hours, and it may stand in a queue before."""

_POLL = 20
"""Seconds between two looks, in units of `Patience.wait`."""


def push(kernels: KaggleKernels, kernel: Kernel) -> Saved:
    """Save a built script as a new version of its kernel, which starts its run.

    Raises:
        ConfigurationError: The metadata has no owner.
        ServiceError: Kaggle refused it or any of its sources.
    """
    require_owner(kernel.owner)
    return kernels.save(kernel.metadata, kernel.script.decode())


def wait(kernels: KaggleKernels, owner: str, slug: str, progress: Progress) -> RunState:
    """Wait until a kernel's run has ended.

    Raises:
        ServiceError: It failed, was cancelled, or takes longer than any run can.
    """
    waited, shown = 0.0, ""
    while waited < _LONGEST_RUN:
        kernels.patience.pause(_POLL * kernels.patience.wait)
        waited += _POLL
        found = kernels.run_state(owner, slug)
        if found.is_over:
            require_complete(found, f"{owner}/{slug}")
            return found
        if found.state != shown:
            progress.say(f"kernel {owner}/{slug}: {found.state}")
            shown = found.state
    raise ServiceError(
        f"The run of {owner}/{slug} has not ended after {_LONGEST_RUN // 3600} hours.",
        mend="Look at its page at kaggle.com.",
    )


def require_complete(found: RunState, name: str) -> None:
    """Refuse a run that ended otherwise than well.

    Raises:
        ServiceError: With Kaggle's reason.
    """
    if found.is_over and found.state != COMPLETE:
        words = found.state.replace("_", " ")
        raise ServiceError(
            f"The run of {name} ended with {words}: {found.failure or 'no reason given'}.",
            mend="Its log is on its page; `kaggle-digits kernel fetch` takes what it left.",
        )


def require_owner(owner: str) -> None:
    """Refuse the placeholder that a build without an owner writes.

    Raises:
        ConfigurationError: It is the placeholder.
    """
    if owner == UNKNOWN_OWNER:
        raise ConfigurationError(
            "The kernel was built without an owner.",
            mend="Call `kaggle-digits kernel build --owner USER` with your name at Kaggle.",
        )
