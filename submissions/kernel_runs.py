"""A kernel's version before it is submitted: that it has ended well, and what it wrote.

What it wrote on the test images that are public is held against the competition and forecast, as a
file's predictions are; what it will write on the hidden ones nobody can tell.
"""

from __future__ import annotations

from pathlib import Path

from kaggle_digits.ground.errors import ConfigurationError, ServiceError
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.code_submissions import WRITTEN, KernelSubmissions
from kaggle_digits.kaggle_service.kernels import KaggleKernels

_MOST_BYTES = 64_000_000
_ABOUTS = ("kaggle-digits/submissions/submission.json", "submission.json")
"""Where a kernel of this tool leaves the blend's account of its submission."""


def find_version(service: KernelSubmissions, asked: int | None) -> bool:
    """Find out which version is meant, and set it.

    Args:
        service: Gets the version.
        asked: The version that the user named; None for the last.

    Returns:
        Whether it is the last one, of which alone Kaggle shows how it ran and what it wrote.

    Raises:
        ConfigurationError: There is no such version, or its number is not known.
        CallError: Kaggle cannot be asked, or knows no such kernel.
    """
    name = f"{service.owner}/{service.slug}"
    last = KaggleKernels(service.patience).last_version(service.owner, service.slug)
    if asked is None and last is None:
        raise ConfigurationError(
            f"Kaggle does not tell which version of {name} is its last.",
            mend="Give --kernel-version; it stands on the kernel's page.",
        )
    if asked is not None and last is not None and asked > last:
        raise ConfigurationError(
            f"--kernel-version was given as {asked}; {name} has versions 1 to {last}.",
            mend="Leave it out for the last one.",
        )
    service.version = asked or last or 0
    return last == service.version


def bring(service: KernelSubmissions, workspace: Workspace, progress: Progress) -> Path:
    """Bring home what the last version wrote, and what its `blend` says of it.

    Args:
        service: The kernel; its version is the last.
        workspace: Gets the files, in `submissions/`.
        progress: Told of it.

    Returns:
        The submission's file.

    Raises:
        ServiceError: Its run goes on still, has failed, or left no submission.
    """
    kernels = KaggleKernels(service.patience)
    name = f"{service.owner}/{service.slug}"
    found = kernels.run_state(service.owner, service.slug)
    if not found.is_over:
        raise ServiceError(
            f"Version {service.version} of {name} has not ended: {found.state}.",
            mend=f"Submit it when `kaggle-digits kernel status --kernel {name}` says complete.",
        )
    found.require_complete(
        f"Version {service.version} of {name}",
        "Its log is on its page; mend it, and push it again.",
    )
    output = kernels.output(service.owner, service.slug)
    if WRITTEN not in output.files:
        left = ", ".join(sorted(output.files)[:5]) or "nothing"
        raise ServiceError(
            f"Version {service.version} of {name} left no {WRITTEN}, which Kaggle would score; it "
            f"left {left}.",
            mend="Let the kernel write /kaggle/working/submission.csv, and push it again.",
        )
    path = workspace.submissions / f"{service.slug}-v{service.version}.csv"
    write_bytes(path, kernels.fetch(WRITTEN, output.files[WRITTEN], _MOST_BYTES))
    about = next((name for name in _ABOUTS if name in output.files), None)
    if about is not None:
        content = kernels.fetch(about, output.files[about], _MOST_BYTES)
        write_bytes(path.with_suffix(".json"), content)
    progress.say(f"{name} version {service.version}: its {WRITTEN} is here, {path}")
    return path
