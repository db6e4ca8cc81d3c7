"""What carries requests: time-outs, the hosts they may go to, and what a proxy answers, by number.

Kaggle's client follows any redirect and waits for ever; its sessions are given this adapter.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from kaggle_digits.kaggle_service.transport import CallError, Patience, clean

_TRUSTED = ("kaggle.com", "kaggleusercontent.com", "googleapis.com", "googleusercontent.com")
_LOCAL = ("localhost", "127.0.0.1")


class TunnelRefused(OSError):
    """A proxy refused to lead on to Kaggle.

    Args:
        status: The HTTP status it answered with.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


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
            _require_authorities(options.get("verify"))
            return super().send(request, **options)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            if proxy.lower().startswith("socks") and importlib.util.find_spec("socks") is None:
                raise CallError(
                    f"The proxy {proxy_place(proxy)} is a SOCKS proxy, for which a package is "
                    "missing.",
                    mend="Install it: pip install 'requests[socks]'",
                )
            manager = super().proxy_manager_for(proxy, **options)
            if "https" in manager.pool_classes_by_scheme and not proxy.lower().startswith("socks"):
                manager.pool_classes_by_scheme = dict(
                    manager.pool_classes_by_scheme, https=_tunnel_pool()
                )
            return manager

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


def proxy_place(proxy: str) -> str:
    """Return a proxy's host and port, without the login that its address may hold."""
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return clean(f"{parts.hostname or '?'}{port}")


def _require_authorities(verify: Any) -> None:
    """Refuse a file of certificate authorities that is not there or is none.

    Raises:
        CallError: The variable that names it is named.
    """
    if not isinstance(verify, str):
        return
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    variable = next((name for name in names if os.environ.get(name) == verify), "The setting")
    if not os.path.exists(verify):
        why = "which is not there"
    elif os.path.isdir(verify) or _holds_certificates(verify, os.stat(verify).st_mtime_ns):
        return
    else:
        why = "which holds no certificates in PEM form"
    raise CallError(
        f"{variable} names the file {verify}, {why}.",
        mend="Give the certificate authorities' file, or unset the variable.",
    )


@lru_cache(maxsize=8)  # every call to Kaggle asks, and to read the file takes 60 ms
def _holds_certificates(path: str, changed: int) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:  # ssl.SSLError is one
        return False
    return True


def _tunnel_pool() -> Any:
    """Return urllib3's pool of https connections, with the status of a refused tunnel in hand."""
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool

    class Connection(HTTPSConnection):
        def _tunnel(self) -> None:
            plain: Any = self.response_class
            statuses: list[int] = []

            class Answer(plain):  # type: ignore[misc]
                def _read_status(self) -> Any:
                    found = super()._read_status()
                    statuses.append(int(found[1]))
                    return found

            self.response_class = Answer
            try:
                super()._tunnel()
            except OSError as error:
                if statuses and statuses[-1] != 200:
                    raise TunnelRefused(statuses[-1]) from error
                raise
            finally:
                self.response_class = plain

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool
