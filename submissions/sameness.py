"""When two submissions are the same, so that the second is not sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from submissions.ledger import Ledger, Record
from submissions.validation import SubmissionFile

if TYPE_CHECKING:
    from submissions.sending import Service


def find_same(ledger: Ledger, service: Service, submission: SubmissionFile) -> Record | None:
    """Return a submission of the same content that the service has, from here or elsewhere."""
    return last_same(ledger.all(service.name, service.competition), submission)


def last_same(records: Sequence[Record], submission: SubmissionFile) -> Record | None:
    """Return the last of the same content among those that arrived, or may have.

    A kernel's version is the same as itself alone, and as a file that has the bytes it wrote.

    Args:
        records: One service's, the oldest first.
        submission: What they are held against.
    """
    digest = submission.digest
    for record in reversed(records):
        if record.state != "failed" and (
            record.digest == digest
            or f"{digest[:12]}-" in f"{record.message} {record.file_name}"
            or (
                record.file_sha256 == submission.sha256
                and (record.kernel is None) != (submission.kernel is None)
            )
        ):
            return record
    return None
