"""The commands' results as texts: table rows and facts; nothing is printed here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from kaggle_digits.ground.figures import accuracy_text, higher_is_better
from submissions.forecast import Difference, Forecast
from submissions.lattice import count_errors
from submissions.leaderboard import Standing, Summary
from submissions.ledger import Record, minute
from submissions.noise import Band

_LAST = 18  # signs that a table's last column is folded to before others give way
_FORMULA = ("=", "+", "-", "@", "\t")


def ledger_rows(records: Sequence[Record], width: int) -> list[list[str]]:
    """Return the table of `submissions`, its header first.

    Args:
        records: Its rows.
        width: Columns of the terminal; the least telling of the table's give way.
    """
    columns = {
        "date (UTC)": [minute(record.when) for record in records],
        "ref": [str(record.ref or "-") for record in records],
        "where": [record.service for record in records],
        "state": [record.state for record in records],
        "blend": [blend_of(record) for record in records],
        "CV": [cv_text(record) for record in records],
        "log-loss": [with_noise(record.cv_log_loss, record.cv_log_loss_se) for record in records],
        "public": [record.public_score or "-" for record in records],
        "rank": [place_of(record) for record in records],
        "message": [record.error or _words(record) for record in records],
    }
    short = [cv_text(record, short=True) for record in records]
    spare = (("log-loss", None), ("where", None), ("CV", short), ("rank", None), ("blend", None))
    return _fitted(columns, width, spare)


def board_rows(summary: Summary, width: int) -> list[list[str]]:
    """Return the table of `leaderboard`, its header first.

    Args:
        summary: Its rows.
        width: Columns of the terminal; the least telling of the table's give way.
    """
    best = summary.best.id if summary.best else None
    ours = summary.standings
    records = [one.record for one in ours]
    columns = {
        "date (UTC)": [minute(record.when) for record in records],
        "ref": [str(record.ref or "-") for record in records],
        "blend": [blend_of(record) for record in records],
        f"CV {summary.metric}" if summary.metric else "CV": [
            _accuracy(one.record) if summary.is_accuracy else with_noise(*(one.cv or (None, None)))
            for one in ours
        ],
        "public": [record.public_score or record.state for record in records],
        "errors": ["-" if one.errors is None else str(one.errors) for one in ours],
        "gap": [f"{one.gap.value:+.5f}" if one.gap else "-" for one in ours],
        "noise": [noise_of(one) for one in ours],
        "rank": [place_of(record) for record in records],
        "top": [f"{record.share:.1%}" if record.share is not None else "-" for record in records],
        "": ["best" if record.id == best else record.error or "" for record in records],
    }
    short = [with_noise(one.cv[0] if one.cv else None, None) for one in ours]
    spare = (
        ("blend", None),
        ("top", None),
        ("errors", None),
        (list(columns)[3], short),
        ("rank", None),
        ("noise", None),
    )
    return _fitted(columns, width, spare)


def board_facts(summary: Summary) -> dict[str, str]:
    """Return the facts below the table of `leaderboard`."""
    facts = {}
    best = summary.best
    if best is not None:
        place = f", rank {place_of(best)}" if best.rank else ""
        top = f", top {best.share:.1%}" if best.share is not None else ""
        facts["best so far"] = f"{best.public_score} (#{best.ref}{place}{top})"
    if summary.rows is not None:
        facts["public part"] = f"{summary.rows:,} rows; one error is {1 / summary.rows:.6f}"
    elif best is not None and not summary.is_accuracy:
        better = "higher" if higher_is_better(summary.metric) else "lower"
        facts["public part"] = (
            f"about {summary.expected:,} rows; the noise is CV's standard error on so many rows, "
            f"and CV's own; {better} is better"
        )
    elif best is not None:
        facts["public part"] = f"about {summary.expected:,} rows; the scores fit no count of errors"
    rho = summary.correlation
    if rho is not None:
        sure = f"95 % {rho.low:+.2f} to {rho.high:+.2f}, " if rho.low is not None else ""
        facts["CV and public"] = (
            f"rank correlation {rho.rho:+.2f} ({sure}p = {rho.p:.3f}, {rho.pairs} submissions)"
        )
    elif best is not None:
        facts["CV and public"] = "rank correlation needs three submissions with different scores"
    return facts


def forecast_rows(forecast: Forecast) -> list[list[str]]:
    """Return the table of `submit --forecast`, its header first; none without earlier ones."""
    rows = [["against", "public", "rows that differ", "largest change", "so public is"]]
    for one in forecast.differences:
        bounds = f"{one.low:.5f} to {one.high:.5f}" if one.low is not None else "-"
        rows.append(
            [
                f"#{one.record.ref or '?'}",
                one.record.public_score or "-",
                str(len(one.changes)),
                "-" if one.largest is None else f"±{one.largest:.5f}",
                bounds,
            ]
        )
    return rows if len(rows) > 1 else []


def forecast_facts(forecast: Forecast) -> dict[str, str]:
    """Return the facts below the table of `submit --forecast`."""
    facts = {}
    one = forecast.interval
    if isinstance(one, Band):
        facts["forecast"] = (
            f"public {forecast.metric} {one.low:.5f} to {one.high:.5f} with 95 % (from CV and its "
            f"standard error, on {one.rows:,} rows)"
        )
    elif one is not None:
        facts["forecast"] = (
            f"public score {one.low:.5f} to {one.high:.5f} with 95 % (from CV: {one.low_errors} to "
            f"{one.high_errors} errors on {one.rows:,} rows)"
        )
    elif forecast.is_hidden:
        facts["forecast"] = "no interval: a kernel is scored on images that are not here"
    else:
        facts["forecast"] = "no interval: this file has no CV score"
    if forecast.low is not None and (forecast.low > 0 or (forecast.high or 0.0) < 1):
        facts["bounds"] = f"{forecast.low:.5f} to {forecast.high:.5f}, from earlier public scores"
    if forecast.unknown:
        facts["not compared"] = f"{forecast.unknown} made elsewhere, whose predictions are not here"
    return facts


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return the forecast as it is said before sending; the ten newest comparisons at most."""
    lines = [
        f"against #{one.record.ref or '?'}: {len(one.changes)} rows differ{_at_most(one)}"
        for one in forecast.differences[:10]
    ]
    return lines + [f"{name}: {fact}" for name, fact in forecast_facts(forecast).items()]


def _at_most(one: Difference) -> str:
    if one.largest is None:
        return ""
    return f", public score changes by at most {one.largest:.5f}"


def score_text(record: Record, forecast: Forecast) -> str:
    """Return a public score with its count of errors and how it fits the forecast."""
    if record.public_score is None:
        return "-"
    text = record.public_score
    is_accuracy = forecast.low is not None
    errors = count_errors(record.public_score, forecast.rows) if is_accuracy else None
    if errors is not None:
        text += f" ({errors} errors on {forecast.rows:,} rows)"
    one = forecast.interval
    if one is not None and record.public is not None:
        # Half a count: the score's last decimal may be cut.
        half = 0.5 / one.rows if is_accuracy else 0.0
        inside = one.low - half <= record.public <= one.high + half
        text += ", inside the forecast" if inside else ", outside the forecast"
    return text


def export(records: Sequence[Record], form: str) -> bytes:
    """Return the ledger as a file.

    Args:
        records: What goes into it.
        form: `csv` or `json`.
    """
    values = [record.to_json() for record in records]
    if form == "json":
        return (json.dumps(values, indent=2) + "\n").encode()
    out = io.StringIO(newline="")
    names = list(Record(service="", competition="", state="").to_json())
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    for value in values:
        value["members"] = " ".join(value["members"])
        # Messages come from elsewhere; a spreadsheet must not run them.
        writer.writerow({name: _harmless(entry) for name, entry in value.items()})
    return out.getvalue().encode()


def _fitted(
    columns: Mapping[str, Sequence[str]],
    width: int,
    spare: Sequence[tuple[str, Sequence[str] | None]],
) -> list[list[str]]:
    """Return a table, its header first, of which only the last column's texts need folding.

    Args:
        columns: Header → cells.
        width: Columns of the terminal.
        spare: What gives way to the width, one after the other: a column, and shorter cells in its
            place or None to leave it out.
    """
    shown: dict[str, Sequence[str]] = dict(columns)
    last = list(columns)[-1]

    def needed() -> int:
        lengths = {name: max(map(len, (name, *cells))) for name, cells in shown.items()}
        return sum(lengths.values()) - max(0, lengths[last] - _LAST) + 2 * (len(shown) - 1)

    for name, shorter in spare:
        if needed() <= width:
            break
        if shorter is None:
            del shown[name]
        else:
            shown[name] = shorter
    return [list(shown), *map(list, zip(*shown.values(), strict=True))]


def _words(record: Record) -> str:
    """Return the kernel and the user's own words, or all of a message made elsewhere."""
    if record.tag is None:
        return record.message
    words = record.message.split(" | ")[2 if record.method else 1 :]
    return " | ".join([kernel_text(record.kernel), *words] if record.kernel else words)


def kernel_text(kernel: str) -> str:
    """Return a kernel's version, `owner/slug/version`, as a person reads it."""
    name, _, version = kernel.rpartition("/")
    return f"{name} version {version}"


def _harmless(entry: object) -> object:
    return f"'{entry}" if isinstance(entry, str) and entry.startswith(_FORMULA) else entry


def blend_of(record: Record) -> str:
    """Return the blend in short."""
    if record.method is None:
        return "elsewhere" if record.digest is None else "-"
    return f"{record.method} of {len(record.members)}"


def cv_text(record: Record, *, short: bool = False) -> str:
    """Return what a submission was to score, out-of-fold, by the metric that was said then.

    Args:
        record: The submission.
        short: Leave out the standard error, or what bounds the error.
    """
    if record.metric is not None and record.metric != "accuracy":
        told = with_noise(record.cv_metric, None if short else record.cv_metric_se)
        return f"{record.metric} {told}"
    return with_noise(record.cv_accuracy, None) if short else _accuracy(record)


def _accuracy(record: Record) -> str:
    """Return the out-of-fold accuracy with its standard error, or what bounds its error."""
    if record.cv_accuracy is None:
        return "-"
    return accuracy_text(record.cv_accuracy, record.cv_accuracy_se, record.cv_rows, 5)


def with_noise(value: float | None, noise: float | None) -> str:
    """Return a figure with its standard error."""
    if value is None:
        return "-"
    return f"{value:.5f} ± {noise:.5f}" if noise is not None else f"{value:.5f}"


def place_of(record: Record) -> str:
    """Return rank and teams."""
    return f"{record.rank} of {record.teams}" if record.rank else "-"


def noise_of(standing: Standing) -> str:
    """Return whether the gap is within the noise."""
    if standing.gap is None:
        return "-"
    return f"{'within' if standing.gap.within else 'beyond'} ±{1.96 * standing.gap.sd:.5f}"
