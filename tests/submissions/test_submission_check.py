"""`check`: the rules of a submission file, and the local score."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.ground.errors import ArtefactError, DataError
from submissions.commands import check
from submissions.validation import predictions_digest, validate

HEADER = b"ImageId,Label\r\n"


def test_a_valid_file_is_scored_where_the_truth_is(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(csv_of(dataset, wrong=3))
    outcome = check.body(session_on(dataset), file=path)
    assert outcome.values["submission"] == str(path)
    assert (outcome.values["rows"], outcome.values["valid"]) == (200, True)
    assert outcome.values["local_errors"] == 3
    assert outcome.values["local_accuracy"] == pytest.approx(0.985)
    assert outcome.facts["local accuracy"] == "0.9850 (3 of 200 wrong)"


def test_without_truth_there_is_no_score(
    session_on: Callable[..., Any], csv_of: Callable[..., bytes], dataset: Any, tmp_path: Path
) -> None:
    blind = dataclasses.replace(dataset, truth=None)
    path = tmp_path / "mine.csv"
    path.write_bytes(csv_of(dataset))
    outcome = check.body(session_on(blind), file=path)
    assert outcome.values["local_accuracy"] is None
    assert outcome.values["local_errors"] is None
    assert "local accuracy" not in outcome.facts
    truth = tmp_path / "truth.csv"
    truth.write_bytes(csv_of(dataset, wrong=0))
    told = check.body(session_on(blind), file=path, truth=truth)
    assert told.values["local_errors"] == 3


def test_the_default_is_what_blend_wrote(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes]
) -> None:
    session = session_on(dataset)
    with pytest.raises(ArtefactError) as caught:
        check.body(session, file=None)
    assert caught.value.exit_code == 4
    assert "blend" in str(caught.value.mend)
    session.workspace.submissions.mkdir(parents=True)
    (session.workspace.submissions / "submission.csv").write_bytes(csv_of(dataset))
    assert check.body(session, file=None).values["valid"] is True


def test_a_named_file_that_is_not_there_is_a_wrong_file(
    session_on: Callable[..., Any], dataset: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"absent\.csv is not there"):
        check.body(session_on(dataset), file=tmp_path / "absent.csv")
    with pytest.raises(DataError):
        check.body(session_on(dataset), file=tmp_path)


def broken(content: bytes, change: str) -> bytes:
    lines = content.split(b"\r\n")
    if change == "header":
        lines[0] = b"imageid,label"
    elif change == "header swapped":
        lines[0] = b"Label,ImageId"
    elif change == "no header":
        del lines[0]
    elif change == "index column":
        lines = [b"0," + line for line in lines]
    elif change == "unknown id":
        lines[5] = b"9999,1"
    elif change == "id as float":
        lines[5] = b"5.0,1"
    elif change == "id from 0":
        lines[1:-1] = [b"%d,1" % number for number in range(200)]
    elif change == "doubled id":
        lines[5] = lines[4]
    elif change == "empty id":
        lines[5] = b",1"
    elif change == "too few":
        del lines[-3:]
    elif change == "last line cut":
        lines[-2] = b"200"
    elif change == "too many":
        lines.insert(-1, b"201,1")
    elif change == "label unknown":
        lines[7] = b"7,10"
    elif change == "label float":
        lines[7] = b"7,3.0"
    elif change == "label space":
        lines[7] = b"7, 3"
    elif change == "label empty":
        lines[7] = b"7,"
    elif change == "label nan":
        lines[7] = b"7,nan"
    elif change == "empty":
        return b""
    elif change == "only header":
        return HEADER
    elif change == "utf-16":
        return content.decode().encode("utf-16")
    elif change == "latin-1":
        lines[7] = b"7,\xe9"
    elif change == "byte order mark":
        return b"\xef\xbb\xbf" + content
    elif change == "mixed endings":
        return content.replace(b"\r\n", b"\n", 4)
    elif change == "lone CR":
        return content.replace(b"\r\n", b"\r")
    elif change == "NUL":
        lines[7] = b"7,\x00"
    elif change == "zip":
        return b"PK\x03\x04" + content
    elif change == "open quote":
        lines[7] = b'7,"3'
    else:
        raise AssertionError(change)
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("header", "header 'imageid,label'; expected 'ImageId,Label'"),
        ("header swapped", "header 'Label,ImageId'"),
        ("no header", "header '1,"),
        ("index column", "header '0,ImageId,Label'"),
        ("unknown id", "line 6 has the id '9999'"),
        ("id as float", "line 6 has the id '5.0'"),
        ("id from 0", "line 2 has the id '0'"),
        ("doubled id", "'4' twice, in lines 5 and 6"),
        ("empty id", "line 6 has no id"),
        ("too few", "198 predictions; expected 200. The first absent id is '199'"),
        ("last line cut", "line 201 has 1 fields"),
        ("too many", "'201'"),
        ("label unknown", "line 8 has the label '10'"),
        ("label float", "line 8 has the label '3.0'"),
        ("label space", "line 8 has the label ' 3'"),
        ("label empty", "line 8 has the label ''"),
        ("label nan", "line 8 has the label 'nan'"),
        ("empty", "is empty"),
        ("only header", "is empty"),
        ("utf-16", "is UTF-16"),
        ("latin-1", "not UTF-8"),
        ("byte order mark", "byte order mark"),
        ("mixed endings", "mixes line endings: 197 CRLF, 4 LF"),
        ("lone CR", "mixes line endings"),
        ("NUL", "NUL"),
        ("zip", "is a zip file"),
        ("open quote", "mine.csv"),
    ],
)
def test_each_rule_is_held(
    dataset: Any, csv_of: Callable[..., bytes], change: str, message: str
) -> None:
    good = csv_of(dataset)
    validate(good, "mine.csv", dataset)
    with pytest.raises(DataError) as caught:
        validate(broken(good, change), "mine.csv", dataset)
    assert message in caught.value.message
    assert caught.value.exit_code == 3


def test_other_line_ends_and_quotes_are_taken_and_said(
    dataset: Any, csv_of: Callable[..., bytes]
) -> None:
    good = csv_of(dataset)
    strict = validate(good, "a.csv", dataset)
    assert strict.remarks == ()
    loose = validate(good.replace(b"\r\n", b"\n").rstrip(b"\n"), "b.csv", dataset)
    assert loose.remarks == ("lines end in LF, the sample's in CRLF",)
    assert loose.digest == strict.digest == predictions_digest(strict.ids, strict.labels)
    assert loose.sha256 != strict.sha256


def test_a_truth_that_lacks_ids_or_has_strange_labels_is_refused(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    path, truth = tmp_path / "mine.csv", tmp_path / "truth.csv"
    path.write_bytes(csv_of(dataset))
    truth.write_bytes(HEADER + b"1,3\r\n")
    with pytest.raises(DataError, match="no label for the id '2'"):
        check.body(session_on(dataset), file=path, truth=truth)
    truth.write_bytes(csv_of(dataset).replace(b"\r\n1,", b"\r\n1,x"))
    with pytest.raises(DataError, match="label 'x"):
        check.body(session_on(dataset), file=path, truth=truth)


def test_a_quote_that_is_never_closed_is_told_with_the_file(
    session_on: Callable[..., Any], dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    """In --truth it was an internal error."""
    path, truth = tmp_path / "mine.csv", tmp_path / "truth.csv"
    path.write_bytes(csv_of(dataset))
    # So much that the field is longer than any may be.
    broken = csv_of(dataset).replace(b"\r\n1,", b'\r\n1,"', 1) + b"999,1\r\n" * 30_000
    truth.write_bytes(broken)
    with pytest.raises(DataError, match=r"truth\.csv cannot be read: field larger") as told:
        check.body(session_on(dataset), file=path, truth=truth)
    assert told.value.mend == 'Look for a quotation mark (") that is not closed.'
    with pytest.raises(DataError, match=r"mine\.csv cannot be read: field larger"):
        validate(broken, "mine.csv", dataset)
