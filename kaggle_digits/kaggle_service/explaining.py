"""What a failed call means, said so that a user can act on it; a class or a number decides."""

from __future__ import annotations

import email.utils
import errno
import json
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from kaggle_digits.kaggle_service.adapter import TunnelRefused, proxy_place
from kaggle_digits.kaggle_service.transport import CallError, CredentialsError, clean

_E = TypeVar("_E", bound=BaseException)


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
    obstacle = _explain_obstacle(what, error)
    if obstacle is not None:
        return obstacle
    if isinstance(error, requests.RequestException):
        never_reached = _first(error, _never_reached()) is not None
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
            # A ProxyError is no proof: behind a proxy a reset after the request is one too.
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


def _explain_obstacle(what: str, error: Exception) -> CallError | None:
    """Say what stands between this machine and Kaggle; None if it is not known what."""
    import requests
    from urllib3.exceptions import NameResolutionError

    refused = _first(error, (TunnelRefused,))
    if refused is not None:
        return _explain_proxy(refused.status)
    untrusted = _first(error, (ssl.SSLCertVerificationError,))
    if untrusted is not None:
        return CallError(
            "The certificate shown for Kaggle is not trusted here: "
            f"{clean(str(untrusted.verify_message)).rstrip('.')}.",
            mend="Where a proxy or a scanner opens encrypted connections, set REQUESTS_CA_BUNDLE\n"
            "  to the file of its certificate authority (PEM); else check this machine's clock.",
        )
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return CallError(f"The address of the proxy, {_proxy()}, cannot be one.", mend=_MEND_PROXY)
    is_proxys = isinstance(error, requests.exceptions.ProxyError)
    if _first(error, (NameResolutionError, socket.gaierror)) is not None:
        whose = f"the proxy, {_proxy()}," if is_proxys else "Kaggle's server"
        return CallError(
            f"The name of {whose} cannot be resolved, so that {what} was not asked for.",
            mend=_MEND_PROXY
            if is_proxys
            else "Check this machine's network and its name server (DNS); behind a proxy set "
            "HTTPS_PROXY.",
        )
    if is_proxys and _first(error, _never_reached()) is not None:
        return CallError(f"The proxy, {_proxy()}, cannot be reached.", mend=_MEND_PROXY)
    return None


_MEND_PROXY = "Check HTTPS_PROXY and the like: http://HOST:PORT; unset them where none is needed."


def _explain_proxy(status: int) -> CallError:
    if status == 407:
        return CallError(
            f"The proxy, {_proxy()}, wants a login (407).",
            mend="Give it in HTTPS_PROXY: http://NAME:PASSWORD@HOST:PORT, special signs as %XX.",
            status=status,
        )
    return CallError(
        f"The proxy, {_proxy()}, refuses the way to Kaggle ({status}).",
        mend="Ask who runs it to let www.kaggle.com, api.kaggle.com and storage.googleapis.com "
        "through.",
        status=status,
        transient=status in (502, 503, 504),
    )


def _proxy() -> str:
    given = urllib.request.getproxies()
    place = given.get("https") or given.get("all") or given.get("http")
    return proxy_place(place) if place else "?"


def _never_reached() -> tuple[type[Exception], ...]:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    return NewConnectionError, ConnectTimeoutError


def _first(error: BaseException, kinds: tuple[type[_E], ...]) -> _E | None:
    """Return the first of some kinds among what an error was made of."""
    return next((one for one in _chain(error, set()) if isinstance(one, kinds)), None)


def _chain(error: Any, seen: set[int]) -> Iterator[BaseException]:
    """Give an error and all that lies under it, as urllib3 and requests wrap them."""
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    under = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    for inner in under:
        yield from _chain(inner, seen)


def _explain_status(
    what: str, error: Exception, response: Any, secrets: tuple[str, ...]
) -> CallError:
    status = int(response.status_code)
    said = clean(str(error), secrets).rstrip(".") + "."
    if status < 400:  # an error object inside a 200
        status = _status_inside(response)
    if status == 401:
        return CredentialsError("Kaggle refused the credentials (401).", status=status)
    if status == 403:
        return CredentialsError(
            f"Kaggle refused {what} (403): {said}",
            mend="Join the competition and accept its rules on kaggle.com,\n"
            "  and see that the API token in use is that account's.",
            status=status,
        )
    if status == 404:
        return CallError(
            f"Kaggle finds nothing for {what} (404): {said}",
            mend="Check the name given as --competition.",
            status=status,
        )
    if status == 407:
        return _explain_proxy(status)
    if status == 429 or status >= 500 or status == 408:
        return CallError(
            f"Kaggle could not serve {what} now ({status}).",
            mend="Call the command again in a few minutes.",
            transient=True,
            acted=status != 429,
            retry_after=_retry_after(response.headers),
            status=status,
        )
    return CallError(f"Kaggle refused {what} ({status}): {said}", status=status)


def _status_inside(response: Any) -> int:
    try:
        return int(response.json()["code"])
    except (ValueError, TypeError, LookupError):
        return 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return seconds to wait; a date is measured by the server's clock, not this machine's."""
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
