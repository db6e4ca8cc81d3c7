"""The way to Kaggle: push a built kernel, and wait for its run."""

from __future__ import annotations

from kaggle_digits.ground.errors import ConfigurationError, ServiceError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.kaggle_service.kernels import KaggleKernels, RunState, Saved
from kaggle_digits.kaggle_service.transport import outages_bridged
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


def wait(
    kernels: KaggleKernels, owner: str, slug: str, version: int, progress: Progress
) -> RunState:
    """Wait until the run of a version that was saved has ended; a short outage is waited for.

    Raises:
        ServiceError: It failed, was cancelled, takes longer than any run can, or Kaggle refuses to
            tell.
    """
    name = f"{owner}/{slug}"
    saved = (
        f"Version {version} of {name} is saved: `kaggle-digits kernel status --kernel {name}` "
        "tells how its run is."
    )
    waited, shown = 0.0, ""
    while waited < _LONGEST_RUN:
        kernels.patience.pause(_POLL * kernels.patience.wait)
        waited += _POLL
        with outages_bridged(progress.say, saved):
            found = kernels.run_state(owner, slug)
            if found.is_over:
                require_complete(found, name)
                return found
            if found.state != shown:
                progress.say(f"kernel {name}: {found.state}")
                shown = found.state
    raise ServiceError(
        f"The run of {name} has not ended after {_LONGEST_RUN // 3600} hours.",
        mend="Look at its page at kaggle.com.",
    )


def require_complete(found: RunState, name: str) -> None:
    """Refuse a run that ended otherwise than well.

    Raises:
        ServiceError: With Kaggle's reason.
    """
    found.require_complete(
        f"The run of {name}",
        "Its log is on its page; `kaggle-digits kernel fetch` takes what it left.",
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
