"""Opening Kaggle's client: imported late and in silence, authenticated, its sessions tamed."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import Any

from kaggle_digits.kaggle_service.adapter import make_adapter
from kaggle_digits.kaggle_service.credentials import explain_missing
from kaggle_digits.kaggle_service.explaining import explain
from kaggle_digits.kaggle_service.transport import (
    CallError,
    CredentialsError,
    Patience,
    clean,
    repeat_read,
    silence,
)

_IGNORED = ("VERBOSE", "VERBOSE_OUTPUT")  # would print headers, the credentials among them
_EXPECTED = {
    "ListSubmissions": ("submissions", "nextPageToken"),
    "ListDataFiles": ("files", "nextPageToken"),
    "GetSubmissionLimits": ("numToday", "numTotal", "numAllowedNow"),
    "StartSubmissionUpload": ("token", "createUrl"),
    "CreateSubmission": ("ref", "message"),
}


def open_client(patience: Patience) -> Any:
    """Return Kaggle's client, authenticated.

    Args:
        patience: Time-outs and waits of all its calls.

    Raises:
        CredentialsError: There are none, or they cannot be used.
        CallError: It cannot be imported, or Kaggle does not answer.
    """
    base = _import_client(patience)

    class Api(base):  # type: ignore[misc, valid-type]
        # Decided anew, without its "--verbose", which shows headers.
        args = ["--local"] if os.environ.get("KAGGLE_API_ENVIRONMENT") == "LOCALHOST" else []

        def get_response_processor(self) -> Any:
            return _check_form  # in the place of a notice of newer versions

        def build_kaggle_client(self) -> Any:
            client = super().build_kaggle_client()
            http = client.http_client()
            http._init_session()
            adapter = make_adapter(patience, endpoint_of(client))
            http._session.mount("https://", adapter)
            http._session.mount("http://", adapter)
            return client

    api: Any = Api()
    try:
        with silence():
            repeat_read(lambda: _authenticate(api), patience)
    except SystemExit:
        raise explain_missing(Path(api.config)) from None
    return api


def endpoint_of(client: Any) -> str:
    """Return the base address that a session of the client calls."""
    return str(client.http_client()._endpoint)


def secrets_of(api: Any) -> tuple[str, ...]:
    """Return the texts that must not be shown."""
    values = api.config_values
    user, key = str(values.get("username") or ""), str(values.get("key") or "")
    token = str(values.get("token") or "")
    basic = base64.b64encode(f"{user}:{key}".encode()).decode() if key else ""
    return tuple(secret for secret in (key, token, basic) if len(secret) >= 4)


def _check_form(response: Any) -> None:
    """Refuse JSON that the client would take for an empty answer: it ignores what it misses.

    An empty list of submissions that is none would let a submission be sent twice.
    """
    expected = _EXPECTED.get(str(response.request.url).rsplit("/", 1)[-1], ())
    if not expected:
        return
    answer = response.json()
    if not isinstance(answer, dict):
        raise ValueError(f"a {type(answer).__name__} in place of an object")
    if answer and not any(name in answer for name in expected):
        raise ValueError(f"none of {', '.join(expected)} in it")


def _authenticate(api: Any) -> None:
    try:
        api.authenticate()
    except Exception as error:
        # No text of the server: it may repeat the token, which is not known here.
        found = explain("the check of the credentials", error, ())
        if isinstance(error, OSError) or found.transient or isinstance(found, CredentialsError):
            raise found from None
        raise explain_missing(Path(api.config)) from None


def _import_client(patience: Patience) -> Any:
    """Import `kaggle.api.kaggle_api_extended.KaggleApi`, which prints and may ask the network.

    On import the client checks a token without any time-out; a thread gives it one.
    """
    found: list[Any] = []

    def load() -> None:
        try:
            from kaggle.api.kaggle_api_extended import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
                KaggleApi,
            )

            found.append(KaggleApi)
        except (Exception, SystemExit) as error:
            found.append(error)

    kept = {name: os.environ.pop(name) for name in _IGNORED if name in os.environ}
    try:
        with silence():
            thread = threading.Thread(target=load, daemon=True)
            thread.start()
            thread.join(patience.timeout + 60)
    finally:
        os.environ.update(kept)
    if not found:
        raise CallError("Kaggle did not answer the check of the credentials in time.")
    if isinstance(found[0], ImportError):
        raise CallError(
            f"Kaggle's client cannot be imported: {clean(str(found[0]))}.",
            mend="Install it: pip install kaggle",
        )
    if isinstance(found[0], OSError) and found[0].filename is not None:
        raise CallError(
            f"Kaggle's client cannot be started: {found[0].filename} cannot be used "
            f"({found[0].strerror}).",
            mend="Give another folder in KAGGLE_CONFIG_DIR.",
        )
    if isinstance(found[0], BaseException):
        raise CallError(f"Kaggle's client cannot be started ({type(found[0]).__name__}).")
    return found[0]
