"""Experiment tracking by MLflow: each step a run, each of its trials or members a run within it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from importlib import util
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.errors import ConfigurationError, first_line
from kaggle_digits.ground.events import Event, Track
from kaggle_digits.ground.files import make_folder
from kaggle_digits.ground.names import TRACKERS, require_known
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_URI = "MLFLOW_TRACKING_URI"
_EXPERIMENT = "kaggle-digits"
_EVENT = "kaggle_digits.event"
_PARENT = "mlflow.parentRunId"
_NEEDED = ("mlflow", "sqlalchemy", "alembic")


def open_tracker(name: str, workspace: Workspace, say: Callable[[str], None]) -> Track:
    """Return what takes events for a tracker.

    Args:
        name: One of `names.TRACKERS`.
        workspace: Its folder takes `mlflow.db`, an SQLite store, and `mlflow/`, the artefacts;
            unless MLFLOW_TRACKING_URI names another store.
        say: Told where a store does not take an event; the step itself is done by then.

    Raises:
        ConfigurationError: The name is unknown, MLflow is not installed, or its store cannot be
            used.
    """
    require_known("track", name, TRACKERS)
    missing = [package for package in _NEEDED if util.find_spec(package) is None]
    if missing:
        raise ConfigurationError(
            f"track was given as {name!r}, and {', '.join(missing)} is not installed.",
            mend="Call pip install 'kaggle-digits[mlflow]'.",
        )
    # Neither counts its users unless they ask for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # Of the store itself, of its database, of the disk.
    failing = (MlflowException, SQLAlchemyError, OSError)
    own = workspace.root.absolute()
    uri = os.environ.get(_URI) or f"sqlite:///{own / 'mlflow.db'}"
    if _URI not in os.environ:
        make_folder(own)
    try:
        client, experiment = _open(uri, None if _URI in os.environ else own / "mlflow")
    except failing as error:
        raise ConfigurationError(
            f"track was given as {name!r}, and its store {uri} cannot be used: {first_line(error)}",
            mend=f"Give another --workspace, or another {_URI}.",
        ) from error

    def track(event: Event) -> None:
        try:
            _log(client, experiment, event, {})
        except failing as error:
            say(f"track: {event.name} is done, but {uri} did not take it: {first_line(error)}")

    return track


def _open(uri: str, artefacts: Any) -> tuple[MlflowClient, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is not None:
        return client, str(found.experiment_id)
    place = None if artefacts is None else artefacts.as_uri()
    return client, str(client.create_experiment(_EXPERIMENT, artifact_location=place))


def _log(client: MlflowClient, experiment: str, event: Event, tags: dict[str, str]) -> None:
    """Log an event as a run, unless that very event is there already, and its parts within it."""
    from mlflow.entities import Metric, Param

    told = digest(asdict(event) | {"artefacts": sorted(event.artefacts)}) if not tags else ""
    if told and client.search_runs([experiment], f"tags.`{_EVENT}` = '{told}'", max_results=1):
        return
    run = client.create_run(experiment, run_name=event.name, tags={**tags, "step": event.step})
    number = run.info.run_id
    client.log_batch(
        number,
        metrics=[
            Metric(name, value, run.info.start_time, 0) for name, value in event.scores.items()
        ],
        params=[Param(name, str(value)) for name, value in event.parameters.items()],
    )
    for path in event.artefacts.values():
        if path.is_dir():
            client.log_artifacts(number, str(path), path.name)
        else:
            client.log_artifact(number, str(path))
    for part in event.parts:
        _log(client, experiment, part, {_PARENT: number})
    if told:
        # Last: a run that was cut off is logged again.
        client.set_tag(number, _EVENT, told)
    client.set_terminated(number)
