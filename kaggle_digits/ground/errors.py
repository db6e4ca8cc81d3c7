"""Errors: one root; the class says what happens next and which exit code the shell gives.

Every message says what was given and what was expected; `mend` says how to put it right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_LONGEST = 60


class KaggleDigitsError(Exception):
    """Root of all errors this package raises on purpose; the shell prints it without a traceback.

    Args:
        message: What was given and what was expected, one sentence.
        mend: What the user can do about it, one sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        if mend:
            self.add_note(mend)  # shown below the message where nobody catches the error

    def __reduce__(self) -> tuple[object, ...]:
        """Keep `mend` when the error is pickled on its way back from a worker process."""
        return (_rebuild, (type(self), self.message, self.mend))


class ConfigurationError(KaggleDigitsError):
    """A wrong option, value or name: the command stops before it does anything (exit code 2)."""

    exit_code = 2


class DataError(KaggleDigitsError):
    """The competition's files are missing or broken (exit code 3)."""

    exit_code = 3


class ArtefactError(KaggleDigitsError):
    """A workspace artefact is missing, broken, in use, or of other input (exit code 4)."""

    exit_code = 4


class InUseError(ArtefactError):
    """Another process is at work in the same part of the workspace (exit code 4)."""


class ReadOnlyError(ArtefactError):
    """A place may be read but not written (exit code 4); commands that only read go on there."""


class TrainingError(KaggleDigitsError):
    """One network could not be trained (not a number, out of memory).

    A search records it and goes on with the next trial; elsewhere it ends the command (exit code
    1).
    """


class ServiceError(KaggleDigitsError):
    """Kaggle refused, failed, or did not answer (exit code 1)."""


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Let errors of a folder that is no workspace name the option that gives it.

    Args:
        option: Named in the place of `--workspace`, such as `--data`.
    """
    try:
        yield
    except ArtefactError as error:
        mend = (error.mend or "").replace(" (or --output)", "").replace("--workspace", option)
        raise type(error)(error.message, mend=mend or None) from error


def first_line(error: BaseException) -> str:
    """Return what another library's error says, on one line; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to do about an unknown name: take the nearest known one, or one of all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known are: {shorten(names)}."


def shorten(names: Sequence[str], most: int = 10) -> str:
    """Return the first names, comma-separated, and how many more there are.

    Args:
        names: What a message lists; each is cut after 60 characters.
        most: How many are shown, ten at most.
    """
    shown = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names[:most]]
    more = f" (+{len(names) - most} more)" if len(names) > most else ""
    return ", ".join(shown) + more


def _rebuild(kind: type[KaggleDigitsError], message: str, mend: str | None) -> KaggleDigitsError:
    return kind(message, mend=mend)
