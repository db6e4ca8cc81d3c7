"""How a wing declares a command: a function from a session and its options to an outcome.

`command` adds the options that all commands share, opens the session, keeps libraries' own output
off the user's streams, and shows the outcome. The bare function stays reachable as `.body`, so that
`run` can chain commands by name.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from kaggle_digits.core.keras_settings import share_compiled
from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.aside import recover_workspace
from kaggle_digits.ground.config import (
    PRECISION_VARIABLE,
    Preset,
    load_presets,
)
from kaggle_digits.ground.errors import ConfigurationError, KaggleDigitsError
from kaggle_digits.ground.events import Track, ignore
from kaggle_digits.ground.shapes import ImageShape, parse_size
from kaggle_digits.ground.wanted import PLAIN, Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import streams
from kaggle_digits.shell.console import Console, Outcome
from kaggle_digits.shell.grouping import GroupedHelp
from kaggle_digits.shell.tracking import open_tracker

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.core.data.fixes import Fixes

Body = Callable[..., Outcome]
fresh_option = click.option(
    "--fresh",
    is_flag=True,
    help="Start anew instead of going on; what is there goes once the new work has a result.",
)
"""For commands that leave something to start anew from; the session holds its value."""
track_option = click.option(
    "--track",
    type=click.Choice(names.TRACKERS),
    help="Keep track of it by MLflow: an SQLite store in the workspace, or MLFLOW_TRACKING_URI.",
)
"""For commands whose outcome has parameters and scores; the session tells the tracker of it."""
rare_option = click.option(
    "--rare",
    type=click.Choice(names.RARE),
    help="Classes of fewer rows than folds: train on them in every fold and never judge them, or "
    "leave them out.  [default: refuse them]",
)
metric_option = click.option(
    "--metric",
    type=click.Choice(names.METRICS),
    help="What the competition is scored by, said once and kept in the workspace: macro-f1, auc "
    "and qwk rank trials and choose how to blend, for the others log-loss does; qwk names classes "
    "by thresholds. Default: as the workspace keeps it; at first accuracy and log-loss.",
)
"""For commands that search or blend."""
class_weights_option = click.option(
    "--class-weights",
    type=click.Choice(names.CLASS_WEIGHTS),
    help="balanced: rows of rare classes count more, those of each class the same together; for "
    "macro-f1 and the like. Probabilities are then those of equally frequent classes.  [default: "
    "as the configurations say, at first none]",
)
"""This and --rare: for commands that train members."""
TERMINATED = 143
"""The exit code after SIGTERM: 128 and the signal's number, as shells have it."""


@dataclass(slots=True)
class Session:
    """What every command is given.

    Args:
        workspace: Where all state lives.
        data: The --data path; None for the workspace's own data, or the default.
        preset: The plan behind --preset.
        seed: The --seed; 0 is a seed like any other.
        fresh: Start anew, of commands that take `fresh_option`: what earlier calls of the command
            left goes once there is something in its place.
        console: Where to tell of progress.
        started: `time.monotonic()` at the start of the command.
        wanted: How the data are to be read; nothing for as the workspace or the files show.
        labels: The --labels path; None for what the workspace was made with.
        track: Told what each step has come to; of commands that take `track_option`.
    """

    workspace: Workspace
    data: Path | None
    preset: Preset
    seed: int
    fresh: bool
    console: Console
    started: float
    wanted: Wanted = PLAIN
    labels: Path | None = None
    track: Track = ignore
    _dataset: Dataset | None = None

    def dataset(self) -> Dataset:
        """Load the competition's data, once for all commands of a chain."""
        if self._dataset is None:
            from kaggle_digits.core.data import load

            self._dataset = load(
                self.data, self.workspace, self.console.say, self.wanted, self.labels
            )
        return self._dataset

    def reading(self) -> tuple[str, ...]:
        """Return the options by which another command reads the data as this one does."""
        if not self.workspace.data_record.is_file():
            return self.wanted.words  # there is nothing for which to load a reader
        from kaggle_digits.core.data.provenance import reading_of

        return reading_of(self.workspace, self.wanted).words

    def fixes(self) -> Fixes | None:
        """Return the corrections of labels; the data are read only where they are given anew."""
        if self.labels is not None:
            return self.dataset().fixes
        if not self.workspace.data_record.is_file():
            return None
        from kaggle_digits.core.data.provenance import read_provenance

        known = read_provenance(self.workspace)
        return None if known is None else known.fixes

    @property
    def place(self) -> Place:
        """What functions of the wings are given."""
        return Place(self.workspace, self.dataset, self.console, self.track)

    @property
    def seconds(self) -> float:
        """Wall time since the command began."""
        return time.monotonic() - self.started

    def hint(self, words: str) -> str:
        """Return a command line to paste, on the same data and workspace.

        Args:
            words: Command and options; what a user chose among them is quoted by `shlex.quote`.
        """
        return command_line(words, self.workspace, self.data, self.labels)


def command_line(
    words: str, workspace: Workspace, data: Path | None = None, labels: Path | None = None
) -> str:
    """Return a command line to paste.

    Args:
        words: Command and options.
        workspace: Named unless it is the usual one.
        data: The --data path; None to leave it out.
        labels: The --labels path; None to leave it out.
    """
    line = f"kaggle-digits {words}"
    for option, path in (("--data", data), ("--labels", labels)):
        if path is not None:
            line += f" {option} {shlex.quote(str(path))}"
    if workspace.root != Path("workspace"):
        line += f" --workspace {shlex.quote(str(workspace.root))}"
    return line


class Command(GroupedHelp):
    """A click command that keeps its bare function for `run`."""

    body: Body


def command(name: str, *, short_help: str) -> Callable[[Body], Command]:
    """Make a command of a function `(session, **options) -> Outcome`.

    Options declared by `@click.option` below this decorator stand before the shared ones; the help
    sorts both into the groups of `shell.grouping`.
    """

    def decorate(body: Body) -> Command:
        own: list[click.Parameter] = list(reversed(getattr(body, "__click_params__", [])))
        made = Command(
            name,
            callback=lambda **given: _call(body, given),
            params=own + shared_options(),
            help=body.__doc__,
            short_help=short_help,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        made.body = body
        return made

    return decorate


def shared_options() -> list[click.Parameter]:
    """Return the options every command takes."""
    return [
        click.Option(
            ["--data"],
            type=click.Path(path_type=Path),
            help="Folder with train.csv and test.csv, or with images as files, or the "
            "competition's zip; shapes: the embedded drawn shapes, in colour. Default: what the "
            "workspace was made from; at first data/ if it is there, else the embedded digits.",
        ),
        click.Option(
            ["--image-shape"],
            metavar="HEIGHTxWIDTH",
            callback=_parsed(ImageShape.parse),
            help="Shape of images in pixel columns where their names do not give it; in colour "
            "HEIGHTxWIDTHx3, or 3xHEIGHTxWIDTH where a row holds one plane after another. Default: "
            "as the workspace was made; at first square.",
        ),
        click.Option(
            ["--image-size"],
            metavar="PIXELS",
            callback=_parsed(parse_size),
            help="Size that image files are scaled to, such as 64 or 48x64. Default: as the "
            "workspace was made; at first their own, 128 at most.",
        ),
        click.Option(
            ["--skip-broken"],
            is_flag=True,
            help="Go on without image files that are broken or missing.",
        ),
        click.Option(
            ["--groups"],
            metavar="COLUMN",
            help="Column of train.csv, such as the writer or the patient, whose rows stand in one "
            "fold together. Default: as the workspace was made; at first none.",
        ),
        click.Option(
            ["--fold-column"],
            metavar="COLUMN",
            help="Column of train.csv that gives each row's fold. Default: as --groups.",
        ),
        click.Option(
            ["--labels"],
            type=click.Path(path_type=Path),
            help="CSV of corrected training labels: row, and take (a label, or exclude). Default: "
            "as the workspace was made; at first those of train.csv.",
        ),
        click.Option(
            ["--workspace"],
            type=click.Path(path_type=Path),
            default=Path("workspace"),
            show_default=True,
            help="Folder that holds all state.",
        ),
        click.Option(
            ["--preset"],
            type=click.Choice(names.PRESETS),
            default="quick",
            show_default=True,
            help="How much is searched and trained.",
        ),
        click.Option(
            ["--seed"],
            type=click.IntRange(0, 2**31 - 1),
            default=0,
            show_default=True,
            help="Same seed, same machine, same result.",
        ),
        click.Option(
            ["--precision"],
            type=click.Choice(names.PRECISIONS),
            default=names.AUTO,
            envvar=PRECISION_VARIABLE,
            help="What networks compute in; auto: what this machine multiplies fastest.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout."),
        click.Option(["--quiet", "-q"], is_flag=True, help="No progress on stderr."),
    ]


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return an option's callback that parses its value."""

    def callback(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else parse(text)
        except ConfigurationError as error:
            message = " ".join(filter(None, (error.message, error.mend)))
            raise click.UsageError(message, ctx) from error

    return callback


def resource_options(workers: str) -> Callable[[Body], Body]:
    """Return a decorator that adds the options of what training may use.

    Args:
        workers: Help of --workers.
    """
    options = (
        click.option("--workers", type=click.IntRange(1, 64), help=workers),
        click.option(
            "--threads",
            type=click.IntRange(1, 256),
            help="Threads each network computes with; results depend on them, not on --workers.  "
            "[default: by machine and data, in each record]",
        ),
        click.option(
            "--cluster",
            metavar="auto|HOST:PORT",
            help="Train on the nodes of this Ray cluster instead of this machine alone.",
        ),
    )

    def decorate(body: Body) -> Body:
        for option in reversed(options):
            body = option(body)
        return body

    return decorate


def _call(body: Body, given: dict[str, Any]) -> None:
    quiet, as_json = given.pop("quiet"), given.pop("as_json")
    # Before anything loads Keras, and for the processes that this one starts.
    os.environ[PRECISION_VARIABLE] = given.pop("precision")
    workspace = Workspace(given.pop("workspace"))
    share_compiled(workspace.cache.absolute() / "compiled")
    log = workspace.root / "log.txt"
    with streams.libraries_kept_off(log) as (out, err, is_logged), _terminated_like_interrupted():
        console = Console(out, err, quiet=quiet, as_json=as_json)
        started = time.monotonic()
        fresh, tracker = given.pop("fresh", False), given.pop("track", None)
        again = f"the same command {'without --fresh ' if fresh else ''}goes on."
        try:
            session = Session(
                workspace=workspace,
                data=given.pop("data"),
                preset=load_presets()[given.pop("preset")],
                seed=given.pop("seed"),
                fresh=fresh,
                console=console,
                started=started,
                wanted=Wanted(
                    shape=given.pop("image_shape"),
                    size=given.pop("image_size"),
                    skip_broken=given.pop("skip_broken"),
                    groups=given.pop("groups"),
                    fold_column=given.pop("fold_column"),
                ),
                labels=given.pop("labels"),
            )
            with streams.remarks_shown(console.say):
                recover_workspace(workspace, console.say)
                if tracker is not None:
                    session.track = open_tracker(tracker, workspace, console.say)
                outcome = body(session, **given)
            console.finish(outcome)
        except KaggleDigitsError as error:
            console.fail(error.message, error.mend, error.exit_code)
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            console.fail(f"interrupted; what is finished is kept, {again}", None, 130)
            raise SystemExit(130) from None
        except _Terminated as error:
            console.fail(f"ended by SIGTERM; what is finished is kept, {again}", None, TERMINATED)
            raise SystemExit(TERMINATED) from error
        except Exception as error:  # the last resort: a person is shown one line, the log the rest
            import traceback

            traceback.print_exc()
            console.fail(
                f"internal error: {type(error).__name__}: {error}",
                f"The details are at the end of {log}; please report them."
                if is_logged
                else f"{log} cannot be written, so the details are not kept: call it again with "
                "another --workspace, and please report them.",
                1,
            )
            raise SystemExit(1) from None


class _Terminated(SystemExit):
    """SIGTERM has come."""


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that worker processes end with their parent."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's, and so is what answers them
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        raise _Terminated(TERMINATED)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
