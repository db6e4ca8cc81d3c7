"""The tamed client: the same contract as the local scoreboard, and what it does about trouble."""

from __future__ import annotations

import dataclasses
import io
import os
import time
import zipfile
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.adapter import require_trusted
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import (
    CallError,
    CredentialsError,
    Patience,
    clean,
    repeat_read,
)
from submissions.scoreboard import LocalScoreboard, score, split_public

QUICK = Patience(timeout=1.0, wait=0.01, tries=3, pause=lambda seconds: None)


@pytest.fixture
def client(server: Any) -> KaggleClient:
    return KaggleClient("digit-recognizer", QUICK)


@pytest.fixture(params=["kaggle", "local"])
def service(request: pytest.FixtureRequest, dataset: Any, tmp_path: Path) -> Any:
    if request.param == "kaggle":
        request.getfixturevalue("server")
        return KaggleClient("digit-recognizer", QUICK)
    return LocalScoreboard(Workspace(tmp_path), "small", dataset.truth, 0.25)


def test_every_service_keeps_the_contract(
    service: Any, dataset: Any, csv_of: Callable[..., bytes]
) -> None:
    assert service.submissions() == []
    assert service.limits().today == 0
    first = service.create(service.upload(csv_of(dataset, 8), "a.csv"), "kd-a | words")
    second = service.create(service.upload(csv_of(dataset, 2), "b.csv"), "kd-b | words")
    assert 0 < first < second
    service.submissions()
    listed = {sent.ref: sent for sent in service.submissions()}
    assert sorted(listed) == [first, second]
    assert listed[first].message == "kd-a | words"
    assert {sent.state for sent in listed.values()} == {"complete"}
    assert float(listed[first].public_score) < float(listed[second].public_score) <= 1
    assert len(listed[first].public_score) == len("0.84000")
    assert service.limits().today == 2
    with zipfile.ZipFile(io.BytesIO(service.download_board())) as archive:
        (name,) = archive.namelist()
        head = archive.read(name).decode("utf-8-sig").splitlines()[0]
    assert "TeamName" in head and "Score" in head


def test_the_local_scoreboard_and_check_count_alike(
    dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    board = LocalScoreboard(Workspace(tmp_path), "small", dataset.truth, 0.25)
    board.create(board.upload(csv_of(dataset, 10), "a.csv"), "m")
    (sent,) = board.submissions()
    public, private = split_public(dataset.test_ids, 0.25)
    assert (len(public), len(private)) == (50, 150)
    assert sorted(public + private, key=int) == list(dataset.test_ids)
    wrong = 50 * (1 - float(sent.public_score or 0)) + 150 * (1 - float(sent.private_score or 0))
    labels = [line.split(",")[1] for line in csv_of(dataset, 10).decode().split()[1:]]
    assert round(wrong) == score(dataset.test_ids, labels, dataset.truth).errors == 10


def test_lists_are_read_to_the_last_page(client: KaggleClient, server: Any) -> None:
    for number in range(230):
        server.create(b"ImageId,Label\r\n" + b"1,1\r\n" * 4, f"m{number}", "f.csv")
    assert len({sent.ref for sent in client.submissions()}) == 230
    assert server.count("ListSubmissions") == 3


def test_files_are_listed_to_the_last_page_however_many(
    client: KaggleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than 200 pages, as image competitions have them, none could be downloaded."""

    def listed(request: Any) -> Any:
        number = int(request.page_token or 0)
        file = SimpleNamespace(name=f"{number}.png", total_bytes=number)
        token = str(number + 1) if number < 300 else ""
        return SimpleNamespace(files=[file], next_page_token=token)

    calls = SimpleNamespace(list_data_files=listed)
    monkeypatch.setattr(client, "_read", lambda what, call: call(calls))
    assert client.files() == {f"{number}.png": number for number in range(301)}


def test_a_list_without_end_is_given_up(client: KaggleClient, server: Any, standing: Any) -> None:
    endless = standing.Fault("body", status=200, body=b'{"submissions":[],"nextPageToken":"7"}')
    server.order("ListSubmissions", *[endless] * 5)
    with pytest.raises(CallError, match="no last page"):
        client.submissions()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_reads_are_repeated_while_it_may_pass(
    client: KaggleClient, server: Any, standing: Any, status: int
) -> None:
    server.order("ListSubmissions", *[standing.Fault("status", status=status)] * 2)
    assert client.submissions() == []
    assert server.count("ListSubmissions") == 3
    server.order("ListSubmissions", *[standing.Fault("status", status=status)] * 3)
    with pytest.raises(CallError, match=str(status)):
        client.submissions()
    assert server.count("ListSubmissions") == 6


@pytest.mark.parametrize("kind", ["drop", "hang"])
def test_reads_survive_a_lost_answer(
    client: KaggleClient, server: Any, standing: Any, kind: str
) -> None:
    server.order("GetSubmissionLimits", standing.Fault(kind))
    assert client.limits().left == 5
    assert server.count("GetSubmissionLimits") == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_are_not_repeated(
    client: KaggleClient, server: Any, standing: Any, status: int
) -> None:
    server.order("ListSubmissions", standing.Fault("status", status=status))
    with pytest.raises(CallError) as caught:
        client.submissions()
    assert server.count("ListSubmissions") == 1
    assert not caught.value.transient and not caught.value.acted
    assert standing.KEY not in caught.value.message
    if status in (401, 403):
        lines = f"error: {caught.value.message}\n  {caught.value.mend}".splitlines()
        assert len(lines) == 3


def test_an_error_object_in_a_200_is_an_error(
    client: KaggleClient, server: Any, standing: Any
) -> None:
    body = b'{"code":403,"message":"You must accept the rules"}'
    server.order("ListSubmissions", standing.Fault("body", status=200, body=body))
    with pytest.raises(CredentialsError, match="accept the rules"):
        client.submissions()


@pytest.mark.parametrize("step", ["StartSubmissionUpload", "PUT", "CreateSubmission"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_writes_are_never_repeated_by_the_client(
    client: KaggleClient, server: Any, standing: Any, step: str, status: int
) -> None:
    server.order(step, standing.Fault("status", status=status))
    with pytest.raises(CallError) as caught:
        client.create(client.upload(b"x", "a.csv"), "m")
    assert server.count(step) == 1
    assert caught.value.transient
    assert caught.value.acted is (step == "CreateSubmission" and status != 429)


def test_the_wait_that_the_server_asks_for_is_kept(
    client: KaggleClient, server: Any, standing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    client = KaggleClient("digit-recognizer", dataclasses.replace(QUICK, pause=slept.append))
    asked = standing.Fault("status", status=429, headers={"Retry-After": "1.1"})
    server.order("ListSubmissions", asked)
    client.submissions()
    assert slept == [1.1]
    # A date counts from the server's clock, an hour and a half off from here.
    skewed = time.time() - 5400
    dates = {"Retry-After": formatdate(skewed + 1, usegmt=True)}
    fault = standing.Fault("status", status=503, headers=dates)
    server.order("ListSubmissions", fault)
    monkeypatch.setattr(
        "http.server.BaseHTTPRequestHandler.date_time_string",
        lambda self, timestamp=None: formatdate(skewed, usegmt=True),
    )
    client.submissions()
    assert slept[1] == 1.0
    too_long = standing.Fault("status", status=429, headers={"Retry-After": "3600"})
    server.order("ListSubmissions", too_long)
    with pytest.raises(CallError, match="3600 s"):
        client.submissions()
    assert len(slept) == 2


def test_waits_grow_and_have_jitter() -> None:
    patience = Patience(wait=1.0)
    waits = [[patience.before(attempt) for _ in range(50)] for attempt in (1, 2, 3)]
    for attempt, drawn in enumerate(waits):
        assert all(2**attempt <= wait <= 1.5 * 2**attempt for wait in drawn)
        assert len(set(drawn)) > 40
    assert Patience(wait=1.0).before(30) <= 180


def test_only_calls_that_may_pass_are_repeated() -> None:
    calls: list[int] = []

    def refused() -> None:
        calls.append(1)
        raise CallError("no")

    with pytest.raises(CallError):
        repeat_read(refused, QUICK)
    assert calls == [1]


@pytest.mark.parametrize(
    "body",
    [
        b'{"submissions":null}',
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b"",
        b"{",
        b'{"submissions":[{"ref":1,"status":"MELTED"}]}',
        b'{"submissions":[{"ref":1,"status":7}]}',
        b'{"submissions":[{"ref":"one"}]}',
        b'{"submissions":[{"ref":-1}]}',
        b'{"submissions":[{}]}',
        b'{"submissions":[{"ref":1,"date":"yesterday"}]}',
        b'{"submissions":[{"ref":1,"publicScore":0.5}]}',
        b'{"submissions":{"ref":1}}',
        b'{"submissions":[null]}',
        b'{"status":"maintenance"}',
        b'{"code":"503"}',
    ],
)
def test_strange_answers_are_clear_errors(
    client: KaggleClient, server: Any, standing: Any, body: bytes
) -> None:
    server.order("ListSubmissions", standing.Fault("body", status=200, body=body))
    with pytest.raises(CallError) as caught:
        client.submissions()
    assert "list of submissions" in caught.value.message
    assert caught.value.exit_code == 1


def test_html_is_a_clear_error(client: KaggleClient, server: Any, standing: Any) -> None:
    server.order("ListSubmissions", standing.Fault("html"))
    with pytest.raises(CallError, match="not JSON"):
        client.submissions()


def test_strange_scores_and_control_signs_do_not_get_through(
    client: KaggleClient, server: Any, standing: Any
) -> None:
    body = (
        b'{"submissions":[{"ref":5,"status":"COMPLETE","publicScore":"nan",'
        b'"description":"a\\u001b[31mb\\u0000\\nc"}]}'
    )
    server.order("ListSubmissions", standing.Fault("body", status=200, body=body))
    (sent,) = client.submissions()
    assert sent.public_score is None
    assert sent.message == "a [31mb c"


def test_a_score_below_0_is_kept(client: KaggleClient, server: Any, standing: Any) -> None:
    """A kappa or an R² may be; it was taken for none, and the submission for one without."""
    body = (
        b'{"submissions":[{"ref":5,"status":"COMPLETE","publicScore":"-0.00213","description":""}]}'
    )
    server.order("ListSubmissions", standing.Fault("body", status=200, body=body))
    (sent,) = client.submissions()
    assert sent.public_score == "-0.00213"


@pytest.mark.parametrize("step", ["ListSubmissions", "DownloadDataFiles", "PUT"])
def test_a_redirect_elsewhere_is_not_followed(
    client: KaggleClient, server: Any, standing: Any, step: str, tmp_path: Path
) -> None:
    away = standing.Fault("redirect", headers={"Location": "http://elsewhere.example/x?sig=1"})
    server.order(step, *[away] * 5)
    calls = {
        "ListSubmissions": client.submissions,
        "DownloadDataFiles": lambda: client.download_data(tmp_path, Silent()),
        "PUT": lambda: client.create(client.upload(b"x", "a.csv"), "m"),
    }
    with pytest.raises(CallError) as caught:
        calls[step]()
    if step != "PUT":  # a redirected PUT counts as failed before its place is looked at
        assert "elsewhere.example" in caught.value.message
    assert "sig" not in caught.value.message
    assert not [name for name in server.requests if name.startswith("elsewhere")]


def test_an_upload_address_elsewhere_gets_nothing(
    client: KaggleClient, server: Any, standing: Any
) -> None:
    body = b'{"token":"t","createUrl":"http://elsewhere.example/up?sig=1"}'
    server.order("StartSubmissionUpload", standing.Fault("body", status=200, body=body))
    with pytest.raises(CallError, match=r"elsewhere\.example"):
        client.create(client.upload(b"x", "a.csv"), "m")
    assert not [name for name in server.requests if name.startswith("elsewhere")]


def test_hosts() -> None:
    api = "https://api.kaggle.com"
    for good in ("https://www.kaggle.com/x", "https://storage.googleapis.com/x?sig=1"):
        require_trusted(good, api)
    for bad in (
        "http://api.kaggle.com/x",
        "https://kaggle.com.evil.example/x",
        "https://notkaggle.com/x",
        "https://localhost/x",
        "file:///etc/passwd",
        "https://user@evil.example/kaggle.com",
    ):
        with pytest.raises(CallError):
            require_trusted(bad, api)
    require_trusted("http://localhost/x", "http://localhost")
    with pytest.raises(CallError):
        require_trusted("https://www.kaggle.com/x", "http://localhost")


def test_no_credentials_make_three_lines(
    server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsError) as caught:
        KaggleClient("digit-recognizer", QUICK).limits()
    text = f"error: {caught.value.message}\n  {caught.value.mend}"
    assert len(text.splitlines()) == 3
    assert "kaggle.json" in text
    assert capsys.readouterr() == ("", "")
    assert server.requests == []


def test_a_token_works_and_a_refused_one_is_not_shown(
    server: Any, standing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAGGLE_API_TOKEN", standing.TOKEN)
    assert KaggleClient("digit-recognizer", QUICK).limits().left == 5
    server.order("IntrospectToken", standing.Fault("status", status=401))
    with pytest.raises(CredentialsError) as caught:
        KaggleClient("digit-recognizer", QUICK).limits()
    assert "planted" not in f"{caught.value.message}{caught.value.mend}"
    server.order("IntrospectToken", *[standing.Fault("hang")] * 3)
    with pytest.raises(CallError, match="in time"):
        KaggleClient("digit-recognizer", QUICK).limits()


def test_verbose_variables_do_not_make_the_client_print(
    server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VERBOSE", "1")
    KaggleClient("digit-recognizer", QUICK).limits()
    assert capfd.readouterr() == ("", "")
    assert os.environ["VERBOSE"] == "1"


def test_texts_are_cleaned() -> None:
    assert clean("key=abc key", ("abc",)) == "key=*** key"
    assert clean("see https://x.example/a/b?sig=abc&c=1 now") == "see https://x.example/a/b now"
    assert clean("a\x1b]0;title\x07b\u202ec") == "a ]0;title b c"
    assert len(clean("x" * 1000)) == 200


@pytest.mark.parametrize("text", ["0", "-1", "abc", "nan", "1e99"])
def test_the_variables_are_checked(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KAGGLE_DIGITS_TIMEOUT", text)
    with pytest.raises(ConfigurationError, match="KAGGLE_DIGITS_TIMEOUT"):
        Patience.from_environment()
