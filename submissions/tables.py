"""The commands' results as texts: table rows and facts; nothing is printed here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from kaggle_digits.ground.figures import accuracy_text
from submissions.forecast import Forecast
from submissions.lattice import count_errors
from submissions.leaderboard import Standing, Summary
from submissions.ledger import Record

_FORMULA = ("=", "+", "-", "@", "\t")


def ledger_rows(records: Sequence[Record]) -> list[list[str]]:
    """Return the table of `submissions`, its header first."""
    rows = [
        ["date", "ref", "where", "state", "blend", "CV", "log-loss", "public", "rank", "message"]
    ]
    for record in records:
        rows.append(
            [
                record.when.replace("T", " ")[:16],
                str(record.ref or "-"),
                record.service,
                record.state,
                blend_of(record),
                cv_of(record),
                with_noise(record.cv_log_loss, record.cv_log_loss_se),
                record.public_score or "-",
                place_of(record),
                record.error or _words(record),
            ]
        )
    return rows


def board_rows(summary: Summary) -> list[list[str]]:
    """Return the table of `leaderboard`, its header first."""
    rows = [["date", "ref", "blend", "CV", "public", "errors", "gap", "noise", "rank", "top", ""]]
    for one in summary.standings:
        record = one.record
        rows.append(
            [
                record.when.replace("T", " ")[:16],
                str(record.ref or "-"),
                blend_of(record),
                cv_of(record),
                record.public_score or record.state,
                "-" if one.errors is None else str(one.errors),
                f"{one.gap.value:+.5f}" if one.gap else "-",
                noise_of(one),
                place_of(record),
                f"{record.share:.1%}" if record.share is not None else "-",
                "best" if summary.best and record.id == summary.best.id else "",
            ]
        )
    return rows


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
                f"±{one.largest:.5f}",
                bounds,
            ]
        )
    return rows if len(rows) > 1 else []


def forecast_facts(forecast: Forecast) -> dict[str, str]:
    """Return the facts below the table of `submit --forecast`."""
    facts = {}
    if forecast.interval is not None:
        one = forecast.interval
        facts["forecast"] = (
            f"public score {one.low:.5f} to {one.high:.5f} with 95 % (from CV: {one.low_errors} to "
            f"{one.high_errors} errors on {one.rows:,} rows)"
        )
    else:
        facts["forecast"] = "no interval: this file has no CV score"
    if forecast.low > 0 or forecast.high < 1:
        facts["bounds"] = f"{forecast.low:.5f} to {forecast.high:.5f}, from earlier public scores"
    if forecast.unknown:
        facts["not compared"] = f"{forecast.unknown} made elsewhere, whose predictions are not here"
    return facts


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return the forecast as it is said before sending; the ten newest comparisons at most."""
    lines = [
        f"against #{one.record.ref or '?'}: {len(one.changes)} rows differ, public score changes "
        f"by at most {one.largest:.5f}"
        for one in forecast.differences[:10]
    ]
    return lines + [f"{name}: {fact}" for name, fact in forecast_facts(forecast).items()]


def score_text(record: Record, forecast: Forecast) -> str:
    """Return a public score with its count of errors and how it fits the forecast."""
    if record.public_score is None:
        return "-"
    text = record.public_score
    errors = count_errors(record.public_score, forecast.rows)
    if errors is not None:
        text += f" ({errors} errors on {forecast.rows:,} rows)"
    one = forecast.interval
    if one is not None and record.public is not None:
        # Half a count: the score's last decimal may be cut.
        half = 0.5 / one.rows
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
        writer.writerow(
            {
                name: f"'{entry}"
                if isinstance(entry, str) and entry.startswith(_FORMULA)
                else entry
                for name, entry in value.items()
            }
        )
    return out.getvalue().encode()


def _words(record: Record) -> str:
    """Return the user's own words, or all of a message made elsewhere."""
    if record.tag is None:
        return record.message
    return " | ".join(record.message.split(" | ")[2 if record.method else 1 :])


def _harmless(entry: object) -> object:
    return f"'{entry}" if isinstance(entry, str) and entry.startswith(_FORMULA) else entry


def blend_of(record: Record) -> str:
    """Return the blend in short."""
    if record.method is None:
        return "elsewhere" if record.digest is None else "-"
    return f"{record.method} of {len(record.members)}"


def cv_of(record: Record) -> str:
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
    """Return whether the gap is within the binomial noise."""
    if standing.gap is None:
        return "-"
    return f"{'within' if standing.gap.within else 'beyond'} ±{1.96 * standing.gap.sd:.5f}"
