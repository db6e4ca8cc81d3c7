"""Sending a submission so that none is spent twice and none is lost.

The order is fixed: what the service lists is taken in, the row is written with a tag that no other
sending has, the file is sent with the tag in its message, the reference is noted. Whatever breaks
in between, the service's list is looked at for the tag before anything is sent again; a row left
by a crash is settled the same way by the next call. Clocks are never compared.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import InUseError, ReadOnlyError
from kaggle_digits.ground.figures import accuracy_text
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import Limits, Sent
from kaggle_digits.kaggle_service.transport import CallError, CredentialsError, Patience, clean
from submissions.ledger import Ledger, Record
from submissions.validation import SubmissionFile

_ATTEMPTS = 3
# After a lost answer the list is looked at for this many `Patience.wait`s before it is believed
# that nothing arrived; and a submission is waited for this many until it is scored.
_GRACE = 30.0
_SCORING = 1800.0
_LONGEST_MESSAGE = 190


class Service(Protocol):
    """Who takes submissions and scores them: Kaggle, or the local scoreboard."""

    name: str
    competition: str
    patience: Patience

    def limits(self) -> Limits:
        """Tell how many submissions are left today."""

    def submissions(self) -> list[Sent]:
        """List all submissions."""

    def send(self, content: bytes, file_name: str, message: str) -> int:
        """Make a submission and return its reference; a `CallError` says if it may have worked."""

    def download_board(self) -> bytes:
        """Return the public leaderboard, a zip that holds one CSV."""


@dataclass(frozen=True, slots=True)
class About:
    """What `blend` left beside a submission.

    Args:
        method: How the members were averaged.
        members: Their names.
        cv_accuracy: Out-of-fold accuracy, 0 to 1; with standard error.
        cv_accuracy_se: As above.
        cv_log_loss: Out-of-fold log-loss; with standard error.
        cv_log_loss_se: As above.
        cv_rows: Training rows behind these figures.
        data_digest: Of the data the blend was made from.
    """

    method: str | None = None
    members: tuple[str, ...] = ()
    cv_accuracy: float | None = None
    cv_accuracy_se: float | None = None
    cv_log_loss: float | None = None
    cv_log_loss_se: float | None = None
    cv_rows: int | None = None
    data_digest: str | None = None

    def __str__(self) -> str:
        """Return it as a submission's message shows it."""
        parts = []
        if self.method is not None:
            parts.append(f"{self.method} of {len(self.members)}")
        if self.cv_accuracy is not None:
            figure = accuracy_text(self.cv_accuracy, self.cv_accuracy_se, self.cv_rows, 5)
            parts.append(f"CV {figure}")
        return ", ".join(parts)


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


def read_about(path: Path, submission: SubmissionFile) -> About:
    """Read what `blend` left for a submission.

    Args:
        path: The submission's file; the same name with `.json` tells of it.
        submission: The file, read; an account of other bytes does not count.

    Raises:
        ArtefactError: The account is there but broken.
    """
    account = path.with_suffix(".json")
    if not account.is_file():
        return About()

    def build(values: object) -> About:
        fields = Fields(values)
        if fields.text("sha256") != submission.sha256:
            return About()
        return About(
            method=fields.text("method"),
            members=tuple(fields.texts("members")),
            cv_accuracy=fields.number("oof_accuracy"),
            cv_accuracy_se=fields.number("oof_accuracy_se"),
            cv_log_loss=fields.number("oof_log_loss"),
            cv_log_loss_se=fields.number("oof_log_loss_se"),
            cv_rows=fields.whole("rows"),
            data_digest=fields.text("data_digest"),
        )

    return read_artefact(account, build, "what `blend` writes", "Call `kaggle-digits blend` again.")


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


def mend(service: Service, ledger: Ledger, workspace: Workspace, progress: Progress) -> None:
    """Bring the ledger up to the service's list, interrupted sendings too.

    Raises:
        CallError: The service cannot be asked.
    """
    synchronise(service, ledger, progress)
    if any(one.state == "sending" for one in ledger.all(service.name, service.competition)):
        try:
            with workspace.lock(sent_folder(workspace)):
                settle(service, ledger, progress)
        except InUseError:
            progress.say("another process is sending; its submission is left to it")
        except ReadOnlyError as error:
            progress.say(f"{error.message} An interrupted submission is not looked for.")


def settle(service: Service, ledger: Ledger, progress: Progress) -> None:
    """Find out about every sending whose end is not known; the caller holds the folder's lock.

    Raises:
        CallError: The service cannot be asked; the rows stay as they are.
    """
    for record in ledger.all(service.name, service.competition):
        if record.state != "sending":
            continue
        progress.say(f"submission {record.id} was interrupted; looking whether it arrived")
        if _look(service, ledger, record) is None:
            ledger.change(record, state="failed", error="interrupted; it never arrived")
            progress.say(f"submission {record.id} never arrived")
        else:
            progress.say(f"submission {record.id} has arrived")


def find_same(ledger: Ledger, service: Service, digest: str) -> Record | None:
    """Return a submission of the same content that the service has, from here or elsewhere."""
    for record in reversed(ledger.all(service.name, service.competition)):
        if record.state != "failed" and (
            record.digest == digest or f"{digest[:12]}-" in f"{record.message} {record.file_name}"
        ):
            return record
    return None


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
        CallError: It was not submitted, or it is not known; the message says which.
    """
    with workspace.lock(sent_folder(workspace)):
        synchronise(service, ledger, progress)
        settle(service, ledger, progress)
        same = find_same(ledger, service, submission.digest)
        if same is not None and not force:
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
        record = ledger.add(
            Record(
                service=service.name,
                competition=service.competition,
                tag=tag,
                digest=submission.digest,
                file_sha256=submission.sha256,
                file_name=f"submission-{tag}.csv",
                message=compose_message(tag, about, message),
                state="sending",
                method=about.method,
                members=about.members,
                cv_accuracy=about.cv_accuracy,
                cv_accuracy_se=about.cv_accuracy_se,
                cv_log_loss=about.cv_log_loss,
                cv_log_loss_se=about.cv_log_loss_se,
                cv_rows=about.cv_rows,
                rows=len(submission.ids),
                data_digest=about.data_digest,
            )
        )
        return Submitted(
            _send(service, ledger, record, submission.content, limits, progress), True, limits
        )


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

    Raises:
        CallError: It takes longer than half an hour, or the service cannot be asked.
    """
    pause, waited = 2.0, 0.0
    while True:
        synchronise(service, ledger, progress)
        record = ledger.get(record.id)
        if record.state not in ("sending", "pending"):
            return record
        if waited >= _SCORING:
            raise CallError(
                f"Submission {record.ref} is not scored yet.",
                mend="It is not lost: `kaggle-digits submissions` shows its score when it is in.",
            )
        time.sleep(pause * service.patience.wait)
        waited += pause
        pause = min(30.0, pause * 1.5)


def _send(
    service: Service,
    ledger: Ledger,
    record: Record,
    content: bytes,
    limits: Limits,
    progress: Progress,
) -> Record:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ref = service.send(content, record.file_name, record.message)
            if any(other.ref == ref for other in ledger.all(service.name, service.competition)):
                raise CallError(f"Reference {ref} is another submission's.", acted=True)
            return ledger.change(record, ref=ref, state="pending")
        except CallError as error:
            if error.acted:
                progress.say(f"{error.message} Looking whether the submission arrived.")
                found = _look(service, ledger, record, limits)
                if found is not None:
                    progress.say("it has arrived")
                    return found
            if (
                not (error.transient or error.acted)
                or attempt == _ATTEMPTS
                or (error.retry_after or 0) > service.patience.longest
            ):
                ledger.change(record, state="failed", error=clean(error.message))
                raise _not_submitted(error) from None
            why = "" if error.acted else f"{error.message} "
            progress.say(f"{why}Nothing has arrived; sending again.")
            time.sleep(max(service.patience.before(attempt), error.retry_after or 0))
    raise AssertionError("unreachable")


def _look(
    service: Service, ledger: Ledger, record: Record, before: Limits | None = None
) -> Record | None:
    """Look for a sending in the service's list, some time long, since lists may lag.

    Returns:
        The row with its reference; None if it surely is not there.

    Raises:
        CallError: It cannot be found out now; the row stays `sending`.
    """
    refs = {other.ref for other in ledger.all(service.name, service.competition)}
    pause, waited = 1.0, 0.0
    while True:
        try:
            listed = service.submissions()
            ledger.take_in(service.name, service.competition, listed)
            found = ledger.get(record.id)
            if found.ref is not None:
                return found
            if waited >= _GRACE:
                others = len({sent.ref for sent in listed} - refs)
                if before is None or service.limits().today - before.today <= others:
                    return None
                raise CallError("Kaggle counts one submission more than it lists.")
        except CallError as error:
            raise CallError(
                f"It is not known whether the submission arrived: {error.message}",
                mend="Call `submit` again later: it looks first, and sends only what is missing.",
            ) from None
        time.sleep(pause * service.patience.wait)
        waited += pause
        pause = min(8.0, pause * 2)


def _not_submitted(error: CallError) -> CallError:
    if isinstance(error, CredentialsError):
        return error  # its three lines say it all
    return CallError(f"{error.message} Nothing was submitted.", mend=error.mend)
