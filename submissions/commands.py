"""The commands `check`, `download`, `submit`, `submissions` and `leaderboard`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import click

from kaggle_digits.ground import names
from kaggle_digits.ground.competition import DIGIT_RECOGNIZER, competition_option, short_name
from kaggle_digits.ground.errors import ArtefactError, ServiceError, shorten
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell.command import Session, command, command_line, fresh_option
from kaggle_digits.shell.console import Outcome
from submissions import api, drawing, tables
from submissions.api import SHARE, Ahead, Planned
from submissions.asking import write_if_possible
from submissions.ledger import Record
from submissions.sending import Service

_FILE = click.Path(path_type=Path)
_INTERVAL = 60.0

Decorator = Callable[[Callable[..., Outcome]], Callable[..., Outcome]]
_competition: Decorator = click.option(
    "--competition",
    default=DIGIT_RECOGNIZER,
    show_default=True,
    help="The competition's short name, or its address.",
)
_local: Decorator = click.option(
    "--local",
    is_flag=True,
    help="The local scoreboard in Kaggle's place; it is this data's own, whatever --competition.",
)
_share: Decorator = click.option(
    "--public-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=SHARE,
    show_default=True,
    help="Part of the test rows that the public score is taken on.",
)
_truth: Decorator = click.option(
    "--truth",
    type=_FILE,
    help="CSV with the true label of each test id, or a test file with labels.",
)


@command("check", short_help="Check a submission file; score it where the truth is known.")
@click.argument("file", type=_FILE, required=False)
@_truth
def check(session: Session, *, file: Path | None = None, truth: Path | None = None) -> Outcome:
    """Check a submission FILE against the competition, and score it where the truth is known.

    Header, ids and their count, labels, doubled lines, encoding and line endings; rows may stand in
    any order. Without FILE it is the one that `blend` wrote. The truth is known for the embedded
    digits and shapes, and elsewhere from --truth.
    """
    _require_file(session, file)
    found = api.check(session.place, file, truth)
    path, submission, local = found.path, found.submission, found.local
    return Outcome(
        values={
            "submission": str(path),
            "rows": len(submission.ids),
            "valid": True,
            "sha256": submission.sha256,
            "remarks": list(submission.remarks),
            "local_accuracy": local.accuracy if local is not None else None,
            "local_errors": local.errors if local is not None else None,
            "local_metric": None if found.metric is None else found.metric.to_json(),
        },
        facts=dict(found.facts()),
        next_command=session.hint(
            "submit"
            + (f" {shlex.quote(str(file))}" if file else "")
            + (" --local" if local is not None else "")
            + (f" --truth {shlex.quote(str(truth))}" if truth else "")
        ),
    )


@command("download", short_help="Fetch the competition's files.")
@_competition
@fresh_option
def download(session: Session, *, competition: str = DIGIT_RECOGNIZER) -> Outcome:
    """Fetch the competition's files from Kaggle into data/ (or the folder given as --data).

    An interrupted download is gone on from. Nothing is put in place before all of it has been
    checked; files that differ are replaced only with --fresh.
    """
    folder = session.data or Path("data")
    found = api.download(folder, session.console, competition=competition, replace=session.fresh)
    total = sum(found.files.values())
    return Outcome(
        values={"folder": str(folder), "files": found.files, "fetched": found.fetched},
        facts={
            "files": f"{shorten(list(found.files))} ({total / 1e6:,.1f} MB)",
            "state": "downloaded and checked" if found.fetched else "all there already",
        },
        written={"data": str(folder)} if found.fetched else {},
        next_command=_run_on(session, folder, competition),
    )


@command("submit", short_help="Forecast a submission, and send it once.")
@click.argument("file", type=_FILE, required=False)
@click.option("--message", default="", help="Words of your own in the submission's message.")
@click.option("--wait", is_flag=True, help="Wait for the score.")
@click.option("--forecast", "only_forecast", is_flag=True, help="Only tell what it can bring.")
@click.option("--dry-run", is_flag=True, help="All but the sending, and the wait for a score.")
@click.option("--force", is_flag=True, help="Send even what was, or may have been, sent before.")
@click.option(
    "--kernel", metavar="OWNER/SLUG", help="Submit this kernel, as code competitions want it."
)
@click.option(
    "--kernel-version", type=click.IntRange(1), help="Which of its versions.  [default: the last]"
)
@_local
@_truth
@_competition
@_share
def submit(
    session: Session,
    *,
    file: Path | None = None,
    message: str = "",
    wait: bool = False,
    only_forecast: bool = False,
    dry_run: bool = False,
    force: bool = False,
    kernel: str | None = None,
    kernel_version: int | None = None,
    local: bool = False,
    truth: Path | None = None,
    competition: str = DIGIT_RECOGNIZER,
    public_share: float = SHARE,
) -> Outcome:
    """Check a submission FILE, tell what it can bring, and send it to Kaggle, once.

    Without FILE it is the one that `blend` wrote. The same content is not sent twice. After a
    broken connection or a crash the next calls look whether the submission arrived; in doubt it is
    sent again only after an hour, or with --force.

    In a code competition a kernel is submitted: with --kernel, once its run has ended, what it
    wrote is fetched, checked and forecast in the same way, and Kaggle is told to run that version.
    FILE then is what an earlier version wrote.
    """
    api.require_version(kernel, kernel_version)
    if only_forecast:
        of_sending = {"--dry-run": dry_run, "--wait": wait, "--force": force}
        of_sending |= {"--message": bool(message)}
        names.require_apart("--forecast", "sends nothing", of_sending)
    place = session.place
    service = api.open_service(
        place, local=local, truth=truth, competition=competition, share=public_share, kernel=kernel
    )
    if kernel is None:
        _require_file(session, file)
    ahead = api.look_ahead(
        place, service, file, share=public_share, ask=not only_forecast, version=kernel_version
    )
    outcome = _forecast_outcome(session, ahead, service)
    if only_forecast:
        return outcome
    for line in tables.forecast_lines(ahead.forecast):
        session.console.say(line)
    if dry_run:
        return _dry(outcome, api.plan(place, service, ahead, message=message, force=force))
    done = api.submit(place, service, ahead, message=message, force=force, wait=wait)
    return _sent_outcome(session, outcome, done.record, ahead, service, sent=done.sent)


@command("submissions", short_help="What was submitted so far.")
@click.option(
    "--export", type=click.Choice(["csv", "json"]), help="Write the ledger as a file as well."
)
@click.option("--offline", is_flag=True, help="Show the ledger without asking Kaggle.")
@_local
@_competition
def submissions(
    session: Session,
    *,
    export: str | None = None,
    offline: bool = False,
    local: bool = False,
    competition: str = DIGIT_RECOGNIZER,
) -> Outcome:
    """Show the ledger: what was submitted, from here and elsewhere, and what came of it.

    Kaggle is asked first, and interrupted submissions are settled; where it cannot be asked, the
    ledger is shown as it is.
    """
    place = session.place
    service = api.open_service(place, local=local, competition=competition, scoring=False)
    found = api.submissions(place, service, ask=not offline, every=not local)
    records, remark = found.records, found.remark
    written = {}
    if export is not None:
        path = session.workspace.submissions / f"submissions.{export}"
        write_bytes(path, tables.export(records, export))
        written["export"] = str(path)
    facts = {"submissions": str(len(records))}
    if remark is not None:
        facts["remark"] = remark
    return Outcome(
        values={
            "submissions": [record.to_json() for record in records],
            "asked": not offline and remark is None,
            "remark": remark,
            "export": written.get("export"),
        },
        rows=tables.ledger_rows(records, session.console.width) if records else (),
        facts=facts,
        written=written,
    )


@command("leaderboard", short_help="Our place, and CV against public score.")
@click.option("--watch", is_flag=True, help="Ask again and again until Ctrl-C; tell of changes.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 86400, min_open=True),
    help=f"Seconds between two questions of --watch.  [default: {_INTERVAL:g}]",
)
@click.option("--times", type=click.IntRange(1), help="End --watch after as many questions.")
@click.option("--offline", is_flag=True, help="Show what was last seen, without asking Kaggle.")
@_local
@_competition
@_share
def leaderboard(
    session: Session,
    *,
    watch: bool = False,
    interval: float | None = None,
    times: int | None = None,
    offline: bool = False,
    local: bool = False,
    competition: str = DIGIT_RECOGNIZER,
    public_share: float = SHARE,
) -> Outcome:
    """Read the whole public leaderboard and show our submissions on it, by date.

    CV against public score with the gap, whether chance explains it, rank, share of the board,
    and how well CV orders what Kaggle scores. A plot goes into the workspace.
    """
    if offline:
        names.require_apart("--offline", "asks nobody", {"--watch": watch})
    if not watch:
        given = {"--interval": interval is not None, "--times": times is not None}
        names.require_beside("--watch", given)
    place = session.place
    service = api.open_service(
        place, local=local, competition=competition, share=public_share, scoring=False
    )
    summary = api.leaderboard(place, service, share=public_share, ask=not offline)
    asked = 1
    try:
        while watch and (times is None or asked < times):
            service.patience.pause(_INTERVAL if interval is None else interval)
            before = {one.record.id: one.record for one in summary.standings}
            asked += 1
            try:
                summary = api.leaderboard(place, service, share=public_share)
            except ServiceError as error:
                session.console.say(f"{error.message} Asking again.")
                continue
            for one in summary.standings:
                if before.get(one.record.id) != one.record:
                    session.console.say(_news(one.record))
    except KeyboardInterrupt:
        session.console.say("no longer watching")
    plot = session.workspace.submissions / "leaderboard.png"
    is_drawn = write_if_possible(lambda: drawing.draw_plot(plot, summary), session.console)
    return Outcome(
        values=summary.to_json()
        | {
            "service": service.name,
            "competition": service.competition,
            "asked": not offline,
            "plot": str(plot) if is_drawn else None,
        },
        rows=tables.board_rows(summary, session.console.width) if summary.standings else (),
        drawing=drawing.draw_strips(summary),
        facts=tables.board_facts(summary) or {"submissions": "none yet"},
        written={"plot": str(plot)} if is_drawn else {},
        next_command=None if summary.standings else session.hint(f"submit{_of(service)}"),
    )


def _run_on(session: Session, folder: Path, competition: str) -> str:
    """Return how to run on a folder: elsewhere, where the workspace was made from other data."""
    from kaggle_digits.core.data.provenance import holds_results, read_provenance

    known = read_provenance(session.workspace)
    if known is None or known.path == str(folder.resolve()) or not holds_results(session.workspace):
        return session.hint("run" if known is None or session.data else f"run --data {folder}")
    return command_line("run", Workspace(Path(short_name(competition))), folder)


def _require_file(session: Session, file: Path | None) -> None:
    """Say how to make blend's submission on this very workspace, where none is named or there."""
    path = api.blended(session.workspace)
    if file is None and not path.is_file():
        raise ArtefactError(
            f"{path} is not there.",
            mend=f"Run `{session.hint('blend')}` first, or name a file.",
        )


def _forecast_outcome(session: Session, ahead: Ahead, service: Service) -> Outcome:
    written, told = {}, ahead.forecast
    if any(one.changes for one in told.differences):
        sheet = session.workspace.submissions / "forecast.png"
        drawing.draw_sheet(sheet, told, session.dataset().test_images)
        written["images that differ"] = str(sheet)
    return Outcome(
        values={
            "submission": str(ahead.path),
            "kernel": ahead.submission.kernel,
            "service": service.name,
            "competition": service.competition,
            "forecast": told.to_json(),
            "sheet": written.get("images that differ"),
        },
        rows=tables.forecast_rows(told),
        facts=_kernel_fact(ahead) | tables.forecast_facts(told),
        written=written,
    )


def _kernel_fact(ahead: Ahead) -> dict[str, str]:
    kernel = ahead.submission.kernel
    return {} if kernel is None else {"kernel": tables.kernel_text(kernel)}


def _dry(outcome: Outcome, planned: Planned) -> Outcome:
    why = "" if planned.same is None else f": {_the_same(planned.same)}"
    outcome.values |= {
        "sent": False,
        "dry_run": True,
        "would_send": planned.would_send,
        "message": planned.message,
        "left_today": planned.left,
    }
    outcome.facts |= {
        "message": planned.message,
        "left today": _left(planned.left),
        "dry run": ("would be sent" if planned.would_send else "would not be sent") + why,
    }
    return outcome


def _sent_outcome(
    session: Session,
    outcome: Outcome,
    record: Record,
    ahead: Ahead,
    service: Service,
    *,
    sent: bool,
) -> Outcome:
    outcome.values |= {"sent": sent} | {
        name: value for name, value in record.to_json().items() if name not in outcome.values
    }
    outcome.facts["submission"] = (
        f"#{record.ref} sent" if sent else f"not sent: {_the_same(record)} (--force)"
    )
    outcome.facts["state"] = record.state + (f": {record.error}" if record.error else "")
    if record.public_score is not None:
        outcome.facts["public score"] = tables.score_text(record, ahead.forecast)
    if service.name == "local" and record.private_score is not None:
        outcome.facts["private score"] = record.private_score
    outcome.next_command = session.hint(f"leaderboard{_of(service)}")
    return outcome


def _of(service: Service) -> str:
    """Return the options that name a service, behind a command's other words."""
    return " --local" if service.name == "local" else competition_option(service.competition)


def _the_same(record: Record) -> str:
    if record.ref is None:
        return f"it is not known whether the same content, submission {record.id}, arrived"
    return f"the same content is #{record.ref}"


def _news(record: Record) -> str:
    score = f", public score {record.public_score}" if record.public_score else ""
    why = f": {record.error}" if record.error else ""
    return f"#{record.ref}: {record.state}{why}{score}, rank {tables.place_of(record)}"


def _left(count: int | None) -> str:
    return "no limit told" if count is None else f"{count} (until midnight UTC)"
