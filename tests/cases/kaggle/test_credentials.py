"""Credentials that are there and cannot be used: each file is named with its defect."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.credentials import explain_missing
from kaggle_digits.kaggle_service.transport import CallError, CredentialsError, Patience

SECRET = "0planted1secret2"
QUICK = Patience(timeout=1.5, wait=0.002, tries=3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with a `.kaggle` in it."""
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kaggle").mkdir()
    return tmp_path / ".kaggle"


def told(home: Path) -> str:
    error = explain_missing(home / "kaggle.json")
    for part in ("KAGGLE_API_TOKEN", "access_token", "https://www.kaggle.com/settings/api"):
        assert part in str(error.mend)
    assert SECRET not in f"{error.message}{error.mend}"
    return error.message


FORMS = {
    "bom": (b'\xef\xbb\xbf{"username":"someone","key":"%s"}', "byte-order mark"),
    "utf16": (b"\xff\xfe" + '{"username":"a"}'.encode("utf-16-le"), "byte-order mark (UTF-16)"),
    "latin1": (b'{"username":"\xe9","key":"%s"}', "not UTF-8"),
    "cut": (b'{"username": "someone", "key": "%s', "broken or cut short: .* not JSON"),
    "quotes": (b"{'username': 'someone', 'key': '%s'}", "not JSON"),
    "empty": (b"", "is empty"),
    "blank": (b" \n", "is empty"),
    "config_only": (b'{"competition":"digit-recognizer"}', "holds no username and key"),
    "no_key": (b'{"username":"someone"}', "holds no key"),
    "list": (b'[{"username":"someone","key":"%s"}]', "holds a JSON list; expected an object"),
    "null": (b"null", "holds a JSON NoneType"),
    "number": (b'{"username":"someone","key":12}', "key that is empty or no text"),
    "no_text": (b'{"username":"","key":"%s"}', "username that is empty or no text"),
    "new_form": (b"KGAT_%s\n", "token in the new form.*access_token or KAGGLE_API_TOKEN"),
    "new_in_json": (b'{"token":"KGAT_%s"}', "token in the new form"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_kaggle_json_is_named_with_its_defect(home: Path, form: str) -> None:
    content, defect = FORMS[form]
    (home / "kaggle.json").write_bytes(content.replace(b"%s", SECRET.encode()))
    message = told(home)
    assert str(home / "kaggle.json") in message
    assert re.search(defect.replace("(UTF-16)", r"\(UTF-16\)"), message), message


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbfKGAT_%s", "byte-order mark"),
        (b"\xff\xfeK\0", "UTF-16"),
        (b'{"username":"a","key":"%s"}', "holds JSON; expected the token alone"),
        (b"token: KGAT_%s", "more than one word"),
        (b'"KGAT_%s"', "in quotes"),
        (b"KGAT_%s", "expired, revoked, or not whole"),
    ],
)
@pytest.mark.parametrize("name", ["access_token", "access_token.txt"])
def test_an_access_token_is_named_with_its_defect(
    home: Path, name: str, content: bytes, defect: str
) -> None:
    (home / name).write_bytes(content.replace(b"%s", SECRET.encode()))
    message = told(home)
    assert str(home / name) in message and defect in message


def test_folders_links_and_other_places_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert told(home) == "No Kaggle credentials were found."
    (home / "kaggle.json.txt").write_text('{"username":"a","key":"b"}')
    assert "kaggle.json.txt is not where Kaggle's client reads it" in told(home)
    (home / "kaggle.json").symlink_to("nowhere")
    assert "a link that leads nowhere" in told(home)
    (home / "kaggle.json").unlink()
    (home / "kaggle.json").mkdir()
    assert "is a folder" in told(home)


def test_variables_are_named_without_their_value(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    assert "KAGGLE_KEY is set, but KAGGLE_USERNAME is not" in told(home)
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"KGAT_{SECRET}")
    assert "KAGGLE_API_TOKEN was not taken by Kaggle" in told(home)
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"'KGAT_{SECRET}'")
    assert "KAGGLE_API_TOKEN holds the token in quotes" in told(home)
    (tmp_path / SECRET).write_text("")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(tmp_path / SECRET))
    assert "the file that KAGGLE_API_TOKEN names is empty" in told(home)


def test_a_broken_login_of_the_browser_is_named(home: Path) -> None:
    (home / "credentials.json").write_text('{"refresh_token": "' + SECRET)
    assert "credentials.json is broken or cut short" in told(home)
    (home / "credentials.json").write_text("[]")
    assert "credentials.json holds a JSON list" in told(home)


@pytest.mark.parametrize("form", ["bom", "config_only", "new_form"])
def test_the_command_names_the_file_before_it_asks_anyone(
    command_line: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir(parents=True)
    content, _ = FORMS[form]
    (folder / "kaggle.json").write_bytes(content.replace(b"%s", SECRET.encode()))
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    done = command_line("download", "--data", "d", "--json", variables=nowhere)
    assert done.returncode == 1
    values = json.loads(done.stdout)
    assert str(folder / "kaggle.json") in values["error"]
    assert "KAGGLE_API_TOKEN" in values["mend"] and SECRET not in done.stdout + done.stderr
    assert SECRET not in (tmp_path / "workspace" / "log.txt").read_text()


def test_a_token_that_kaggle_does_not_know_is_named(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"KGAT_{SECRET}")
    with pytest.raises(CredentialsError, match="KAGGLE_API_TOKEN was not taken by Kaggle"):
        KaggleClient("digit-recognizer", QUICK).limits()


def test_refused_credentials_say_where_they_came_from(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", f"KGAT_{SECRET}")
    with pytest.raises(CredentialsError, match="KAGGLE_USERNAME and KAGGLE_KEY.*new form") as told:
        KaggleClient("digit-recognizer", QUICK).limits()
    assert SECRET not in told.value.message
    assert server.count("GetSubmissionLimits") == 1


def test_a_code_competition_tells_what_to_do(server: Any, standing: Any) -> None:
    said = b'{"code":400,"message":"This competition only accepts submissions from Notebooks"}'
    for step in ("StartSubmissionUpload", "CreateSubmission"):
        server.order(step, standing.Fault("body", status=400, body=said))
        with pytest.raises(CallError, match="only accepts submissions from Notebooks") as caught:
            client = KaggleClient("digit-recognizer", QUICK)
            client.create(client.upload(b"x", "a.csv"), "m")
        assert not caught.value.acted and not caught.value.transient
        assert "code competition" in str(caught.value.mend)
