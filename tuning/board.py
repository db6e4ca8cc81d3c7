"""TensorBoard logs of a study: each trial's hyperparameters, its score, its training loss by epoch.

Written from the study's records by TensorBoard's own event writer and hyperparameter plugin; a
trial's folder holds one file and is there whole or not at all.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from kaggle_digits.ground.files import whole_folder
from tuning.study import COMPLETED, Trial

_LOG_LOSS = "held-out/log_loss"
_ACCURACY = "held-out/accuracy"
_METRIC = "held-out/metric"
_TRAINING = "training/loss"


def log_trial(trial: Trial, folder: Path) -> None:
    """Write the log of a trial that has ended, unless it is there.

    Args:
        trial: The trial; one that is not completed has no log.
        folder: Where the logs of a study are; `tensorboard --logdir` is given this.

    Raises:
        ArtefactError: The place cannot be written.
    """
    own = folder / f"trial-{trial.number:04d}"
    if trial.state != COMPLETED or own.exists():
        return
    from tensorboard.plugins.hparams import api  # type: ignore[import-untyped]
    from tensorboard.summary.writer.event_file_writer import (  # type: ignore[import-untyped]
        EventFileWriter,
    )

    values = {**asdict(trial.config), "epochs": trial.epochs}
    with whole_folder(own) as place:
        writer = EventFileWriter(str(place))
        metrics = [
            api.Metric(_LOG_LOSS, display_name="log-loss"),
            api.Metric(_ACCURACY, display_name="accuracy"),
        ]
        if trial.metric is not None:
            metrics.insert(0, api.Metric(_METRIC, display_name=trial.metric.name))
        writer.add_event(_event(api.hparams_config_pb([api.HParam(n) for n in values], metrics)))
        writer.add_event(_event(api.hparams_pb(values, trial_id=f"{trial.number:04d}")))
        for epoch, loss in enumerate(trial.history):
            writer.add_event(_event(_scalar(_TRAINING, loss), epoch))
        writer.add_event(_event(_scalar(_LOG_LOSS, trial.log_loss or 0.0)))
        writer.add_event(_event(_scalar(_ACCURACY, trial.accuracy or 0.0)))
        if trial.metric is not None:
            writer.add_event(_event(_scalar(_METRIC, trial.metric.value)))
        writer.close()


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _event(summary: Any, step: int = 0) -> Any:
    import time

    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

    return Event(wall_time=time.time(), step=step, summary=summary)
