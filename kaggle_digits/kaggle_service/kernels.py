"""Kernels by Kaggle's own client: save a script, ask how its run is, fetch what it left.

The client is made, silenced and given time-outs by `KaggleClient`; an error inside a successful
answer is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kaggle_digits.ground.errors import ServiceError, shorten
from kaggle_digits.kaggle_service.adapter import make_adapter
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import (
    CallError,
    Patience,
    clean,
    repeat_read,
)

_T = TypeVar("_T")
_PAGE = 100
_INVALID = (
    "invalid_competition_sources",
    "invalid_dataset_sources",
    "invalid_kernel_sources",
    "invalid_model_sources",
    "invalid_tags",
)
RUNNING = ("queued", "running", "new_script", "cancel_requested")
"""States of a run that has not ended."""

COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Saved:
    """A version of a kernel that Kaggle has taken.

    Args:
        url: Its page.
        version: Its number, from 1.
    """

    url: str
    version: int


@dataclass(frozen=True, slots=True)
class RunState:
    """How a kernel's last run is.

    Args:
        state: `queued`, `running`, `complete`, `error`, `cancel_requested`, …
        failure: Why it failed; empty otherwise.
    """

    state: str
    failure: str

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.state not in RUNNING

    def require_complete(self, what: str, mend: str) -> None:
        """Refuse a run that ended otherwise than well.

        Args:
            what: Whose run, as the message begins.
            mend: What the user can do.

        Raises:
            ServiceError: With Kaggle's reason.
        """
        if self.is_over and self.state != COMPLETE:
            words = self.state.replace("_", " ")
            why = self.failure or "no reason given"
            raise ServiceError(f"{what} ended with {words}: {why}.", mend=mend)


@dataclass(frozen=True, slots=True)
class Output:
    """What a kernel's last run left.

    Args:
        files: Path in its working folder → address.
        log: What it printed.
    """

    files: Mapping[str, str]
    log: str


class KaggleKernels(KaggleClient):
    """The kernels of an account.

    Args:
        patience: Time-outs and waits.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        super().__init__("", patience)

    def save(self, metadata: Mapping[str, Any], text: str) -> Saved:
        """Save a script as a new version of a kernel and start its run; never repeated here.

        Args:
            metadata: The checked content of kernel-metadata.json.
            text: The script.

        Raises:
            CallError: Kaggle refused it, or it is not known whether it took it (`acted`).
        """
        request = self._kernel_types().ApiSaveKernelRequest()
        request.slug = metadata["id"]
        request.new_title = metadata["title"]
        request.text = text
        request.language = metadata["language"]
        request.kernel_type = metadata["kernel_type"]
        request.is_private = metadata["is_private"]
        request.enable_gpu = metadata["enable_gpu"]
        request.enable_tpu = metadata["enable_tpu"]
        request.enable_internet = metadata["enable_internet"]
        request.dataset_data_sources = metadata["dataset_sources"]
        request.competition_data_sources = metadata["competition_sources"]
        request.kernel_data_sources = metadata["kernel_sources"]
        request.model_data_sources = metadata["model_sources"]
        request.category_ids = metadata["keywords"]
        if "machine_shape" in metadata:
            request.machine_shape = metadata["machine_shape"]
        try:
            answer = self._kernel_call("SaveKernel", lambda calls: calls.save_kernel(request))
        except CallError as error:
            if error.acted:
                error.mend = (
                    "It is not known whether Kaggle took it; look with `kaggle-digits kernel "
                    "status` before pushing again."
                )
            raise
        return self._checked("SaveKernel", self._saved, answer)

    def run_state(self, owner: str, slug: str) -> RunState:
        """Ask how a kernel's last run is."""
        request = self._kernel_types().ApiGetKernelSessionStatusRequest()
        request.user_name = owner
        request.kernel_slug = slug

        def ask() -> RunState:
            answer = self._kernel_call(
                "GetKernelSessionStatus", lambda calls: calls.get_kernel_session_status(request)
            )
            return RunState(
                state=answer.status.name.lower(),
                failure=clean(answer.failure_message or "", self._secrets),
            )

        return repeat_read(ask, self.patience)

    def last_version(self, owner: str, slug: str) -> int | None:
        """Ask for the number of a kernel's last version, from 1; None where none is told."""
        request = self._kernel_types().ApiGetKernelRequest()
        request.user_name = owner
        request.kernel_slug = slug

        def ask() -> int | None:
            answer = self._kernel_call("GetKernel", lambda calls: calls.get_kernel(request))
            return self._checked("GetKernel", _last_version, answer)

        return repeat_read(ask, self.patience)

    def output(self, owner: str, slug: str) -> Output:
        """List what a kernel's last run left."""
        types = self._kernel_types()
        log = ""

        def page(token: str) -> Any:
            request = types.ApiListKernelSessionOutputRequest()
            request.user_name = owner
            request.kernel_slug = slug
            request.page_size = _PAGE
            request.page_token = token
            return repeat_read(
                lambda: self._kernel_call(
                    "ListKernelSessionOutput",
                    lambda calls: calls.list_kernel_session_output(request),
                ),
                self.patience,
            )

        files: dict[str, str] = {}
        for answer in self._pages("ListKernelSessionOutput", page):
            files |= {str(item.file_name): str(item.url) for item in answer.files or []}
            log = log or str(answer.log or "")
        return Output(files, log)

    def fetch(self, name: str, url: str, most_bytes: int) -> bytes:
        """Fetch one file of an output.

        Args:
            name: How messages name it.
            url: Its address; credentials are not sent there.
            most_bytes: Refuse more.

        Raises:
            CallError: It did not come down whole, or is larger.
        """
        import requests

        def get() -> bytes:
            with requests.Session() as session:
                adapter = make_adapter(self.patience, self._endpoint)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
                session.auth = lambda request: request  # no .netrc: the address is the permission
                with session.get(url, stream=True) as answer:
                    if answer.status_code != 200:
                        raise requests.HTTPError("the file is not there", response=answer)
                    parts, size = [], 0
                    for part in answer.iter_content(1 << 16):
                        parts.append(part)
                        size += len(part)
                        if size > most_bytes:
                            raise CallError(f"{name} is larger than the {most_bytes:,} bytes of it")
                    return b"".join(parts)

        return repeat_read(lambda: self._at_address(f"the file {name}", get), self.patience)

    def _saved(self, answer: Any) -> Saved:
        if answer.error:
            raise CallError(f"Kaggle refused the kernel: {clean(answer.error, self._secrets)}")
        for field in _INVALID:
            names = getattr(answer, field)
            if names:
                shown = clean(shorten(list(map(str, names))), self._secrets)
                raise CallError(
                    f"Kaggle saved the kernel without its {field.replace('_', ' ')}: {shown}",
                    mend="Mend kernel-metadata.json (build again), and push again.",
                )
        if not answer.version_number:
            raise CallError("Kaggle gave no version number for the kernel.", acted=True)
        return Saved(url=clean(answer.url, self._secrets), version=int(answer.version_number))

    def _kernel_call(self, what: str, call: Callable[[Any], _T]) -> _T:
        return self._ask_own(
            "kernel", "pushed", what, lambda client: call(client.kernels.kernels_api_client)
        )

    def _kernel_types(self) -> Any:
        self._connect()
        from kagglesdk.kernels.types import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            kernels_api_service,
        )

        return kernels_api_service


def _last_version(answer: Any) -> int | None:
    return int(answer.metadata.current_version_number) or None
