"""Kill `run` with SIGKILL at many moments, call it again, and compare with an undisturbed run.

    python benchmarks/kill_and_resume.py [--kills 10] [--data PATH] [--preset quick] [-- OPTIONS]

One workspace is taken through all kills in a row, each at its own share of the undisturbed run's
time; then the run is let end. The two submissions must be the same, byte for byte. Options behind
`--` are handed to `run`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def call(
    command: str, words: list[str], kill_after: float | None = None
) -> tuple[float, bool, str]:
    """Call a command in a process group of its own; return its wall time, if it was killed, stdout.

    The whole group is killed with SIGKILL after `kill_after` seconds, unless it has ended by then.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "kaggle_digits", command, "--json", "--quiet", *words],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=kill_after)
        if process.returncode != 0:
            raise SystemExit(f"{command} ended with {process.returncode}")
        return time.monotonic() - started, False, out
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        return time.monotonic() - started, True, out


def main() -> None:
    """Run both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    common = ["--preset", given.preset, *given.options]
    if given.data:
        common += ["--data", str(given.data.resolve())]
    with tempfile.TemporaryDirectory() as folder:
        quiet, killed = Path(folder) / "quiet", Path(folder) / "killed"
        seconds, _, out = call("run", [*common, "--workspace", str(quiet)], None)
        print(f"undisturbed: {seconds:.0f} s, OOF accuracy {json.loads(out)['oof_accuracy']:.5f}")
        kills = 0
        for number in range(given.kills):
            # Each kill comes a little later than the one before, and what is done need not be done
            # again: together they spread over all phases of the work.
            after = seconds * (0.09 + 0.09 * number / given.kills)
            took, was_killed, _ = call("run", [*common, "--workspace", str(killed)], after)
            kills += was_killed
            files = sum(path.is_file() for path in killed.rglob("*")) if killed.exists() else 0
            print(f"kill {number + 1}: {'killed' if was_killed else 'ended'} after {took:.0f} s, "
                  f"{files} files in the workspace")  # fmt: skip
        took, _, _ = call("run", [*common, "--workspace", str(killed)], None)
        print(f"let end: {took:.0f} s")
        wanted = (quiet / "submissions" / "submission.csv").read_bytes()
        same = (killed / "submissions" / "submission.csv").read_bytes() == wanted
        print("the submissions are the same, byte for byte" if same else "THE SUBMISSIONS DIFFER")
        print(f"{kills} of {given.kills} calls were killed")
        raise SystemExit(0 if same and kills == given.kills else 1)


if __name__ == "__main__":
    main()
