"""Data sets by Kaggle's own client: what is there, upload a file, make a data set or a version."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience, clean, repeat_read

_T = TypeVar("_T")
_PAGE = 100
READY = "ready"


@dataclass(frozen=True, slots=True)
class Made:
    """A data set that Kaggle has taken.

    Args:
        url: Its page.
    """

    url: str


class KaggleDatasets(KaggleClient):
    """The data sets of an account.

    Args:
        patience: Time-outs and waits.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        super().__init__("", patience)

    def state(self, owner: str, slug: str) -> str | None:
        """Ask how a data set is: `ready`, `failed`, …; None where this account sees none."""
        request = self._dataset_types().ApiGetDatasetStatusRequest()
        request.owner_slug = owner
        request.dataset_slug = slug

        def ask() -> str:
            answer = self._dataset_call(
                "GetDatasetStatus", lambda calls: calls.get_dataset_status(request)
            )
            return str(answer.status.name.lower())

        try:
            return repeat_read(ask, self.patience)
        except CallError as error:
            # A name that is not taken is refused like one that is another's.
            if error.status in (403, 404):
                return None
            raise

    def files_of(self, owner: str, slug: str) -> dict[str, int]:
        """List a data set's files and their sizes in bytes."""
        types = self._dataset_types()

        def page(token: str) -> Any:
            request = types.ApiListDatasetFilesRequest()
            request.owner_slug = owner
            request.dataset_slug = slug
            request.page_size = _PAGE
            request.page_token = token
            return repeat_read(
                lambda: self._dataset_call(
                    "ListDatasetFiles", lambda calls: calls.list_dataset_files(request)
                ),
                self.patience,
            )

        return {
            str(item.name): int(item.total_bytes)
            for answer in self._pages("ListDatasetFiles", page)
            for item in answer.dataset_files or []
        }

    def upload_blob(self, content: bytes, file_name: str) -> str:
        """Upload a file, which changes no data set yet, again where that fails for now.

        Returns:
            What `make` and `add_version` take.

        Raises:
            CallError: It is not there.
        """
        self._connect()
        from kagglesdk.blobs.types import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            blob_api_service,
        )

        start = blob_api_service.ApiStartBlobUploadRequest()
        start.type = blob_api_service.ApiBlobType.DATASET
        start.name = file_name
        start.content_length = len(content)
        start.last_modified_epoch_seconds = int(time.time())

        def upload() -> str:
            begun = self._ask_of_data_set(
                f"the start of the upload of {file_name}",
                lambda client: client.blobs.blob_api_client.start_blob_upload(start),
            )
            if not (begun.token and begun.create_url):
                raise CallError(f"Kaggle gave no place to upload {file_name} to.", transient=True)
            self._put(begun.create_url, content)
            return str(begun.token)

        # An upload alone changes nothing, so it may be repeated.
        return repeat_read(upload, self.patience)

    def make(self, metadata: Mapping[str, Any], blobs: Sequence[str], *, private: bool) -> Made:
        """Make a data set of uploads; never repeated here.

        Args:
            metadata: Its `id` (owner/slug), `title` and `licenses`.
            blobs: What `upload_blob` gave.
            private: Whether this account alone sees it.

        Raises:
            CallError: Kaggle refused it, or it is not known whether it took it (`acted`).
        """
        request = self._dataset_types().ApiCreateDatasetRequest()
        request.owner_slug, request.slug = metadata["id"].split("/")
        request.title = metadata["title"]
        request.license_name = metadata["licenses"][0]["name"]
        request.is_private = private
        request.files = self._files(blobs)
        answer = self._dataset_call("CreateDataset", lambda calls: calls.create_dataset(request))
        return self._checked("CreateDataset", self._made, answer)

    def add_version(self, owner: str, slug: str, notes: str, blobs: Sequence[str]) -> Made:
        """Make a new version of a data set of uploads alone; never repeated here.

        Raises:
            CallError: Kaggle refused it, or it is not known whether it took it (`acted`).
        """
        types = self._dataset_types()
        body = types.ApiCreateDatasetVersionRequestBody()
        body.version_notes = notes
        body.files = self._files(blobs)
        request = types.ApiCreateDatasetVersionRequest()
        request.owner_slug = owner
        request.dataset_slug = slug
        request.body = body
        answer = self._dataset_call(
            "CreateDatasetVersion", lambda calls: calls.create_dataset_version(request)
        )
        return self._checked("CreateDatasetVersion", self._made, answer)

    def _files(self, blobs: Sequence[str]) -> list[Any]:
        made = []
        for token in blobs:
            file = self._dataset_types().ApiDatasetNewFile()
            file.token = token
            made.append(file)
        return made

    def _made(self, answer: Any) -> Made:
        if answer.error or str(answer.status).lower() != "ok":
            said = clean(answer.error or answer.status or "no reason given", self._secrets)
            raise CallError(f"Kaggle refused the data set: {said}", status=200)
        return Made(url=clean(answer.url, self._secrets))

    def _dataset_call(self, what: str, call: Callable[[Any], _T]) -> _T:
        return self._ask_of_data_set(what, lambda client: call(client.datasets.dataset_api_client))

    def _ask_of_data_set(self, what: str, call: Callable[[Any], _T]) -> _T:
        return self._ask_own("data set", "uploaded", what, call)

    def _dataset_types(self) -> Any:
        self._connect()
        from kagglesdk.datasets.types import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            dataset_api_service,
        )

        return dataset_api_service
