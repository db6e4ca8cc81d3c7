"""Hundreds of broken tables, images and zips: each is read, or refused by an error of our own."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.data.decoding import UndecodableError, decode
from kaggle_digits.ground.errors import KaggleDigitsError
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace

_WORDS = [
    b",", b"\n", b'"', b"\r", b"\0", b";", b"\t", b"label", b"id", b"pixel0", b"nan", b"-1", b"256",
    b"1e9", b"0.5", b"\xff\xfe", b"\xef\xbb\xbf", b"../", b"999999999999", b"", b"'", b" ",
]  # fmt: skip


def bent(content: bytes, draw: random.Random) -> bytes:
    """Return bytes with something wrong: cut, doubled, overwritten, or with odd words in them."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(found) + 1)
        length = draw.choice((0, 1, 3, 40))
        match draw.randrange(6):
            case 0:
                del found[place:]
            case 1:
                del found[place : place + length]
            case 2:
                found[place:place] = found[place : place + length]
            case 3:
                found[place : place + 1] = bytes([draw.randrange(256)])
            case 4:
                lines = bytes(found).split(b"\n")
                draw.shuffle(lines)
                found = bytearray(b"\n".join(lines))
            case _:
                found[place : place + length] = draw.choice(_WORDS)
    return bytes(found)


def read(path: Path, place: Path, **wanted: bool) -> str:
    """Return what came of reading: nothing, or the error's message."""
    try:
        load(path, Workspace(place), wanted=Wanted(**wanted))
    except KaggleDigitsError as error:
        return error.message
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return ""


def images(kind: str) -> list[bytes]:
    """Return a few images of a kind, grey and in colour."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 6, 7, 3)).astype(np.uint8)
    return [cv2.imencode(kind, one)[1].tobytes() for one in (drawn[0], drawn[1][..., 0])]


def test_bent_tables(make, tmp_path) -> None:
    made = make(rows=9, test_rows=3, id_column="id", ids=["7", "8", "9"])
    made.sample(["7", "8", "9"])
    whole = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    messages = set()
    for number in range(170):
        draw = random.Random(number)
        for name, content in whole.items():
            (made.folder / name).write_bytes(content)
        name = draw.choice(sorted(whole))
        (made.folder / name).write_bytes(bent(whole[name], draw))
        messages.add(read(made.folder, tmp_path / "w"))
    assert "" in messages and len(messages) > 20


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_bent_images(kind, capfd) -> None:
    outcomes = {"read": 0, "refused": 0}
    for number in range(60):
        draw = random.Random(number)
        try:
            found = decode(bent(draw.choice(images(kind)), draw)).pixels
        except UndecodableError:
            outcomes["refused"] += 1
        else:
            assert found.dtype == np.uint8 and found.ndim in (2, 3)
            outcomes["read"] += 1
    assert outcomes["refused"]


def test_bent_folders_of_images_and_zips_of_them(tmp_path) -> None:
    folder = tmp_path / "data"
    ends = [".png", ".jpg", ".bmp", ".tif"]
    rows = ["id,label"]
    for number in range(8):
        part = "train" if number < 5 else "test"
        end = ends[number % 4]
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / f"{number}{end}").write_bytes(images(end)[number % 2])
        if number < 5:
            rows.append(f"{number},{'ab'[number % 2]}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    whole = {path: path.read_bytes() for path in folder.rglob("*.*")}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in whole.items():
            archive.writestr(path.relative_to(folder).as_posix(), content)
    messages = set()
    for number in range(160):
        draw = random.Random(number)
        if number % 2:
            (tmp_path / "data.zip").write_bytes(bent(packed.getvalue(), draw))
            messages.add(read(tmp_path / "data.zip", tmp_path / "w", skip_broken=number % 4 == 1))
            continue
        for path, content in whole.items():
            path.write_bytes(content)
        path = draw.choice(sorted(whole))
        path.write_bytes(bent(whole[path], draw))
        messages.add(read(folder, tmp_path / "w", skip_broken=number % 4 == 0))
    assert "" in messages and len(messages) > 10
