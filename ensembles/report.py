"""The report's sections about training, members and blend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.blending import evaluate_methods
from ensembles.by_metric import Judge, judge_of
from ensembles.diversity import Diversity, diversity
from ensembles.methods import METHODS
from ensembles.neighbours import Asked
from ensembles.pool import Pool
from ensembles.stored import StoredBlend, blend_of, pool_of
from ensembles.tables import against_mean, by_metric, method_rows, on_given_labels
from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.figures import Figure, accuracy_text, error_bound
from kaggle_digits.ground.names import RANKING
from kaggle_digits.ground.progress import Silent, counted
from kaggle_digits.records.blend import has_blend
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.plan import MemberKey, going_on
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.charts import Axis, Series
from kaggle_digits.shell.report.parts import (
    Chart,
    Facts,
    Part,
    Section,
    Subject,
    Table,
    Text,
)  # fmt: skip

if TYPE_CHECKING:
    from kaggle_digits.core.folds import Folds

_Z = 1.96
_DRAWN = 6
_QUICK = 1_500_000
"""Probabilities in a pool up to which fitted methods are compared while one waits."""
_BINS = 10


def training(subject: Subject) -> Section:
    """Return how members learned, and how long that took.

    Raises:
        ArtefactError: The plan or a member's record is broken.
    """
    store = MemberStore(subject.workspace)
    if not store.has_plan():
        missing = subject.missing("No members have been trained here.", "cv-train")
        return Section([missing], next_words="cv-train" if _has_ranking(subject) else None)
    settings, keys = store.read_plan()
    sets: dict[str, list[dict[str, Any]]] = {}
    for key in keys:
        if store.has(key):
            sets.setdefault(key.set_name, []).append(store.record(key))
    records = [record for own in sets.values() for record in own]
    seconds = sum(record["seconds"] for record in records)
    parts: list[Part] = [
        Facts({"trained": f"{len(records)} of {len(keys)} members", "time": duration(seconds)})
    ]
    on = going_on(settings)
    if len(records) < len(keys):
        parts.append(subject.missing("Some planned members are not trained yet.", on))
    curves = [
        (name, [record["history"] for record in own if record.get("history")])
        for name, own in sets.items()
    ]
    curves = [(name, own) for name, own in curves if own]
    if curves:
        parts.append(_curves(curves))
    if sets:
        parts.append(_throughput(sets))
    devices = {_hardware(record) for record in records} - {""}
    calls = settings.get("calls", [])
    by_none = {"members": "some by a call that no command repeats, or that is not known"}
    return Section(
        parts,
        top={"members": f"{len(records)} in {duration(seconds)}"},
        provenance={"hardware": "; ".join(sorted(devices)) or "not known"}
        | {"seed of the folds": str(settings["seed"])}
        | (by_none if None in calls else {}),
        repeat=[call for call in calls if call is not None],
        next_words=on if len(records) < len(keys) else None,
    )


def _has_ranking(subject: Subject) -> bool:
    from kaggle_digits.records.ranking import ranking_path

    return ranking_path(subject.workspace).exists()


def _curves(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> Chart:
    series = []
    for name, own in curves:
        epochs = min(map(len, own))
        values = np.array([history[:epochs] for history in own], dtype=np.float64)
        mean = values.mean(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        numbers = range(1, epochs + 1)
        series.append(
            Series(
                name,
                [(float(x), float(y)) for x, y in zip(numbers, mean, strict=True)],
                [(float(x), float(y)) for x, y in zip(low, high, strict=True)],
                is_line=True,
            )
        )
    left_out = (
        f" The first {_DRAWN} of {len(series)} sets are drawn." if len(series) > _DRAWN else ""
    )
    return charts.plot(
        "Training loss by epoch",
        Axis("epoch", is_whole=True),
        Axis("training loss", is_log=True),
        series[:_DRAWN],
        note="The mean of a set's members, and from the lowest to the highest of them; label "
        f"smoothing and augmentation are in it.{left_out}",
    )


def _throughput(sets: dict[str, list[dict[str, Any]]]) -> Table:
    rows = []
    for name, own in sets.items():
        seconds = [record["seconds"] for record in own]
        speed = [record["images_per_second"] for record in own if record.get("images_per_second")]
        parameters = {record["parameters"] for record in own if record.get("parameters")}
        rows.append(
            [
                name,
                str(len(own)),
                ", ".join(f"{count:,}" for count in sorted(parameters)),
                f"{np.mean(seconds):.1f} ± {np.std(seconds):.1f}",
                f"{np.mean(speed):,.0f}" if speed else "",
            ]
        )
    header = ("set", "members", "weights", "seconds each", "images/s")
    return Table("Time and throughput", header, rows)


def _hardware(record: dict[str, Any]) -> str:
    own = record.get("hardware")
    if not isinstance(own, dict) or "device" not in own:
        return ""
    return f"{own.get('device')}, {own.get('backend')}, {own.get('precision')}, " + counted(
        int(own.get("threads") or 1), "thread"
    )


def members(subject: Subject) -> Section:
    """Return how good members and blend are, and what each member adds.

    Raises:
        ArtefactError: The members or the blend are broken, or of other data.
        DataError: The data cannot be read.
    """
    store = MemberStore(subject.workspace)
    if not store.has_plan():
        return Section([subject.missing("There are no members to blend.", "cv-train")])
    parts: list[Part] = []
    section = Section(parts, next_words="blend")
    stored = None
    if has_blend(subject.workspace):
        stored = subject.once(blend_of)
        parts.append(_blend_facts(stored.about))
        section = _blend_section(parts, stored.about, grouped=subject.data().groups is not None)
    else:
        parts.append(subject.missing("The members have not been blended yet.", "blend"))
    dataset = subject.data()
    pool, folds, keys = subject.once(pool_of)
    labels = dataset.labels[pool.rows]
    judge = _judge(subject, pool, labels, folds)
    found = diversity(pool.names, pool.oof, labels, dataset.groups_of(pool.rows))
    parts += [_oof_table(pool, keys, found, stored, judge), *_side_by_side(subject, found)]
    parts += _methods(subject, pool, labels, folds, stored, judge)
    if stored is not None:
        parts.append(_calibration(stored.oof, dataset.labels[stored.rows]))
    return section


def _blend_facts(about: dict[str, Any]) -> Facts:
    facts = {
        "blend": f"{about['method']} of {len(about['members'])} members",
        "OOF accuracy": accuracy_text(
            about["oof_accuracy"], about["oof_accuracy_se"], about["rows"], 5
        ),
        "OOF log-loss": f"{about['oof_log_loss']:.5f} ± {about['oof_log_loss_se']:.5f}",
        "images judged": f"{about['rows']:,}",
    }
    facts = _metric(about) | facts
    facts |= on_given_labels(about)
    if about.get("temperature") is not None:
        facts["temperature"] = f"{about['temperature']:.3f}"
    asked = Asked.of(about)
    if asked is not None:
        facts["nearest training images"] = asked.verdict()
    return Facts(facts)


def _metric(about: dict[str, Any]) -> dict[str, str]:
    """Return what the competition is scored by, where it was said and is no other figure here."""
    if "metric" not in about:
        return {}
    found = Figure.from_json(Fields(about["metric"]))
    return {f"OOF {found.name}": str(found)} if found.name in RANKING else {}


def _blend_section(parts: Sequence[Part], about: dict[str, Any], *, grouped: bool) -> Section:
    right = round(about["oof_accuracy"] * about["rows"])
    low, high = _wilson(right, about["rows"])
    if grouped and about["oof_accuracy_se"]:  # rows that err together tell less than as many alone
        half = _Z * about["oof_accuracy_se"]
        low, high = max(about["oof_accuracy"] - half, 0.0), min(about["oof_accuracy"] + half, 1.0)
    return Section(
        parts,
        top=_metric(about)
        | {
            "OOF accuracy": f"{about['oof_accuracy']:.5f} (95 %: {low:.5f} to {high:.5f})",
            "OOF log-loss": f"{about['oof_log_loss']:.5f} ± {about['oof_log_loss_se']:.5f}",
            "wrong": f"{about['rows'] - right:,} of {about['rows']:,} images",
            "blend": f"{about['method']} of {len(about['members'])} members",
        }
        | on_given_labels(about),
        provenance={
            "the blend's versions": ", ".join(
                f"{name} {version}" for name, version in sorted(about.get("versions", {}).items())
            )
        },
        repeat=[about["call"]] if "call" in about else [],
    )


def _judge(subject: Subject, pool: Pool, labels: np.ndarray, folds: Folds) -> Judge | None:
    """Return what judges by the competition's metric; None where that is said, or takes long."""
    if pool.oof.size > _QUICK:
        return None
    groups = subject.data().groups_of(pool.rows)
    return judge_of(kept_metric(subject.workspace), labels, folds.of_row[pool.rows], groups)


def _oof_table(
    pool: Pool,
    keys: Sequence[MemberKey],
    found: Diversity,
    stored: StoredBlend | None,
    judge: Judge | None,
) -> Table:
    families = {key.set_name: key.config.family for key in keys}
    weights = (stored.about.get("weights") or {}) if stored is not None else {}
    header = ["set", "family", "OOF accuracy", "OOF log-loss"]
    header += [] if judge is None else [f"OOF {judge.metric}"]
    header += ["weight"] if weights else []
    rows = []
    for one, oof in zip(found.contributions, pool.oof, strict=True):
        score = one.score
        row = [
            one.name,
            families.get(one.name, families.get(one.name.split("-folds")[0], "")),
            accuracy_text(score.accuracy, score.accuracy_se, score.rows, 5),
            f"{score.log_loss:.5f} ± {score.log_loss_se:.5f}",
        ]
        if judge is not None:
            row.append(str(judge(oof).figure))
        if weights:
            weight = weights.get(one.name)
            row.append(f"{weight:.3f}" if isinstance(weight, int | float) else "")
        rows.append(row)
    return Table("Members, out-of-fold", header, rows)


def _side_by_side(subject: Subject, found: Diversity) -> list[Part]:
    names = [one.name for one in found.contributions]
    if len(names) < 2:
        text = "Agreement, and what each member adds, need two sets of members or more."
        return [subject.missing(text, "cv-train --add --top-k 2")]
    images, losses = [], []
    for one in found.contributions:
        effect = one.effect
        assert effect is not None  # there are others
        images.append((one.name, float(effect.images), effect.images_low, effect.images_high))
        losses.append((one.name, effect.log_loss, effect.log_loss_low, effect.log_loss_high))
    note = "The mean of all less the mean without the set, both calibrated, with 95 % interval. "
    return [
        charts.heat(
            "Agreement",
            names,
            found.agreement.tolist(),
            note="Share of images on which two sets name the same class.",
        ),
        charts.intervals(
            "What each set adds, in images",
            "more images right",
            images,
            note=f"{note}Above 0 it helps.",
        ),
        charts.intervals(
            "What each set adds, in log-loss",
            "change of the log-loss",
            losses,
            note=f"{note}Below 0 it helps.",
        ),
    ]


def _methods(
    subject: Subject,
    pool: Pool,
    labels: np.ndarray,
    folds: Folds,
    stored: StoredBlend | None,
    judge: Judge | None,
) -> list[Part]:
    is_quick = pool.oof.size <= _QUICK
    wanted = [name for name, method in METHODS.items() if is_quick or not method.is_fitted]
    evaluations = evaluate_methods(wanted, pool, labels, folds, Silent())
    chosen = "" if stored is None else stored.about["method"]
    temperature = stored is not None and stored.about.get("temperature") is not None
    groups = subject.data().groups_of(pool.rows)
    differences = against_mean(evaluations, labels, groups, temperature=temperature)
    scored = by_metric(judge, evaluations, temperature=temperature)
    header, *rows = method_rows(evaluations, differences, chosen, scored, temperature=temperature)
    parts: list[Part] = [Table("Methods compared", header, rows)]
    if not is_quick:
        parts.append(
            subject.missing("Of so many members, fitted methods take longer:", "blend --compare")
        )
    asked = None if stored is None else Asked.of(stored.about)
    parts.append(
        Text(
            "* this blend. All figures are honest: what is fitted was fitted without the "
            "row's fold. With T: calibrated by the temperature T. Intervals: 95 %."
            + (" All are without the nearest training images." if asked and asked.helps else "")
        )
    )
    return parts


def _calibration(oof: np.ndarray, labels: np.ndarray) -> Chart:
    sure = oof.max(axis=1).astype(np.float64)
    right = oof.argmax(axis=1) == labels
    # Most rows are sure: even bins would hold nearly all of them in the last one.
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, _BINS + 1)))
    group = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, max(len(edges) - 2, 0))
    points, spread, labels_ = [], [], []
    for number in np.unique(group):
        own = group == number
        count, hits = int(own.sum()), int(right[own].sum())
        points.append((float(sure[own].mean()), hits / count))
        spread.append(_wilson(hits, count))
        labels_.append(f"{count:,} images, {points[-1][0]:.4f} sure, {points[-1][1]:.4f} right")
    return charts.plot(
        "Calibration of the blend",
        Axis("probability of the named class", ends=(1.0, 1.0)),
        Axis("share that is right", ends=(1.0, 1.0)),
        [Series("", points, spread, labels_)],
        note="Groups of equally many images, with 95 % intervals. On the broken line a probability "
        "means what it says; above it the blend is too careful.",
        equal=True,
    )


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927); without errors, the exact bound."""
    if hits == count:
        return 1 - error_bound(count), 1.0
    share, square = hits / count, _Z**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = (
        _Z / (1 + square / count) * (share * (1 - share) / count + square / (4 * count**2)) ** 0.5
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)
