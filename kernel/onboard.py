"""The script's way on Kaggle's machine: look around, rehearse, run the commands, note what is left.

The script's own text is a loader: it unpacks this package and calls `run`. Only the standard
library is imported here, so that versions are told before anything heavy is loaded.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.errors import KaggleDigitsError
from kaggle_digits.ground.filenames import USUAL
from kaggle_digits.ground.sums import Sums
from kernel import machine
from kernel.machine import Stop
from kernel.manifest import FOLDER, NAME, Manifest
from kernel.plan import LABELS, RANKING, SUBMISSION, WEIGHTS

if TYPE_CHECKING:
    from kaggle_digits.core.data.image_source import ImageSource
    from kaggle_digits.core.data.source import Source

_COMMAND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from kaggle_digits.shell.cli import main; main()"
)
_OUT_OF_BUDGET = "out of budget"
_DATA_ERROR, _ARTEFACT_ERROR = 3, 4
_LAST_LINES = 40


def run(
    version: str, code: str, plan: str, temporary: Path, say: Callable[[str], None]
) -> str | None:
    """Do all that a script shall do.

    The environment variables `KAGGLE_DIGITS_KERNEL_ROOT` (a folder in the place of /kaggle) and
    `KAGGLE_DIGITS_KERNEL_PLAN` (JSON that replaces fields of the plan) are for `kernel verify`.

    Args:
        version: Of the packages that are carried.
        code: Digest of their source.
        plan: `Plan.for_script` as JSON.
        temporary: A folder that is removed in the end; `code` in it holds the packages.
        say: Told of every step.

    Returns:
        Why the run failed, in one line; None where it did not.
    """
    root = Path(os.environ.get("KAGGLE_DIGITS_KERNEL_ROOT", "/kaggle"))
    given = json.loads(plan) | json.loads(os.environ.get("KAGGLE_DIGITS_KERNEL_PLAN", "{}"))
    say(f"kaggle-digits {version}, source {code}")
    way = Run(version, code, given, temporary, root / "working", say)
    try:
        machine.report(say, _spared(given))
        source = machine.find_inputs(root / "input", given["competition"])
        say(f"inputs: {source.path}")
        way.all(root / "input", source)
    except KaggleDigitsError as error:
        return " ".join(" ".join(filter(None, (error.message, error.mend))).split())
    finally:
        way.close()
    return None


def _spared(plan: dict[str, Any]) -> dict[str, str]:
    """Return the packages that a run does without, and why."""
    if plan["weights"]:
        return dict.fromkeys(("keras_tuner", "albumentations"), "nothing is trained")
    return {"keras_tuner": "the configurations are given"} if plan["ranked"] else {}


class Run:
    """The way through the commands.

    The workspace lies in the working folder, but for its cache, which is large and easily made
    again: it must not become the kernel's output.

    Args:
        version: Of the packages.
        code: Digest of their source.
        plan: What to do: `Plan.for_script`.
        temporary: For what is not kept; `code` in it holds the packages.
        working: What Kaggle keeps.
        say: Told of every step.
    """

    def __init__(
        self,
        version: str,
        code: str,
        plan: dict[str, Any],
        temporary: Path,
        working: Path,
        say: Callable[[str], None],
    ) -> None:
        self._version, self._code, self._plan = version, code, plan
        self._temporary, self._say = temporary, say
        self._started = time.monotonic()
        self._ends = None if plan["budget"] is None else self._started + plan["budget"]
        self._done: list[list[str]] = []
        self._weights: Path | None = None
        self.state = working / FOLDER
        self.submission = working / "submission.csv"

    def all(self, inputs: Path, source: Source | ImageSource) -> None:
        """Rehearse, then run the commands to their end or to that of the time budget.

        Args:
            inputs: Where the output of an earlier run is mounted.
            source: The competition's files.

        Raises:
            Stop: A command failed, or there is no submission in the end.
            ArtefactError: The earlier run's kernel.json is broken.
        """
        self._open()
        if self._plan["weights"]:
            plan = self._plan
            self._weights = machine.find_weights(inputs, plan["weights"], plan["weights_digest"])
            self._say(f"networks: {self._weights}")
        self.rehearse(source)
        if self._plan["goes_on"]:
            self.take_up(inputs)
        for words in self._plan["commands"]:
            try:
                ended = self.call(words, source.path, self.state)
            finally:
                # Also when it failed: members that are complete can be fetched, or gone on from.
                self._note(finished=False)
            if ended == _OUT_OF_BUDGET:
                self._end_in_good_order(source.path)
                return
            self._done.append(words)
        if not self.submission.is_file():
            raise Stop("all commands ended, but there is no submission.csv")
        self._note(finished=True)
        self._say(f"done: {self.submission}")

    def close(self) -> None:
        """Take the cache out of what Kaggle keeps."""
        cache = self.state / "cache"
        if cache.is_symlink():
            cache.unlink()
        else:
            shutil.rmtree(cache, ignore_errors=True)

    def rehearse(self, source: Source | ImageSource) -> None:
        """Examine the machine, then send a small sample through the first commands.

        Raises:
            Stop: A package does not fit.
        """
        place = self._temporary / "rehearsal"
        if self._plan["examine"]:
            self.call(self._plan["examine"], source.path, place)
        if not self._plan["rehearsal"]:
            return
        from kaggle_digits.core.data.image_source import ImageSource

        if isinstance(source, ImageSource):
            self._say("rehearsal: no small sample is made of image files")
            return
        sample = self._temporary / "sample"
        sample.mkdir()
        for role in source.members:
            with source.open(role) as stream:
                rows = stream.read().splitlines(keepends=True)
            # The test file and the sample submission have as many rows, so the same are drawn.
            step = max(1, len(rows) // self._plan["rehearsal_rows"])
            (sample / USUAL[role]).write_bytes(b"".join([rows[0], *rows[1::step]]))
        for words in self._plan["rehearsal"]:
            # Such a sample may lack rows of a class; that says nothing of the packages.
            self.call(words, sample, place, ignore=_DATA_ERROR)
        seconds = time.monotonic() - self._started
        self._say(f"rehearsal: all packages fit, {seconds:.0f} s so far")
        shutil.rmtree(place, ignore_errors=True)

    def call(
        self, words: Sequence[str], data: Path, workspace: Path, ignore: int | None = None
    ) -> int | str:
        """Run one command to its end, or until the time budget is used up.

        Args:
            words: The command line after `kaggle-digits`.
            data: What stands for --data.
            workspace: What stands for --workspace.
            ignore: An exit code that is no failure.

        Returns:
            The exit code, or that the time is used up.

        Raises:
            Stop: The command failed.
        """
        places = {
            SUBMISSION: self.submission,
            RANKING: self._temporary / "ranking.json",
            LABELS: self._temporary / "labels.csv",
            WEIGHTS: self._weights,
        }
        words = [str(places.get(word, word)) for word in words]
        self._say("$ kaggle-digits " + " ".join(words))
        isolated = ["-I"] if sys.flags.isolated else []
        process = subprocess.Popen(
            [sys.executable, *isolated, "-c", _COMMAND, str(self._temporary / "code"), *words,
             "--data", str(data), "--workspace", str(workspace)],
            cwd=self._temporary,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = process.wait(self._left())
        except subprocess.TimeoutExpired:
            process.terminate()  # the commands keep what is finished
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return _OUT_OF_BUDGET
        except BaseException:
            process.kill()
            raise
        if code not in (0, ignore):
            self._show_log(workspace)
            why = f"exit code {code}" if code > 0 else f"signal {-code} (out of memory?)"
            raise Stop(f"`kaggle-digits {' '.join(words)}` ended with {why}")
        return code

    def take_up(self, inputs: Path) -> None:
        """Copy the workspace of the earlier run, whose output is mounted, each file checked.

        Raises:
            Stop: It is not there, was made by other code, or a file of it is damaged.
            ArtefactError: Its kernel.json is broken.
        """
        goes_on = self._plan["goes_on"]
        found = sorted(path for path in inputs.rglob(NAME) if path.parent.name == FOLDER)
        if len(found) != 1:
            raise Stop(
                f"{len(found)} outputs of earlier runs under {inputs}; expected that of {goes_on}"
            )
        about = Manifest.from_bytes(
            found[0].read_bytes(), str(found[0]), f"Run {goes_on} again, or build anew."
        )
        if about.code != self._code:
            raise Stop(
                f"the output of {goes_on} was made by other code ({about.code}, here {self._code})"
            )
        for name, sums in about.files.items():
            path = found[0].parent / name
            content = path.read_bytes() if path.is_file() else b""
            if Sums.of(content) != sums:
                raise Stop(f"{name} of the earlier run is damaged or missing")
            kept = self.state / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(content)
        self._say(f"goes on from {goes_on}: {len(about.files)} files taken up")

    def _open(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self._temporary / "ranking.json").write_text(json.dumps(self._plan["ranked"]))
        (self._temporary / "labels.csv").write_text(self._plan["labels"], encoding="utf-8")
        cache = self._temporary / "cache"
        cache.mkdir()
        if not (self.state / "cache").exists():
            with suppress(OSError):  # then it lies in the workspace until the end
                os.symlink(cache, self.state / "cache")

    def _left(self) -> float | None:
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def _end_in_good_order(self, data: Path) -> None:
        """Blend what is complete; another run may go on from the output."""
        from kaggle_digits.ground.workspace import Workspace
        from kaggle_digits.records.plan import plan_path

        self._ends = None
        blend = [words for words in self._plan["commands"] if words[0] == "blend"]
        planned = plan_path(Workspace(self.state)).is_file()
        # Where no fold set is complete yet, the blend says so.
        if planned and blend:
            ended = self.call(blend[0], data, self.state, ignore=_ARTEFACT_ERROR)
            if ended == 0:
                self._done.append(blend[0])
        self._note(finished=False)
        self._say(
            "the time budget ended this run; `kernel build --continue` makes one that goes on"
        )

    def _note(self, *, finished: bool) -> None:
        """Write kernel.json: what made the output, and the checksum of every file of it."""
        from kaggle_digits.ground.files import is_temporary, write_bytes
        from kaggle_digits.ground.workspace import Workspace
        from kaggle_digits.records.plan import plan_path, read_plan

        files = {}
        for area in ("tuning", "ensembles", "submissions"):
            for path in sorted((self.state / area).rglob("*")):
                name = path.relative_to(self.state)
                is_ours = not path.name.startswith(".")
                if is_ours and path.is_file() and not any(map(is_temporary, (name, *name.parents))):
                    files[name.as_posix()] = Sums.of(path.read_bytes())
        planned = plan_path(Workspace(self.state))
        keys = read_plan(planned).keys if planned.is_file() else ()
        submission = self.submission
        about = Manifest(
            code=self._code,
            data=keys[0].data if keys else None,
            finished=finished,
            files=files,
            submission=Sums.of(submission.read_bytes()) if submission.is_file() else None,
            facts={
                "version": self._version,
                "plan": self._plan,
                "done": self._done,
                "seconds": round(time.monotonic() - self._started, 1),
                "versions": {package.module: found for package, found in machine.installed()},
                "python": platform.python_version(),
            },
        )
        write_bytes(self.state / NAME, about.to_bytes())

    def _show_log(self, workspace: Path) -> None:
        log = workspace / "log.txt"
        if log.is_file():
            self._say(f"the end of {log}:")
            for line in log.read_text(errors="replace").splitlines()[-_LAST_LINES:]:
                self._say("    " + line)
