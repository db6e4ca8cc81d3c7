"""Folders and zips: found, refused, opened."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile

import pytest

from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import DataError


def refusal(path, workspace) -> DataError:
    """Return the error that loading raises; nothing was parsed."""
    with pytest.raises(DataError) as caught:
        load(path, workspace)
    assert not list(workspace.root.rglob("*.npy"))
    return caught.value


def test_nothing_there(workspace, tmp_path):
    error = refusal(tmp_path / "nowhere", workspace)
    assert f"There is nothing at {tmp_path / 'nowhere'}" in error.message
    assert error.mend and "--data" in error.mend


@pytest.mark.parametrize("gone", ["train.csv", "test.csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_missing_file(made, workspace, tmp_path, gone, packed):
    (made.folder / gone).unlink()
    path = made.zipped(tmp_path / "a.zip") if packed else made.folder
    left = "test.csv" if gone == "train.csv" else "train.csv"
    assert f"{path} has no {gone}; it holds {left}." in refusal(path, workspace).message


def test_folder_that_holds_the_zip_only(made, workspace, tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    made.zipped(folder / "digits.zip")
    error = refusal(folder, workspace)
    assert "has no train.csv; it holds digits.zip" in error.message
    assert error.mend and str(folder / "digits.zip") in error.mend


def test_empty_folder_and_empty_zip(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "it holds nothing" in refusal(tmp_path / "empty", workspace).message
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    assert "it holds nothing" in refusal(tmp_path / "empty.zip", workspace).message


@pytest.mark.parametrize("packed", [False, True])
def test_ambiguous_names(made, workspace, tmp_path, packed):
    shutil.copy(made.folder / "train.csv", made.folder / "my_train.csv")
    (made.folder / "train.csv").rename(made.folder / "train_2.csv")
    path = made.zipped(tmp_path / "a.zip") if packed else made.folder
    message = refusal(path, workspace).message
    assert "2 files that could be train.csv: my_train.csv, train_2.csv" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_that_is_there_twice(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("test.csv", "x")
    assert "2 files that could be test.csv" in refusal(path, workspace).message


def test_several_folders_in_a_zip(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip", inside="one/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(made.folder / "train.csv", "two/train.csv")
    message = refusal(path, workspace).message
    assert "2 files that could be train.csv: one/train.csv, two/train.csv" in message


@pytest.mark.parametrize("content", [b"", b"label,pixel0\n1,2\n", b"\x00" * 100])
def test_neither_folder_nor_zip(workspace, tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    assert f"{path} is neither a folder nor a zip" in refusal(path, workspace).message


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated_zip(made, workspace, tmp_path, share):
    path = made.zipped(tmp_path / "a.zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"{path} is truncated" in refusal(path, workspace).message


def test_zip_cut_in_the_middle(made, workspace, tmp_path):
    """The list of members at the end is there, but not all of what it lists."""
    path = made.zipped(tmp_path / "a.zip")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    path.write_bytes(content[: start // 2] + content[start:])
    message = refusal(path, workspace).message
    assert "damaged" in message and message.endswith("expected a whole zip.")


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.97])
def test_damaged_member(made, workspace, tmp_path, name, method, place):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in ("train.csv", "test.csv"):
            archive.write(made.folder / file, file)
        entry = archive.getinfo(name)
    content = bytearray(path.read_bytes())
    at = entry.header_offset + 30 + len(name) + int(entry.compress_size * place)
    # A digit for another in the stored one: only the checksum can tell.
    content[at] ^= 1
    path.write_bytes(content)
    message = refusal(path, workspace).message
    assert f"{name} in {path} is damaged" in message


def test_damage_is_named_before_what_it_did_to_a_line(make, workspace, tmp_path):
    made = make(rows=20_000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in ("train.csv", "test.csv"):
            archive.write(made.folder / file, file)
    content = path.read_bytes()
    middle = len(content) // 10
    path.write_bytes(content[:middle] + b"x" + content[middle + 1 :])
    assert f"train.csv in {path} is damaged" in refusal(path, workspace).message


def test_encrypted_zip(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip")
    content = path.read_bytes()
    # The flag stands at offset 8 of an entry in the list at the end, at 6 before the content.
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        parts = content.split(mark)
        content = mark.join(
            [parts[0]]
            + [
                part[: offset - 4] + bytes([part[offset - 4] | 1]) + part[offset - 3 :]
                for part in parts[1:]
            ]
        )
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert all(entry.flag_bits & 1 for entry in archive.infolist())
    error = refusal(path, workspace)
    assert f"in {path} is encrypted; expected a zip without a password" in error.message
    assert error.mend and "--data" in error.mend


def test_packed_in_an_unknown_way(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip")
    content = path.read_bytes()
    for mark, offset in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        parts = content.split(mark)
        content = mark.join(
            [parts[0]] + [p[: offset - 4] + b"\x63" + p[offset - 3 :] for p in parts[1:]]
        )
    path.write_bytes(content)
    assert "packed in a way that cannot be read" in refusal(path, workspace).message


@pytest.mark.parametrize(
    "name",
    [
        "../evil.csv",
        "a/../../evil.csv",
        "..\\evil.csv",
        "/etc/evil.csv",
        "\\evil.csv",
        "C:\\evil.csv",
        "c:evil.csv",
        "..",
    ],
)
def test_members_that_point_outside(made, workspace, tmp_path, monkeypatch, name):
    path = made.zipped(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    error = refusal(path, workspace)
    assert f"{path} has the member {name!r}, which points outside" in error.message
    assert not list(tmp_path.rglob("evil*"))


def test_member_that_is_a_link(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip")
    link = zipfile.ZipInfo("link.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "'link.csv', which points outside" in refusal(path, workspace).message


def test_names_with_dots_are_no_way_out(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip", inside="a..b/")
    assert load(path, workspace).images.shape == (30, 4, 4)


def test_nothing_is_unpacked(made, workspace, tmp_path):
    path = made.zipped(tmp_path / "a.zip")
    load(path, workspace)
    outside_made = [file for file in tmp_path.rglob("*.csv") if made.folder not in file.parents]
    assert outside_made == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_file_without_permission(made, workspace):
    (made.folder / "train.csv").chmod(0)
    assert "train.csv cannot be read" in refusal(made.folder, workspace).message


def test_read_error_is_named(made, workspace, monkeypatch):
    def fail(stream, name):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("kaggle_digits.core.data.reading.read_header", fail)
    message = refusal(made.folder, workspace).message
    assert f"{made.folder / 'train.csv'} cannot be read: Input/output error." in message
