"""Submitting in Python: typed functions that return values and print nothing.

place = Place(Workspace(Path("workspace")), lambda: dataset, Silent())
service = open_service(place, competition="digit-recognizer")
ahead = look_ahead(place, service)
done = submit(place, service, ahead, wait=True)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.competition import DIGIT_RECOGNIZER, short_name
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, ServiceError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.slugs import split_id
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.code_submissions import KernelSubmissions
from kaggle_digits.records.metric import kept_metric, scored
from kaggle_digits.shell.display import Shown
from submissions import asking, kernel_runs
from submissions.account import About, read_about
from submissions.download import Downloaded
from submissions.download import download as fetch
from submissions.forecast import Forecast, forecast
from submissions.leaderboard import Summary, summarise
from submissions.ledger import Ledger, Record
from submissions.noise import public_rows
from submissions.sameness import find_same
from submissions.scoreboard import LocalScore, LocalScoreboard, figure_of, find_truth, score
from submissions.sending import (
    Service,
    Submitted,
    catch_up,
    compose_message,
    wait_until_scored,
)
from submissions.sending import submit as send
from submissions.validation import SubmissionFile, read_file, validate

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.ground.figures import Figure

SHARE = 0.25
"""Part of the test rows that Kaggle's public score is usually taken on."""


@dataclass(frozen=True, slots=True, repr=False)
class Checked(Shown):
    """A submission that keeps to the competition's rules.

    Args:
        path: Its file.
        submission: What it holds.
        local: Its score over all rows; None where the truth is not known.
        metric: The metric that it was blended for, over all rows; None where nothing was said, or
            labels alone do not tell.
    """

    path: Path
    submission: SubmissionFile
    local: LocalScore | None
    metric: Figure | None = None

    def facts(self) -> Mapping[str, str]:
        """Return that it is valid, what is remarkable, and the score where it is known."""
        facts = {"submission": f"valid, {len(self.submission.ids)} rows"}
        if self.submission.remarks:
            facts["remark"] = "; ".join(self.submission.remarks)
        if self.local is not None:
            facts["local accuracy"] = str(self.local)
        if self.metric is not None:
            facts[f"local {self.metric.name}"] = str(self.metric)
        return facts


@dataclass(frozen=True, slots=True)
class Ahead:
    """A submission before it is sent.

    Args:
        path: Its file.
        submission: What it holds.
        about: What `blend` says of it.
        forecast: What it can bring.
    """

    path: Path
    submission: SubmissionFile
    about: About
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Planned:
    """What a call of `submit` would do.

    Args:
        would_send: Whether it would send.
        same: The submission of the same content that is there already; None if there is none.
        left: Submissions left today; None where no limit is told.
        message: What would stand beside the submission, its tag left open.
    """

    would_send: bool
    same: Record | None
    left: int | None
    message: str


@dataclass(frozen=True, slots=True)
class SubmissionList:
    """What was submitted.

    Args:
        records: The oldest first.
        remark: Why the service could not be asked; None where it was, or was not to be.
    """

    records: tuple[Record, ...]
    remark: str | None


def open_service(
    place: Place,
    *,
    local: bool = False,
    truth: Path | None = None,
    competition: str = DIGIT_RECOGNIZER,
    share: float = SHARE,
    scoring: bool = True,
    kernel: str | None = None,
) -> Service:
    """Return who takes submissions.

    Args:
        place: Gives data and workspace.
        local: The local scoreboard in Kaggle's place.
        truth: CSV with the true label of each test id, for the local scoreboard.
        competition: Its short name, or its address.
        share: Part of the test rows that the local scoreboard's public score is taken on.
        scoring: Whether it must be able to score this data's submissions.
        kernel: `owner/slug` of a kernel that is submitted in place of a file; None for a file.

    Raises:
        ConfigurationError: What was given does not go together, or the truth is not known.
        DataError: The truth is broken.
    """
    if local:
        names.require_apart("--local", "takes files alone", {"--kernel": kernel is not None})
    else:
        names.require_beside("--local", {"--truth": truth is not None})
        if scoring and place.data().truth is not None:
            raise ConfigurationError(
                f"The {place.data().name} are no competition at Kaggle.",
                mend="Add --local for the local scoreboard, or give --data with the competition's "
                "files and a --workspace of its own.",
            )
        if kernel is not None:
            return KernelSubmissions(short_name(competition), *split_id(kernel))
        return KaggleClient(short_name(competition))
    dataset, metric = _data(place), kept_metric(place.workspace)
    known = find_truth(truth, dataset) if scoring else None
    if scoring and known is None:
        raise ConfigurationError(
            "The local scoreboard needs the true labels, which this data does not have.",
            mend="Give them as --truth labels.csv, an id and a label in each line.",
        )
    # Scores of two metrics are not compared: each has a board of its own.
    name = dataset.digest if metric in (None, "accuracy") else f"{dataset.digest}-{metric}"
    return LocalScoreboard(place.workspace, name, known, share, dataset.competition, metric)


def check(place: Place, file: Path | None = None, truth: Path | None = None) -> Checked:
    """Hold a submission against the competition, and score it where the truth is known.

    Args:
        place: Gives data and workspace.
        file: The submission; None for the one that `blend` wrote.
        truth: CSV with the true label of each test id; None for the data's own.

    Raises:
        ArtefactError: `blend` has not written one.
        DataError: The first rule it breaks, with the line.
    """
    path = _find(place.workspace, file)
    submission = validate(read_file(path), str(path), _data(place))
    known = find_truth(truth, place.data())
    local = score(submission.ids, submission.labels, known) if known is not None else None
    by_metric = None
    if known is not None:
        by_metric = _by_metric(place.workspace, path, submission, known)
    return Checked(path, submission, local, by_metric)


def _by_metric(
    workspace: Workspace, path: Path, submission: SubmissionFile, truth: Mapping[str, str]
) -> Figure | None:
    """Return the figure by what a submission is scored by, where it can be told."""
    about = read_about(path, submission, ours=path == blended(workspace))
    metric, competition = about.metric or kept_metric(workspace), submission.competition
    if metric is None or competition is None or metric == "accuracy":
        return None
    if metric in names.OF_PROBABILITIES and not submission.values:
        return None
    wanted = [truth[key] for key in submission.ids]
    return figure_of(metric, competition, submission.labels, submission.values, wanted)


def _data(place: Place) -> Dataset:
    """Return the data, with the form of submissions that suits what they are scored by."""
    return scored(place.data(), kept_metric(place.workspace))


def download(
    folder: Path,
    progress: Progress,
    *,
    competition: str = DIGIT_RECOGNIZER,
    replace: bool = False,
) -> Downloaded:
    """Bring a competition's files into a folder.

    Args:
        folder: Where they go.
        progress: Where to tell of it.
        competition: Its short name, or its address.
        replace: Put new files in the place of other ones.

    Raises:
        ConfigurationError: The folder is a file.
        DataError: Another file is in the place of one of them.
        CallError: Kaggle cannot be reached, or what came is not what was listed.
        ArtefactError: The disk is full or cannot be written, or another process is downloading.
    """
    if folder.suffix == ".zip" or folder.is_file():
        raise ConfigurationError(
            f"--data was given as {folder}; expected the folder to download into."
        )
    return fetch(KaggleClient(short_name(competition)), folder, progress, replace=replace)


def look_ahead(
    place: Place,
    service: Service,
    file: Path | None = None,
    *,
    share: float = SHARE,
    ask: bool = True,
    version: int | None = None,
) -> Ahead:
    """Check a submission, and tell what it can bring.

    Args:
        place: Gives data and workspace.
        service: Who would take it.
        file: The submission; None for the one that `blend` wrote, or that a kernel wrote where one
            is submitted.
        share: Part of the test rows that the public score is taken on.
        ask: Ask the service first for what it has.
        version: Which version of the kernel; None for its last.

    Raises:
        ArtefactError: `blend` has not written one, or the ledger cannot be used.
        ConfigurationError: The kernel has no such version.
        DataError: The first rule it breaks, with the line.
        ServiceError: The service cannot be asked, or the kernel's run has not ended well.
    """
    if isinstance(service, KernelSubmissions):
        path = _of_kernel(place, service, file, version)
        kernel = service.kernel
    else:
        path, kernel = _find(place.workspace, file), None
    submission = validate(read_file(path), str(path), _data(place))
    submission = dataclasses.replace(submission, kernel=kernel)
    about = read_about(path, submission, ours=path == blended(place.workspace))
    if about == About():  # a copy of blend's file, perhaps, that lies elsewhere
        about = read_about(blended(place.workspace), submission)
    with open_ledger(place) as ledger:
        if ask:
            catch_up(service, ledger, place.workspace, place.progress)
        earlier = ledger.all(service.name, service.competition)
    metric = kept_metric(place.workspace) or about.metric
    ahead = forecast(submission, about, earlier, place.workspace, share, metric)
    return Ahead(path, submission, about, ahead)


def plan(
    place: Place, service: Service, ahead: Ahead, *, message: str = "", force: bool = False
) -> Planned:
    """Tell what `submit` would do with the same arguments; nothing is sent.

    Raises:
        CallError: The service cannot be asked.
    """
    with open_ledger(place) as ledger:
        same = find_same(ledger, service, ahead.submission)
    left = service.limits().left
    return Planned(
        would_send=(same is None or force) and (left is None or left > 0),
        same=None if force else same,
        left=left,
        message=compose_message(f"{ahead.submission.digest[:12]}-······", ahead.about, message),
    )


def submit(
    place: Place,
    service: Service,
    ahead: Ahead,
    *,
    message: str = "",
    force: bool = False,
    wait: bool = False,
) -> Submitted:
    """Send a submission, once.

    Args:
        place: Gives the workspace.
        service: Who takes it.
        ahead: The submission, as `look_ahead` gave it.
        message: The user's own words; may be empty.
        force: Send even what was, or may have been, sent before.
        wait: Wait for the score.

    Raises:
        ArtefactError: Another process is sending, or the ledger cannot be used.
        CallError: It was not submitted, or it is not known; the message says which.
        ServiceError: It was submitted, but could not be scored.
    """
    with open_ledger(place) as ledger:
        done = send(
            service,
            ledger,
            place.workspace,
            ahead.submission,
            ahead.about,
            message=message,
            force=force,
            progress=place.progress,
        )
        record = done.record
        if wait and record.state == "pending":
            place.progress.say(f"submission {record.ref} is in; waiting for its score")
            record = wait_until_scored(service, ledger, record, place.progress)
        elif service.name == LocalScoreboard.name:
            catch_up(service, ledger, place.workspace, place.progress)
            record = ledger.get(record.id)
    if done.sent and record.state == "error":
        raise ServiceError(
            f"Kaggle took submission {record.ref}, but could not score it: "
            f"{record.error or 'no reason given'}",
            mend="It is in the ledger; --force sends the same content again.",
        )
    return Submitted(record, done.sent, done.limits)


def submissions(
    place: Place, service: Service, *, ask: bool = True, every: bool = False
) -> SubmissionList:
    """Return what was submitted, from here and elsewhere.

    Args:
        place: Gives the workspace.
        service: Who is asked first; where it cannot be, the ledger is shown as it is.
        ask: Ask it.
        every: All services' and competitions' submissions, not this one's alone.

    Raises:
        ArtefactError: The ledger cannot be used.
    """
    remark = None
    with open_ledger(place, reading=True) as ledger:
        if ask:
            try:
                catch_up(service, ledger, place.workspace, place.progress)
            except ServiceError as error:
                remark = f"{error.message} Shown is what was known before."
        records = ledger.all() if every else ledger.all(service.name, service.competition)
    return SubmissionList(tuple(records), remark)


def leaderboard(
    place: Place, service: Service, *, share: float = SHARE, ask: bool = True
) -> Summary:
    """Read the public board, note our submissions' places on it, and compare CV and public score.

    Args:
        place: Gives data and workspace.
        service: Whose board.
        share: Part of the test rows that the public score is taken on.
        ask: Ask it now; else what it said when it was last asked.

    Raises:
        CallError: The service cannot be asked, or its board cannot be read.
        ArtefactError: The ledger cannot be used.
    """
    look = asking.ask if ask else asking.remember
    with open_ledger(place, reading=True) as ledger:
        metric = kept_metric(place.workspace)
        records, board = look(service, ledger, place.workspace, place.progress, metric)
    known = [record.rows for record in records if record.rows]
    rows = max(known) if known else len(place.data().test_ids)
    return summarise(records, board, public_rows(rows, share), metric)


def require_share(share: float) -> None:
    """Refuse a part of the test rows that cannot be one.

    Raises:
        ConfigurationError: It is not above 0, or above 1.
    """
    if not 0 < share <= 1:
        raise ConfigurationError(
            f"public_share was given as {share!r}; expected above 0, and 1 at most."
        )


def require_version(kernel: str | None, version: int | None) -> None:
    """Refuse a kernel's version that cannot be one, or that is no kernel's.

    Raises:
        ConfigurationError: It is below 1, or no kernel was given.
    """
    if version is None:
        return
    if kernel is None:
        names.require_beside("--kernel", {"--kernel-version": True}, "--kernel OWNER/SLUG")
    names.require_count("kernel_version", version, 1)


def blended(workspace: Workspace) -> Path:
    """Return where `blend` leaves its submission."""
    return workspace.submissions / "submission.csv"


def open_ledger(place: Place, *, reading: bool = False) -> Ledger:
    """Open the workspace's ledger.

    Args:
        place: Gives the workspace.
        reading: Go on with a copy where it cannot be written.

    Raises:
        ArtefactError: It is broken, cannot be written, or was made by a newer version.
    """
    ledger = Ledger(place.workspace.submissions / "ledger.sqlite", reading=reading)
    if not ledger.is_kept:
        place.progress.say(
            "the workspace cannot be written: what is learnt now is shown, and not kept"
        )
    return ledger


def _of_kernel(
    place: Place, service: KernelSubmissions, file: Path | None, version: int | None
) -> Path:
    """Return what the kernel's version wrote: brought home, or the file that is said to be it."""
    is_last = kernel_runs.find_version(service, version)
    if file is not None:
        return file
    if not is_last:
        raise ConfigurationError(
            f"Version {version} of {service.owner}/{service.slug} is not known to be its last, of "
            "which alone Kaggle shows what it wrote; it cannot be checked.",
            mend="Name the submission.csv that it wrote as FILE.",
        )
    return kernel_runs.bring(service, place.workspace, place.progress)


def _find(workspace: Workspace, file: Path | None) -> Path:
    path = file or blended(workspace)
    if file is None and not path.is_file():
        raise ArtefactError(f"{path} is not there.", mend="Run `blend` first, or name a file.")
    return path
