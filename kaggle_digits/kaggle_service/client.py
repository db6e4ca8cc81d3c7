"""Kaggle's own client, called in process, with time-outs and with errors of this package.

It is used in process and through its typed calls, so that each step of a submission is known to
have been done or not: start an upload, put the file, create the submission. Its exit codes, its
printing, its authenticating on import and its missing time-outs are kept from the rest.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kaggle_digits.ground.progress import Progress
from kaggle_digits.kaggle_service.adapter import make_adapter
from kaggle_digits.kaggle_service.credentials import describe_source
from kaggle_digits.kaggle_service.explaining import explain, is_of_the_disk
from kaggle_digits.kaggle_service.opening import endpoint_of, open_client, secrets_of
from kaggle_digits.kaggle_service.transport import (
    CallError,
    CredentialsError,
    Patience,
    clean,
    repeat_read,
    silence,
)

_T = TypeVar("_T")
_PAGE = 100
_MOST_PAGES = 200
_MOST_FILES = 2_000_000
_LARGEST_BOARD = 200_000_000
_SCORE = re.compile(r"-?\d{1,12}(\.\d{1,12})?")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the team may still submit.

    Args:
        today: Submissions made today (UTC).
        left: Submissions still allowed today; None where there is no limit or none is told.
        total: Submissions made in all; 0 where that is not told.
    """

    today: int
    left: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A submission as the service lists it.

    Args:
        ref: The service's reference, above 0.
        date: The service's time, ISO 8601, UTC.
        message: Its description.
        file_name: The file's name.
        state: `pending`, `complete` or `error`.
        public_score: As text, so that its decimals are known; None before it is there.
        private_score: As text; None before it is there.
        team: The team's name.
        error: Why it could not be scored.
    """

    ref: int
    date: str
    message: str
    file_name: str
    state: str
    public_score: str | None
    private_score: str | None
    team: str
    error: str


class KaggleClient:
    """One competition at Kaggle.

    Credentials are found by Kaggle's client when the first call is made.

    Args:
        competition: Its short name, as in its address.
        patience: Time-outs and waits.
    """

    name = "kaggle"
    doubt = 3600.0

    def __init__(self, competition: str, patience: Patience | None = None) -> None:
        self.competition = competition
        self.patience = patience or Patience.from_environment()
        self._api: Any = None
        self._secrets: tuple[str, ...] = ()

    def limits(self) -> Limits:
        """Ask how many submissions are left today."""
        types = self._types()
        request = types.ApiGetSubmissionLimitsRequest()
        request.competition_name = self.competition
        answer = self._read(
            "the count of submissions left", lambda calls: calls.get_submission_limits(request)
        )
        # All is 0 for an account that has no team in the competition yet: that is no limit.
        known = answer.num_total or answer.num_allowed_now
        return Limits(
            today=answer.num_today,
            left=answer.num_allowed_now if known else None,
            total=answer.num_total,
        )

    def submissions(self) -> list[Sent]:
        """List all submissions of this account's team, whoever made them and wherever."""
        types = self._types()

        def page(token: str) -> Any:
            request = types.ApiListSubmissionsRequest()
            request.competition_name = self.competition
            request.page_size = _PAGE
            request.page_token = token
            if not token:
                request.page = 1
            return self._read(
                "the list of submissions", lambda calls: calls.list_submissions(request)
            )

        found: dict[int, Sent] = {}
        for answer in self._pages("the list of submissions", page):
            for item in answer.submissions:
                sent = self._checked("the list of submissions", _sent, item)
                found[sent.ref] = sent
        return list(found.values())

    def files(self) -> dict[str, int]:
        """List the competition's data files and their sizes in bytes."""
        types = self._types()

        def page(token: str) -> Any:
            request = types.ApiListDataFilesRequest()
            request.competition_name = self.competition
            request.page_size = _PAGE
            request.page_token = token
            return self._read("the list of files", lambda calls: calls.list_data_files(request))

        sizes: dict[str, int] = {}
        for answer in self._pages("the list of files", page, _MOST_FILES // _PAGE):
            for item in answer.files:
                sizes[str(item.name)] = int(item.total_bytes)
        return sizes

    def upload(self, content: bytes, file_name: str) -> str:
        """Upload a file, which makes no submission yet; nothing is repeated here.

        Returns:
            What `create` makes the submission of.

        Raises:
            CallError: It is not there.
        """
        types = self._types()
        start = types.ApiStartSubmissionUploadRequest()
        start.competition_name = self.competition
        start.file_name = file_name
        start.content_length = len(content)
        start.last_modified_epoch_seconds = int(time.time())
        try:
            upload = self._call(
                "the start of the upload", lambda calls: calls.start_submission_upload(start)
            )
            if not (upload.token and upload.create_url):
                raise CallError("Kaggle gave no place to upload to.", transient=True)
            self._put(upload.create_url, content)
        except CallError as error:
            error.acted = False  # an upload alone makes no submission
            _mend_refusal(error)
            raise
        return str(upload.token)

    def create(self, upload: str, message: str) -> int:
        """Make a submission of an upload; nothing is repeated here.

        Returns:
            The submission's reference.

        Raises:
            CallError: With `acted` false it is certain that there is no submission; with `acted`
                true it must be looked for in `submissions`.
        """
        create = self._types().ApiCreateSubmissionRequest()
        create.competition_name = self.competition
        create.blob_file_tokens = upload
        create.submission_description = message
        try:
            answer = self._call("the submission", lambda calls: calls.create_submission(create))
        except CallError as error:
            _mend_refusal(error)
            raise
        return self._reference(answer)

    def download_data(self, folder: Path, progress: Progress) -> Path:
        """Download the competition's zip; what an earlier call left of it is gone on from.

        Args:
            folder: Where the zip and its mark of progress go; nothing else is touched.
            progress: Where to tell how much is there.

        Raises:
            CallError: It did not come down whole.
        """
        types = self._types()
        request = types.ApiDownloadDataFilesRequest()
        request.competition_name = self.competition
        path = folder / "data.zip"

        def fetch() -> None:
            with self._client() as client:
                answer = client.competitions.competition_api_client.download_data_files(request)
                with answer, _shown(path, answer, progress):
                    # Its own retries wait for up to a minute each; ours repeat the whole call.
                    try:
                        self._api.download_file(
                            answer,
                            str(path),
                            client.http_client(),
                            quiet=True,
                            resume=True,
                            max_retries=0,
                            timeout=self.patience.timeout,
                        )
                    except ValueError as error:  # the client's word for a body cut short
                        raise CallError(
                            f"The download of the data was cut short: {clean(str(error))}.",
                            mend="Call the command again: it goes on from there.",
                            transient=True,
                        ) from None

        repeat_read(lambda: self._guarded("the download of the data", fetch), self.patience)
        return path

    def download_board(self) -> bytes:
        """Download the whole public leaderboard as the zip that Kaggle makes of it."""
        types = self._types()
        request = types.ApiDownloadLeaderboardRequest()
        request.competition_name = self.competition

        def read(calls: Any) -> bytes:
            with calls.download_leaderboard(request) as answer:
                parts: list[bytes] = []
                size = 0
                for part in answer.iter_content(1 << 16):
                    parts.append(part)
                    size += len(part)
                    if size > _LARGEST_BOARD:
                        raise CallError("Kaggle's leaderboard is larger than 200 MB.")
                return b"".join(parts)

        return self._read("the leaderboard", read)

    def _reference(self, answer: Any) -> int:
        """Return the submission's reference; without one it may be there all the same."""
        if not answer.ref or answer.ref < 0:
            raise CallError(
                "Kaggle gave no reference for the submission: "
                f"{clean(answer.message or 'no reason given', self._secrets).rstrip('.')}.",
                acted=True,
            )
        return int(answer.ref)

    def _put(self, url: str, content: bytes) -> None:
        import requests

        def put() -> None:
            with requests.Session() as session:
                adapter = make_adapter(self.patience, self._endpoint)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
                session.auth = lambda request: request  # no .netrc: the address is the permission
                answer = session.put(url, data=content)
                if answer.status_code not in (200, 201):
                    raise requests.HTTPError("the upload failed", response=answer)

        self._at_address("the upload", put)

    def _pages(
        self, what: str, page: Callable[[str], Any], most: int = _MOST_PAGES
    ) -> Iterator[Any]:
        token = ""
        seen = {token}
        for _ in range(most):
            answer = page(token)
            yield answer
            token = answer.next_page_token or ""
            if not token:
                return
            if token in seen:
                break
            seen.add(token)
        raise CallError(f"Kaggle's answer to {what} has no last page.")

    def _read(self, what: str, call: Callable[[Any], _T]) -> _T:
        return repeat_read(lambda: self._call(what, call), self.patience)

    def _call(self, what: str, call: Callable[[Any], _T]) -> _T:
        return self._ask(what, lambda client: call(client.competitions.competition_api_client))

    def _ask(self, what: str, call: Callable[[Any], _T]) -> _T:
        def run() -> _T:
            with self._client() as client:
                return call(client)

        return self._guarded(what, run)

    def _ask_own(self, thing: str, made: str, what: str, call: Callable[[Any], _T]) -> _T:
        """Ask about something of this account's.

        Args:
            thing: What it is.
            made: How it came to Kaggle, in one word.
            what: The call, as messages name it.
            call: Gets the client.
        """
        try:
            return self._ask(what, call)
        except CallError as error:
            if error.status in (403, 404):
                error.mend = f"See that the {thing}'s owner is this account, and its name is right."
                error.mend += f" Was it {made}?" if error.status == 404 else ""
            raise

    def _at_address(self, what: str, run: Callable[[], _T]) -> _T:
        """Use an address that Kaggle gave, which is a permission of its own, for a time."""
        try:
            return self._guarded(what, run)
        except CallError as error:
            if error.status in (400, 403, 404):
                error.mend = "Kaggle's address for it may have expired; call the command again."
            raise

    def _checked(self, what: str, make: Callable[[Any], _T], item: Any) -> _T:
        try:
            return make(item)
        except (AttributeError, TypeError, ValueError) as error:
            raise explain(what, error, self._secrets) from None

    def _guarded(self, what: str, run: Callable[[], _T]) -> _T:
        self._connect()
        try:
            with silence():
                return run()
        except Exception as error:
            if is_of_the_disk(error):
                raise
            found = explain(what, error, self._secrets)
            if isinstance(found, CredentialsError) and found.status == 401:
                method = str(self._api.config_values.get("auth_method") or "")
                source = describe_source(method, Path(self._api.config))
                found = CredentialsError(
                    f"Kaggle refused the credentials of {source} (401).", status=401
                )
            raise found from None

    def _types(self) -> Any:
        self._connect()
        from kagglesdk.competitions.types import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            competition_api_service,
        )

        return competition_api_service

    @contextmanager
    def _client(self) -> Iterator[Any]:
        with self._api.build_kaggle_client() as client:
            yield client

    @property
    def _endpoint(self) -> str:
        return endpoint_of(self._api.build_kaggle_client())

    def _connect(self) -> None:
        if self._api is None:
            api = open_client(self.patience)
            self._secrets = secrets_of(api)
            self._api = api


@contextmanager
def _shown(path: Path, answer: Any, progress: Progress) -> Iterator[None]:
    """Show how a file grows while a block runs: the client tells nobody but a terminal."""
    given = str(answer.headers.get("Content-Length") or "")
    if not given.isdigit():
        yield
        return
    over = threading.Event()
    with progress.task("download", max(1, int(given) // 1000), "kB") as task:

        def watch() -> None:
            done = -1
            while True:
                ended = over.wait(0.1)
                size = min(int(given), path.stat().st_size if path.is_file() else 0) // 1000
                if size > done:
                    # What an earlier call left tells nothing of the pace.
                    task.advance(size - max(0, done), timed=done >= 0)
                    done = size
                if ended:
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _mend_refusal(error: CallError) -> None:
    """Add what may be done about a 400, of which Kaggle's own words say more or less."""
    if error.status == 400 and error.mend is None:
        error.mend = (
            "A code competition takes no files: there, build and push a kernel that writes\n"
            "  submission.csv (`kaggle-digits kernel`), and call `submit --kernel OWNER/SLUG`."
        )


def _sent(item: Any) -> Sent:
    state = str(getattr(item.status, "name", item.status)).lower()
    if state not in ("pending", "complete", "error"):
        raise ValueError(f"unknown state {state!r}")
    if item.ref <= 0:
        raise ValueError(f"reference {item.ref}")
    return Sent(
        ref=item.ref,
        date=item.date.isoformat(timespec="seconds") if item.date is not None else "",
        message=clean(item.description),
        file_name=clean(item.file_name),
        state=state,
        public_score=_score(item.public_score),
        private_score=_score(item.private_score),
        team=clean(item.team_name),
        error=clean(item.error_description),
    )


def _score(text: str | None) -> str | None:
    return text if text and _SCORE.fullmatch(text) else None
