"""Run by `test_submission_kills.py` in a process of its own: submit, with a kill at one place.

One process imports everything once and forks; each fork submits the same file and is killed with
SIGKILL at its own place, then a second fork calls again. Prints one JSON line for each place.

Arguments: workspace, truth CSV, submission CSV, first place, last place, stride.
A place is the n-th line of the package's code executed from the start of the submission on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import Patience
from submissions.account import About
from submissions.ledger import Ledger
from submissions.sending import submit, wait_until_scored
from submissions.validation import SubmissionFile

FILES = ("sending.py", "ledger.py", "files.py", "workspace.py", "kaggle_service/client.py")


def once(root: Path, file: SubmissionFile) -> None:
    workspace = Workspace(root)
    service = KaggleClient("digit-recognizer", Patience(timeout=5, wait=0.0005, tries=2))
    with Ledger(workspace.submissions / "ledger.sqlite") as ledger:
        done = submit(
            service, ledger, workspace, file, About(), message="", force=False, progress=Silent()
        )
        wait_until_scored(service, ledger, done.record, Silent())


def killed_at(place: int, root: Path, file: SubmissionFile) -> None:
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            seen += 1
            if seen == place:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        once(root, file)
    finally:
        sys.settrace(None)
    os._exit(3)  # it came to its end before the place


def forked(work: Any) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(4)
    return os.waitpid(child, 0)[1]


def main() -> None:
    root, content = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    rows = [line.split(",") for line in content.decode().split()[1:]]
    ids, labels = zip(*rows, strict=True)
    file = SubmissionFile("s.csv", content, ids, labels, ())
    KaggleClient("digit-recognizer").limits()  # all imports, before the first fork
    first, last, stride = map(int, sys.argv[3:6])
    for place in range(first, last + 1, stride):
        shutil.rmtree(root, ignore_errors=True)
        status = forked(lambda place=place: killed_at(place, root, file))
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 3:
            print(json.dumps({"place": place, "end": True}), flush=True)
            return
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        again = forked(lambda: once(root, file))
        with Ledger(root / "submissions" / "ledger.sqlite") as ledger:
            states = [(record.state, record.ref) for record in ledger.all()]
        print(
            json.dumps({"place": place, "killed": killed, "again": again, "states": states}),
            flush=True,
        )
        sys.stdin.readline()  # the test looks at the server, then empties it


if __name__ == "__main__":
    main()
