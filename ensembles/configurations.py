"""Where the configurations of members come from: `best.json`, files of one's own, or the plan."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.ranking import read_ranking

_READERS = {".toml": tomllib.loads, ".json": json.loads}


def read_config(path: Path) -> TrainingConfig:
    """Read a configuration from a TOML or JSON file with fields of `TrainingConfig`.

    Args:
        path: Its name ends in .toml or .json. Fields left out take their defaults.

    Raises:
        ConfigurationError: The file is not there, is neither, or has an unknown name or a value
            that is out of its range.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(
            f"--config was given as {path}; expected a file whose name ends in .toml or .json."
        )
    try:
        values = reader(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"--config {path} cannot be read: {error.strerror or error}.",
            mend="Give the path of a TOML or JSON file.",
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"--config {path} is no {path.suffix[1:].upper()}: {error}."
        ) from error
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"--config {path} holds a {type(values).__name__}; expected names and values, such as "
            'family = "strided".'
        )
    try:
        return TrainingConfig.from_json(values)
    except ConfigurationError as error:
        raise ConfigurationError(f"--config {path}: {error.message}", mend=error.mend) from error


def choose(
    store: MemberStore,
    ranking: Path,
    data: str,
    *,
    given: Sequence[Path | TrainingConfig],
    top_k: int | None,
    usual: int,
    add: bool,
    folds: str | None = None,
    say: Callable[[str], None],
) -> list[TrainingConfig]:
    """Return the configurations that are asked for, each once, in the order of training.

    Args:
        store: Its plan gives them where seeds alone are added to it.
        ranking: Where `best.json` is.
        data: Digest of the data they are trained on.
        given: Configurations of one's own, or files of them; they come after those of `best.json`,
            which is read then only if `top_k` is given.
        top_k: How many of `best.json`; None for the usual number.
        usual: The preset's number.
        add: Whether members are added to the plan.
        folds: Digest of the plan's own folds; members of others came from elsewhere, and theirs are
            not configurations that were chosen here.
        say: Told where `best.json` holds fewer.

    Raises:
        ConfigurationError: A file is no configuration.
        ArtefactError: `best.json` or the plan is needed and not there, broken, or of other data.
    """
    found: list[TrainingConfig] = []
    if add and not given and top_k is None and store.has_plan():
        keys = store.read_plan()[1]
        found = [key.config for key in keys if folds in (None, key.folds)]
    elif top_k is not None or not given:
        ranked = read_ranking(ranking, data)
        wanted = top_k or usual
        if len(ranked) < wanted:
            say(f"cv-train: {wanted} configurations asked for, best.json holds {len(ranked)}")
        found = [entry.config for entry in ranked[:wanted]]
    own = [one if isinstance(one, TrainingConfig) else read_config(one) for one in given]
    return list(dict.fromkeys([*found, *own]))
