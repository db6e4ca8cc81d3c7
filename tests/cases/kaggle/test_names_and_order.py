"""What users type for a competition, and files whose rows stand in another order."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.competition import short_name
from kaggle_digits.ground.errors import ConfigurationError
from submissions.commands import check, leaderboard, submissions, submit
from submissions.validation import validate


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("digit-recognizer", "digit-recognizer"),
        (" digit-recognizer/ ", "digit-recognizer"),
        ("c/digit-recognizer", "digit-recognizer"),
        ("/competitions/digit-recognizer", "digit-recognizer"),
        ("https://www.kaggle.com/competitions/digit-recognizer", "digit-recognizer"),
        ("https://www.kaggle.com/competitions/digit-recognizer/data?select=a", "digit-recognizer"),
        ("https://www.kaggle.com/c/digit-recognizer/leaderboard#x", "digit-recognizer"),
        ("http://Kaggle.com/c/GiveMeSomeCredit", "GiveMeSomeCredit"),
        ("www.kaggle.com/c/titanic/", "titanic"),
        ("c", "c"),
    ],
)
def test_a_competition_is_named_by_any_of_its_addresses(given: str, name: str) -> None:
    if given == "c":
        with pytest.raises(ConfigurationError):
            short_name(given)
        return
    assert short_name(given) == name


@pytest.mark.parametrize(
    "given",
    ["", "/", "https://www.kaggle.com", "https://www.kaggle.com/competitions", "a b", "c/",
     "https://www.kaggle.com/someone/notebook", "https://example.com/c/digit-recognizer",
     "digit recognizer", "../x", "name\nx"],
)  # fmt: skip
def test_what_names_no_competition_is_refused_with_the_form_expected(given: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a competition's short name") as told:
        short_name(given)
    assert "digit-recognizer" in str(told.value.mend)


def test_a_full_address_reaches_kaggle_and_the_ledger_as_the_short_name(
    server: Any, session_on: Callable[..., Any], dataset: Any, tmp_path: Path,
    csv_of: Callable[..., bytes],
) -> None:  # fmt: skip
    given = "https://www.kaggle.com/competitions/digit-recognizer/overview"
    session = session_on(untruthful(dataset))
    (tmp_path / "s.csv").write_bytes(csv_of(dataset))
    submit.body(session, file=tmp_path / "s.csv", competition=given)
    shown = submissions.body(session, competition="c/digit-recognizer")
    assert shown.values["submissions"][0]["competition"] == "digit-recognizer"
    assert shown.values["asked"] is True


def test_what_comes_next_is_on_the_same_competition(
    server: Any, session_on: Callable[..., Any], dataset: Any, tmp_path: Path,
    csv_of: Callable[..., bytes],
) -> None:  # fmt: skip
    """It was a command without --competition, which asks digit-recognizer."""
    server.competition = "kannada-mnist"
    session = session_on(untruthful(dataset))
    (tmp_path / "s.csv").write_bytes(csv_of(dataset))
    empty = leaderboard.body(session, competition="c/kannada-mnist")
    wanted = f"--competition kannada-mnist --workspace {session.workspace.root}"
    assert empty.next_command == f"kaggle-digits submit {wanted}"
    sent = submit.body(session, file=tmp_path / "s.csv", competition="c/kannada-mnist")
    assert sent.next_command == f"kaggle-digits leaderboard {wanted}"


def untruthful(dataset: Any) -> Any:
    """The same data without its truth, as Kaggle's are."""
    fields = {name: getattr(dataset, name) for name in dataset.__slots__}
    return type(dataset)(**fields | {"truth": None})


def test_times_say_their_zone(
    server: Any, session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    session = session_on(untruthful(dataset))
    (tmp_path / "s.csv").write_bytes(csv_of(dataset))
    submit.body(session, file=tmp_path / "s.csv")
    listed = submissions.body(session, export="csv")
    board = leaderboard.body(session)
    assert "(UTC)" in listed.rows[0][0] and "(UTC)" in board.rows[0][0]
    (record,) = listed.values["submissions"]
    assert record["date"].endswith("Z") and record["created"].endswith("Z")
    assert "Z," in (session.workspace.submissions / "submissions.csv").read_text()


def shuffled(content: bytes) -> bytes:
    head, *rows = content.split(b"\r\n")[:-1]
    return b"\r\n".join([head, *reversed(rows), b""])


def test_rows_in_another_order_are_valid_and_said(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(shuffled(csv_of(dataset, 3)))
    outcome = check.body(session_on(dataset), file=path)
    assert outcome.values["valid"] is True and outcome.values["local_errors"] == 3
    assert "another order than the sample's" in outcome.facts["remark"]
    assert outcome.values["remarks"] == [outcome.facts["remark"]]


def test_the_same_predictions_in_another_order_are_the_same_submission(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    content = csv_of(dataset, 3)
    first = validate(content, "a", dataset)
    second = validate(shuffled(content), "b", dataset)
    assert first.digest == second.digest and second.ids == dataset.test_ids
    assert second.content == shuffled(content)  # sent as it is
    session = session_on(dataset)
    (tmp_path / "b.csv").write_bytes(second.content)
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "c.csv").write_bytes(csv_of(dataset, 5))
    sent = submit.body(session, file=tmp_path / "b.csv", local=True)
    assert sent.values["sent"] is True and sent.values["public_score"] is not None
    assert submit.body(session, file=tmp_path / "a.csv", local=True).values["sent"] is False
    ahead = submit.body(session, file=tmp_path / "c.csv", local=True, only_forecast=True)
    (difference,) = ahead.values["forecast"]["differences"]
    assert difference["rows"] == 2  # compared by id, not by line


def test_an_id_that_is_absent_or_doubled_is_still_refused(
    dataset: Any, csv_of: Callable[..., bytes]
) -> None:
    from kaggle_digits.ground.errors import DataError

    lines = shuffled(csv_of(dataset)).split(b"\r\n")
    lines[3] = lines[4]
    with pytest.raises(DataError, match="twice"):
        validate(io.BytesIO(b"\r\n".join(lines)).getvalue(), "s.csv", dataset)
