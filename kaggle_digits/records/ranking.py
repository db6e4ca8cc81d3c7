"""`best.json`: the ranked configurations a search leaves for the training of members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import read_json, write_json
from kaggle_digits.ground.stamps import versions
from kaggle_digits.ground.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Ranked:
    """A configuration and what its trial scored.

    Args:
        config: The configuration.
        trial: The number of its trial.
        log_loss: On rows its networks never saw, nats.
        accuracy: On the same rows.
        log_loss_se: Standard error of the log-loss; 0 where it is not known.
        accuracy_se: Standard error of the accuracy; 0 where it is not known.
        rows: How many rows; 0 where it is not known.
        folds: Folds of the race it was scored on again; 0 where it did not race.
    """

    config: TrainingConfig
    trial: int
    log_loss: float
    accuracy: float
    log_loss_se: float = 0.0
    accuracy_se: float = 0.0
    rows: int = 0
    folds: int = 0


def ranking_path(workspace: Workspace) -> Path:
    """Return where a workspace's `best.json` is."""
    return workspace.tuning / "best.json"


def write_ranking(path: Path, ranked: Sequence[Ranked], data_digest: str, seed: int) -> None:
    """Write `best.json`.

    Args:
        path: Where.
        ranked: Distinct configurations from best to worst.
        data_digest: The data they were scored on.
        seed: The search's seed.
    """
    write_json(
        path,
        {
            "data": data_digest,
            "seed": seed,
            "versions": versions(),
            "configurations": [
                {
                    "config": entry.config.to_json(),
                    "digest": entry.config.digest,
                    "trial": entry.trial,
                    "log_loss": entry.log_loss,
                    "accuracy": entry.accuracy,
                    "log_loss_se": entry.log_loss_se,
                    "accuracy_se": entry.accuracy_se,
                    "rows": entry.rows,
                    "folds": entry.folds,
                }
                for entry in ranked
            ],
        },
    )


def read_ranking(path: Path, data_digest: str | None) -> list[Ranked]:
    """Read `best.json`.

    Args:
        path: Where.
        data_digest: The data the configurations are to be trained on; None for any.

    Raises:
        ArtefactError: It is not there, broken, empty, or was made on other data.
    """
    if not path.exists():
        raise ArtefactError(
            f"{path} is not there: no search has ended yet.",
            mend="Call `kaggle-digits tune` first.",
        )
    stored = read_json(path)
    try:
        ranked = [
            Ranked(
                config=TrainingConfig.from_json(entry["config"]),
                trial=int(entry["trial"]),
                log_loss=float(entry["log_loss"]),
                accuracy=float(entry["accuracy"]),
                # Files of earlier versions have no errors.
                log_loss_se=float(entry.get("log_loss_se", 0.0)),
                accuracy_se=float(entry.get("accuracy_se", 0.0)),
                rows=int(entry.get("rows", 0)),
                folds=int(entry.get("folds", 0)),
            )
            for entry in stored["configurations"]
        ]
        made_on = stored["data"]
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise ArtefactError(
            f"{path} is no ranking of configurations: {error}.",
            mend="Call `kaggle-digits tune` again: it writes the ranking anew from the trials.",
        ) from error
    if data_digest is not None and made_on != data_digest:
        raise ArtefactError(
            f"{path} was made on other data (digest {made_on}, expected {data_digest}).",
            mend="Give the --data it was made on, or another --workspace and search there.",
        )
    if not ranked:
        raise ArtefactError(
            f"{path} holds no configuration: no trial was completed.",
            mend="Call `kaggle-digits tune` again, with more --trials.",
        )
    return ranked
