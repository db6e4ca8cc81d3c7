"""The command group: a table of names and where each command lives, loaded when it is called."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from kaggle_digits import __version__
from kaggle_digits.ground.errors import did_you_mean
from kaggle_digits.shell import streams
from kaggle_digits.shell.console import failure


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in the group's help."""

    module: str
    attribute: str
    short_help: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("kaggle_digits.shell.run", "run", "All of it: tune, cv-train, blend, check."),
    "tune": Entry("tuning.commands", "tune", "Search configurations with Keras Tuner."),
    "cv-train": Entry(
        "ensembles.commands", "cv_train", "Train the best configurations by cross-validation."
    ),
    "members": Entry(
        "ensembles.commands", "members", "List the members: how good, how long, what is missing."
    ),
    "blend": Entry("ensembles.commands", "blend", "Average the members into a submission."),
    "check": Entry(
        "submissions.commands",
        "check",
        "Check a submission file; score it where the truth is known.",
    ),
    "predict": Entry(
        "ensembles.commands", "predict", "Label new images by the members whose weights were kept."
    ),
    "distil": Entry(
        "ensembles.commands", "distil", "One small network that says what the blend says."
    ),
    "download": Entry("submissions.commands", "download", "Fetch the competition's files."),
    "submit": Entry("submissions.commands", "submit", "Forecast a submission, and send it once."),
    "submissions": Entry("submissions.commands", "submissions", "What was submitted so far."),
    "leaderboard": Entry(
        "submissions.commands", "leaderboard", "Our place, and CV against public score."
    ),
    "report": Entry(
        "kaggle_digits.shell.report.command",
        "report",
        "One HTML page of the workspace: scores, errors, data.",
    ),
    "clean": Entry(
        "kaggle_digits.shell.clean",
        "clean",
        "Drop what can be made again: parsed data, augmented copies.",
    ),
    "kernel": Entry("kernel.commands", "kernel", "The tool as one script for Kaggle's machines."),
}


def load_command(name: str) -> click.Command:
    """Import one command of the table."""
    entry = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
    return command


class LazyGroup(click.Group):
    """A group whose help is written from the table and whose commands are imported when called."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **given: Any
    ) -> Any:
        """Run a command; what is wrong with the usage is a JSON object too, where one is wanted."""
        words = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(words, standalone_mode=False, **given)
        streams.open_what_is_closed()
        try:
            code = super().main(words, standalone_mode=False, **given)
        except click.ClickException as error:
            error.show()
            _tell(words, error.format_message(), _usage(error), error.exit_code)
            sys.exit(error.exit_code)
        except click.Abort:
            print("error: interrupted before anything began.", file=sys.stderr)
            _tell(words, "interrupted before anything began.", None, 130)
            sys.exit(130)
        except OSError as error:  # --help into a full disk
            print(f"error: stdout cannot be written: {error.strerror}.", file=sys.stderr)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Answer an unknown name with the nearest known one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(
                f"No such command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing a wing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in COMMANDS.items()])


def _tell(words: Sequence[str], message: str, mend: str | None, exit_code: int) -> None:
    if "--json" in words:
        print(json.dumps(failure(message, mend, exit_code)), flush=True)


def _usage(error: click.ClickException) -> str | None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return None if context is None else f"Call `{context.command_path} --help`."


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # Of a wide terminal; click keeps to 80 columns otherwise, as it does in a narrow one.
        "max_content_width": 120,
    },
)
@click.version_option(__version__, prog_name="kaggle-digits")
def cli() -> None:
    """Search, cross-validate, blend and submit for a Kaggle image-classification competition.

    Exit codes: 0 done, 2 usage or configuration, 3 data, 4 workspace artefacts, 1 anything else,
    130 interrupted, 143 ended by SIGTERM.
    """


def main() -> NoReturn:
    """Run the command line; the entry point of `kaggle-digits`."""
    cli(prog_name="kaggle-digits")
    sys.exit(0)
