"""A stand-in for Kaggle on loopback, with faults to order; loaded by path, it is no test module.

The unpatched client reaches it as an HTTP proxy: see `StandIn.environment`.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import email.utils
import io
import json
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

USER, KEY, TOKEN = "planted-user", "planted0key1value2", "KGAT_planted3token4value"
SIGNATURE = "planted5signature6"
KERNEL = "planted-user/digits-kernel"


@dataclasses.dataclass
class Fault:
    """What goes wrong with one request.

    `kind` is `status`, `drop`, `half`, `hang`, `html`, `body`, `truncate`, `stall`,
    `redirect`, `late`, or `none` for a request that is left alone;
    with `act` the server does what was asked before (`late`: after the next list) it goes wrong.
    """

    kind: str
    act: bool = False
    status: int = 500
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


@dataclasses.dataclass
class Entry:
    """A submission the server holds."""

    ref: int
    content: bytes
    description: str
    file_name: str
    date: float
    looked_at: int = 0


class StandIn:
    """The server's state, and its thread."""

    def __init__(self) -> None:
        self.competition = "digit-recognizer"
        self.truth: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.board: list[tuple[str, str]] = []
        self.board_zip: bytes | None = None
        self.data_zip: bytes | None = None
        self.entries: list[Entry] = []
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[str] = []
        self.allowed = 5
        self.polls_until_scored = 1
        self.hidden_lists = 0  # lists that do not show yet what was created
        self.clock_skew = 0.0
        self.team = "us"
        self.versions: list[dict[str, bytes]] = []  # of the kernel KERNEL: what each wrote
        self.run_state, self.run_failure = "COMPLETE", ""
        self.code_only = False  # a code competition: no files are taken
        self.code_requests: list[dict[str, Any]] = []
        self.hook: Callable[[str, str], None] | None = None
        self.late: list[Callable[[], object]] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._next_ref = 1000

    @contextmanager
    def running(self) -> Iterator[StandIn]:
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
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def environment(self, home: Any, *, token: bool = False) -> dict[str, str]:
        """Return the variables that lead the client here."""
        proxy = f"http://127.0.0.1:{self.port}"
        values = {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home),
            "KAGGLE_DIGITS_TIMEOUT": "2",
            "KAGGLE_DIGITS_WAIT": "0.02",
        }
        if token:
            return values | {"KAGGLE_API_TOKEN": TOKEN}
        return values | {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}

    def order(self, method: str, *faults: Fault) -> None:
        """Order faults for the next requests of a method, one each."""
        self.faults.setdefault(method, []).extend(faults)

    def count(self, method: str) -> int:
        """Count the requests of a method so far."""
        return self.requests.count(method)

    def create(self, content: bytes, description: str, file_name: str) -> int:
        """Hold a submission."""
        with self._lock:
            self._next_ref += 1
            now = time.time() + self.clock_skew
            self.entries.append(Entry(self._next_ref, content, description, file_name, now))
            return self._next_ref

    def score(self, content: bytes) -> str:
        """Score the public part: the first quarter of the rows."""
        rows = list(csv.reader(io.StringIO(content.decode())))[1:]
        public = rows[: round(len(rows) / 4)]
        wrong = sum(self.truth.get(key) != label for key, label in public)
        return f"{1 - wrong / len(public):.5f}"

    def zipped(self) -> bytes:
        """Return the data zip."""
        if self.data_zip is not None:
            return self.data_zip
        return make_zip(self.files)

    # The methods of the service.

    def list_submissions(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            shown = list(self.entries)
            if self.hidden_lists > 0 and shown:
                self.hidden_lists -= 1
                shown = shown[:-1]
            items = []
            for entry in reversed(shown):
                entry.looked_at += 1
                done = entry.looked_at > self.polls_until_scored
                item = {
                    "ref": entry.ref,
                    "totalBytes": len(entry.content),
                    "date": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(entry.date)),
                    "description": entry.description,
                    "fileName": entry.file_name,
                    "status": "COMPLETE" if done else "PENDING",
                    "submittedBy": USER,
                    "teamName": self.team,
                }
                if done:
                    item["publicScore"] = self.score(entry.content)
                items.append(item)
        size = request.get("pageSize", 20)
        start = int(request.get("pageToken") or 0)
        answer: dict[str, Any] = {"submissions": items[start : start + size]}
        if start + size < len(items):
            answer["nextPageToken"] = str(start + size)
        return answer

    def limits(self) -> dict[str, Any]:
        today = len(self.entries)
        return {"numToday": today, "numTotal": today, "numAllowedNow": max(0, self.allowed - today)}

    def board_csv(self) -> bytes:
        lines = [
            "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames"
        ]
        ranked = sorted(self.board, key=lambda row: -float(row[1]))
        for rank, (team, score) in enumerate(ranked, start=1):
            lines.append(f'{rank},{rank + 500},"{team}",2026-11-01 10:00:00,{score},3,"someone"')
        return ("\ufeff" + "\n".join(lines) + "\n").encode()


def make_zip(files: dict[str, bytes]) -> bytes:
    """Make a zip of files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.stand_in.requests.append("CONNECT")
        self._send(403, b"no way out")

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        server = self.stand_in
        parts = urlsplit(self.path)
        if parts.hostname not in ("localhost", "127.0.0.1"):
            server.requests.append(f"elsewhere:{parts.hostname}")
            self._send(200, b"stolen")
            return
        name = parts.path.rsplit("/", 1)[-1]
        method = {"PUT": "PUT", "GET": f"GET {name}"}.get(self.command, name)
        server.requests.append(method)
        waiting = server.faults.get(method, [])
        fault = waiting.pop(0) if waiting else None
        if fault is not None and fault.kind == "none":
            fault = None
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.kind == "half":
            self.rfile.read(length // 2)
            self._drop()
            return
        body = self.rfile.read(length)
        if server.hook is not None:
            server.hook(method, "before")
        if fault is None:
            answer = self._answer(method, body)
            while method == "ListSubmissions" and server.late:
                server.late.pop()()
            if server.hook is not None:
                server.hook(method, "after")
            self._send(*answer)
            return
        self._go_wrong(fault, method, body)

    def _go_wrong(self, fault: Fault, method: str, body: bytes) -> None:
        answer = self._answer(method, body) if fault.act and fault.kind != "late" else None
        if fault.kind == "drop":
            self._drop()
        elif fault.kind == "hang":
            self.stand_in.released.wait(fault.seconds or 30)
            self._drop()
        elif fault.kind == "late":
            self._drop()
            self.stand_in.late.append(lambda: self._answer(method, body))
        elif fault.kind == "html":
            self._send(200, b"<html><body>maintenance</body></html>", {"Content-Type": "text/html"})
        elif fault.kind == "body":
            self._send(
                fault.status, fault.body, {"Content-Type": "application/json"} | fault.headers
            )
        elif fault.kind == "redirect":
            self._send(302, b"", {"Location": fault.headers["Location"]})
        elif fault.kind == "truncate":
            status, content, headers = answer or self._answer(method, body)
            self._send(status, content, headers, cut=len(content) // 2)
        elif fault.kind == "stall":
            status, content, headers = answer or self._answer(method, body)
            self._send(status, content, headers, cut=len(content) // 2, stall=True)
        elif fault.kind == "status":
            said = {"code": fault.status, "message": f"ordered {fault.status} for {USER} {KEY}"}
            headers = {"Content-Type": "application/json"} | fault.headers
            self._send(fault.status, json.dumps(said).encode(), headers)
        else:
            raise AssertionError(fault.kind)

    def _answer(self, method: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        server = self.stand_in
        if self.command == "PUT":
            server.uploads[urlsplit(self.path).path.rsplit("/", 1)[-1]] = ("", body)
            return 200, b"", {}
        if self.command == "GET":
            name = method.removeprefix("GET ")
            if urlsplit(self.path).path.startswith("/output/"):
                return 200, server.versions[-1][unquote(name)], {}
            return self._file(name)
        request = json.loads(body or b"{}")
        if method == "IntrospectToken":
            good = request.get("token") == TOKEN
            return _json({"active": good, "username": USER} if good else {})
        expected = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers.get("Authorization") not in (expected, f"Bearer {TOKEN}"):
            return _json({"code": 401, "message": "Unauthenticated"}, 401)
        if method in ("GetKernel", "GetKernelSessionStatus", "ListKernelSessionOutput"):
            return self._kernel(method, request)
        if request.get("competitionName") != server.competition:
            return _json({"code": 404, "message": "Competition not found"}, 404)
        if method == "ListSubmissions":
            return _json(server.list_submissions(request))
        if method == "GetSubmissionLimits":
            return _json(server.limits())
        if method == "StartSubmissionUpload":
            token = f"blob{len(server.requests)}"
            url = f"http://localhost/upload/{token}?sig={SIGNATURE}"
            return _json({"token": token, "createUrl": url})
        if method == "CreateSubmission" and server.code_only:
            return _json({"code": 400, "message": "This is a code competition"}, 400)
        if method == "CreateCodeSubmission":
            return self._submit_kernel(request)
        if method == "CreateSubmission":
            token = request["blobFileTokens"]
            if token not in server.uploads:
                return _json({"code": 400, "message": "no such upload"}, 400)
            if len(server.entries) >= server.allowed:
                return _json({"code": 400, "message": "no submissions left today"}, 400)
            description = request.get("submissionDescription", "")
            ref = server.create(server.uploads[token][1], description, "submission.csv")
            return _json({"message": "Successfully submitted", "ref": ref})
        if method == "ListDataFiles":
            files = [
                {"name": name, "totalBytes": len(content), "creationDate": "2020-01-01T00:00:00Z"}
                for name, content in server.files.items()
            ]
            return _json({"files": files})
        if method == "DownloadDataFiles":
            place = f"http://localhost/data/{server.competition}.zip?sig={SIGNATURE}"
            return 302, b"", {"Location": place}
        if method == "DownloadLeaderboard":
            name = f"{server.competition}-publicleaderboard-2026-11-01.csv"
            content = server.board_zip
            if content is None:
                content = make_zip({name: server.board_csv()})
            return 200, content, {"Content-Type": "application/zip"}
        return _json({"code": 404, "message": f"no method {method}"}, 404)

    def _kernel(self, method: str, request: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        server = self.stand_in
        if f"{request.get('userName')}/{request.get('kernelSlug')}" != KERNEL:
            return _json({"code": 404, "message": "Kernel not found"}, 404)
        if method == "GetKernel":
            about = {"ref": KERNEL, "currentVersionNumber": len(server.versions)}
            return _json({"metadata": about, "blob": {"source": "x", "slug": "digits-kernel"}})
        if method == "GetKernelSessionStatus":
            failed = {"failureMessage": server.run_failure} if server.run_failure else {}
            return _json({"status": server.run_state} | failed)
        files = [
            {"url": f"http://localhost/output/{quote(name, safe='')}?sig={SIGNATURE}",
             "fileName": name}
            for name in server.versions[-1]
        ]  # fmt: skip
        return _json({"files": files, "log": ""})

    def _submit_kernel(self, request: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        server = self.stand_in
        server.code_requests.append(request)
        if f"{request.get('kernelOwner')}/{request.get('kernelSlug')}" != KERNEL:
            return _json({"code": 404, "message": "Kernel not found"}, 404)
        if len(server.entries) >= server.allowed:
            return _json({"code": 400, "message": "no submissions left today"}, 400)
        version = request.get("kernelVersion", 0)
        content = server.versions[version - 1][request["fileName"]]
        ref = server.create(content, request.get("submissionDescription", ""), "submission.csv")
        return _json({"message": "Successfully submitted", "ref": ref})

    def _file(self, name: str) -> tuple[int, bytes, dict[str, str]]:
        content = self.stand_in.zipped()
        tag = '"v1"'
        headers = {
            "Content-Type": "application/zip",
            "ETag": tag,
            "Last-Modified": email.utils.formatdate(1_600_000_000, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.stand_in.requests.append(f"resumed {name} at {start}")
            return 206, content[start:], headers
        return 200, content, headers

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
        stall: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content if cut is None else content[:cut])
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if stall:
            self.stand_in.released.wait(30)
        if cut is not None:
            self._drop(gently=True)

    def _drop(self, *, gently: bool = False) -> None:
        self.close_connection = True
        try:
            if not gently:  # a reset, so that nothing waits for a clean end
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _json(value: dict[str, Any], status: int = 200) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json"}
