"""What `blend` shows: the blend; with --compare the methods, the members, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ensembles.blending import Blend
from ensembles.by_metric import Judge, Scored
from ensembles.diversity import Diversity, diversity, to_others
from ensembles.evaluation import Evaluation, PairedDifference, compare, row_results
from ensembles.pool import Pool
from kaggle_digits.ground.errors import shorten
from kaggle_digits.ground.figures import Figure, accuracy_text, corrections_text
from kaggle_digits.ground.names import RANKING
from kaggle_digits.ground.progress import counted

_METHOD_HEADER = (
    ("method", "OOF accuracy", "OOF log-loss"),
    ("with T", "T", "fitted", "fitted log-loss"),
    ("log-loss against mean", "s"),
)
"""With room between for the competition's metric, whose difference takes the place of images."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparison, ready to be shown.

    Args:
        rows: The table of methods, its header first.
        lines: The table of the pool's entries, and what all of them miss.
        values: All of it as JSON can hold it.
    """

    rows: list[list[str]]
    lines: list[str]
    values: dict[str, Any]


def compared(
    evaluations: Sequence[Evaluation],
    blend: Blend,
    pool: Pool,
    labels: np.ndarray,
    judge: Judge | None = None,
    groups: np.ndarray | None = None,
) -> Compared:
    """Compare methods with plain averaging, and each of the pool's entries with the others.

    Args:
        evaluations: Of all methods, `mean` first.
        blend: What was chosen.
        pool: What was joined.
        labels: int64 [rows], of the pool's rows.
        judge: By what the competition is scored by; None where accuracy and log-loss say it.
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    temperature = blend.temperature is not None
    differences = against_mean(evaluations, labels, groups, temperature=temperature)
    scored = by_metric(judge, evaluations, temperature=temperature)
    own = [] if judge is None else [judge(one).figure for one in pool.oof]
    found = diversity(pool.names, pool.oof, labels, groups)
    found = replace(found, missed_by_all=pool.rows[found.missed_by_all])
    return Compared(
        method_rows(evaluations, differences, blend.method, scored, temperature=temperature),
        member_lines(found, own),
        comparison_values(evaluations, differences, found, scored, own),
    )


def on_given_labels(about: Mapping[str, Any]) -> dict[str, str]:
    """Return a blend's figures on the labels of train.csv, where others were trained on.

    Args:
        about: The blend's account.
    """
    given = about.get("labels")
    if given is None:
        return {}
    figure = accuracy_text(given["oof_accuracy"], given["oof_accuracy_se"], given["rows"], 5)
    return {
        "labels": corrections_text(given["corrected"], given["left_out"]),
        "on train.csv's labels": f"{figure}, log-loss {given['oof_log_loss']:.5f} ± "
        f"{given['oof_log_loss_se']:.5f}",
    }


def blend_facts(blend: Blend, pool: Pool) -> dict[str, str]:
    """Return what is known of a blend, as lines of name and value."""
    honest, fitted = blend.honest, blend.fitted
    facts = {
        "blend": f"{blend.method} of {len(pool.members)} members "
        f"({counted(len(pool.names), 'set')}{_unequal(pool)})",
        "OOF accuracy": accuracy_text(honest.accuracy, honest.accuracy_se, honest.rows, 5),
        "OOF log-loss": f"{honest.log_loss:.5f} ± {honest.log_loss_se:.5f}",
    }
    if blend.metric is not None and blend.metric.name in RANKING:
        facts[f"OOF {blend.metric.name}"] = str(blend.metric)
    if (fitted.accuracy, fitted.log_loss) != (honest.accuracy, honest.log_loss):
        facts["as fitted"] = (
            f"{fitted.accuracy:.5f}, log-loss {fitted.log_loss:.5f}: on the rows that chose the "
            "weights, which flatters"
        )
    if blend.temperature is not None:
        facts["temperature"] = f"{blend.temperature:.3f}"
    if blend.rule.weights is not None and len(set(blend.rule.weights)) > 1:
        shares = sorted(zip(blend.rule.weights, pool.names, strict=True), reverse=True)
        facts["weights"] = shorten([f"{name} {weight:.3f}" for weight, name in shares])
    return facts


def _unequal(pool: Pool) -> str:
    counts = sorted(set(pool.folds))
    if len(counts) < 2:
        return ""
    return f", of {', '.join(map(str, counts[:-1]))} and {counts[-1]} folds"


def against_mean(
    evaluations: Sequence[Evaluation],
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    temperature: bool,
) -> list[PairedDifference | None]:
    """Compare each method with the first, plain averaging; None for that one itself.

    Args:
        evaluations: `mean` first.
        labels: int64 [rows].
        groups: int64 [rows], what rows have in common that err together; None for nothing.
        temperature: Compare the calibrated forms, `mean` calibrated too.
    """
    results = [
        row_results(entry.judged(temperature=temperature).oof, labels) for entry in evaluations
    ]
    return [None, *(compare(one, results[0], groups) for one in results[1:])]


def by_metric(
    judge: Judge | None, evaluations: Sequence[Evaluation], *, temperature: bool
) -> list[Scored]:
    """Return methods judged by what the competition is scored by; nothing without a judge.

    Args:
        judge: By what, on which rows.
        evaluations: Of the methods.
        temperature: Judge the calibrated forms.
    """
    if judge is None:
        return []
    return [judge(entry.judged(temperature=temperature).oof) for entry in evaluations]


def method_rows(
    evaluations: Sequence[Evaluation],
    differences: Sequence[PairedDifference | None],
    chosen: str,
    scored: Sequence[Scored] = (),
    *,
    temperature: bool,
) -> list[list[str]]:
    """Return the table of methods, its header first; the chosen one is marked.

    Differences are in images and in log-loss; where the competition is scored by neither, in its
    metric and in log-loss.

    Args:
        evaluations: `mean` first.
        differences: Of each to `mean`.
        chosen: The blend's method.
        scored: Each by what the competition is scored by; nothing to leave it out.
        temperature: Whether the blend is calibrated.
    """
    first, middle, last = _METHOD_HEADER
    name = scored[0].figure.name if scored else ""
    own = [f"OOF {name}"] if scored else []
    rows = [[*first, *own, *middle, f"{name or 'images'} against mean", *last]]
    for place, (entry, difference) in enumerate(zip(evaluations, differences, strict=True)):
        judged = entry.judged(temperature=temperature)
        name = entry.method.name
        apart = images(difference)
        if scored:
            apart = str(scored[place].against(scored[0])) if place else "-"
        fitted = entry.method.is_fitted or temperature
        rows.append(
            [
                f"{name} *" if name == chosen else name,
                f"{judged.honest.accuracy:.5f}",
                f"{judged.honest.log_loss:.5f}",
                *([f"{scored[place].figure.value:.5f}"] if scored else []),
                f"{entry.calibrated.honest.log_loss:.5f}",
                f"{entry.temperature:.3f}",
                f"{judged.fitted.accuracy:.5f}" if fitted else "-",
                f"{judged.fitted.log_loss:.5f}" if fitted else "-",
                apart,
                log_loss(difference),
                f"{entry.seconds:.1f}",
            ]
        )
    return rows


def member_lines(found: Diversity, own: Sequence[Figure] = ()) -> list[str]:
    """Return the table of the pool's entries, and what all of them miss, as lines.

    Args:
        found: The entries side by side.
        own: Each by what the competition is scored by; nothing to leave it out.
    """
    agreement, overlap = to_others(found.agreement), to_others(found.overlap)
    width = max(
        len("member set"), *(len(contribution.name) for contribution in found.contributions)
    )
    lines = [
        "* this blend; OOF: honest, weights fitted without the row's fold; fitted: on the rows "
        "that chose the weights, which flatters; with T: calibrated by the temperature T",
        "",
        f"{'member set':<{width}}  accuracy  log-loss  "
        + (f"{own[0].name:>8}  " if own else "")
        + f"{'images it brings':>18}  "
        f"{'log-loss it brings':>27}  agrees  overlap",
    ]
    for place, contribution in enumerate(found.contributions):
        alike = "" if agreement is None else f"{agreement[place]:6.4f}"
        shared = "" if overlap is None else f"{overlap[place]:7.3f}"
        lines.append(
            f"{contribution.name:<{width}}  {contribution.score.accuracy:8.5f}  "
            f"{contribution.score.log_loss:8.5f}  "
            + (f"{own[place].value:8.5f}  " if own else "")
            + f"{images(contribution.effect):>18}  "
            f"{log_loss(contribution.effect):>27}  {alike}  {shared}  {contribution.verdict}"
        )
    rows = found.missed_by_all
    shown = shorten(list(map(str, rows.tolist())))
    lines += [
        "brings: mean of all less mean without it, both calibrated, 95 % interval; agrees, "
        "overlap: share of equal answers and of common errors, mean over the others",
        f"missed by all: {len(rows)} images"
        + (f" (rows of train.csv from 0: {shown})" if len(rows) else ""),
    ]
    return lines


def comparison_values(
    evaluations: Sequence[Evaluation],
    differences: Sequence[PairedDifference | None],
    found: Diversity,
    scored: Sequence[Scored] = (),
    own: Sequence[Figure] = (),
) -> dict[str, Any]:
    """Return all of the comparison as JSON can hold it."""
    mean = scored[0] if scored else None
    return {
        "methods": [
            {
                "method": entry.method.name,
                "honest": asdict(entry.plain.honest),
                "fitted": asdict(entry.plain.fitted),
                "honest_calibrated": asdict(entry.calibrated.honest),
                "fitted_calibrated": asdict(entry.calibrated.fitted),
                "temperature": entry.temperature,
                "weights": entry.plain.rule.weights,
                "rule": entry.plain.rule.to_json(),
                "against_mean": None if difference is None else asdict(difference),
                "seconds": round(entry.seconds, 2),
            }
            | ({} if mean is None else _metric_values(scored[place], mean))
            for place, (entry, difference) in enumerate(zip(evaluations, differences, strict=True))
        ],
        "member_sets": [
            {
                "name": contribution.name,
                "score": asdict(contribution.score),
                "effect": None if contribution.effect is None else asdict(contribution.effect),
                "verdict": contribution.verdict,
            }
            | ({"metric": own[place].to_json()} if own else {})
            for place, contribution in enumerate(found.contributions)
        ],
        "agreement": found.agreement.round(5).tolist(),
        "error_overlap": found.overlap.round(5).tolist(),
        "missed_by_all": found.missed_by_all.tolist(),
    }


def _metric_values(one: Scored, mean: Scored) -> dict[str, Any]:
    against = None if one is mean else asdict(one.against(mean))
    return {"metric": one.figure.to_json(), "metric_against_mean": against}


def images(difference: PairedDifference | None) -> str:
    """Return a difference in images with its interval: `+12 [+3, +21]`."""
    if difference is None:
        return "-"
    low, high = difference.images_low, difference.images_high
    return f"{difference.images:+d} [{low:+.0f}, {high:+.0f}]"


def log_loss(difference: PairedDifference | None) -> str:
    """Return a difference in log-loss with its interval: `-0.00041 [-0.00047, -0.00035]`."""
    if difference is None:
        return "-"
    low, high = difference.log_loss_low, difference.log_loss_high
    return f"{difference.log_loss:+.5f} [{low:+.5f}, {high:+.5f}]"
