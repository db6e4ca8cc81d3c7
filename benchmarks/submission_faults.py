"""Print a table of faults of Kaggle's service: what the user sees, and what became of it.

Each row is `kaggle-digits submit` (or `download`) as a process of its own with the unpatched
client, against the tests' stand-in with one fault ordered, and then the same call again without.
`sent` counts the submissions the server holds after the first call, the last column those after
the next: 1, so that none is doubled and none is lost. Where it is not known whether the first
arrived, the next call sends nothing, says so, and a third call an hour later sends it.

    python benchmarks/submission_faults.py > faults.md
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROWS = 200


def load_stand_in() -> Any:
    """Import the tests' stand-in by its path."""
    path = ROOT / "tests" / "submissions" / "stand_in.py"
    spec = importlib.util.spec_from_file_location("stand_in", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules["stand_in"] = module
    spec.loader.exec_module(module)
    return module


def make_files() -> dict[str, bytes]:
    """Make a small competition's files."""
    generator = random.Random(0)
    head = ",".join(f"pixel{number}" for number in range(784))

    def rows(count: int, first: Callable[[int], str]) -> str:
        return "".join(
            first(row) + ",".join(str(generator.randrange(256)) for _ in range(784)) + "\r\n"
            for row in range(count)
        )

    sample = "ImageId,Label\r\n" + "".join(f"{row + 1},{row % 10}\r\n" for row in range(ROWS))
    return {
        "train.csv": f"label,{head}\r\n{rows(40, lambda row: f'{row % 10},')}".encode(),
        "test.csv": f"{head}\r\n{rows(ROWS, lambda row: '')}".encode(),
        "sample_submission.csv": sample.encode(),
    }


class Bench:
    """A folder with the data, and a stand-in for each row."""

    def __init__(self, folder: Path) -> None:
        self.stand_in = load_stand_in()
        self.folder = folder
        self.files = make_files()
        (folder / "home").mkdir()
        (folder / "data").mkdir()
        for name, content in self.files.items():
            (folder / "data" / name).write_bytes(content)
        (folder / "s.csv").write_bytes(self.files["sample_submission.csv"])

    def start(self, server: Any, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KAGGLE")}
        kept |= {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(self.folder / "fonts")}
        kept |= server.environment(self.folder / "home")
        kept |= {"KAGGLE_DIGITS_TIMEOUT": "1", "KAGGLE_DIGITS_WAIT": "0.01"}
        return subprocess.Popen(
            [sys.executable, "-m", "kaggle_digits", *words, "--workspace", "w"],
            cwd=self.folder,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def submit(self, step: str, what: str, order: Callable[[Any], None], *, kill: str = "") -> bool:
        """Try one fault of a submission and print its row."""
        shutil.rmtree(self.folder / "w" / "submissions", ignore_errors=True)
        server = self.stand_in.StandIn()
        server.truth = {str(row + 1): str(row % 10) for row in range(ROWS)}
        with server.running():
            order(server)
            process = self.start(server, "submit", "s.csv", "--wait")
            if kill:

                def hook(method: str, when: str) -> None:
                    if (method, when) == (step, kill) and process.poll() is None:
                        process.kill()
                        process.wait()

                server.hook = hook
            first = self.end(process)
            sent = len(server.entries)
            server.hook = None
            server.faults.clear()
            second = self.end(self.start(server, "submit", "s.csv", "--wait"))
            good, after = second[0] == 0, str(len(server.entries))
            if not server.entries and "not known whether" in second[1]:
                self.let_an_hour_pass()
                good = self.end(self.start(server, "submit", "s.csv", "--wait"))[0] == 0
                after = f"in doubt; {len(server.entries)} an hour later"
            good &= len(server.entries) == 1
            told = "Nothing was submitted" in first[1]
            good &= not (told and sent) and sent <= 1
            row = [step, what, first[1], str(first[0]), str(sent), after]
            print(f"| {' | '.join(row)} |{'' if good else ' WRONG'}", flush=True)
        return good

    def let_an_hour_pass(self) -> None:
        """Make the ledger's rows older than a submission in doubt is waited for."""
        base = sqlite3.connect(self.folder / "w" / "submissions" / "ledger.sqlite")
        with closing(base), base:
            base.execute(
                "UPDATE submissions SET created = "
                "strftime('%Y-%m-%dT%H:%M:%S', created, '-3601 seconds')"
            )

    def download(self, step: str, what: str, order: Callable[[Any], None]) -> bool:
        """Try one fault of a download and print its row."""
        target = self.folder / "fetched"
        shutil.rmtree(target, ignore_errors=True)
        server = self.stand_in.StandIn()
        server.files = self.files
        with server.running():
            order(server)
            first = self.end(self.start(server, "download", "--data", "fetched"))
            there = len(list(target.glob("*.csv")))
            server.faults.clear()
            server.data_zip = None
            second = self.end(self.start(server, "download", "--data", "fetched"))
            after = len(list(target.glob("*.csv")))
            good = second[0] == 0 and after == 3 and there in (0, 3)
            row = [step, what, first[1], str(first[0]), f"{there} files", f"{after} files"]
            print(f"| {' | '.join(row)} |{'' if good else ' WRONG'}", flush=True)
        return good

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a command; return its code and what it said of the fault."""
        out, err = process.communicate(timeout=120)
        usual = ("forecast", "reading", "download")
        lines = [line for line in err.splitlines() if not line.startswith(usual)]
        lines = [line for line in lines if "left today" not in line and "waiting" not in line]
        lines = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "(a time) UTC", line) for line in lines]
        if process.returncode == 0:
            lines += [line for line in out.splitlines() if line.startswith(("public", "state"))]
        return process.returncode, " / ".join(" ".join(line.split()) for line in lines)


def main() -> None:
    """Print the table; exit 1 if a row is not as it must be."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        fault = bench.stand_in.Fault
        print("| step | fault | what the user sees | exit | sent | after the next call |")
        print("|---|---|---|---|---|---|")
        good = True
        steps = (
            "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "PUT",
            "CreateSubmission",
        )  # fmt: skip
        for status in (400, 401, 403, 404, 429, 500, 502, 503, 504):
            for step in ("ListSubmissions", "CreateSubmission"):
                good &= bench.submit(
                    step,
                    f"HTTP {status}, always",
                    lambda server, step=step, status=status: server.order(
                        step, *[fault("status", status=status)] * 99
                    ),
                )
        for status in (403, 500, 503):
            good &= bench.submit(
                "PUT",
                f"HTTP {status}, always",
                lambda server, status=status: server.order(
                    "PUT", *[fault("status", status=status)] * 99
                ),
            )
        for kind, act, words in (
            ("drop", False, "dropped before anything is done, once"),
            ("half", False, "dropped while the body is sent, once"),
            ("drop", True, "done, the answer is lost, once"),
            ("hang", False, "hangs, nothing is done, once"),
            ("hang", True, "done, then hangs, once"),
            ("html", False, "HTML instead of JSON, once"),
            ("truncate", True, "done, the answer is cut short, once"),
        ):
            for step in ("PUT", "CreateSubmission"):
                if step == "PUT" and kind in ("html", "truncate"):
                    continue
                good &= bench.submit(
                    step,
                    words,
                    lambda server, step=step, kind=kind, act=act: server.order(
                        step, fault(kind, act=act)
                    ),
                )
        good &= bench.submit(
            "CreateSubmission",
            "the answer is lost, and the list cannot be read",
            lambda server: (
                server.order("CreateSubmission", fault("drop", act=True)),
                server.order("ListSubmissions", *_after(2, fault("status", status=503), 99, fault)),
            ),
        )
        good &= bench.submit(
            "CreateSubmission",
            "done after the connection broke, and after the first look",
            lambda server: server.order("CreateSubmission", fault("late")),
        )
        good &= bench.submit(
            "CreateSubmission",
            "200 with no reference, always",
            lambda server: server.order(
                "CreateSubmission",
                *[fault("body", status=200, body=b'{"message":"Could not submit"}')] * 99,
            ),
        )
        good &= bench.submit(
            "ListSubmissions",
            "an unknown state",
            lambda server: server.order(
                "ListSubmissions",
                fault("body", status=200, body=b'{"submissions":[{"ref":1,"status":"MELTED"}]}'),
            ),
        )
        good &= bench.submit(
            "StartSubmissionUpload",
            "an upload address elsewhere",
            lambda server: server.order(
                "StartSubmissionUpload",
                fault("body", status=200, body=b'{"token":"t","createUrl":"http://else.where/"}'),
            ),
        )
        for skew, words in ((-86400.0, "a day behind"), (86400.0, "a day ahead")):
            good &= bench.submit(
                "CreateSubmission",
                f"the server's clock is {words}, and the answer is lost",
                lambda server, skew=skew: (
                    setattr(server, "clock_skew", skew),
                    server.order("CreateSubmission", fault("drop", act=True)),
                ),
            )
        for step in steps:
            for when in ("before", "after"):
                words = f"kill -9 while the server is at it, {when} it is done"
                good &= bench.submit(step, words, lambda server: None, kill=when)
        for step in ("ListDataFiles", "GET digit-recognizer.zip"):
            for kind, words in (
                ("html", "HTML"), ("drop", "dropped"), ("hang", "hangs"), ("status", "HTTP 503"),
            ):  # fmt: skip
                good &= bench.download(
                    step,
                    f"{words}, always",
                    lambda server, step=step, kind=kind: server.order(
                        step, *[fault(kind, status=503)] * 99
                    ),
                )
        good &= bench.download(
            "GET digit-recognizer.zip",
            "cut short, once",
            lambda server: server.order("GET digit-recognizer.zip", fault("truncate")),
        )
        good &= bench.download(
            "GET digit-recognizer.zip",
            "a zip that was cut short at its source",
            lambda server: setattr(server, "data_zip", server.zipped()[:-50]),
        )
        good &= bench.download(
            "GET digit-recognizer.zip",
            "a zip with a member outside",
            lambda server: setattr(
                server, "data_zip", bench.stand_in.make_zip({**bench.files, "../evil": b"x"})
            ),
        )
        good &= bench.download(
            "DownloadDataFiles",
            "a redirect elsewhere",
            lambda server: server.order(
                "DownloadDataFiles", fault("redirect", headers={"Location": "http://else.where/x"})
            ),
        )
    sys.exit(0 if good else 1)


def _after(calls: int, fault: Any, times: int, make: Any) -> list[Any]:
    """Return orders that leave the first calls alone: a fault of kind `none` is no fault."""
    return [make("none")] * calls + [fault] * times


if __name__ == "__main__":
    main()
