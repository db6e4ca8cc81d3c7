"""Calls as they are typed at a terminal: kept with what they made, so that it can be made again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def typed(command: str, options: Mapping[str, object]) -> str:
    """Return a call as it is typed, without --data and --workspace.

    Args:
        command: The command.
        options: By their names in Python. What is None, False or empty is left out, True stands
            alone, and each of a sequence has the option before it.
    """
    words = [command]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, list | tuple):
            words += [word for one in value for word in (option, str(one))]
        elif value is not None and value is not False:
            words += [option, str(value)]
    return shlex.join(words)
