"""Submitting a kernel's version in place of a file, which is all that code competitions take.

Kaggle runs that version again, on test images that nobody has seen, and scores the file it writes.
"""

from __future__ import annotations

from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience

WRITTEN = "submission.csv"
"""The file that a kernel writes, and Kaggle scores."""


class KernelSubmissions(KaggleClient):
    """One competition at Kaggle, to which a kernel's version is submitted.

    Args:
        competition: Its short name, as in its address.
        owner: The kernel's owner.
        slug: Its name.
        version: Which of its versions, from 1; 0 until it is known.
        patience: Time-outs and waits.
    """

    def __init__(
        self,
        competition: str,
        owner: str,
        slug: str,
        version: int = 0,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(competition, patience)
        self.owner, self.slug, self.version = owner, slug, version

    @property
    def kernel(self) -> str:
        """`owner/slug/version`, as the ledger has it."""
        return f"{self.owner}/{self.slug}/{self.version}"

    def upload(self, content: bytes, file_name: str) -> str:
        """Return what `create` takes: the file that Kaggle will read; nothing is uploaded."""
        return WRITTEN

    def create(self, upload: str, message: str) -> int:
        """Make a submission of the kernel's version; nothing is repeated here.

        Returns:
            The submission's reference.

        Raises:
            CallError: With `acted` false it is certain that there is no submission; with `acted`
                true it must be looked for in `submissions`.
        """
        request = self._types().ApiCreateCodeSubmissionRequest()
        request.competition_name = self.competition
        request.kernel_owner = self.owner
        request.kernel_slug = self.slug
        request.kernel_version = self.version
        request.file_name = upload
        request.submission_description = message
        try:
            answer = self._call(
                "the submission", lambda calls: calls.create_code_submission(request)
            )
        except CallError as error:
            if error.status in (400, 403):
                error.mend = (
                    f"See at its page that version {self.version} of {self.owner}/{self.slug} "
                    "ran to its end without\n  internet, reads this competition and nothing that "
                    "it does not allow, and is this account's;\n  and that the competition's rules "
                    "were accepted."
                )
            elif error.status == 404:
                error.mend = "Check --competition, --kernel and --kernel-version."
            raise
        return self._reference(answer)
