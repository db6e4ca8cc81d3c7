"""The report's section about the search."""

from __future__ import annotations

from collections.abc import Sequence

from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.figures import accuracy_text
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.plan import plan_path
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.charts import Axis, Series
from kaggle_digits.shell.report.parts import Chart, Facts, Part, Section, Subject, Table, Text
from tuning.importance import importances
from tuning.plotting import coordinates, figure
from tuning.showing import metric_of, ranking_of, ranking_text, table
from tuning.study import COMPLETED, StudyOnDisk, Trial

_FEWEST = 2


def search(subject: Subject) -> Section:
    """Return what the study found.

    Raises:
        ArtefactError: The study is broken.
    """
    study = StudyOnDisk(subject.workspace)
    if not study.is_there():
        missing = subject.missing("No search has been made here.", "run")
        # Members may have been trained by configurations of one's own.
        is_new = not plan_path(subject.workspace).exists()
        return Section([missing], next_words="run" if is_new else None)
    settings, trials = study.settings(), study.trials()
    done = [trial for trial in trials if trial.state == COMPLETED]
    seconds = max(study.spent(), sum(trial.seconds for trial in trials))
    call = study.call()

    def more(trials: int) -> str:
        return f"{call or 'run'} --trials {trials}"  # another call could be another study's

    facts = {
        "search": study.heading(),
        "trials": f"{len(trials)}, of which {len(done)} completed",
        "time": duration(seconds),
    }
    best = min(done, key=lambda trial: trial.loss or 0.0, default=None)
    if best is not None:
        facts["best trial"] = (
            f"{best.number}: {ranking_text(best, noise=True)}, accuracy "
            + accuracy_text(best.accuracy or 0.0, best.accuracy_se, best.rows)
        )
    parts: list[Part] = [Facts(facts)]
    if len(done) < _FEWEST:
        parts.append(subject.missing("Charts need two completed trials or more.", more(6)))
    else:
        parts += [_over_time(done), *_importances(subject, trials, more(20)), _parallel(trials)]
    header, *rows = table(trials)
    parts.append(Table("Trials", header, rows))
    return Section(
        parts,
        top={"search": f"{counted(len(done), 'trial')} in {duration(seconds)}"},
        provenance={"seed of the search": str(settings.get("seed"))},
        repeat=[] if call is None else [f"{call} --trials {len(trials)}"],
    )


def _over_time(done: Sequence[Trial]) -> Chart:
    ranked = [ranking_of(trial) for trial in done]
    metric = metric_of(done)
    points = [
        (float(trial.number), value) for trial, (_, value, _) in zip(done, ranked, strict=True)
    ]
    better = min if metric is None else max
    best, leading = [], points[0][1]
    for number, value in points:
        leading = better(leading, value)
        best.append((number, leading))
    ends = [_interval(*one) for one in ranked]
    return charts.plot(
        "Scores over time",
        Axis("trial", is_whole=True),
        Axis(metric or "log-loss", is_log=metric is None),
        [Series("trial", points, ends), Series("best so far", best, is_line=True)],
        note="Each dot is a trial with its 95 % interval; "
        f"{'lower' if metric is None else 'higher'} is better.",
    )


def _interval(name: str, value: float, se: float) -> tuple[float, float]:
    by = 1.96 * se
    if name == "log-loss":
        return max(value - by, value / 10), value + by
    return max(value - by, -1.0 if name == "qwk" else 0.0), min(value + by, 1.0)


def _importances(subject: Subject, trials: Sequence[Trial], more: str) -> list[Part]:
    found = importances(trials)
    if found is None:
        return [subject.missing("Which values matter needs eight completed trials.", more)]
    weak = " With so few trials this says little." if found.is_weak else ""
    return [
        charts.bars(
            "What mattered in the search",
            "drop of R² when permuted",
            [name for name, _ in found.shares],
            [("", [share for _, share in found.shares])],
            note=f"Permutation importances of a forest fitted to {found.trials} trials "
            f"(out-of-bag R² {found.fit:.2f}).{weak}",
        )
    ]


def _parallel(trials: Sequence[Trial]) -> Part:
    if len(figure(trials).axes) < _FEWEST:
        return Text("All trials had the same values; there are no coordinates to draw.")
    return coordinates(trials)
