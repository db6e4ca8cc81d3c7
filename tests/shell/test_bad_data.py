"""Every kind of broken input as a user meets it: one clear error, exit code 3, nothing written."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kaggle_digits.shell import cli

Bend = Callable[..., Path]


def missing_file(made, folder: Path) -> Path:
    (made.folder / "test.csv").unlink()
    return made.folder


def truncated_zip(made, folder: Path) -> Path:
    path = made.zipped(folder / "data.zip")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def encrypted_zip(made, folder: Path) -> Path:
    path = made.zipped(folder / "data.zip")
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            flags = struct.unpack_from("<H", content, at + offset)[0]
            struct.pack_into("<H", content, at + offset, flags | 1)
            at = content.find(mark, at + 4)
    path.write_bytes(content)
    return path


def member_outside(made, folder: Path) -> Path:
    path = made.zipped(folder / "data.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.csv", "label,pixel0\n")
    return path


def missing_pixel(made, folder: Path) -> Path:
    for name in ("train.csv", "test.csv"):
        width = len(made.rows_of(name)[0])
        gone = 6 if name == "train.csv" else 5
        made.move_columns(name, [column for column in range(width) if column != gone])
    return made.folder


def doubled_pixel(made, folder: Path) -> Path:
    made.set("train.csv", 1, 4, "pixel2")
    return made.folder


def field(line: int, column: int, value: str) -> Bend:
    def bend(made, folder: Path) -> Path:
        made.set("train.csv", line, column, value)
        return made.folder

    return bend


def empty_file(made, folder: Path) -> Path:
    (made.folder / "train.csv").write_bytes(b"")
    return made.folder


def row_length(made, folder: Path) -> Path:
    rows = made.rows_of("train.csv")
    rows[8].append("7")
    made.write("train.csv", rows)
    return made.folder


def other_columns(made, folder: Path) -> Path:
    rows = made.rows_of("test.csv")
    rows[0] = [name.replace("pixel", "dot") for name in rows[0]]
    made.write("test.csv", rows)
    return made.folder


def doubled_ids(made, folder: Path) -> Path:
    made.sample(["7", *map(str, range(2, 13))])
    return made.folder


CASES: dict[str, tuple[Bend, list[str]]] = {
    "missing file": (missing_file, ["test.csv"]),
    "truncated zip": (truncated_zip, ["data.zip"]),
    "encrypted zip": (encrypted_zip, ["encrypted"]),
    "member outside": (member_outside, ["../evil.csv"]),
    "missing pixel column": (missing_pixel, ["pixel5"]),
    "doubled pixel column": (doubled_pixel, ["pixel2"]),
    "no whole number": (field(9, 3, "1.5"), ["train.csv", "line 9", "pixel2", "1.5"]),
    "not a number": (field(9, 3, "nan"), ["line 9", "pixel2", "nan"]),
    "no value": (field(9, 3, ""), ["line 9", "pixel2"]),
    "above 255": (field(9, 3, "256"), ["line 9", "pixel2", "256", "255"]),
    "below 0": (field(9, 3, "-1"), ["line 9", "pixel2", "-1"]),
    "unknown label": (field(9, 0, "seven"), ["line 9", "seven"]),
    "missing label": (field(9, 0, ""), ["line 9", "label"]),
    "empty file": (empty_file, ["train.csv", "empty"]),
    "row length": (row_length, ["train.csv", "line 9", "18", "17"]),
    "other test columns": (other_columns, ["test.csv", "other pixel columns", "pixel0"]),
    "doubled ids": (doubled_ids, ["'7' twice"]),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_input_ends_with_3(case, made, tmp_path, capfd):
    bend, words = CASES[case]
    data = bend(made, tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.cli(["tune", "--data", str(data), "--workspace", str(tmp_path / "w")])
    out, err = capfd.readouterr()
    error = [line for line in err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 3
    assert out == "" and len(error) == 1 and "Traceback" not in err
    for word in words:
        assert word in error[0], (word, error[0])
    assert not (tmp_path / "evil.csv").exists()
    assert not list((tmp_path / "w").rglob("*.npy"))


def test_no_room_on_the_disk_ends_with_4(made, tmp_path, capfd, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SystemExit) as ended:
        cli.cli(["tune", "--data", str(made.folder), "--workspace", str(tmp_path / "w")])
    _, err = capfd.readouterr()
    assert ended.value.code == 4
    assert "error: No room on the disk for" in err and "--workspace on another disk" in err


def test_disordered_pixel_columns_are_put_in_order(made, tmp_path):
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.workspace import Workspace

    before = load(made.folder, Workspace(tmp_path / "a"))
    made.move_columns("train.csv", [0, *range(16, 0, -1)])
    after = load(made.folder, Workspace(tmp_path / "b"))
    assert after.digest == before.digest
