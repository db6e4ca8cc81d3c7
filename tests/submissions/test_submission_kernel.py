"""`submit --kernel`: a kernel's version in place of a file, with the same ledger and care."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.core.place import Place
from kaggle_digits.ground.errors import ConfigurationError, DataError, ServiceError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.code_submissions import KernelSubmissions
from kaggle_digits.kaggle_service.kernels import KaggleKernels
from kaggle_digits.kaggle_service.transport import CallError, Patience
from submissions import api, kernel_runs
from submissions.ledger import Ledger, Record
from submissions.tables import forecast_facts

QUICK = Patience(timeout=1.5, tries=2, pause=lambda seconds: None)
ACCOUNT = "kaggle-digits/submissions/submission.json"


class Desk:
    """A workspace, and a kernel at the stand-in that has run once."""

    def __init__(self, root: Path, server: Any, dataset: Any, standing: Any) -> None:
        self.server, self.kernel = server, standing.KERNEL
        self.place = Place(Workspace(root), lambda: dataset, Silent())

    def service(self) -> KernelSubmissions:
        made = api.open_service(self.place, kernel=self.kernel)
        assert isinstance(made, KernelSubmissions)
        made.patience = QUICK
        return made

    def submit(self, version: int | None = None, **options: Any) -> Any:
        service = self.service()
        file = options.pop("file", None)
        ahead = api.look_ahead(self.place, service, file, version=version)
        return api.submit(self.place, service, ahead, **options)

    def ledger(self) -> Ledger:
        return Ledger(self.place.workspace.submissions / "ledger.sqlite")

    def records(self) -> list[Record]:
        with self.ledger() as ledger:
            return ledger.all()


@pytest.fixture
def desk(server: Any, dataset: Any, csv_of: Any, standing: Any, tmp_path: Path) -> Desk:
    server.versions = [{"submission.csv": csv_of(dataset, 3), "log.txt": b"x"}]
    server.code_only = True
    blind = dataclasses.replace(dataset, truth=None)  # as at Kaggle
    return Desk(tmp_path / "workspace", server, blind, standing)


def test_a_kernels_version_is_submitted_by_the_clients_own_call_and_scored(
    desk: Desk, dataset: Any, csv_of: Any
) -> None:
    done = desk.submit(message="mine", wait=True)
    assert done.sent and done.record.state == "complete"
    owner, slug = desk.kernel.split("/")
    assert desk.server.code_requests == [
        {
            "competitionName": "digit-recognizer",
            "kernelOwner": owner,
            "kernelSlug": slug,
            "kernelVersion": 1,
            "fileName": "submission.csv",
            "submissionDescription": f"kd-{done.record.tag} | mine",
        }
    ]
    assert done.record.public_score == desk.server.score(csv_of(dataset, 3))
    (record,) = desk.records()
    assert record.kernel == f"{desk.kernel}/1" and record.rows == len(dataset.test_ids)
    assert desk.server.count("StartSubmissionUpload") == desk.server.count("PUT") == 0


def test_what_the_kernel_wrote_is_checked_and_forecast_before(
    desk: Desk, dataset: Any, csv_of: Any
) -> None:
    desk.submit(wait=True)
    desk.server.versions.append({"submission.csv": csv_of(dataset, 1)})
    ahead = api.look_ahead(desk.place, desk.service())
    (one,) = ahead.forecast.differences
    assert len(one.changes) == 2 and one.record.kernel == f"{desk.kernel}/1"
    assert ahead.submission.kernel == f"{desk.kernel}/2"
    desk.server.versions.append({"submission.csv": csv_of(dataset, 0).replace(b"ImageId", b"Id")})
    with pytest.raises(DataError, match="header"):
        desk.submit()
    assert len(desk.server.entries) == 1


def test_the_account_of_our_own_kernel_is_kept_and_gives_the_forecast_no_interval(
    desk: Desk, dataset: Any, csv_of: Any
) -> None:
    """The images that it is scored on, and how many they are, are known to Kaggle alone."""
    import hashlib

    content = csv_of(dataset, 2)
    account = {
        "sha256": hashlib.sha256(content).hexdigest(), "method": "mean", "members": ["a", "b"],
        "oof_accuracy": 0.97, "oof_accuracy_se": 0.005, "oof_log_loss": 0.1,
        "oof_log_loss_se": 0.01, "rows": 600, "data_digest": "x",
    }  # fmt: skip
    desk.server.versions.append({"submission.csv": content, ACCOUNT: json.dumps(account).encode()})
    ahead = api.look_ahead(desk.place, desk.service())
    told = ahead.forecast
    assert ahead.about.cv_accuracy == 0.97 and told.is_hidden
    assert (told.interval, told.low, told.high) == (None, None, None)
    assert forecast_facts(told)["forecast"] == (
        "no interval: a kernel is scored on images that are not here"
    )


def test_the_same_version_is_not_submitted_twice_another_of_the_same_bytes_is(desk: Desk) -> None:
    first = desk.submit()
    again = desk.submit()
    assert first.sent and not again.sent and again.record.ref == first.record.ref
    desk.server.versions.append(desk.server.versions[0])  # may write another file where it counts
    second = desk.submit()
    assert second.sent and second.record.kernel == f"{desk.kernel}/2"
    assert not desk.submit(version=2).sent
    assert desk.submit(force=True).sent
    assert len(desk.server.entries) == 3


def test_a_file_of_the_same_bytes_is_the_same_submission(
    desk: Desk, dataset: Any, csv_of: Any, tmp_path: Path
) -> None:
    desk.server.code_only = False
    file = tmp_path / "own.csv"
    file.write_bytes(csv_of(dataset, 3))
    service = api.open_service(desk.place)
    assert api.submit(desk.place, service, api.look_ahead(desk.place, service, file)).sent
    assert not desk.submit().sent
    assert len(desk.server.entries) == 1


@pytest.mark.parametrize("kind", ["drop", "html", "status"])
def test_a_lost_answer_is_looked_for_and_nothing_is_sent_twice(
    desk: Desk, standing: Any, kind: str
) -> None:
    desk.server.order("CreateCodeSubmission", standing.Fault(kind, act=True))
    done = desk.submit()
    assert done.sent and done.record.ref == desk.server.entries[0].ref
    assert len(desk.server.entries) == 1 and not desk.submit().sent


def test_a_kernel_that_was_killed_while_sending_is_found_again(desk: Desk) -> None:
    desk.submit()
    with desk.ledger() as ledger:
        (record,) = ledger.all()
        # As a kill after the call leaves it: written down, its reference not noted.
        ledger.change(record, ref=None, state="sending")
    again = desk.submit()
    assert not again.sent and again.record.ref == desk.server.entries[0].ref
    assert len(desk.server.entries) == 1


def test_what_never_arrived_is_in_doubt_for_an_hour_and_then_sent_again(
    desk: Desk, standing: Any
) -> None:
    desk.server.order("CreateCodeSubmission", standing.Fault("drop"))
    with pytest.raises(CallError, match="not known whether submission"):
        desk.submit()
    with pytest.raises(CallError, match="not known whether submission"):
        desk.submit()
    with desk.ledger() as ledger:
        (record,) = ledger.all()
        old = datetime.now(UTC) - timedelta(seconds=KernelSubmissions.doubt + 1)
        ledger.change(record, created=old.strftime("%Y-%m-%dT%H:%M:%S"))
    assert desk.submit().sent and len(desk.server.entries) == 1


@pytest.mark.parametrize(
    ("state", "failure", "says"),
    [
        ("RUNNING", "", "has not ended: running"),
        ("QUEUED", "", "has not ended: queued"),
        ("ERROR", "out of memory", "ended with error: out of memory"),
        ("CANCEL_ACKNOWLEDGED", "", "ended with cancel acknowledged"),
    ],
)
def test_a_kernel_that_has_not_ended_well_is_not_submitted(
    desk: Desk, state: str, failure: str, says: str
) -> None:
    desk.server.run_state, desk.server.run_failure = state, failure
    with pytest.raises(ServiceError, match=says):
        desk.submit()
    assert desk.records() == [] and desk.server.code_requests == []


def test_a_kernel_without_the_file_is_not_submitted(desk: Desk) -> None:
    desk.server.versions.append({"predictions.csv": b"x"})
    with pytest.raises(ServiceError, match=r"left no submission\.csv.*it left predictions\.csv"):
        desk.submit()
    assert desk.server.code_requests == []


def test_a_version_that_is_not_there_is_refused_and_an_older_one_needs_its_file(
    desk: Desk, dataset: Any, csv_of: Any, tmp_path: Path
) -> None:
    desk.server.versions.append({"submission.csv": csv_of(dataset, 1)})
    with pytest.raises(ConfigurationError, match="given as 3; .* has versions 1 to 2"):
        desk.submit(version=3)
    with pytest.raises(ConfigurationError, match="Version 1 of .* is not known to be its last"):
        desk.submit(version=1)
    wrote = tmp_path / "wrote.csv"
    wrote.write_bytes(csv_of(dataset, 3))
    done = desk.submit(version=1, file=wrote)
    assert done.sent and desk.server.code_requests[0]["kernelVersion"] == 1


def test_where_no_last_version_is_told_the_one_that_is_named_does_not_pass_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another version wrote was checked, forecast and kept in its place."""
    service = desk.service()
    assert kernel_runs.find_version(service, 1) is True
    monkeypatch.setattr(KaggleKernels, "last_version", lambda *_: None)
    assert kernel_runs.find_version(service, 2) is False and service.version == 2
    with pytest.raises(ConfigurationError, match="does not tell which version"):
        kernel_runs.find_version(service, None)


def test_what_kaggle_refuses_is_said_with_what_to_look_at(desk: Desk, standing: Any) -> None:
    said = b'{"code": 400, "message": "Notebook is not attached to this competition"}'
    desk.server.order("CreateCodeSubmission", standing.Fault("body", status=400, body=said))
    with pytest.raises(CallError, match=r"not attached.*Nothing was submitted") as refused:
        desk.submit()
    assert "reads this competition" in str(refused.value.mend)
    assert [record.state for record in desk.records()] == ["failed"]


def test_no_more_than_the_days_limit_is_sent(desk: Desk) -> None:
    desk.submit()
    desk.server.allowed = 1
    desk.server.versions.append(desk.server.versions[0])
    with pytest.raises(CallError, match="No submissions are left today: 1 were made"):
        desk.submit()
    assert len(desk.server.code_requests) == 1


def test_options_that_do_not_go_together(
    desk: Desk, command_line: Callable[..., Any], server: Any
) -> None:
    with pytest.raises(ConfigurationError, match="no kernel's name; expected owner/slug"):
        api.open_service(desk.place, kernel="digits")
    with pytest.raises(
        ConfigurationError, match="--kernel was given with --local, which takes files alone"
    ):
        api.open_service(desk.place, kernel="me/digits", local=True)
    with pytest.raises(ConfigurationError, match="without --kernel"):
        api.require_version(None, 2)
    desk.kernel = "someone/else-kernel"
    with pytest.raises(CallError, match="404"):
        desk.submit()


def test_the_command_shows_the_kernel_and_the_ledger_has_it(
    server: Any, standing: Any, here: Callable[..., Any], dataset: Any, tmp_path: Path
) -> None:
    pixels = ",".join(f"pixel{number}" for number in range(64))
    row = ",".join(["7"] * 32 + ["200"] * 32)
    data = tmp_path / "data"
    data.mkdir()
    labels = [f"{number % 10},{row}" for number in range(30)]
    (data / "train.csv").write_text("\n".join([f"label,{pixels}", *labels]) + "\n")
    (data / "test.csv").write_text("\n".join([pixels, *[row] * 8]) + "\n")
    lines = [f"{number},{number % 10}" for number in range(1, 9)]
    server.truth = {str(number): str(number % 10) for number in range(1, 9)}
    wrote = ("\n".join(["ImageId,Label", *lines]) + "\n").encode()
    server.versions = [{"submission.csv": wrote}]
    shared = ["--data", str(data), "--workspace", "w"]
    call = ["submit", "--kernel", standing.KERNEL, "--wait", *shared]
    done = here(*call)
    assert done.returncode == 0, done.stderr
    assert f"{standing.KERNEL} version 1" in done.stdout and "complete" in done.stdout
    again = here(*call, "--json")
    values = json.loads(again.stdout)
    assert values["sent"] is False and values["kernel"] == f"{standing.KERNEL}/1"
    shown = here("submissions", "--offline", *shared)
    assert f"{standing.KERNEL} version 1" in " ".join(shown.stdout.split())
    wrong = here("submit", "--kernel-version", "2", *shared)
    assert wrong.returncode == 2 and "without --kernel" in wrong.stderr
