"""The blend: a pool joined by a method, out-of-fold to be judged, on the test rows to submit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.by_metric import Judge
from ensembles.evaluation import Evaluation, choose, choose_by, evaluate
from ensembles.methods import METHODS
from ensembles.pool import Pool
from ensembles.rules import CalibratedRule, Rule, told_of
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.metrics import fit_thresholds, judged, named_by
from kaggle_digits.core.predictions import Score, score
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.files import whole_folder, write_bytes, write_json
from kaggle_digits.ground.names import AUTO, require_known
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.stamps import versions
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.blend import blend_folder

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Predictions joined into one.

    Args:
        method: How they were joined.
        rule: What was fitted, on all rows.
        oof: Out-of-fold softmax: each row joined by a rule fitted without its fold, from members
            that never saw it, float64 [rows, classes].
        test: The rule applied to the test rows, float64 [test rows, classes].
        honest: Of `oof`.
        fitted: Of the rule on the rows it was fitted on.
        metric: What the competition is scored by, of `oof`; None where nothing was said.
        thresholds: Where the expected class is cut into the classes that are named; None where the
            most probable ones are.
    """

    method: str
    rule: Rule
    oof: np.ndarray
    test: np.ndarray
    honest: Score
    fitted: Score
    metric: Figure | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def answers(self) -> np.ndarray:
        """The class named for each test row, int64 [test rows]."""
        return named_by(self.thresholds, self.test)

    @property
    def temperature(self) -> float | None:
        """The rule's temperature; None where it has none."""
        return self.rule.temperature if isinstance(self.rule, CalibratedRule) else None


def evaluate_methods(
    names: Sequence[str], pool: Pool, labels: np.ndarray, folds: Folds, progress: Progress
) -> list[Evaluation]:
    """Judge methods honestly.

    Args:
        names: Of the methods; `METHODS` has them.
        pool: What is joined.
        labels: int64 [rows], class indices of the pool's rows.
        folds: Those that weights are fitted and judged on in turn; members may be of others.
        progress: Told of every method.

    Returns:
        In the order of `METHODS`.

    Raises:
        ConfigurationError: A name is unknown.
    """
    for name in names:
        require_known("method", name, METHODS)
    wanted = [method for name, method in METHODS.items() if name in names]
    evaluations = []
    fold_of_row = folds.of_row[pool.rows]
    with progress.task("blend", len(wanted), "methods") as task:
        for method in wanted:
            evaluations.append(evaluate(method, pool.oof, labels, fold_of_row))
            task.advance(note=method.name)
    return evaluations


def chosen_of(
    method: str,
    evaluations: Sequence[Evaluation],
    labels: np.ndarray,
    judge: Judge | None = None,
    groups: np.ndarray | None = None,
) -> Evaluation:
    """Return the evaluation of a method.

    Args:
        method: A method's name, or `AUTO` for the simplest that is not worse than the best beyond
            noise.
        evaluations: Of the methods to choose from, the simplest first; of `method` at least.
        labels: int64 [rows], class indices.
        judge: What `AUTO` chooses by; None for log-loss and accuracy.
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    if method != AUTO:
        return next(entry for entry in evaluations if entry.method.name == method)
    return choose(evaluations, labels, groups) if judge is None else choose_by(judge, evaluations)


def make_blend(chosen: Evaluation, pool: Pool, *, temperature: bool = False) -> Blend:
    """Join a pool.

    Args:
        chosen: The method, judged on the pool.
        pool: What is joined.
        temperature: Calibrate it.
    """
    judged = chosen.judged(temperature=temperature)
    return Blend(
        method=chosen.method.name,
        rule=judged.rule,
        oof=judged.oof,
        test=judged.rule.apply(pool.test),
        honest=judged.honest,
        fitted=judged.fitted,
    )


def scored_by(
    metric: str,
    blend: Blend,
    labels: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
) -> Blend:
    """Return a blend with its out-of-fold figure by a metric, and the thresholds that qwk wants.

    Thresholds are fitted on all folds but one, and the figure is that of the one, for each in turn;
    those for the test rows are fitted on all rows.

    Args:
        metric: One of `names.METRICS`.
        blend: What is judged.
        labels: int64 [rows], of its rows.
        folds: int64 [rows], each row's fold.
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    thresholds = fit_thresholds(blend.oof, labels) if metric == "qwk" else None
    found = judged(metric, blend.oof, labels, folds, groups)
    return replace(blend, metric=found, thresholds=thresholds)


def account(blend: Blend, pool: Pool, dataset: Dataset, folds: Folds) -> dict[str, Any]:
    """Return what a blend was made from and what is known of it, as JSON can hold it."""
    by_metric: dict[str, Any] = {} if blend.metric is None else {"metric": blend.metric.to_json()}
    if blend.thresholds is not None:
        by_metric["thresholds"] = list(blend.thresholds)
    return by_metric | {
        "method": blend.method,
        "members": list(pool.members),
        "sets": {name: list(members) for name, members in pool.sets.items()},
        "temperature": blend.temperature,
        **told_of(blend.rule, pool.names),
        **figures("oof", blend.honest),
        **figures("fitted", blend.fitted),
        "rows": blend.honest.rows,
        "extras": [
            {
                "name": extra.name,
                "oof_sha256": extra.oof_sha256,
                "test_sha256": extra.test_sha256,
            }
            for extra in pool.extras
        ],
        "data_digest": dataset.digest,
        **on_given_labels(blend, pool.rows, dataset, folds),
        "folds": folds.count,
        "set_folds": list(pool.folds),
        "seed": folds.seed,
        "versions": versions(),
    }


def on_given_labels(
    blend: Blend, rows: np.ndarray, dataset: Dataset, folds: Folds
) -> dict[str, Any]:
    """Return what was corrected in the labels, and the figures on those of train.csv.

    Args:
        blend: Judged on the corrected labels.
        rows: The places in train.csv of its out-of-fold rows.
        dataset: The data.
        folds: Those that thresholds are fitted and judged on in turn.

    Returns:
        Nothing where there are no corrections.
    """
    if dataset.fixes is None:
        return {}
    labels = dataset.given_labels[rows]
    groups = dataset.groups_of(rows)
    found = score(blend.oof, labels, groups)
    told = dataset.fixes.account() | figures("oof", found) | {"rows": found.rows}
    if blend.metric is not None:
        by_metric = judged(blend.metric.name, blend.oof, labels, folds.of_row[rows], groups)
        told["metric"] = by_metric.to_json()
    return {"labels": told}


def figures(prefix: str, score: Score) -> dict[str, float]:
    """Return a score's figures and their standard errors under names with a prefix."""
    return {f"{prefix}_{name}": value for name, value in asdict(score).items() if name != "rows"}


def write_predictions(
    blend: Blend,
    about: Mapping[str, Any],
    rows: np.ndarray,
    dataset: Dataset,
    workspace: Workspace,
) -> Path:
    """Write a blend's probabilities, in the form that `--extra` reads.

    Args:
        blend: Whose.
        rows: The places in train.csv that its out-of-fold rows have, int64; the others, which
            nobody judges, get the same probability for every class.
        about: Its account.
        dataset: Gives the classes.
        workspace: `ensembles/blend/` takes oof.npy and test.npy (float32 [rows, classes]) and
            blend.json.

    Returns:
        The folder.
    """
    classes = blend.oof.shape[1]
    oof = np.full((len(dataset.labels), classes), 1 / classes, dtype=np.float32)
    oof[rows] = blend.oof
    path = blend_folder(workspace)
    with whole_folder(path) as folder:
        np.save(folder / "oof.npy", oof)
        np.save(folder / "test.npy", blend.test.astype(np.float32))
        write_json(folder / "blend.json", {**about, "classes": list(dataset.competition.classes)})
    return path


def submission_path(workspace: Workspace) -> Path:
    """Return the workspace's own place for the submission."""
    return workspace.submissions / "submission.csv"


def write_submission(
    blend: Blend,
    about: Mapping[str, Any],
    dataset: Dataset,
    workspace: Workspace,
    copy_to: Path | None,
) -> Path:
    """Write the submission in the competition's form, and beside it what it was made from.

    Args:
        blend: What to submit.
        about: Its account.
        dataset: Gives ids, classes and form.
        workspace: Its `submissions` folder takes `submission.csv` and `submission.json`.
        copy_to: A second place for the file; None for none.

    Returns:
        The path to tell the user: `copy_to` if given.
    """
    competition = dataset.competition
    fields = competition.fields(blend.test.tolist(), blend.answers.tolist())
    content = competition.form.render_fields(dataset.test_ids, fields)
    path = submission_path(workspace)
    write_bytes(path, content)
    write_json(
        path.with_suffix(".json"),
        {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), **about},
    )
    if copy_to is not None:
        write_bytes(copy_to, content)
    return copy_to or path
