"""Sending: whatever goes wrong, no submission is spent twice and none is lost."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.errors import ArtefactError, KaggleDigitsError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience
from submissions.account import About, read_about
from submissions.ledger import Ledger, Record
from submissions.sending import catch_up, compose_message, sent_copy, submit, wait_until_scored
from submissions.validation import SubmissionFile, validate

QUICK = Patience(timeout=1.5, tries=2, pause=lambda seconds: None)


class Desk:
    """A workspace, its ledger, and a client at the stand-in."""

    def __init__(self, root: Path, server: Any) -> None:
        self.workspace = Workspace(root)
        self.server = server
        self.service = KaggleClient("digit-recognizer", QUICK)

    def ledger(self) -> Ledger:
        return Ledger(self.workspace.submissions / "ledger.sqlite")

    def submit(self, file: SubmissionFile, **options: Any) -> tuple[Record, bool]:
        chosen = {"message": "", "force": False} | options
        with self.ledger() as ledger:
            done = submit(
                self.service, ledger, self.workspace, file, About(), progress=Silent(), **chosen
            )
        return done.record, done.sent

    def records(self) -> list[Record]:
        with self.ledger() as ledger:
            return ledger.all()

    def let_the_doubt_pass(self) -> None:
        """Make every row as old as a submission in doubt is waited for."""
        with self.ledger() as ledger:
            for record in ledger.all():
                old = datetime.now(UTC) - timedelta(seconds=self.service.doubt + 1)
                ledger.change(record, created=old.strftime("%Y-%m-%dT%H:%M:%S"))


@pytest.fixture
def desk(server: Any, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "workspace", server)


@pytest.fixture
def file(dataset: Any, csv_of: Callable[..., bytes]) -> SubmissionFile:
    return validate(csv_of(dataset, 5), "s.csv", dataset)


def test_a_submission_is_written_down_sent_and_scored(desk: Desk, file: SubmissionFile) -> None:
    record, sent = desk.submit(file, message="mine")
    assert sent and record.state == "pending" and record.ref == desk.server.entries[0].ref
    assert desk.server.entries[0].content == file.content
    assert desk.server.entries[0].description == f"kd-{record.tag} | mine"
    assert sent_copy(desk.workspace, file.digest).read_bytes() == file.content
    with desk.ledger() as ledger:
        done = wait_until_scored(desk.service, ledger, record, Silent())
    assert (done.state, done.public_score) == ("complete", "0.90000")


def test_the_message_carries_blend_score_and_digest() -> None:
    about = About("mean", ("a", "b"), 0.99671, 0.00027)
    text = compose_message("0123456789ab-c0ffee", about, "try\x1b 1")
    assert text == "kd-0123456789ab-c0ffee | mean of 2, CV 0.99671 ± 0.00027 | try 1"
    assert len(compose_message("0123456789ab-c0ffee", about, "x" * 999)) == 190


def test_the_same_content_is_sent_once_whatever_its_line_ends(
    desk: Desk, file: SubmissionFile, dataset: Any
) -> None:
    first, _ = desk.submit(file)
    again = validate(file.content.replace(b"\r\n", b"\n"), "lf.csv", dataset)
    second, sent = desk.submit(again)
    assert (second.id, sent, len(desk.server.entries)) == (first.id, False, 1)
    third, sent = desk.submit(file, force=True)
    assert sent and third.id != first.id and len(desk.server.entries) == 2


def test_what_another_workspace_sent_is_not_sent_again(
    desk: Desk, file: SubmissionFile, tmp_path: Path
) -> None:
    desk.submit(file)
    other = Desk(tmp_path / "other", desk.server)
    record, sent = other.submit(file)
    assert not sent and record.ref == desk.server.entries[0].ref
    assert len(desk.server.entries) == 1


def test_no_submission_is_tried_when_none_is_left(desk: Desk, file: SubmissionFile) -> None:
    desk.server.create(b"ImageId,Label\r\n" + b"1,1\r\n" * 8, "by hand", "x.csv")
    desk.server.allowed = 1
    with pytest.raises(CallError, match="No submissions are left today"):
        desk.submit(file)
    assert desk.server.count("StartSubmissionUpload") == 0
    assert [record.message for record in desk.records()] == ["by hand"]


def test_an_account_without_a_team_yet_may_submit(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    """Kaggle counts nothing for it, not even what it may do."""
    desk.server.order("GetSubmissionLimits", standing.Fault("body", status=200, body=b"{}"))
    _, sent = desk.submit(file)
    assert sent and len(desk.server.entries) == 1


STEPS = (
    "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "PUT", "CreateSubmission",
)  # fmt: skip
FAULTS = (
    *(("status", False, status) for status in (400, 401, 403, 404, 408, 409, 413, 429)),
    *(("status", False, status) for status in (500, 502, 503, 504)),
    *(("status", True, status) for status in (500, 502, 504)),
    ("drop", False, 0), ("drop", True, 0), ("half", False, 0), ("hang", False, 0),
    ("hang", True, 0), ("html", False, 0), ("html", True, 0), ("truncate", True, 0),
)  # fmt: skip
SHORT = {("status", 401), ("status", 429), ("status", 503), ("drop", 0), ("html", 0)}


def fault_cases() -> list[Any]:
    """Every fault at every step, 1, 2 and 9 times; the quick suite takes the telling ones."""
    cases = []
    for kind, act, status in FAULTS:
        for step in STEPS:
            for times in (1, 2, 9):
                quick = times == 1 and (step == "CreateSubmission" or (kind, status) in SHORT)
                marks = () if quick else (pytest.mark.slow,)
                name = f"{step}-{kind}{status or ''}-{'done' if act else 'not'}-{times}"
                cases.append(pytest.param(kind, act, status, step, times, marks=marks, id=name))
    return cases


@pytest.mark.parametrize(("kind", "act", "status", "step", "times"), fault_cases())
def test_no_fault_spends_two_or_loses_one(
    desk: Desk, file: SubmissionFile, standing: Any,
    kind: str, act: bool, status: int, step: str, times: int,
) -> None:  # fmt: skip
    """After the fault has passed, calling again ends with one submission, or says it is in doubt.

    In doubt is only what was asked for without an answer and is not listed; nothing of it is sent
    again before its time is over, and then exactly one is there.
    """
    fault = standing.Fault(kind, act=act, status=status)
    desk.server.order(step, *[fault] * times)
    failed = False
    try:
        record, _ = desk.submit(file)
        assert record.ref == desk.server.entries[0].ref
    except KaggleDigitsError as error:
        failed = True
        assert "planted" not in f"{error.message}{error.mend}".replace("planted-user", "")
        told = "Nothing was submitted" in error.message
        assert not (told and desk.server.entries), error.message
    assert len(desk.server.entries) <= 1
    if not failed:
        assert len(desk.server.entries) == 1
    desk.server.faults.clear()
    if not desk.server.entries and any(one.state == "unknown" for one in desk.records()):
        created = desk.server.count("CreateSubmission")
        with pytest.raises(CallError, match="not known whether.*not sent again"):
            desk.submit(file)
        assert step == "CreateSubmission" and desk.server.count("CreateSubmission") == created
        desk.let_the_doubt_pass()
    record, _ = desk.submit(file)
    assert len(desk.server.entries) == 1
    assert record.ref == desk.server.entries[0].ref
    (state,) = [one.state for one in desk.records() if one.state != "failed"]
    assert state in ("pending", "complete")


def test_a_dropped_answer_costs_no_second_call(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    desk.server.order("CreateSubmission", standing.Fault("drop", act=True))
    record, sent = desk.submit(file)
    assert sent and record.ref == desk.server.entries[0].ref
    assert desk.server.count("CreateSubmission") == 1


def test_a_broken_upload_is_made_again_and_leaves_no_doubt(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    desk.server.order("PUT", standing.Fault("drop"))
    record, sent = desk.submit(file)
    assert sent and record.ref == desk.server.entries[0].ref
    assert (desk.server.count("PUT"), desk.server.count("CreateSubmission")) == (2, 1)


def test_a_list_that_lags_is_looked_at_again(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    desk.server.order("CreateSubmission", standing.Fault("drop", act=True))
    desk.server.hidden_lists = 4
    record, _ = desk.submit(file)
    assert record.ref == desk.server.entries[0].ref
    assert desk.server.count("CreateSubmission") == 1


def test_a_list_that_hides_what_the_limits_count_leaves_it_open(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    desk.server.order("CreateSubmission", standing.Fault("drop", act=True))
    desk.server.hidden_lists = 50
    with pytest.raises(CallError, match="not known whether"):
        desk.submit(file)
    assert [record.state for record in desk.records()] == ["unknown"]
    desk.let_the_doubt_pass()
    with pytest.raises(CallError, match="not known whether.*not sent again"):
        desk.submit(file)  # Kaggle counts one more than it lists
    assert [record.state for record in desk.records()] == ["unknown"]
    desk.server.hidden_lists = 0
    record, sent = desk.submit(file)
    assert not sent and record.ref == desk.server.entries[0].ref
    assert len(desk.server.entries) == 1


def test_a_submission_that_arrives_late_is_not_doubled(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    desk.server.order("CreateSubmission", standing.Fault("late"))
    record, _ = desk.submit(file)
    assert len(desk.server.entries) == 1
    assert record.ref == desk.server.entries[0].ref


@pytest.mark.parametrize("body", [b'{"message":"Could not submit"}', b"{}", b'{"ref":0}'])
def test_an_answer_without_a_reference_is_no_success(
    desk: Desk, file: SubmissionFile, standing: Any, body: bytes
) -> None:
    faults = [standing.Fault("body", status=200, body=body)] * 3
    desk.server.order("CreateSubmission", *faults)
    with pytest.raises(CallError, match="not known whether.*not sent again"):
        desk.submit(file)
    assert [record.state for record in desk.records()] == ["unknown"]
    assert desk.server.entries == []


def test_an_answer_with_anothers_reference_is_not_believed(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    ref = desk.server.create(file.content[:-6] + b"200,0\r\n"[:6], "by hand", "x.csv")
    stolen = standing.Fault("body", act=True, status=200, body=b'{"ref":%d}' % ref)
    desk.server.order("CreateSubmission", stolen)
    record, _ = desk.submit(file)
    assert record.ref == desk.server.entries[1].ref != ref
    assert len(desk.server.entries) == 2


@pytest.mark.parametrize("skew", [-400 * 86400.0, -3600.0, 3600.0, 400 * 86400.0])
def test_a_server_clock_that_is_off_changes_nothing(
    desk: Desk, file: SubmissionFile, standing: Any, skew: float
) -> None:
    desk.server.clock_skew = skew
    desk.server.order("CreateSubmission", standing.Fault("drop", act=True))
    record, _ = desk.submit(file)
    assert record.ref == desk.server.entries[0].ref
    _, sent = desk.submit(file)
    assert not sent and len(desk.server.entries) == 1


def test_two_at_once_send_one(desk: Desk, file: SubmissionFile) -> None:
    """The second is refused while the first sends, and finds it afterwards."""
    inside, go_on = threading.Event(), threading.Event()

    def hook(method: str, when: str) -> None:
        if (method, when) == ("CreateSubmission", "before"):
            inside.set()
            go_on.wait(10)

    desk.server.hook = hook
    first = threading.Thread(target=lambda: desk.submit(file))
    # A second client of its own: flock is per open file, so a thread stands for a process.
    other = Desk(desk.workspace.root, desk.server)
    other.service = KaggleClient("digit-recognizer", dataclasses.replace(QUICK, timeout=5))
    desk.service = KaggleClient("digit-recognizer", dataclasses.replace(QUICK, timeout=5))
    first.start()
    try:
        assert inside.wait(10)
        with pytest.raises(ArtefactError, match="in use"):
            other.submit(file)
        with other.ledger() as ledger:
            catch_up(other.service, ledger, other.workspace, Silent())
        assert [record.state for record in other.records()] == ["sending"]
    finally:
        go_on.set()
        first.join()
    _, sent = other.submit(file)
    assert not sent and len(desk.server.entries) == 1


def test_waiting_ends_with_the_scorers_refusal(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    record, _ = desk.submit(file)
    body = {"submissions": [{"ref": record.ref, "status": "ERROR", "errorDescription": "bad file"}]}
    fault = standing.Fault("body", status=200, body=json.dumps(body).encode())
    desk.server.order("ListSubmissions", fault)
    with desk.ledger() as ledger:
        done = wait_until_scored(desk.service, ledger, record, Silent())
    assert (done.state, done.error) == ("error", "bad file")


def test_waiting_asks_ever_less_often_and_gives_up(desk: Desk, file: SubmissionFile) -> None:
    desk.server.polls_until_scored = 10**6
    record, _ = desk.submit(file)
    slept: list[float] = []
    desk.service = KaggleClient("digit-recognizer", dataclasses.replace(QUICK, pause=slept.append))
    with desk.ledger() as ledger, pytest.raises(CallError, match="not scored yet"):
        wait_until_scored(desk.service, ledger, record, Silent())
    assert slept == sorted(slept) and slept[0] == 2
    assert slept[-1] == 30 and 1800 <= sum(slept) < 1840


def test_an_outage_while_a_score_is_waited_for_does_not_end_the_waiting(
    desk: Desk, file: SubmissionFile, standing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said to call the command again, as if nothing had been sent."""
    record, _ = desk.submit(file)
    desk.server.order("ListSubmissions", *[standing.Fault("status", status=503)] * 3)
    told: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "say", told.append)
    with desk.ledger() as ledger:
        done = wait_until_scored(desk.service, ledger, record, progress)
    assert (done.state, done.public_score) == ("complete", "0.90000")
    assert told == ["Kaggle could not serve the list of submissions now (503). Asking again."]
    assert desk.server.count("CreateSubmission") == 1


def test_what_was_sent_is_said_where_its_score_cannot_be_waited_for(
    desk: Desk, file: SubmissionFile, standing: Any
) -> None:
    record, _ = desk.submit(file)
    desk.service.competition = "kannada-mnist"
    later = standing.Fault("status", status=429, headers={"Retry-After": "9999"})
    desk.server.order("ListSubmissions", later)
    with desk.ledger() as ledger, pytest.raises(CallError, match="a wait of 9999 s") as error:
        wait_until_scored(desk.service, ledger, record, Silent())
    assert error.value.mend == (
        "It is sent, and not lost: `kaggle-digits submissions --competition kannada-mnist` shows "
        "its score when it is in."
    )


def test_the_account_of_a_blend_counts_for_its_own_bytes_only(
    file: SubmissionFile, tmp_path: Path
) -> None:
    values = {
        "file": "submission.csv",
        "sha256": file.sha256,
        "method": "mean",
        "members": ["a", "b"],
        "oof_accuracy": 0.99,
        "oof_accuracy_se": 0.001,
        "oof_log_loss": 0.03,
        "oof_log_loss_se": 0.002,
        "rows": 1198,
        "data_digest": "x",
    }
    path, account = tmp_path / "submission.csv", tmp_path / "submission.json"
    assert read_about(path, file) == About()
    account.write_text(json.dumps(values))
    about = read_about(path, file)
    assert (about.method, about.members, about.cv_rows) == ("mean", ("a", "b"), 1198)
    assert (about.cv_accuracy, about.cv_log_loss) == (0.99, 0.03)
    # The board's labels are not corrected: figures on train.csv's own labels are compared with it.
    given = {name: values[name] for name in values if name.startswith("oof_")}
    given |= {"oof_accuracy": 0.97, "rows": 1190, "digest": "f", "corrected": 9, "left_out": 8}
    account.write_text(json.dumps(values | {"labels": given}))
    about = read_about(path, file)
    assert (about.cv_accuracy, about.cv_log_loss, about.cv_rows) == (0.97, 0.03, 1190)
    account.write_text(json.dumps(values | {"sha256": "0" * 64}))
    assert read_about(path, file) == About()
    account.write_text(json.dumps({"sha256": file.sha256}))
    with pytest.raises(ArtefactError, match="not what `blend` writes"):
        read_about(path, file)


@pytest.mark.parametrize("content", ['{"lr": 0.1}', '{"method": "xgb"}', "[1]", '"x"', "{"])
def test_a_json_of_the_users_own_beside_a_file_is_no_account(
    file: SubmissionFile, tmp_path: Path, content: str
) -> None:
    """It was refused as an account that is broken, and nothing could be submitted."""
    (tmp_path / "mine.json").write_text(content)
    assert read_about(tmp_path / "mine.csv", file, ours=False) == About()


@pytest.mark.parametrize("content", ['{"method": "mean"}', '{"members": []}', '{"sha256": 5}', "{"])
def test_an_account_that_is_broken_is_still_refused(
    file: SubmissionFile, tmp_path: Path, content: str
) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"mine\.json") as refused:
        read_about(tmp_path / "mine.csv", file)
    assert refused.value.mend == "Call `kaggle-digits blend` again."
