"""What stands between this machine and Kaggle: each has its own message, and one try."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience

QUICK = Patience(timeout=2.0, wait=0.001, tries=5)
PASSWORD = "planted-proxy-password"
# Nobody trusts it: signed by itself, for api.kaggle.com, and used here alone.
CERTIFICATE = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgeVCroElZdLw8G1wz
ixY7SKO47xFhl3J/81PQv0CJOHuhRANCAAS6MhqzuNT3ZPeCFdDHwlsMS4EhBbzW
RaQSXhFzoZneHVsn1qxIacVU2ve3wGD84L0rBAzS6/KeGUJrJIvhzRd5
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIUEqbEdLqo+Asl+AKUJPr0meLiCTswCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOYXBpLmthZ2dsZS5jb20wIBcNMjYxMTI2MTU1NTU4WhgPMjEy
NjExMDIxNTU1NThaMBkxFzAVBgNVBAMMDmFwaS5rYWdnbGUuY29tMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEujIas7jU92T3ghXQx8JbDEuBIQW81kWkEl4Rc6GZ
3h1bJ9asSGnFVNr3t8Bg/OC9KwQM0uvynhlCaySL4c0XeaNTMFEwHQYDVR0OBBYE
FNq3cJviQG+dWEzAt7VPEnhWYOo8MB8GA1UdIwQYMBaAFNq3cJviQG+dWEzAt7VP
EnhWYOo8MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAPdyq4UB
SzIiIj5ASrMfalKikTruvDRQAEgohV3POlsiAiEAhs3mnFvnzcnlYelHKgOnNAaF
K6NK1pON1XsOc/dl6Dk=
-----END CERTIFICATE-----
"""


class Proxy:
    """Listens on loopback, and answers each CONNECT as it is told."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.asked.append(connection.recv(4096).split(b"\r\n")[0].decode())
                    self._answer(connection)
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[Callable[[socket.socket], None]], Proxy]]:
    """Start a proxy that this process's calls to Kaggle go through."""
    for name in ("HTTP_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY",
                 "all_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "KAGGLE_API_ENVIRONMENT",
                 "KAGGLE_API_TOKEN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "0planted")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    made = []

    def start(answer: Callable[[socket.socket], None]) -> Proxy:
        made.append(Proxy(answer))
        login = f"someone:{PASSWORD}@"
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{made[-1].port}")
        return made[-1]

    yield start
    for one in made:
        one.close()


def refused() -> CallError:
    with pytest.raises(CallError) as caught:
        KaggleClient("digit-recognizer", QUICK).submissions()
    assert PASSWORD not in f"{caught.value.message}{caught.value.mend}"
    assert not caught.value.transient and not caught.value.acted
    return caught.value


def status(line: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(f"HTTP/1.1 {line}\r\n\r\n".encode())


def test_a_proxy_that_wants_a_login(proxy: Any) -> None:
    made = proxy(status("407 Proxy Authentication Required"))
    error = refused()
    assert f"The proxy, 127.0.0.1:{made.port}, wants a login (407)." == error.message
    assert "HTTPS_PROXY: http://NAME:PASSWORD@HOST:PORT" in str(error.mend)
    assert len(made.asked) == 1 and made.asked[0].startswith("CONNECT api.kaggle.com:443")


def test_a_proxy_that_refuses_the_way(proxy: Any) -> None:
    made = proxy(status("403 Forbidden by policy 407"))
    error = refused()
    assert "refuses the way to Kaggle (403)" in error.message
    assert "api.kaggle.com" in str(error.mend) and len(made.asked) == 1


def test_a_proxy_of_plain_http_that_wants_a_login(server: Any, standing: Any) -> None:
    server.order("ListSubmissions", *[standing.Fault("status", status=407)] * 5)
    with pytest.raises(CallError, match=r"wants a login \(407\)"):
        KaggleClient("digit-recognizer", QUICK).submissions()
    assert server.count("ListSubmissions") == 1


def test_a_proxy_that_is_not_there(proxy: Any) -> None:
    assert refused().message == "The proxy, 127.0.0.1:9, cannot be reached."


def test_a_proxy_whose_name_is_unknown(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://someone:{PASSWORD}@no-such-host.invalid:3128")
    assert "name of the proxy, no-such-host.invalid:3128, cannot be resolved" in refused().message


def test_a_name_that_cannot_be_resolved(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    asked = []

    def unknown(host: str, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = refused()
    assert "name of Kaggle's server cannot be resolved" in error.message
    assert "DNS" in str(error.mend) and asked == ["api.kaggle.com"]


def test_a_certificate_that_is_not_trusted(proxy: Any, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    pem.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def pose(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        context.wrap_socket(connection, server_side=True).close()

    made = proxy(pose)
    error = refused()
    assert "certificate shown for Kaggle is not trusted here: self" in error.message
    assert "REQUESTS_CA_BUNDLE" in str(error.mend) and len(made.asked) == 1


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_of_authorities_that_is_none(
    proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    error = refused()
    why = "which is not there" if content is None else "holds no certificates"
    assert f"REQUESTS_CA_BUNDLE names the file {path}" in error.message and why in error.message


@pytest.mark.skipif(
    importlib.util.find_spec("socks") is not None, reason="the package for SOCKS is there"
)
def test_socks_without_its_package(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"socks5h://someone:{PASSWORD}@127.0.0.1:1080")
    error = refused()
    assert "127.0.0.1:1080 is a SOCKS proxy, for which a package is missing" in error.message
    assert "requests[socks]" in str(error.mend)
