"""`best.json`: the ranked configurations a search leaves for the training of members."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.files import write_json
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
        metric: What the search ranked by, where that is not log-loss.
    """

    config: TrainingConfig
    trial: int
    log_loss: float
    accuracy: float
    log_loss_se: float = 0.0
    accuracy_se: float = 0.0
    rows: int = 0
    folds: int = 0
    metric: Figure | None = None

    @property
    def loss(self) -> float:
        """What it is ranked by, less being better: what the metric lacks of 1, else log-loss."""
        return self.log_loss if self.metric is None else self.metric.loss

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        metric = {} if self.metric is None else {"metric": self.metric.to_json()}
        fields = dataclasses.asdict(self)
        del fields["metric"]
        return fields | {"config": self.config.to_json()} | metric


def ranking_path(workspace: Workspace) -> Path:
    """Return where a workspace's `best.json` is."""
    return workspace.tuning / "best.json"


def write_ranking(path: Path, ranked: Sequence[Ranked], data_digest: str, seed: int) -> None:
    """Write `best.json`.

    Args:
        path: Where.
        ranked: Distinct configurations in the order in which they are to be trained.
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
                entry.to_json() | {"digest": entry.config.digest} for entry in ranked
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
    again = "Call `kaggle-digits tune` again: it writes the ranking anew from the trials."
    made_on, ranked = read_artefact(path, _build, "a ranking of configurations", again)
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


def _build(values: object) -> tuple[str, list[Ranked]]:
    fields = Fields(values)
    return fields.text("data"), [to_ranked(entry) for entry in fields.each("configurations")]


def to_ranked(entry: Fields) -> Ranked:
    """Make a ranked configuration of its form.

    Raises:
        FormError: It is none.
    """
    return Ranked(
        config=TrainingConfig.from_json(entry.mapping("config")),
        trial=entry.whole("trial"),
        log_loss=entry.number("log_loss"),
        accuracy=entry.number("accuracy"),
        # Files of earlier versions have no errors.
        log_loss_se=entry.number("log_loss_se", 0.0),
        accuracy_se=entry.number("accuracy_se", 0.0),
        rows=entry.whole("rows", 0),
        folds=entry.whole("folds", 0),
        metric=Figure.from_json(entry.within("metric")) if "metric" in entry else None,
    )
