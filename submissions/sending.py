"""Sending a submission so that none is spent twice and none is lost.

The order is fixed: what the service lists is taken in, the file is uploaded, the row is written
with a tag that no other sending has, a submission is made of the upload with the tag in its
message, the reference is noted. Where the last answer is lost, the service's list is looked at for
the tag, and what is not found there is in doubt: the service may record it later than anyone looks.
Such a row is `unknown`; every later call looks for it, and the same content is sent again only when
its time is over and neither the list nor the counts of the service know of it. A row left by a
crash is settled the same way. This machine's clock is compared with itself alone.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from kaggle_digits.ground.competition import competition_option
from kaggle_digits.ground.errors import InUseError, ReadOnlyError
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import Limits, Sent
from kaggle_digits.kaggle_service.code_submissions import WRITTEN
from kaggle_digits.kaggle_service.transport import (
    CallError,
    CredentialsError,
    Patience,
    clean,
    outages_bridged,
)
from submissions.account import About
from submissions.ledger import Ledger, Record, minute
from submissions.sameness import find_same
from submissions.validation import SubmissionFile

_ATTEMPTS = 3
# After a lost answer the list is looked at for this many `Patience.wait`s before the submission is
# in doubt; and a submission is waited for this many until it is scored.
_GRACE = 30.0
_SCORING = 1800.0
# A kernel is run again, for 12 hours at most, and may stand in a queue before.
_RERUN = 13 * 3600.0
_LONGEST_MESSAGE = 190
_OPEN = ("sending", "unknown")


class Service(Protocol):
    """Who takes submissions and scores them: Kaggle, or the local scoreboard.

    Args:
        name: As the ledger has it.
        competition: The competition's short name.
        patience: Time-outs and waits.
        doubt: Seconds after which what it neither lists nor counts has surely never arrived.
    """

    name: str
    competition: str
    patience: Patience
    doubt: float

    def limits(self) -> Limits:
        """Tell how many submissions are left today."""

    def submissions(self) -> list[Sent]:
        """List all submissions."""

    def upload(self, content: bytes, file_name: str) -> str:
        """Upload a file, which makes no submission yet, and return what `create` takes."""

    def create(self, upload: str, message: str) -> int:
        """Make a submission and return its reference; a `CallError` says if it may have worked."""

    def download_board(self) -> bytes | None:
        """Return the public leaderboard, a zip that holds one CSV; None before there is one."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came of a call to `submit`.

    Args:
        record: The submission's row.
        sent: Whether this call made it; false where the same content was there already.
        limits: What was left before.
    """

    record: Record
    sent: bool
    limits: Limits | None


def sent_copy(workspace: Workspace, digest: str) -> Path:
    """Return where the predictions of a submission are kept.

    Args:
        workspace: The workspace.
        digest: The submission's 64 hex digits.
    """
    return sent_folder(workspace) / f"{digest[:16]}.csv"


def sent_folder(workspace: Workspace) -> Path:
    """Return the folder of what was sent; its lock is held while something is being sent."""
    return workspace.submissions / "sent"


def synchronise(service: Service, ledger: Ledger, progress: Progress) -> list[Sent]:
    """Bring the ledger up to the service's list and settle what a crash has left open.

    Returns:
        What the service lists.

    Raises:
        CallError: The service cannot be asked.
    """
    listed = service.submissions()
    new = ledger.take_in(service.name, service.competition, listed)
    if new:
        progress.say(f"{new} submission{'s' * (new > 1)} made elsewhere taken in")
    return listed


def catch_up(service: Service, ledger: Ledger, workspace: Workspace, progress: Progress) -> None:
    """Bring the ledger up to the service's list, interrupted sendings too.

    Raises:
        CallError: The service cannot be asked.
    """
    listed = synchronise(service, ledger, progress)
    if any(one.state in _OPEN for one in ledger.all(service.name, service.competition)):
        try:
            with workspace.lock(sent_folder(workspace)):
                settle(service, ledger, listed, progress)
        except InUseError:
            progress.say("another process is sending; its submission is left to it")
        except ReadOnlyError as error:
            progress.say(f"{error.message} An interrupted submission is not looked for.")


def settle(service: Service, ledger: Ledger, listed: Sequence[Sent], progress: Progress) -> None:
    """Find out about every sending whose end is not known; the caller holds the folder's lock.

    Args:
        service: Who was sent to.
        ledger: Where the sendings are written down; what is listed has been taken in.
        listed: What the service lists.
        progress: Where to tell of it.

    Raises:
        CallError: The service cannot be asked; what is open stays open.
    """
    for record in ledger.all(service.name, service.competition):
        if record.state == "sending":
            progress.say(f"submission {record.id} was interrupted; looking whether it arrived")
            record = _look(service, ledger, record)
            if record.ref is not None:
                progress.say(f"submission {record.id} has arrived")
        if record.state != "unknown":
            continue
        if datetime.now(UTC) < _doubted_until(service, record):
            progress.say(f"{_doubt(record)} {_until(service, record)}")
        elif _counts_more(service.limits(), len(listed), record):
            progress.say(f"{_doubt(record)} Kaggle counts one submission more than it lists.")
        else:
            ledger.change(record, state="failed", error="it never arrived")
            progress.say(f"submission {record.id} never arrived")


def submit(
    service: Service,
    ledger: Ledger,
    workspace: Workspace,
    submission: SubmissionFile,
    about: About,
    *,
    message: str,
    force: bool,
    progress: Progress,
) -> Submitted:
    """Send a submission once.

    Args:
        service: Who takes it.
        ledger: Where it is written down.
        workspace: Where a copy of it is kept, and whose lock is held.
        submission: The checked file.
        about: What `blend` says of it.
        message: The user's own words; may be empty.
        force: Send the same content again.
        progress: Where to tell of it.

    Raises:
        ArtefactError: Another process is sending.
        CallError: It was not submitted, or it is not known; the message says which. What is in
            doubt is not sent again without `force`.
    """
    with workspace.lock(sent_folder(workspace)):
        listed = synchronise(service, ledger, progress)
        settle(service, ledger, listed, progress)
        same = find_same(ledger, service, submission)
        if same is not None and not force:
            if same.state == "unknown":
                raise in_doubt(service, same)
            return Submitted(same, sent=False, limits=None)
        limits = service.limits()
        if limits.left is not None:
            progress.say(f"{limits.left} submissions left today (UTC)")
            if limits.left <= 0:
                raise CallError(
                    f"No submissions are left today: {limits.today} were made.",
                    mend="Call the command again after midnight UTC.",
                )
        write_bytes(sent_copy(workspace, submission.digest), submission.content)
        tag = f"{submission.digest[:12]}-{secrets.token_hex(3)}"
        draft = Record(
            service=service.name,
            competition=service.competition,
            tag=tag,
            digest=submission.digest,
            file_sha256=submission.sha256,
            file_name=f"submission-{tag}.csv" if submission.kernel is None else WRITTEN,
            message=compose_message(tag, about, message),
            state="sending",
            method=about.method,
            members=about.members,
            cv_accuracy=about.cv_accuracy,
            cv_accuracy_se=about.cv_accuracy_se,
            cv_log_loss=about.cv_log_loss,
            cv_log_loss_se=about.cv_log_loss_se,
            cv_rows=about.cv_rows,
            metric=about.metric,
            cv_metric=about.cv_metric,
            cv_metric_se=about.cv_metric_se,
            rows=len(submission.ids),
            data_digest=about.data_digest,
            listed_before=len(listed),
            today_before=limits.today,
            total_before=limits.total,
            kernel=submission.kernel,
        )
        made = _send(service, ledger, draft, submission.content, progress)
        return Submitted(made, sent=True, limits=limits)


def compose_message(tag: str, about: About, words: str) -> str:
    """Return a submission's description: digest and tag first, where no cutting reaches them.

    Args:
        tag: The first 12 digits of the digest, and 6 that are this sending's own.
        about: The blend and its CV score.
        words: The user's own.
    """
    parts = [f"kd-{tag}", str(about), clean(words)]
    return " | ".join(part for part in parts if part)[:_LONGEST_MESSAGE]


def wait_until_scored(
    service: Service, ledger: Ledger, record: Record, progress: Progress
) -> Record:
    """Ask the service, ever less often, until a submission is scored or refused.

    A short outage meanwhile is waited for.

    Raises:
        CallError: It takes longer than half an hour, or than a kernel can run, or the service
            refuses to tell.
    """
    listing = f"`kaggle-digits submissions{competition_option(service.competition)}`"
    sent = f"It is sent, and not lost: {listing} shows its score when it is in."
    pause, waited = 2.0, 0.0
    longest = _SCORING if record.kernel is None else _RERUN
    while True:
        with outages_bridged(progress.say, sent):
            synchronise(service, ledger, progress)
        record = ledger.get(record.id)
        if record.state not in ("sending", "pending"):
            return record
        if waited >= longest:
            raise CallError(f"Submission {record.ref} is not scored yet.", mend=sent)
        service.patience.pause(pause * service.patience.wait)
        waited += pause
        pause = min(30.0, pause * 1.5)


def _send(
    service: Service,
    ledger: Ledger,
    draft: Record,
    content: bytes,
    progress: Progress,
) -> Record:
    """Upload, write the row, and make the submission; again only what has surely not been made."""
    record: Record | None = None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            upload = service.upload(content, draft.file_name)
            record = record or ledger.add(draft)
            ref = service.create(upload, draft.message)
            if any(other.ref == ref for other in ledger.all(service.name, service.competition)):
                raise CallError(f"Reference {ref} is another submission's.", acted=True)
            return ledger.change(record, ref=ref, state="pending")
        except CallError as error:
            if error.acted and record is not None:
                progress.say(f"{error.message} Looking whether the submission arrived.")
                found = _look(service, ledger, record)
                if found.ref is None:
                    raise in_doubt(service, found) from None
                progress.say("it has arrived")
                return found
            if (
                not error.transient
                or attempt == _ATTEMPTS
                or (error.retry_after or 0) > service.patience.longest
            ):
                why = clean(error.message)
                if record is None:
                    ledger.add(dataclasses.replace(draft, state="failed", error=why))
                else:
                    ledger.change(record, state="failed", error=why)
                raise _not_submitted(error) from None
            progress.say(f"{error.message} Nothing has arrived; sending again.")
            service.patience.pause(max(service.patience.before(attempt), error.retry_after or 0))
    raise AssertionError("unreachable")


def _look(service: Service, ledger: Ledger, record: Record) -> Record:
    """Look for a sending in the service's list, some time long, since lists may lag.

    Returns:
        The row, with its reference or `unknown`.
    """
    pause, waited = 1.0, 0.0
    while True:
        try:
            listed = service.submissions()
        except CallError as error:
            why = clean(f"the list of submissions could not be read: {error.message}")
            return ledger.change(record, state="unknown", error=why)
        ledger.take_in(service.name, service.competition, listed)
        found = ledger.get(record.id)
        if found.ref is not None:
            return found
        if waited >= _GRACE:
            why = "its answer was lost, and it is not listed yet"
            return ledger.change(record, state="unknown", error=why)
        service.patience.pause(pause * service.patience.wait)
        waited += pause
        pause = min(8.0, pause * 2)


def in_doubt(service: Service, record: Record) -> CallError:
    """Return what to tell of a submission of which it is not known whether it arrived."""
    return CallError(
        f"{_doubt(record)} It was not sent again.", mend=f"{_until(service, record)}", acted=True
    )


def _doubt(record: Record) -> str:
    return (
        f"It is not known whether submission {record.id} of {minute(record.created)} UTC arrived: "
        f"{(record.error or 'no reason noted').rstrip('.')}."
    )


def _until(service: Service, record: Record) -> str:
    until = f"{_doubted_until(service, record):%Y-%m-%d %H:%M} UTC"
    return (
        f"Call again later: it is looked for each time. From {until} on, if Kaggle then neither\n"
        "  lists nor counts it, `submit` sends the same content again; --force sends it now."
    )


def _doubted_until(service: Service, record: Record) -> datetime:
    created = datetime.fromisoformat(record.created).replace(tzinfo=UTC)
    return created + timedelta(seconds=service.doubt)


def _counts_more(limits: Limits, listed: int, record: Record) -> bool:
    """Say whether the service's counts have grown by more than its list since a sending."""
    if record.listed_before is None:
        return False
    counted = max(  # at midnight UTC the day's count starts anew
        limits.today - (record.today_before or 0), limits.total - (record.total_before or 0)
    )
    return counted > listed - record.listed_before


def _not_submitted(error: CallError) -> CallError:
    if isinstance(error, CredentialsError):
        return error  # its three lines say it all
    return CallError(f"{error.message} Nothing was submitted.", mend=error.mend)
