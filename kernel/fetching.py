"""The way home: a kernel's output, checked file by file, becomes part of the workspace.

The script's kernel.json names every file with its checksum. Nothing is taken that it does not name,
that has another checksum, or that other code or other data made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.ground.competition import DIGIT_RECOGNIZER
from kaggle_digits.ground.errors import (
    ArtefactError,
    ConfigurationError,
    DataError,
    ServiceError,
)
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.sums import Sums
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.kernels import KaggleKernels, Output
from kaggle_digits.records.members import FILES
from kaggle_digits.records.metric import adopt_metric, scored
from kaggle_digits.records.plan import MemberPlan
from kernel.adding import Added, Arrived, add_members
from kernel.manifest import FOLDER, NAME, Manifest
from kernel.sending import require_owner

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_ABOUT = f"{FOLDER}/{NAME}"
_AGAIN = "Call `kaggle-digits kernel fetch` again."
_MOST_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came home.

    Args:
        finished: Whether the kernel had done all of its commands.
        submission: Where its submission is now; None where it left none.
        added: Names of members that are new here.
        known: Names of members that were here already.
        planned: Whether `blend` will use them: they are in the plan of members.
        competition: The short name of the competition that it ran for.
    """

    finished: bool
    submission: Path | None
    added: tuple[str, ...]
    known: tuple[str, ...]
    planned: bool
    competition: str


def fetch(
    kernels: KaggleKernels,
    owner: str,
    slug: str,
    *,
    code: str,
    dataset: Dataset,
    workspace: Workspace,
    progress: Progress,
) -> Fetched:
    """Take a kernel's members and submission into the workspace.

    Args:
        kernels: The service.
        owner: The kernel's owner.
        slug: Its name.
        code: Digest of the source at home.
        dataset: The data at home.
        workspace: Where all goes, and what the competition is scored by, where nothing was said
            of that yet; its `ensembles` folder must be locked by the caller.
        progress: Told of the files.

    Raises:
        ServiceError: The run goes on still, left nothing, or a file did not come down.
        ArtefactError: It was made by other code or on other data, or a file is not what
            kernel.json says.
        DataError: Its submission is none for this competition.
    """
    require_owner(owner)
    found = kernels.run_state(owner, slug)
    if not found.is_over:
        raise ServiceError(
            f"The run of {owner}/{slug} has not ended: {found.state}.",
            mend="Call `kaggle-digits kernel status`, and fetch when it is complete.",
        )
    output = kernels.output(owner, slug)
    parcel = _Parcel(kernels, output, f"{owner}/{slug}")
    about = parcel.about
    if about.code != code:
        raise ArtefactError(
            f"{owner}/{slug} was built from other code (digest {about.code}, here {code}); its "
            "members are not comparable with those trained here.",
            mend="Build, push and run it again, or fetch with the version that built it.",
        )
    if about.data not in (None, dataset.digest):
        raise ArtefactError(
            f"{owner}/{slug} was trained on other data (digest {about.data}, here "
            f"{dataset.digest}: {dataset.name}).",
            mend="Give --data the files that the kernel ran on, with a --workspace of their own.",
        )
    content, metric = parcel.submission(), about.planned("metric")
    if content is not None:
        # In the form that suits what it was made for there, whatever is scored by here.
        form = scored(dataset, metric)
        _require_submission(content, form, f"the submission of {owner}/{slug}")
    arrived = _members(parcel, progress)
    came = Added((), (), False)
    if arrived:
        came = add_members(arrived, parcel.plan(), dataset, workspace)
    adopt_metric(workspace, metric)
    path = None
    if content is not None:
        # One of that name is `blend`'s.
        name = f"kernel-{slug}" if slug == "submission" else slug
        path = workspace.submissions / f"{name}.csv"
        write_bytes(path, content)
        beside = parcel.file_if_named("submissions/submission.json")
        if beside is not None:
            write_bytes(path.with_suffix(".json"), beside)
    return Fetched(
        finished=about.finished,
        submission=path,
        added=came.added,
        known=came.known,
        planned=came.planned,
        competition=about.planned("competition") or DIGIT_RECOGNIZER,
    )


class _Parcel:
    """The files of one output, each checked against kernel.json."""

    def __init__(self, kernels: KaggleKernels, output: Output, name: str) -> None:
        self._kernels = kernels
        self._output = output
        self._name = name
        if _ABOUT not in output.files:
            last = next((line for line in reversed(output.log.splitlines()) if line.strip()), "")
            raise ServiceError(
                f"The last run of {name} left no {_ABOUT}: it is no kernel of this tool, or it "
                f"ended before it had results.{f' Its last line: {last[:200]}' if last else ''}"
            )
        self.about = self._read_about()

    def file_if_named(self, path: str) -> bytes | None:
        """Return a file of the workspace that kernel.json names; None if it names none."""
        sums = self.about.files.get(path)
        return None if sums is None else self._checked(f"{FOLDER}/{path}", sums)

    def submission(self) -> bytes | None:
        """Return the submission; None if the run left none."""
        sums = self.about.submission
        return None if sums is None else self._checked("submission.csv", sums)

    def plan(self) -> MemberPlan:
        """Return the plan of members.

        Raises:
            ArtefactError: There is none, or it is broken.
        """
        content = self.file_if_named("ensembles/plan.json")
        try:
            return MemberPlan.from_json(json.loads(content or b"null"))
        except (ValueError, RecursionError, ConfigurationError) as error:
            raise ArtefactError(
                f"The plan of members of {self._name} is broken: {error}.",
                mend="Build, push and run the kernel again.",
            ) from error

    def _checked(self, name: str, sums: Sums) -> bytes:
        if name not in self._output.files:
            raise ArtefactError(f"{name} is missing in the output of {self._name}.")
        content = self._kernels.fetch(name, self._output.files[name], sums.size)
        if Sums.of(content) != sums:
            raise ArtefactError(
                f"{name} of {self._name} is not the file that its run wrote (another checksum; an "
                "error page, perhaps); nothing was taken.",
                mend=_AGAIN,
            )
        return content

    def _read_about(self) -> Manifest:
        content = self._kernels.fetch(_ABOUT, self._output.files[_ABOUT], _MOST_BYTES)
        name = f"{_ABOUT} of {self._name}"
        about = Manifest.from_bytes(content, name, _AGAIN)
        if sum(sums.size for sums in about.files.values()) > _MOST_BYTES:
            raise ArtefactError(f"{name} names more than {_MOST_BYTES / 1e6:.0f} MB of files.")
        return about


def _members(parcel: _Parcel, progress: Progress) -> list[Arrived]:
    names = sorted(
        {
            path.split("/")[2]
            for path in parcel.about.files
            if path.startswith("ensembles/members/") and path.endswith("/member.json")
        }
    )
    arrived = []
    with progress.task("fetch", len(names), "members") as task:
        for name in names:
            files = {}
            for file in FILES:
                content = parcel.file_if_named(f"ensembles/members/{name}/{file}")
                if content is None:
                    raise ArtefactError(f"The kernel's member {name} has no {file}.")
                files[file] = content
            arrived.append(Arrived(name, files))
            task.advance()
    return arrived


def _require_submission(content: bytes, dataset: Dataset, name: str) -> None:
    labels = dataset.competition.answers(content, name)
    if tuple(labels) != dataset.test_ids:
        raise DataError(f"{name} has other ids than this competition's test images.")
    classes = set(dataset.competition.classes)
    for key, label in labels.items():
        if label not in classes:
            raise DataError(f"{name} gives {key!r} the label {label!r}, which is no class.")
