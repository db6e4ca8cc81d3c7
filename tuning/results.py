"""What a search, or a look at one, gives: values that show themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.events import Event, known
from kaggle_digits.ground.figures import FIGURES, accuracy_text
from kaggle_digits.records.ranking import Ranked
from kaggle_digits.shell.display import Rows, Shown

if TYPE_CHECKING:
    import pandas as pd

    from tuning.importance import Importances
    from tuning.study import Trial

_SHOWN = 5
_HEADER = ("place", "trial", "log-loss", "accuracy", "folds", "values")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tuned(Shown):
    """What a search has come to.

    Args:
        trials: All trials that have ended, in order, those of earlier calls too.
        best: The distinct configurations of `best.json`, in the order in which they are trained: by
            rank, or with `--diverse` those first whose average is the best.
        rejected: Configurations that were drawn and not tried: too dear, or seen before.
        raced: How many of the best come from the race.
        strategy: Which oracle proposed.
        path: `best.json`.
        written: What was written besides: name and path.
        seconds: Time the study has taken, over all calls.
    """

    trials: tuple[Trial, ...]
    best: tuple[Ranked, ...]
    rejected: int
    raced: int
    strategy: str
    path: Path
    written: Mapping[str, Path]
    seconds: float

    @property
    def completed(self) -> int:
        """Trials that have a score."""
        return sum(trial.log_loss is not None for trial in self.trials)

    @property
    def leader(self) -> Ranked:
        """The best one alone, by rank; with `--diverse` it need not stand first."""
        return min(self.best, key=lambda one: (-one.folds, one.loss, -one.accuracy, one.trial))

    @property
    def frame(self) -> pd.DataFrame:
        """The configurations of `best.json` as a table, a row each, in its order."""
        return _frame(self.best)

    def facts(self) -> Mapping[str, str]:
        """Return trials, the best one's figures, and the time."""
        from tuning.showing import ranking_text

        best = self.leader
        flattered = (
            f"on the race's {best.rows} rows" if best.folds
            else "on its held-out rows (the best of several: flattered)"
        )  # fmt: skip
        return {
            "trials": f"{self.completed} completed of {len(self.trials)}; "
            f"{self.rejected} configurations rejected (too dear, or tried before)",
            "best": f"{ranking_text(best, noise=True)}, accuracy "
            f"{accuracy_text(best.accuracy, best.accuracy_se, best.rows)} {flattered}",
            "searched for": duration(self.seconds),
        }

    def event(self, preset: str, seed: int) -> Event:
        """Return what trackers are told: the best one's figures, and each trial's.

        Args:
            preset: What was searched by.
            seed: Likewise.
        """
        best = self.leader
        return Event(
            step="tune",
            name="tune",
            parameters={"preset": preset, "seed": seed, "strategy": self.strategy,
                        "trials": len(self.trials)},
            scores={"completed": self.completed, **_scores(best)},
            artefacts={"configurations": self.path, **self.written},
            parts=tuple(
                Event(
                    step="trial",
                    name=trial.name,
                    parameters=trial.config.to_json()
                    | {"epochs": trial.epochs, "state": trial.state},
                    scores=_scores(trial) | {"seconds": trial.seconds},
                )
                for trial in self.trials
            ),
        )  # fmt: skip

    def table(self) -> Rows:
        """Return the best few."""
        from tuning.showing import metric_of

        metric = metric_of(self.best)
        header = _HEADER if metric is None else (*_HEADER[:2], metric, *_HEADER[2:])
        return [header, *(_row(place, one) for place, one in enumerate(self.best[:_SHOWN], 1))]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Study(Shown):
    """A study as it is, whether a search is at work on it or not.

    Args:
        settings: What decides its trials, the data included.
        heading: Its settings in one line.
        trials: All trials, in order, whatever their state.
        best: The best trial; None before one is completed.
        importances: Which values mattered; None where the trials are too few to tell.
        written: What was written: name and path.
    """

    settings: Mapping[str, Any]
    heading: str
    trials: tuple[Trial, ...]
    best: Ranked | None
    importances: Importances | None
    written: Mapping[str, Path]

    def facts(self) -> Mapping[str, str]:
        """Return the settings, the best trial, and how far importances can be relied on."""
        from tuning.showing import ranking_text, values

        facts = {"study": self.heading}
        if self.best is not None:
            facts["best trial"] = (
                f"{self.best.trial}: {ranking_text(self.best, noise=True)}, "
                f"{values(self.best.config)}"
            )
        metric = None if self.best is None else self.best.metric
        ranked = "log-loss" if metric is None else f"1 - {metric.name}"
        found = self.importances
        if found is not None:
            facts["importances"] = (
                f"drop of the out-of-bag R² of a random forest on log({ranked}) when a value "
                f"is permuted; R² {found.fit:.2f} on {found.trials} trials"
                + ("; too little to rely on" if found.is_weak else "")
            )
        return facts

    def table(self) -> Rows:
        """Return the trials."""
        from tuning.showing import table

        return table(self.trials)


def _scores(judged: Ranked | Trial) -> dict[str, float]:
    found = known({name: getattr(judged, name) for name in FIGURES})
    if judged.metric is None:
        return found
    name = judged.metric.name
    return found | {name: judged.metric.value, f"{name}_se": judged.metric.se}


def _row(place: int, entry: Ranked) -> tuple[str, ...]:
    from tuning.showing import values

    return (
        str(place),
        str(entry.trial),
        *([] if entry.metric is None else [f"{entry.metric.value:.4f} ± {entry.metric.se:.4f}"]),
        f"{entry.log_loss:.4f} ± {entry.log_loss_se:.4f}",
        accuracy_text(entry.accuracy, entry.accuracy_se, entry.rows),
        str(entry.folds or "-"),
        values(entry.config),
    )


def _frame(best: tuple[Ranked, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "trial": one.trial,
                **({} if one.metric is None else {one.metric.name: one.metric.value}),
                "log_loss": one.log_loss,
                "log_loss_se": one.log_loss_se,
                "accuracy": one.accuracy,
                "accuracy_se": one.accuracy_se,
                "rows": one.rows,
                **one.config.to_json(),
            }
            for one in best
        ]
    )
