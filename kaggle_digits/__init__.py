"""Kaggle Digits: search, train, blend and submit for image-classification competitions.

    import kaggle_digits as kd

    competition = kd.load("digit-recognizer.zip")
    ran = kd.run(competition)
    ran.oof_accuracy, ran.oof_accuracy_se, ran.submission

Layers, each of which imports only those below it: `front` (this API); the packages `tuning`,
`ensembles`, `submissions` and `kernel`, which never import one another; `shell` (command line);
`kaggle_service` (Kaggle's client); `records` (files that one of the four packages writes and
another reads); `engine` (who runs tasks); `core` (data, networks, training); `ground` (values,
files, errors; standard library only).
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ensembles.results import Blended as Blended
    from ensembles.results import CrossValidated as CrossValidated
    from ensembles.results import Distilled as Distilled
    from ensembles.results import Members as Members
    from ensembles.results import Predicted as Predicted
    from kaggle_digits.front.estimator import DigitsClassifier as DigitsClassifier
    from kaggle_digits.front.kaggle_loop import Kernel as Kernel
    from kaggle_digits.front.kaggle_loop import KernelWeights as KernelWeights
    from kaggle_digits.front.kaggle_loop import Leaderboard as Leaderboard
    from kaggle_digits.front.kaggle_loop import Submission as Submission
    from kaggle_digits.front.kaggle_loop import check as check
    from kaggle_digits.front.kaggle_loop import kernel_build as kernel_build
    from kaggle_digits.front.kaggle_loop import kernel_weights as kernel_weights
    from kaggle_digits.front.kaggle_loop import leaderboard as leaderboard
    from kaggle_digits.front.kaggle_loop import submit as submit
    from kaggle_digits.front.loading import Loaded as Loaded
    from kaggle_digits.front.loading import load as load
    from kaggle_digits.front.steps import blend as blend
    from kaggle_digits.front.steps import cross_validate as cross_validate
    from kaggle_digits.front.steps import distil as distil
    from kaggle_digits.front.steps import members as members
    from kaggle_digits.front.steps import predict as predict
    from kaggle_digits.front.steps import report as report
    from kaggle_digits.front.steps import run as run
    from kaggle_digits.front.steps import study as study
    from kaggle_digits.front.steps import tune as tune
    from kaggle_digits.ground.config import TrainingConfig as TrainingConfig
    from kaggle_digits.ground.errors import ArtefactError as ArtefactError
    from kaggle_digits.ground.errors import ConfigurationError as ConfigurationError
    from kaggle_digits.ground.errors import DataError as DataError
    from kaggle_digits.ground.errors import InUseError as InUseError
    from kaggle_digits.ground.errors import KaggleDigitsError as KaggleDigitsError
    from kaggle_digits.ground.errors import ReadOnlyError as ReadOnlyError
    from kaggle_digits.ground.errors import ServiceError as ServiceError
    from kaggle_digits.ground.errors import TrainingError as TrainingError
    from kaggle_digits.ground.events import Event as Event
    from kaggle_digits.ground.progress import Progress as Progress
    from kaggle_digits.shell.chain import Ran as Ran
    from kaggle_digits.shell.report.making import Reported as Reported
    from submissions.api import Checked as Checked
    from tuning.results import Study as Study
    from tuning.results import Tuned as Tuned

_PLACES = {
    "ensembles.results": ("Blended", "CrossValidated", "Distilled", "Members", "Predicted"),
    "kaggle_digits.front.estimator": ("DigitsClassifier",),
    "kaggle_digits.front.kaggle_loop": (
        "Kernel", "KernelWeights", "Leaderboard", "Submission", "check", "kernel_build",
        "kernel_weights", "leaderboard", "submit",
    ),
    "kaggle_digits.front.loading": ("Loaded", "load"),
    "kaggle_digits.front.steps": (
        "blend", "cross_validate", "distil", "members", "predict", "report", "run", "study", "tune",
    ),
    "kaggle_digits.ground.config": ("TrainingConfig",),
    "kaggle_digits.ground.errors": (
        "ArtefactError", "ConfigurationError", "DataError", "InUseError", "KaggleDigitsError",
        "ReadOnlyError", "ServiceError", "TrainingError",
    ),
    "kaggle_digits.ground.events": ("Event",),
    "kaggle_digits.ground.progress": ("Progress",),
    "kaggle_digits.shell.chain": ("Ran",),
    "kaggle_digits.shell.report.making": ("Reported",),
    "submissions.api": ("Checked",),
    "tuning.results": ("Study", "Tuned"),
}  # fmt: skip
"""Where each public name lives; its module is imported when the name is first used."""

_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # noqa: F822  made by __getattr__
    "ArtefactError", "Blended", "Checked", "ConfigurationError", "CrossValidated", "DataError",
    "DigitsClassifier", "Distilled", "Event", "InUseError", "KaggleDigitsError", "Kernel",
    "KernelWeights", "Leaderboard", "Loaded", "Members", "Predicted", "Progress", "Ran",
    "ReadOnlyError", "Reported", "ServiceError", "Study", "Submission", "TrainingConfig",
    "TrainingError", "Tuned", "blend", "check", "cross_validate", "distil", "kernel_build",
    "kernel_weights", "leaderboard", "load", "members", "predict", "report", "run", "study",
    "submit", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kaggle_digits' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
