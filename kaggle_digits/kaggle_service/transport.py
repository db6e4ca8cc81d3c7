"""How calls to Kaggle are carried: patience, retries, and errors of one kind.

Kaggle's client has no time-out and retries nothing. Nothing here imports `kaggle`.

Environment variables, all in seconds:
    KAGGLE_DIGITS_TIMEOUT: How long one answer is waited for (60).
    KAGGLE_DIGITS_WAIT: The first wait before a repetition; all other waits scale with it (1).
"""

from __future__ import annotations

import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Self, TypeVar

from kaggle_digits.ground.errors import ConfigurationError, ServiceError

_T = TypeVar("_T")
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Args:
        timeout: Seconds until a call without a byte of answer is given up.
        wait: Seconds before the first repetition; it doubles from one to the next.
        tries: How often a read is tried in all.
        pause: Waits so many seconds.
    """

    timeout: float = 60.0
    wait: float = 1.0
    tries: int = 5
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls) -> Self:
        """Read the two variables of the module's head.

        Raises:
            ConfigurationError: One is not a number above 0.
        """
        return cls(
            timeout=_seconds("KAGGLE_DIGITS_TIMEOUT", 60.0),
            wait=_seconds("KAGGLE_DIGITS_WAIT", 1.0),
        )

    @property
    def connect(self) -> float:
        """Seconds until a connection must stand."""
        return min(10.0, self.timeout)

    @property
    def longest(self) -> float:
        """The longest single wait in seconds; a server that asks for more is not waited for."""
        return 120 * self.wait

    def before(self, attempt: int) -> float:
        """Return the seconds to wait before repetition `attempt` (from 1), with jitter."""
        doubled: float = self.wait * 2 ** (attempt - 1)
        return min(self.longest, doubled) * random.uniform(1.0, 1.5)


class CallError(ServiceError):
    """One call to Kaggle that failed.

    Args:
        message: What failed.
        mend: What the user can do.
        transient: Whether the same call may work a little later.
        acted: Whether the server may have done what was asked all the same.
        retry_after: Seconds the server asks to wait.
        status: The HTTP status it was answered with; None for another failure.
    """

    def __init__(
        self,
        message: str,
        *,
        mend: str | None = None,
        transient: bool = False,
        acted: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, mend=mend)
        self.transient = transient
        self.acted = acted
        self.retry_after = retry_after
        self.status = status


class CredentialsError(CallError):
    """Kaggle credentials are missing or refused."""

    def __init__(self, message: str, *, mend: str | None = None, status: int | None = None) -> None:
        super().__init__(
            message,
            mend=mend
            or "Make a token at https://www.kaggle.com/settings/api (Generate New Token), and\n"
            "  save it as ~/.kaggle/access_token or set KAGGLE_API_TOKEN; kaggle.json works, too.",
            status=status,
        )


def repeat_read(call: Callable[[], _T], patience: Patience) -> _T:
    """Make a call that changes nothing, again while it fails for reasons that pass.

    Raises:
        CallError: The last failure, or a wait that the server asks for and that is too long.
    """
    for attempt in range(1, patience.tries + 1):
        try:
            return call()
        except CallError as error:
            if not error.transient or attempt == patience.tries:
                raise
            pause = patience.before(attempt)
            if error.retry_after is not None:
                if error.retry_after > patience.longest:
                    raise CallError(
                        f"{error.message} It asks for a wait of {error.retry_after:.0f} s.",
                        mend="Call the command again after that time.",
                        status=error.status,
                    ) from None
                pause = max(pause, error.retry_after)
            patience.pause(pause)
    raise AssertionError("unreachable")


@contextmanager
def outages_bridged(say: Callable[[str], None], done: str) -> Iterator[None]:
    """Go on after a failure that passes, in a loop that waits and asks again.

    Args:
        say: Told of the failure.
        done: What was done before the waiting began, and how to go on: the mend of any other
            failure, since to call the command again would do it a second time.

    Raises:
        CallError: The failure does not pass by itself.
    """
    try:
        yield
    except CallError as error:
        if not error.transient:
            own = error.mend if isinstance(error, CredentialsError) else None
            error.mend = "\n  ".join(filter(None, (own, done)))
            raise
        say(f"{error.message} Asking again.")


def clean(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return untrusted text as one short printable line without secrets or signed addresses."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


@contextmanager
def silence() -> Iterator[None]:
    """Drop what the client prints: it may show addresses and headers."""
    with redirect_stdout(_Sink()), redirect_stderr(_Sink()):
        yield


class _Sink(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigurationError(f"{name} was given as {text!r}; expected seconds above 0.")
    return value
