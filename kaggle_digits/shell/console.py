"""What the user sees: results on stdout, progress and remarks on stderr.

In a terminal progress is drawn with bars and the time left; elsewhere it becomes plain lines, one
when a task opens, some on the way, one at its end.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.errors import KaggleDigitsError
from kaggle_digits.ground.progress import Task
from kaggle_digits.shell.fitting import fit, least_width

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.progress import TaskID

_PLAIN_SECONDS = 15.0


@dataclass(slots=True)
class Outcome:
    """What a command came to: the same facts for a program and for a person.

    Args:
        values: The JSON object of --json.
        facts: Lines of name and value, shown as a small table.
        rows: A table's rows, its header first; none for no table.
        drawing: Lines of a picture made of signs, shown below the table.
        written: What was written: name and path.
        next_command: The command a user would call next.
    """

    values: dict[str, Any]
    facts: dict[str, str] = field(default_factory=dict)
    rows: Sequence[Sequence[str]] = ()
    drawing: Sequence[str] = ()
    written: dict[str, str] = field(default_factory=dict)
    next_command: str | None = None


class Console:
    """The two streams and how they are used; implements `ground.progress.Progress`.

    Args:
        out: Stream for results.
        err: Stream for progress and errors.
        quiet: Show no progress.
        as_json: Results as one JSON object.
    """

    def __init__(self, out: TextIO, err: TextIO, *, quiet: bool, as_json: bool) -> None:
        self._out = out
        self._err = err
        self._quiet = quiet
        self._as_json = as_json
        self._bars: RichProgress | None = None

    @property
    def width(self) -> int:
        """Columns that a table on stdout may have."""
        return self._rich(self._out).width

    def say(self, text: str) -> None:
        """Show one line of progress that stays."""
        if self._quiet:
            return
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._err, flush=True)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Task]:
        """Open a task of `total` units and show it until the block ends."""
        if self._quiet:
            yield _Quiet()
        elif not self._err.isatty():
            plain = _Plain(self, label, total, unit)
            yield plain
            plain.close()
        else:
            with self._live() as bars:
                pace = _Pace(total)
                task_id = bars.add_task(label, total=total, note="", unit=unit, pace=pace)
                try:
                    yield _Bar(bars, task_id, pace)
                finally:
                    bars.remove_task(task_id)

    def finish(self, outcome: Outcome) -> None:
        """Show what a command came to, on stdout."""
        if self._as_json:
            print(json.dumps(outcome.values, allow_nan=False), file=self._out, flush=True)
            return
        rich = self._rich(self._out)
        if outcome.rows:
            self._show_table(rich, outcome.rows)
        for line in outcome.drawing:
            rich.print(line, markup=False, highlight=False, soft_wrap=True)
        width = max((len(name) for name in (*outcome.facts, *outcome.written)), default=0)
        for name, value in outcome.facts.items():
            lines = [value]
            if self._out.isatty():
                lines = textwrap.wrap(
                    value, max(rich.width - width - 2, 20), break_on_hyphens=False
                ) or [""]
            for start, line in zip((name, *[""] * len(lines)), lines, strict=False):
                rich.print(
                    f"{start:<{width}}  {line}", markup=False, highlight=False, soft_wrap=True
                )
        for name, path in outcome.written.items():
            rich.print(f"{name:<{width}}  {path}", markup=False, highlight=False, soft_wrap=True)
        if outcome.next_command:
            rich.print(
                f"next: {outcome.next_command}", markup=False, highlight=False, soft_wrap=True
            )

    def fail(self, message: str, mend: str | None, exit_code: int) -> None:
        """Show why a command ended without its result; with --json also as an object on stdout."""
        print(f"error: {message}", file=self._err, flush=True)
        if mend:
            print(f"  {mend}", file=self._err, flush=True)
        if self._as_json:
            with suppress(KaggleDigitsError):  # where stdout is why, stderr has said it
                print(json.dumps(failure(message, mend, exit_code)), file=self._out, flush=True)

    def _show_table(self, rich: RichConsole, rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table
        from rich.text import Text

        fitted = fit(rows, rich.width)
        for header, *body in fitted.parts:
            table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
            for name, *cells in zip(header, *body, strict=True):
                table.add_column(Text(name), overflow="fold", min_width=least_width([name, *cells]))
            for row in body:
                table.add_row(*map(Text, row))  # as it is: a cell may come from elsewhere
            rich.print(table)
        if fitted.same:
            same = ", ".join(f"{name} {value}" for name, value in fitted.same.items())
            rich.print(f"all: {same}", markup=False, highlight=False)

    def _rich(self, stream: TextIO) -> RichConsole:
        from rich.console import Console as RichConsole

        # A file or a pipe has no width; tables must not be folded to a terminal's 80 columns there.
        width = None if stream.isatty() else 160
        return RichConsole(file=stream, width=width)

    @contextmanager
    def _live(self) -> Iterator[RichProgress]:
        if self._bars is not None:
            yield self._bars
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
        )
        from rich.text import Text

        class TimeLeft(ProgressColumn):
            """The time left, by the task's own pace: rich's looks back 30 seconds at most."""

            def render(self, task: RichTask) -> Text:
                left = task.fields["pace"].left()
                return Text("" if left is None else f"{duration(left)} left")

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeLeft(),
            TextColumn("{task.fields[note]}"),
            console=self._rich(self._err),
            transient=True,
            # Else rich shows what libraries print between the bars.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        try:
            with self._bars as bars:
                yield bars
        finally:
            self._bars = None


def failure(message: str, mend: str | None, exit_code: int) -> dict[str, Any]:
    """Return the JSON object of a command that ended without its result."""
    return {"error": message, "mend": mend, "exit_code": exit_code}


class _Pace:
    """How fast a task goes, and so how long it will take.

    Args:
        total: Its units.
    """

    def __init__(self, total: int) -> None:
        self.done = 0
        self.total = total
        self.start = self._last = time.monotonic()
        self._began = self.start
        self._timed = 0

    def advance(self, by: int, *, timed: bool) -> None:
        self.done += by
        if timed:
            self._timed += by
            self._last = time.monotonic()
        elif not self._timed:
            self._began = time.monotonic()

    def left(self) -> float | None:
        """Return seconds; None while nothing tells of the pace."""
        if not self._timed:
            return None
        each = (self._last - self._began) / self._timed
        return max(0.0, each * (self.total - self.done) - (time.monotonic() - self._last))


class _Quiet:
    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        pass


class _Bar:
    def __init__(self, bars: RichProgress, task_id: TaskID, pace: _Pace) -> None:
        self._bars = bars
        self._task_id = task_id
        self._pace = pace

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self._pace.advance(by, timed=timed)
        if note is None:
            self._bars.update(self._task_id, advance=by)
        else:
            self._bars.update(self._task_id, advance=by, note=note)


class _Plain:
    """A task as plain lines: every 15 seconds at most, so that a log stays readable."""

    def __init__(self, console: Console, label: str, total: int, unit: str) -> None:
        self._console = console
        self._label = label
        self._unit = f" {unit}" if unit else ""
        self._note = ""
        self._pace = _Pace(total)
        self._shown = self._pace.start

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self._pace.advance(by, timed=timed)
        self._note = self._note if note is None else note
        now = time.monotonic()
        left = self._pace.left()
        if (
            left is not None
            and now - self._shown >= _PLAIN_SECONDS
            and self._pace.done < self._pace.total
        ):
            self._shown = now
            self._line(f"about {duration(left)} left")

    def close(self) -> None:
        self._line(f"in {duration(time.monotonic() - self._pace.start)}")

    def _line(self, timing: str) -> None:
        count = f"{self._pace.done}/{self._pace.total}{self._unit}"
        note = f", {self._note}" if self._note else ""
        self._console.say(f"{self._label}: {count}, {timing}{note}")
