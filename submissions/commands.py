"""The commands `check`, `download`, `submit`, `submissions` and `leaderboard`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from kaggle_digits.ground.errors import (
    ArtefactError,
    ConfigurationError,
    ServiceError,
    shorten,
)
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.shell.command import Session, command
from kaggle_digits.shell.console import Outcome
from submissions import drawing, tables
from submissions.download import download as fetch
from submissions.forecast import Forecast, forecast
from submissions.leaderboard import Summary, read_board, summarise
from submissions.ledger import Ledger, Record
from submissions.noise import public_rows
from submissions.scoreboard import LocalScoreboard, find_truth, score
from submissions.sending import (
    About,
    Service,
    compose_message,
    find_same,
    mend,
    read_about,
    wait_until_scored,
)
from submissions.sending import submit as send
from submissions.validation import SubmissionFile, read_file, validate

_FILE = click.Path(path_type=Path)
_SHARE = 0.25

Decorator = Callable[[Callable[..., Outcome]], Callable[..., Outcome]]
_competition: Decorator = click.option(
    "--competition",
    default="digit-recognizer",
    show_default=True,
    help="The competition's short name, as in its address.",
)
_local: Decorator = click.option(
    "--local", is_flag=True, help="The local scoreboard in Kaggle's place."
)
_share: Decorator = click.option(
    "--public-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=_SHARE,
    show_default=True,
    help="Part of the test rows that the public score is taken on.",
)
_truth: Decorator = click.option(
    "--truth",
    type=_FILE,
    help="CSV with the true label of each test id, or a test file with labels.",
)


@command("check", short_help="Check a submission file; score it where the truth is.")
@click.argument("file", type=_FILE, required=False)
@_truth
def check(session: Session, *, file: Path | None = None, truth: Path | None = None) -> Outcome:
    """Check a submission FILE against the competition, and score it where the truth is known.

    Header, ids, their count and order, labels, doubled lines, encoding and line endings. Without
    FILE it is the one that `blend` wrote. The truth is known for the embedded digits, and
    elsewhere from --truth.
    """
    path = _submission_path(session, file)
    submission = _validated(session, path)
    known = find_truth(truth, session.dataset())
    local = score(submission.ids, submission.labels, known) if known is not None else None
    facts = {"submission": f"valid, {len(submission.ids)} rows"}
    if submission.remarks:
        facts["remark"] = "; ".join(submission.remarks)
    if local is not None:
        facts["local accuracy"] = str(local)
    return Outcome(
        values={
            "submission": str(path),
            "rows": len(submission.ids),
            "valid": True,
            "sha256": submission.sha256,
            "remarks": list(submission.remarks),
            "local_accuracy": local.accuracy if local is not None else None,
            "local_errors": local.errors if local is not None else None,
        },
        facts=facts,
        next_command=session.hint(
            "submit"
            + (f" {file}" if file else "")
            + (" --local" if local is not None else "")
            + (f" --truth {truth}" if truth else "")
        ),
    )


@command("download", short_help="Fetch the competition's files.")
@_competition
def download(session: Session, *, competition: str = "digit-recognizer") -> Outcome:
    """Fetch the competition's files from Kaggle into data/ (or the folder given as --data).

    An interrupted download is gone on from. Nothing is put in place before all of it has been
    checked; files that differ are replaced only with --fresh.
    """
    folder = session.data or Path("data")
    if folder.suffix == ".zip" or folder.is_file():
        raise ConfigurationError(
            f"--data was given as {folder}; expected the folder to download into."
        )
    found = fetch(KaggleClient(competition), folder, session.console, replace=session.fresh)
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
@click.option("--dry-run", is_flag=True, help="All but the sending.")
@click.option("--force", is_flag=True, help="Send even what was sent before.")
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
    local: bool = False,
    truth: Path | None = None,
    competition: str = "digit-recognizer",
    public_share: float = _SHARE,
) -> Outcome:
    """Check a submission FILE, tell what it can bring, and send it to Kaggle, once.

    Without FILE it is the one that `blend` wrote. The same content is not sent twice. After a
    broken connection or a crash the next call looks whether the submission arrived, and sends
    only what is missing.
    """
    path = _submission_path(session, file)
    submission = _validated(session, path)
    service = _service(session, local, truth, competition, public_share, scoring=True)
    about = _about(session, path, submission)
    with _ledger(session) as ledger:
        if not only_forecast:
            mend(service, ledger, session.workspace, session.console)
        earlier = ledger.all(service.name, service.competition)
        ahead = forecast(submission, about, earlier, session.workspace, public_share)
        outcome = _forecast_outcome(session, path, ahead, service)
        if only_forecast:
            return outcome
        for line in tables.forecast_lines(ahead):
            session.console.say(line)
        if dry_run:
            return _dry(outcome, service, ledger, submission, about, message, force)
        done = send(
            service,
            ledger,
            session.workspace,
            submission,
            about,
            message=message,
            force=force,
            progress=session.console,
        )
        record = done.record
        if wait and record.state == "pending":
            session.console.say(f"submission {record.ref} is in; waiting for its score")
            record = wait_until_scored(service, ledger, record, session.console)
        elif local:
            mend(service, ledger, session.workspace, session.console)
            record = ledger.get(record.id)
    if done.sent and record.state == "error":
        raise ServiceError(
            f"Kaggle took submission {record.ref}, but could not score it: "
            f"{record.error or 'no reason given'}",
            mend="It is in the ledger; --force sends the same content again.",
        )
    return _sent_outcome(session, outcome, record, ahead, service, sent=done.sent)


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
    competition: str = "digit-recognizer",
) -> Outcome:
    """Show the ledger: what was submitted, from here and elsewhere, and what came of it.

    Kaggle is asked first, and interrupted submissions are settled; where it cannot be asked, the
    ledger is shown as it is.
    """
    remark = None
    with _ledger(session) as ledger:
        service = _service(session, local, None, competition, _SHARE, scoring=False)
        if not offline:
            try:
                mend(service, ledger, session.workspace, session.console)
            except ServiceError as error:
                remark = f"{error.message} Shown is what was known before."
        records = ledger.all(service.name, service.competition) if local else ledger.all()
    written = {}
    if export is not None:
        place = session.workspace.submissions / f"submissions.{export}"
        write_bytes(place, tables.export(records, export))
        written["export"] = str(place)
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
        rows=tables.ledger_rows(records) if records else (),
        facts=facts,
        written=written,
    )


@command("leaderboard", short_help="Our place, and CV against public score.")
@click.option("--watch", is_flag=True, help="Ask again and again until Ctrl-C; tell of changes.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 86400, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds between two questions of --watch.",
)
@click.option("--times", type=click.IntRange(1), help="End --watch after as many questions.")
@_local
@_competition
@_share
def leaderboard(
    session: Session,
    *,
    watch: bool = False,
    interval: float = 60.0,
    times: int | None = None,
    local: bool = False,
    competition: str = "digit-recognizer",
    public_share: float = _SHARE,
) -> Outcome:
    """Read the whole public leaderboard and show our submissions on it, by date.

    CV against public score with the gap, whether chance explains it, rank, share of the board,
    and how well CV orders what Kaggle scores. A plot goes into the workspace.
    """
    service = _service(session, local, None, competition, public_share, scoring=False)
    with _ledger(session) as ledger:
        summary = _placed(session, service, ledger, public_share)
        asked = 1
        try:
            while watch and (times is None or asked < times):
                time.sleep(interval)
                before = {one.record.id: one.record for one in summary.standings}
                asked += 1
                try:
                    summary = _placed(session, service, ledger, public_share)
                except ServiceError as error:
                    session.console.say(f"{error.message} Asking again.")
                    continue
                for one in summary.standings:
                    if before.get(one.record.id) != one.record:
                        session.console.say(_news(one.record))
        except KeyboardInterrupt:
            session.console.say("no longer watching")
    plot = session.workspace.submissions / "leaderboard.png"
    drawing.draw_plot(plot, summary)
    return Outcome(
        values=summary.to_json()
        | {"service": service.name, "competition": service.competition, "plot": str(plot)},
        rows=tables.board_rows(summary) if summary.standings else (),
        drawing=drawing.draw_strips(summary.standings),
        facts=tables.board_facts(summary) or {"submissions": "none yet"},
        written={"plot": str(plot)},
    )


def _run_on(session: Session, folder: Path, competition: str) -> str:
    """Return how to run on a folder: elsewhere, where the workspace was made from other data."""
    from kaggle_digits.core.data.provenance import holds_results, read_provenance

    known = read_provenance(session.workspace)
    if known is None or known.path == str(folder.resolve()) or not holds_results(session.workspace):
        return session.hint("run" if known is None or session.data else f"run --data {folder}")
    return f"kaggle-digits run --data {folder} --workspace {competition}"


def _submission_path(session: Session, file: Path | None) -> Path:
    if file is not None:
        return file
    path = session.workspace.submissions / "submission.csv"
    if not path.is_file():
        raise ArtefactError(
            f"{path} is not there.",
            mend=f"Run `{session.hint('blend')}` first, or name a file.",
        )
    return path


def _validated(session: Session, path: Path) -> SubmissionFile:
    return validate(read_file(path), str(path), session.dataset())


def _about(session: Session, path: Path, submission: SubmissionFile) -> About:
    """Return what `blend` says of a file, also of a copy of it that lies elsewhere."""
    about = read_about(path, submission)
    if about == About():
        return read_about(session.workspace.submissions / "submission.csv", submission)
    return about


def _ledger(session: Session) -> Ledger:
    return Ledger(session.workspace.submissions / "ledger.sqlite")


def _service(
    session: Session,
    local: bool,
    truth: Path | None,
    competition: str,
    share: float,
    *,
    scoring: bool,
) -> Service:
    """Return who takes submissions; with `scoring` it must be able to take this data's."""
    if not local:
        if truth is not None:
            raise ConfigurationError(
                "--truth was given without --local; Kaggle has a truth of its own.",
                mend="Add --local, or leave --truth out.",
            )
        if scoring and session.dataset().truth is not None:
            raise ConfigurationError(
                "The embedded digits are no competition at Kaggle.",
                mend="Add --local for the local scoreboard, or give --data with the "
                "competition's files.",
            )
        return KaggleClient(competition)
    dataset = session.dataset()
    known = find_truth(truth, dataset) if scoring else None
    if scoring and known is None:
        raise ConfigurationError(
            "The local scoreboard needs the true labels, which this data does not have.",
            mend="Give them as --truth labels.csv, an id and a label in each line.",
        )
    return LocalScoreboard(session.workspace, dataset.digest, known, share)


def _forecast_outcome(session: Session, path: Path, ahead: Forecast, service: Service) -> Outcome:
    written = {}
    if any(one.changes for one in ahead.differences):
        sheet = session.workspace.submissions / "forecast.png"
        drawing.draw_sheet(sheet, ahead, session.dataset().test_images)
        written["images that differ"] = str(sheet)
    return Outcome(
        values={
            "submission": str(path),
            "service": service.name,
            "competition": service.competition,
            "forecast": ahead.to_json(),
            "sheet": written.get("images that differ"),
        },
        rows=tables.forecast_rows(ahead),
        facts=tables.forecast_facts(ahead),
        written=written,
    )


def _dry(
    outcome: Outcome,
    service: Service,
    ledger: Ledger,
    submission: SubmissionFile,
    about: About,
    message: str,
    force: bool,
) -> Outcome:
    limits = service.limits()
    same = find_same(ledger, service, submission.digest)
    words = compose_message(f"{submission.digest[:12]}-······", about, message)
    would = (same is None or force) and (limits.left is None or limits.left > 0)
    why = "" if same is None or force else f": the same content is #{same.ref}"
    outcome.values |= {
        "sent": False,
        "dry_run": True,
        "would_send": would,
        "message": words,
        "left_today": limits.left,
    }
    outcome.facts |= {
        "message": words,
        "left today": _left(limits.left),
        "dry run": ("would be sent" if would else "would not be sent") + why,
    }
    return outcome


def _sent_outcome(
    session: Session,
    outcome: Outcome,
    record: Record,
    ahead: Forecast,
    service: Service,
    *,
    sent: bool,
) -> Outcome:
    outcome.values |= {"sent": sent} | {
        name: value for name, value in record.to_json().items() if name not in outcome.values
    }
    outcome.facts["submission"] = (
        f"#{record.ref} sent" if sent else f"not sent: the same content is #{record.ref} (--force)"
    )
    outcome.facts["state"] = record.state + (f": {record.error}" if record.error else "")
    if record.public_score is not None:
        outcome.facts["public score"] = tables.score_text(record, ahead)
    if service.name == "local" and record.private_score is not None:
        outcome.facts["private score"] = record.private_score
    words = "leaderboard --local" if service.name == "local" else "leaderboard"
    outcome.next_command = session.hint(words)
    return outcome


def _placed(session: Session, service: Service, ledger: Ledger, share: float) -> Summary:
    """Ask for our submissions and for the board, and note each one's place on it."""
    mend(service, ledger, session.workspace, session.console)
    content = service.download_board()
    board = read_board(content)
    write_bytes(session.workspace.submissions / f"board-{service.name}.zip", content)
    teams: dict[int, str] = {sent.ref: sent.team for sent in service.submissions()}
    records = []
    for record in ledger.all(service.name, service.competition):
        if record.public is not None:
            rank, count = board.place(record.public, teams.get(record.ref or 0, ""))
            if (record.rank, record.teams) != (rank, count):
                record = ledger.change(record, rank=rank, teams=count)
        records.append(record)
    known = [record.rows for record in records if record.rows]
    rows = max(known) if known else len(session.dataset().test_ids)
    return summarise(records, board, public_rows(rows, share))


def _news(record: Record) -> str:
    score = f", public score {record.public_score}" if record.public_score else ""
    return f"#{record.ref}: {record.state}{score}, rank {tables.place_of(record)}"


def _left(count: int | None) -> str:
    return "no limit told" if count is None else f"{count} (until midnight UTC)"
