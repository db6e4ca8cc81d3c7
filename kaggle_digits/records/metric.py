"""What a workspace's competition is scored by: said once, kept, and agreed on by every command.

The one rule: what was said first stands, in `metric.json`. A command that is told nothing goes on
by it, and so does one that is told the same; one that is told another is refused, since scores,
forecasts and rankings of two metrics must not be compared. Where a command starts anew (`--fresh`),
what it is told takes the place of what was kept. In a workspace that was told nothing, trials are
ranked by log-loss, and submissions are scored by accuracy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.names import METRICS, OF_PROBABILITIES
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


def metric_path(workspace: Workspace) -> Path:
    """Return where a workspace keeps its metric."""
    return workspace.root / "metric.json"


def kept_metric(workspace: Workspace) -> str | None:
    """Return the metric that a workspace's competition is scored by; None where nobody said.

    Raises:
        ArtefactError: What it keeps is broken.
    """
    path = metric_path(workspace)
    if not path.is_file():
        return None
    return read_artefact(
        path,
        _build,
        "what a competition is scored by",
        "Delete it; `tune`, `blend` and `run` take --metric again.",
    )


def settle_metric(
    workspace: Workspace, asked: str | None, dataset: Dataset, *, fresh: bool = False
) -> str | None:
    """Return what the competition is scored by, and keep it if it is said for the first time.

    Args:
        workspace: Whose.
        asked: What the user says now; None for nothing.
        dataset: The data, which must allow it.
        fresh: Whether what is asked for may take the place of what was kept; the caller then calls
            `keep_metric` once it has a result in the place of the former.

    Raises:
        ConfigurationError: It is unknown, says nothing of such classes, or is another one than was
            said before.
        ArtefactError: What the workspace keeps is broken, or it cannot be written.
    """
    from kaggle_digits.core.metrics import require_possible

    if asked is not None:
        require_possible(asked, dataset.competition.classes)
    kept = kept_metric(workspace)
    if asked is None or asked == kept:
        return kept
    path = metric_path(workspace)
    if kept is not None and not fresh:
        raise ConfigurationError(
            f"--metric was given as {asked}, but {workspace.root} is scored by {kept} so far.",
            mend=f"Leave --metric out to go on by {kept}, or give another --workspace. Was {kept} "
            f"wrong, `tune` and `run` start anew by {asked} with --fresh, or delete {path}.",
        )
    if kept is None:
        keep_metric(workspace, asked)
    return asked


def keep_metric(workspace: Workspace, metric: str | None) -> None:
    """Keep what a workspace is scored by, in the place of what it was; nothing of None.

    Raises:
        ArtefactError: It cannot be written.
    """
    if metric is not None and metric != kept_metric(workspace):
        write_json(metric_path(workspace), {"metric": metric})


def adopt_metric(workspace: Workspace, metric: str | None) -> None:
    """Keep what came from elsewhere was made for, where nothing was said here yet.

    Raises:
        ArtefactError: It cannot be written, or what the workspace keeps is broken.
    """
    if metric in METRICS and kept_metric(workspace) is None:
        keep_metric(workspace, metric)


def scored(dataset: Dataset, metric: str | None) -> Dataset:
    """Return the data with a submission's form that suits what it is scored by.

    Where auc or log-loss judges two classes, a probability is submitted, also where the sample
    submission has the same whole number in every line, which may stand for a label as well.

    Args:
        dataset: The data.
        metric: What the competition is scored by; None where nobody said.
    """
    competition = dataset.competition
    if metric not in OF_PROBABILITIES or competition.form.values or len(competition.classes) != 2:
        return dataset
    form = competition.form
    values = ((form.label_column, competition.classes[1]),)
    return replace(dataset, competition=replace(competition, form=replace(form, values=values)))


def _build(values: object) -> str:
    name = Fields(values).text("metric")
    if name not in METRICS:
        raise FormError(f"metric is {name!r}; expected one of {', '.join(METRICS)}")
    return name
