"""How calls to Kaggle are carried: time-outs, the hosts they may go to, retries, and clean errors.

Kaggle's client has no time-out, retries nothing, and follows any redirect; this module gives its
sessions an adapter that does better. Nothing here imports `kaggle`.

Environment variables, all in seconds:
    KAGGLE_DIGITS_TIMEOUT: How long one answer is waited for (60).
    KAGGLE_DIGITS_WAIT: The first wait before a repetition; all other waits scale with it (1).
"""

from __future__ import annotations

import email.utils
import errno
import io
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from kaggle_digits.ground.errors import ConfigurationError, ServiceError

_T = TypeVar("_T")
_TRUSTED = ("kaggle.com", "kaggleusercontent.com", "googleapis.com", "googleusercontent.com")
_LOCAL = ("localhost", "127.0.0.1")
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Args:
        timeout: Seconds until a call without a byte of answer is given up.
        wait: Seconds before the first repetition; it doubles from one to the next.
        tries: How often a read is tried in all.
        pause: Waits so many seconds.
    """

    timeout: float = 60.0
    wait: float = 1.0
    tries: int = 5
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls) -> Self:
        """Read the two variables of the module's head.

        Raises:
            ConfigurationError: One is not a number above 0.
        """
        return cls(
            timeout=_seconds("KAGGLE_DIGITS_TIMEOUT", 60.0),
            wait=_seconds("KAGGLE_DIGITS_WAIT", 1.0),
        )

    @property
    def connect(self) -> float:
        """Seconds until a connection must stand."""
        return min(10.0, self.timeout)

    @property
    def longest(self) -> float:
        """The longest single wait in seconds; a server that asks for more is not waited for."""
        return 120 * self.wait

    def before(self, attempt: int) -> float:
        """Return the seconds to wait before repetition `attempt` (from 1), with jitter."""
        doubled: float = self.wait * 2 ** (attempt - 1)
        return min(self.longest, doubled) * random.uniform(1.0, 1.5)


class CallError(ServiceError):
    """One call to Kaggle that failed.

    Args:
        message: What failed.
        mend: What the user can do.
        transient: Whether the same call may work a little later.
        acted: Whether the server may have done what was asked all the same.
        retry_after: Seconds the server asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        mend: str | None = None,
        transient: bool = False,
        acted: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, mend=mend)
        self.transient = transient
        self.acted = acted
        self.retry_after = retry_after


class CredentialsError(CallError):
    """Kaggle credentials are missing or refused."""

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(
            message,
            mend=mend
            or "Make a token at https://www.kaggle.com/settings (API, Create New Token)\n"
            "  and save it as ~/.kaggle/kaggle.json, or set KAGGLE_USERNAME and KAGGLE_KEY.",
        )


def repeat_read(call: Callable[[], _T], patience: Patience) -> _T:
    """Make a call that changes nothing, again while it fails for reasons that pass.

    Raises:
        CallError: The last failure, or a wait that the server asks for and that is too long.
    """
    for attempt in range(1, patience.tries + 1):
        try:
            return call()
        except CallError as error:
            if not error.transient or attempt == patience.tries:
                raise
            pause = patience.before(attempt)
            if error.retry_after is not None:
                if error.retry_after > patience.longest:
                    raise CallError(
                        f"{error.message} It asks for a wait of {error.retry_after:.0f} s.",
                        mend="Call the command again after that time.",
                    ) from None
                pause = max(pause, error.retry_after)
            patience.pause(pause)
    raise AssertionError("unreachable")


def make_adapter(patience: Patience, endpoint: str) -> Any:
    """Return a `requests` adapter with time-outs that refuses hosts which are not Kaggle's.

    Args:
        patience: The time-outs.
        endpoint: Base address of the API; an unencrypted one (a stand-in on this machine) admits
            this machine alone.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):  # type: ignore[misc, unused-ignore]
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            require_trusted(request.url, endpoint)
            # requests passes `timeout` by position or by name; the fixed one replaces both.
            options = {"stream": args[0] if args else False} | options
            options["timeout"] = (patience.connect, patience.timeout)
            return super().send(request, **options)

    return Adapter(max_retries=0)


def require_trusted(url: str, endpoint: str) -> None:
    """Refuse an address that is not Kaggle's or its storage's.

    Raises:
        CallError: The host is named; the rest of the address is not, it may hold a signature.
    """
    parts, base = urlsplit(url), urlsplit(endpoint)
    host = (parts.hostname or "").lower()
    if base.hostname in _LOCAL:
        trusted = parts.scheme in ("http", "https") and host in _LOCAL
    else:
        trusted = parts.scheme == "https" and any(
            host == name or host.endswith("." + name) for name in _TRUSTED
        )
    if not trusted:
        raise CallError(
            f"Kaggle's answer leads to {parts.scheme}://{clean(host)}, which is not Kaggle's; "
            "nothing was fetched from there or sent to it.",
            mend="Check the proxy settings of this machine, and try again later.",
        )


def explain(what: str, error: Exception, secrets: tuple[str, ...]) -> CallError:
    """Turn any failure of a call into one of ours; addresses and secrets stay out of its text.

    Args:
        what: The call, as the message names it.
        error: What the client raised.
        secrets: Texts that must not appear.
    """
    import requests

    if isinstance(error, CallError):
        return error
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return _explain_status(what, error, response, secrets)
    if isinstance(error, requests.exceptions.InvalidJSONError | json.JSONDecodeError):
        return CallError(
            f"Kaggle's answer to {what} is not JSON (a page of HTML, perhaps).",
            mend="Kaggle may be under maintenance; try again later.",
            acted=True,
        )
    if isinstance(error, requests.exceptions.ReadTimeout):
        return CallError(
            f"Kaggle did not answer {what} in time.",
            mend="Check the connection, and call the command again.",
            transient=True,
            acted=True,
        )
    if isinstance(error, requests.RequestException):
        # A ProxyError is no proof: behind a proxy a reset after the request is one too.
        never_reached = any(
            name in repr(error)
            for name in ("NewConnectionError", "NameResolution", "ConnectTimeout")
        )
        return CallError(
            f"Kaggle cannot be reached for {what}."
            if never_reached
            else f"The connection broke during {what}.",
            mend="Check the connection, and call the command again.",
            transient=isinstance(
                error,
                requests.ConnectionError
                | requests.Timeout
                | requests.exceptions.ChunkedEncodingError,
            ),
            acted=not never_reached,
        )
    if isinstance(error, OSError):
        return CallError(
            f"The connection broke during {what}.",
            mend="Check the connection, and call the command again.",
            transient=True,
            acted=True,
        )
    return CallError(
        f"Kaggle's answer to {what} cannot be understood "
        f"({type(error).__name__}: {clean(str(error), secrets)}).",
        mend="Kaggle's service may have changed; try again, or with a newer version.",
        acted=True,
    )


def is_of_the_disk(error: Exception) -> bool:
    """Say whether an error comes from a file, not from the network."""
    return isinstance(error, OSError) and (
        (type(error).__module__ == "builtins" and error.filename is not None)
        or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    )


def clean(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return untrusted text as one short printable line without secrets or signed addresses."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


@contextmanager
def silence() -> Iterator[None]:
    """Drop what the client prints: it may show addresses and headers."""
    with redirect_stdout(_Sink()), redirect_stderr(_Sink()):
        yield


class _Sink(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def _explain_status(
    what: str, error: Exception, response: Any, secrets: tuple[str, ...]
) -> CallError:
    status = int(response.status_code)
    said = clean(str(error), secrets).rstrip(".") + "."
    if status < 400:  # an error object inside a 200
        status = _status_inside(response)
    if status == 401:
        return CredentialsError("Kaggle refused the credentials (401).")
    if status == 403:
        return CredentialsError(
            f"Kaggle refused {what} (403): {said}",
            mend="Join the competition and accept its rules on kaggle.com,\n"
            "  and see that the API token in use is that account's.",
        )
    if status == 404:
        return CallError(
            f"Kaggle finds nothing for {what} (404): {said}",
            mend="Check the name given as --competition.",
        )
    if status == 429 or status >= 500 or status == 408:
        return CallError(
            f"Kaggle could not serve {what} now ({status}).",
            mend="Call the command again in a few minutes.",
            transient=True,
            acted=status != 429,
            retry_after=_retry_after(response.headers),
        )
    return CallError(f"Kaggle refused {what} ({status}): {said}")


def _status_inside(response: Any) -> int:
    try:
        return int(response.json()["code"])
    except (ValueError, TypeError, LookupError):
        return 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return seconds to wait; a date is held against the server's clock, not this machine's."""
    given = headers.get("Retry-After")
    if given is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", given.strip()):
        return float(given)
    until = email.utils.parsedate_tz(given)
    now = email.utils.parsedate_tz(headers.get("Date", ""))
    if until is None or now is None:
        return None
    return max(0.0, float(email.utils.mktime_tz(until) - email.utils.mktime_tz(now)))


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigurationError(f"{name} was given as {text!r}; expected seconds above 0.")
    return value
