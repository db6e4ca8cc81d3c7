"""The process's streams: the user's own for the console, the log for what libraries print.

A stream may be closed, its reader may go, the disk under it may be full. What is done matters more
than what is said of it: only a result that cannot be written is an error.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from kaggle_digits.ground.errors import KaggleDigitsError

_LOG_LIMIT = 4_000_000
_REMARKS = "kaggle_digits"
"""The logger to which the package's own parts say what a user should know."""


class _Text(io.TextIOWrapper):
    """A text stream that drops what it is given once its reader has gone.

    Args:
        descriptor: Where it goes.
        forgiving: Whether other errors of writing are ignored as well.
    """

    def __init__(self, descriptor: int, *, forgiving: bool) -> None:
        super().__init__(os.fdopen(descriptor, "wb"), encoding="utf-8", errors="backslashreplace")
        self._forgiving = forgiving

    def write(self, text: str) -> int:
        with self._errors():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._errors():
            super().flush()

    def close(self) -> None:
        # The text was flushed where that counts.
        with suppress(OSError):
            super().close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            pass
        except OSError as error:
            if not self._forgiving:
                raise KaggleDigitsError(
                    f"The result cannot be written to stdout: {error.strerror}.",
                    mend="The work is done and kept: call the command again with another stdout.",
                ) from None


def open_what_is_closed() -> None:
    """Put the null device in the place of standard streams that the caller has closed.

    Else the next file that is opened would take such a stream's place.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


@contextmanager
def libraries_kept_off(log: Path) -> Iterator[tuple[TextIO, TextIO, bool]]:
    """Send what libraries write to stdout and stderr, C++ code's too, to a log file.

    Yields:
        The user's own stdout and stderr, for the console alone; and whether the log can be written.
        Where it cannot, what libraries write is dropped.
    """
    open_what_is_closed()
    target, is_logged = _open_log(log)
    _flush(sys.stdout, sys.stderr)
    with (
        _Text(target, forgiving=True) as handle,
        _Text(os.dup(1), forgiving=False) as out,
        _Text(os.dup(2), forgiving=True) as err,
    ):
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            # Python's own streams too, for callers that have put others in their place.
            with redirect_stdout(handle), redirect_stderr(handle):
                yield out, err, is_logged
        finally:
            _flush(sys.stdout, sys.stderr)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)


@contextmanager
def remarks_shown(say: Callable[[str], None]) -> Iterator[None]:
    """Show what the package's own parts remark by way of `logging`, each remark once."""

    class Shown(logging.Handler):
        said: set[str] = set()

        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text not in self.said:
                self.said.add(text)
                say(text)

    logger, handler = logging.getLogger(_REMARKS), Shown()
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _open_log(log: Path) -> tuple[int, bool]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        full = log.exists() and log.stat().st_size > _LOG_LIMIT
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if full else os.O_APPEND)
        return os.open(log, flags, 0o666), True
    except OSError:
        return os.open(os.devnull, os.O_WRONLY), False


def _flush(*streams: TextIO) -> None:
    for stream in streams:
        with suppress(OSError, ValueError):
            stream.flush()
