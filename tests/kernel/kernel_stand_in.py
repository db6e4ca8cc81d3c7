"""A stand-in for Kaggle's kernels on loopback, for the unpatched client; loaded by path."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

USER, KEY = "tester", "planted0kernel1key2"


class KernelStandIn:
    """What the server holds, and what goes wrong.

    `answers` replaces a method's JSON, `failures` counts 503 answers still to give, `broken` maps
    an output's file to the status its address answers with.
    """

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []
        self.states = ["COMPLETE"]
        self.failure = ""
        self.files: dict[str, bytes] = {}
        self.log = ""
        self.answers: dict[str, Any] = {}
        self.failures: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.requests: list[str] = []
        self.page = 4
        self.keys_sent_to_files = 0
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.dataset: dict[str, bytes] | None = None  # of the name in `dataset_request`
        self.dataset_requests: list[tuple[str, dict[str, Any]]] = []
        self.lost_puts = 0  # the n-th upload from now fails, and all after it; 0 for none

    @contextmanager
    def running(self) -> Iterator[KernelStandIn]:
        """Serve until the block ends."""
        handler = type("Handler", (_Handler,), {"stand_in": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def environment(self, home: Any) -> dict[str, str]:
        """Return the variables that lead the client here, as an HTTP proxy."""
        proxy = f"http://127.0.0.1:{self.port}"
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
        return dict.fromkeys(names, proxy) | {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "NO_PROXY": "",
            "no_proxy": "",
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home),
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
            "KAGGLE_DIGITS_TIMEOUT": "5",
            "KAGGLE_DIGITS_WAIT": "0.01",
        }

    def answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a method does."""
        if method in self.answers:
            answer: dict[str, Any] = self.answers[method]
            return answer
        if method == "SaveKernel":
            self.saved.append(request)
            number = len(self.saved)
            return {
                "ref": f"/code/{request['slug']}",
                "url": f"https://www.kaggle.com/code/{request['slug']}",
                "versionNumber": number,
                "kernelId": 7,
            }
        if method == "GetKernelSessionStatus":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            found = {"status": state}
            return found | ({"failureMessage": self.failure} if self.failure else {})
        if method == "ListKernelSessionOutput":
            start = int(request.get("pageToken") or 0)
            names = sorted(self.files)
            page = {
                "files": [
                    {
                        "url": f"http://localhost/output/{quote(name, safe='')}?sig=planted",
                        "fileName": name,
                    }
                    for name in names[start : start + self.page]
                ],
                "log": self.log,
            }
            more = start + self.page < len(names)
            return page | ({"nextPageToken": str(start + self.page)} if more else {})
        if method == "GetDatasetStatus":
            return {"status": "READY"} if self.dataset is not None else {}
        if method == "ListDatasetFiles":
            files = sorted((self.dataset or {}).items())
            start = int(request.get("pageToken") or 0)
            shown = [
                {"name": name, "totalBytes": len(content)}
                for name, content in files[start : start + self.page]
            ]
            more = start + self.page < len(files)
            page = {"datasetFiles": shown}
            return page | ({"nextPageToken": str(start + self.page)} if more else {})
        if method == "StartBlobUpload":
            token = f"blob{len(self.requests)}"
            self.blobs[token] = (request["name"], b"")
            return {"token": token, "createUrl": f"http://localhost/upload/{token}?sig=planted"}
        if method in ("CreateDataset", "CreateDatasetVersion"):
            self.dataset_requests.append((method, request))
            tokens = [file["token"] for file in request.get("body", request)["files"]]
            self.dataset = {name: content for name, content in map(self.blobs.__getitem__, tokens)}
            return {"status": "Ok", "url": "https://www.kaggle.com/datasets/tester/made"}
        raise AssertionError(method)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: KernelStandIn

    def log_message(self, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self._send(403, b"no way out")

    def do_GET(self) -> None:
        server = self.stand_in
        name = unquote(urlsplit(self.path).path).removeprefix("/output/")
        server.requests.append(f"GET {name}")
        server.keys_sent_to_files += "Authorization" in self.headers
        if name in server.broken:
            self._send(server.broken[name], b'{"error": "expired"}')
        else:
            self._send(200, server.files[name])

    def do_PUT(self) -> None:
        server = self.stand_in
        token = urlsplit(self.path).path.rsplit("/", 1)[-1]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.requests.append("PUT")
        server.keys_sent_to_files += "Authorization" in self.headers
        if server.lost_puts == 1:
            self._send(403, b"{}")
            return
        server.lost_puts = max(0, server.lost_puts - 1)
        server.blobs[token] = (server.blobs[token][0], body)
        self._send(200, b"")

    def do_POST(self) -> None:
        server = self.stand_in
        method = urlsplit(self.path).path.rsplit("/", 1)[-1]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.requests.append(method)
        expected = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            self._send(401, b'{"code": 401, "message": "Unauthenticated"}')
        elif server.failures.get(method, 0) > 0:
            server.failures[method] -= 1
            self._send(503, b'{"code": 503, "message": "busy"}')
        elif method in server.broken:
            status = server.broken[method]
            self._send(status, json.dumps({"code": status, "message": "Refused"}).encode())
        elif method == "GetDatasetStatus" and server.dataset is None:
            self._send(404, b'{"code": 404, "message": "Not found"}')
        else:
            self._send(200, json.dumps(server.answer(method, json.loads(body or b"{}"))).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
