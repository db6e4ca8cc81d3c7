"""Competitions whose images are files: in folders and zips, of all kinds, whole and broken."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kaggle_digits.core import demo
from kaggle_digits.core.data import Dataset, load
from kaggle_digits.core.data.decoding import UndecodableError, decode, fitted
from kaggle_digits.core.data.image_source import ImageSource
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import cli
from kernel import verification
from kernel.bundle import read_script
from kernel.machine import find_inputs
from kernel.metadata import Kernel
from kernel.plan import Plan

SIDE = 9
NAMES = ("cat", "dog", "emu")


def drawn(rows: int, planes: int = 3, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Return random images, uint8 [rows, side, side], in colour [rows, side, side, 3]."""
    shape = (rows, side, side, 3)[: 4 if planes == 3 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    """Save an image as its file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])


def table(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


def competition(
    folder: Path,
    images: np.ndarray,
    *,
    train: str = "train",
    test: str = "test",
    end: str = ".png",
    in_id: bool = False,
) -> Path:
    """Write images: two thirds with a table of labels, the others to be labelled."""
    split = len(images) * 2 // 3
    shown = end if in_id else ""
    lines = ["id,label"]
    for row, image in enumerate(images[:split]):
        save(folder / train / f"a{row}{end}", image)
        lines.append(f"a{row}{shown},{NAMES[row % 3]}")
    table(folder / "train.csv", *lines)
    keys = []
    for row, image in enumerate(images[split:]):
        save(folder / test / f"b{row}{end}", image)
        keys.append(f"b{row}{shown}")
    table(folder / "sample_submission.csv", "id,label", *(f"{key},cat" for key in keys))
    return folder


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[Dataset, list[str]]]:
    """Load a path in a workspace of its own; the data, and what was said."""

    def read(path: Path, **wanted: object) -> tuple[Dataset, list[str]]:
        told: list[str] = []
        place = tmp_path / f"workspace {len(list(tmp_path.iterdir()))}"
        return load(path, Workspace(place), told.append, wanted=Wanted(**wanted)), told  # type: ignore[arg-type]

    return read


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("end", [".png", ".bmp", ".tif", ".PNG"])
def test_images_beside_a_table_of_labels(tmp_path, read, end, planes) -> None:
    images = drawn(30, planes)
    dataset, _ = read(competition(tmp_path / "data", images, end=end))
    np.testing.assert_array_equal(dataset.images, images[:20])
    np.testing.assert_array_equal(dataset.test_images, images[20:])
    assert dataset.competition.classes == NAMES
    assert dataset.labels.tolist() == [row % 3 for row in range(20)]
    assert dataset.test_ids == tuple(f"b{row}" for row in range(10))
    assert not dataset.competition.fitted


@pytest.mark.parametrize(
    "form",
    [
        {"train": "train_images", "test": "test_images"},
        {"train": "images", "test": "images"},
        {"train": "train/part/one", "test": "test"},
        {"train": "data/Training", "test": "data/Testing"},
        {"in_id": True},
    ],
)
def test_folders_and_ids_in_their_usual_forms(tmp_path, read, form) -> None:
    images = drawn(30)
    dataset, _ = read(competition(tmp_path / "data", images, **form))
    np.testing.assert_array_equal(dataset.images, images[:20])
    np.testing.assert_array_equal(dataset.test_images, images[20:])
    assert dataset.test_ids[0] == ("b0.png" if "in_id" in form else "b0")


def test_paths_in_the_table(tmp_path, read) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    rows = [f"train\\a{row}.png,{NAMES[row % 3]}" for row in range(20)]
    table(folder / "train.csv", "path,breed", *rows)
    dataset, _ = read(folder)
    np.testing.assert_array_equal(dataset.images, drawn(30)[:20])


def test_labels_in_a_table_of_their_own_name_and_the_same_ids_in_train_and_test(
    tmp_path, read
) -> None:
    images = drawn(8)
    for row in range(4):
        save(tmp_path / "data" / "train" / f"{row}.png", images[row])
        save(tmp_path / "data" / "test" / f"{row}.png", images[4 + row])
    table(tmp_path / "data" / "labels.csv", "id,breed", *(f"{n},{'ab'[n % 2]}" for n in range(4)))
    dataset, _ = read(tmp_path / "data")
    np.testing.assert_array_equal(dataset.images, images[:4])
    np.testing.assert_array_equal(dataset.test_images, images[4:])
    assert dataset.test_ids == ("0", "1", "2", "3")
    assert dataset.competition.form.label_column == "breed"


def test_the_only_other_tables_and_one_column_for_each_class(tmp_path, read) -> None:
    images = drawn(9)
    for row, image in enumerate(images):
        save(tmp_path / "data" / "images" / f"i{row}.jpg", image)
    hot = ["1,0,0", "0,1,0", "0,0,1"]
    table(tmp_path / "data" / "train.csv", "image_id,healthy,rust,scab",
          *(f"i{row},{hot[row % 3]}" for row in range(6)))  # fmt: skip
    table(tmp_path / "data" / "test.csv", "image_id", "i8", "i6", "i7")
    dataset, told = read(tmp_path / "data")
    assert dataset.competition.classes == ("healthy", "rust", "scab")
    assert dataset.test_ids == ("i8", "i6", "i7")
    assert any("the one column of each row that is 1" in text for text in told)


@pytest.mark.parametrize("outer", ["", "all of it/"])
def test_a_folder_for_each_class_without_any_table(tmp_path, read, outer) -> None:
    images = drawn(26)
    data = tmp_path / "data"
    for row, image in enumerate(images[:20]):
        save(data / outer / "train" / NAMES[row % 3] / f"{row}.png", image)
    for row, image in enumerate(images[20:]):
        save(data / outer / "test" / f"{row + 7}.png", image)
    dataset, told = read(data)
    np.testing.assert_array_equal(dataset.images, images[:20])
    assert dataset.labels.tolist() == [row % 3 for row in range(20)]
    assert dataset.test_ids == tuple(f"{row}.png" for row in range(7, 13))
    assert any("labels are the names of 3 folders" in text for text in told)


@pytest.mark.parametrize("inner", [False, True])
def test_in_a_zip_and_in_zips_within_it(tmp_path, read, inner) -> None:
    images = drawn(30)
    folder = competition(tmp_path / "data", images)
    plain, _ = read(folder)
    if inner:
        for name in ("train", "test"):
            zipped(folder / name, folder / f"{name}.zip")
            shutil.rmtree(folder / name)
        beside, _ = read(folder)
        assert beside.digest == plain.digest
    packed, _ = read(zipped(folder, tmp_path / "data.zip"))
    np.testing.assert_array_equal(packed.images, images[:20])
    assert packed.digest == plain.digest


def test_what_was_decoded_once_is_not_again_until_a_file_changes(tmp_path) -> None:
    folder, place = competition(tmp_path / "data", drawn(30)), Workspace(tmp_path / "w")
    told: list[str] = []
    first = load(folder, place, told.append)
    assert any(text.startswith("decoding 20 training and 10 test images") for text in told)
    told.clear()
    assert load(folder, place, told.append).digest == first.digest and not told
    save(folder / "train" / "a3.png", drawn(1, seed=9)[0])
    again = load(folder, place, told.append)
    assert again.digest != first.digest and told
    np.testing.assert_array_equal(again.images[3], drawn(1, seed=9)[0])


def test_grey_saved_in_colour_is_grey_and_one_image_in_colour_makes_all_so(tmp_path, read) -> None:
    grey = drawn(1200, planes=1, side=4)
    folder = tmp_path / "data"
    competition(folder, np.repeat(grey[..., np.newaxis], 3, axis=3))
    dataset, _ = read(folder)
    np.testing.assert_array_equal(dataset.images, grey[:800])
    odd = drawn(1, side=4)[0]
    save(folder / "train" / "a1.png", odd)  # not among those that are looked at first
    dataset, _ = read(folder)
    assert dataset.images.shape == (800, 4, 4, 3)
    np.testing.assert_array_equal(dataset.images[1], odd)
    np.testing.assert_array_equal(dataset.images[2], np.repeat(grey[2][..., None], 3, axis=2))


def test_values_of_16_bits_and_opacity(tmp_path, read) -> None:
    grey = drawn(6, planes=1)
    folder = competition(tmp_path / "data", grey)
    save(folder / "train" / "a0.png", grey[0].astype(np.uint16) * 257)
    clear = np.dstack([grey[1]] * 3 + [np.full_like(grey[1], 255)])
    clear[:4, :, 3] = 0
    cv2.imwrite(str(folder / "train" / "a1.png"), clear)
    dataset, _ = read(folder)
    np.testing.assert_array_equal(dataset.images[0], grey[0])
    np.testing.assert_array_equal(dataset.images[1, 4:], grey[1, 4:])
    assert not dataset.images[1, :4].any()


def test_images_of_many_sizes_are_scaled_as_a_whole_and_said(tmp_path, read) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    save(folder / "train" / "a0.png", np.full((40, 20), 200, np.uint8))
    save(folder / "train" / "a1.png", np.full((2, 4, 3), (10, 90, 30), np.uint8))
    dataset, told = read(folder)
    assert dataset.images.shape == (20, SIDE, SIDE, 3) and dataset.competition.fitted
    assert any("longer side has 4 to 40 pixels are scaled to 9×9" in text for text in told)
    assert not dataset.images[0][:, [0, 1, -1]].any() and dataset.images[0][:, 4].min() >= 199
    larger, _ = read(folder, size=(12, 16))
    assert larger.images.shape == (20, 12, 16, 3) and larger.digest != dataset.digest


def test_large_images_are_scaled_to_128_and_new_ones_like_them(tmp_path, read) -> None:
    folder = competition(tmp_path / "data", drawn(6, planes=1, side=150))
    dataset, told = read(folder)
    assert dataset.images.shape == (4, 128, 128)
    assert any("--image-size gives another size" in text for text in told)


def test_the_size_is_kept_with_the_workspaces_data(tmp_path) -> None:
    folder, place = competition(tmp_path / "data", drawn(30)), Workspace(tmp_path / "w")
    first = load(folder, place, wanted=Wanted(size=(5, 5)))
    assert first.images.shape == (20, 5, 5, 3)
    for path in (None, folder):
        assert load(path, place).digest == first.digest


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    image = np.zeros((8, 16), np.uint8)
    image[:, :8] = 255
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    entry = bytes.fromhex("0112 0003 00000001 0006 0000")  # orientation, one short: 6
    exif = b"Exif\0\0MM\0*" + bytes.fromhex("00000008 0001") + entry + bytes(4)
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    assert decode(plain).pixels.shape == (8, 16)
    found = decode(turned).pixels
    assert found.shape == (16, 8) and found[:6].min() > 200 and found[-6:].max() < 50


def test_an_image_of_the_size_stays_as_it_is() -> None:
    image = drawn(1)[0]
    assert fitted(image, SIDE, SIDE) is image
    assert fitted(image, 3, 5).shape == (3, 5, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_has_one_error(content) -> None:
    with pytest.raises(UndecodableError, match="is empty|cannot be read as an image"):
        decode(content)


def broken(folder: Path) -> Path:
    """Break one image, cut another, take two away, one of them of the test."""
    (folder / "train" / "a2.png").write_bytes(b"no image")
    whole = (folder / "train" / "a5.png").read_bytes()
    (folder / "train" / "a5.png").write_bytes(whole[:20])
    (folder / "train" / "a7.png").unlink()
    (folder / "test" / "b4.png").unlink()
    return folder


def test_broken_and_missing_images_are_named(tmp_path, read) -> None:
    folder = broken(competition(tmp_path / "data", drawn(30)))
    with pytest.raises(DataError) as caught:
        read(folder)
    assert caught.value.message == (
        "4 of 30 images cannot be used: a2 cannot be read as an image, a5 cannot be read as an "
        "image, a7 is not there, b4 (test) is not there."
    )
    assert "--skip-broken" in str(caught.value.mend)


def test_many_broken_images_are_counted(tmp_path, read) -> None:
    folder = competition(tmp_path / "data", drawn(60))
    for row in range(35):
        (folder / "train" / f"a{row}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"35 of 60 images cannot be used: a0 .*, a9 .*\+25 more"):
        read(folder)


def test_what_is_broken_is_left_out_aloud(tmp_path, read) -> None:
    images = drawn(30)
    dataset, told = read(broken(competition(tmp_path / "data", images)), skip_broken=True)
    kept = [row for row in range(20) if row not in (2, 5, 7)]
    np.testing.assert_array_equal(dataset.images, images[kept])
    assert dataset.labels.tolist() == [row % 3 for row in kept]
    assert any(text.startswith("left out 3 of 20 training images: a2 cannot") for text in told)
    assert len(dataset.test_ids) == 10 and not dataset.test_images[4].any()
    assert any("1 of 10 test images are broken or missing; a black image" in text for text in told)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: table(f / "train.csv", "id,label", "zz,cat", "yy,dog"), "No column of"),
        (lambda f: table(f / "train.csv", "id,label", "a0,cat", "a1,"), "line 3 has no label"),
        (lambda f: table(f / "train.csv", "id,x,y", "a0,p,q", "a1,q,p"), "could be the label"),
        (lambda f: table(f / "train.csv", "id,label", "a0,cat", "a0,dog"), "the id 'a0' twice"),
        (lambda f: table(f / "train.csv", "id,label", "a0,cat", "a1,cat"), "one class only"),
        (lambda f: table(f / "train.csv", "id,label", "a0,cat", "a1"), "line 3 has 1 fields"),
        (lambda f: table(f / "train.csv", "id,label"), "is empty"),
        (lambda f: table(f / "train2.csv", "id,label", "a0,cat"), None),
        (lambda f: table(f / "train_a.csv", "x") or (f / "train.csv").rename(f / "train_b.csv"),
         "2 files that could be train.csv"),
        (lambda f: save(f / "train" / "again" / "a0.png", drawn(1)[0]), "could be 2 images"),
        (lambda f: shutil.rmtree(f / "test") or (f / "sample_submission.csv").unlink(),
         "There are no test images"),
        (lambda f: [p.write_bytes(b"") for p in f.rglob("*.png")], "None of the images can"),
        (lambda f: (f / "train.csv").unlink(), "not in a folder for each class"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_tables_is_named(tmp_path, read, change, says) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    change(folder)
    if says is None:
        assert len(read(folder)[0].images) == 20
        return
    with pytest.raises(DataError, match=says):
        read(folder)


def test_a_shape_of_columns_and_a_size_of_files_are_told_apart(tmp_path, read, made) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    with pytest.raises(ConfigurationError, match="are files") as caught:
        read(folder, shape=ImageShape(5, 7))
    assert "--image-size 5x7" in str(caught.value.mend)
    with pytest.raises(ConfigurationError, match="are pixels in columns"):
        read(made.folder, size=(5, 5))


@pytest.mark.parametrize("form", ["classes", "places"])
def test_numbers_beside_image_files_that_are_no_pixels(tmp_path, read, form) -> None:
    """A column for each of sixty classes, or one of a mask's places and lengths."""
    images = drawn(180)
    folder = competition(tmp_path / "data", images)
    table(folder / "test.csv", "id", *(f"b{row}" for row in range(60)))
    if form == "classes":
        lines = [",".join("01"[row % 60 == place] for place in range(60)) for row in range(120)]
        head = ",".join(f"c{place}" for place in range(60))
    else:
        places = " ".join(str(1000 + place) for place in range(60))
        head, lines = "label,mask", [f"{NAMES[row % 3]},{places}" for row in range(120)]
    rows = (f"a{row},{line}" for row, line in enumerate(lines))
    table(folder / "train.csv", f"id,{head}", *rows)
    dataset, _ = read(folder)
    np.testing.assert_array_equal(dataset.images, images[:120])
    assert len(dataset.competition.classes) == (60 if form == "classes" else 3)


def test_a_zip_that_is_cut_and_one_that_points_outside(tmp_path, read) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    whole = zipped(folder, tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        read(tmp_path / "cut.zip")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train/a.png", b"x")
        archive.writestr("../out.png", b"x")
    (tmp_path / "out.zip").write_bytes(out.getvalue())
    with pytest.raises(DataError, match="points outside"):
        read(tmp_path / "out.zip")


def embedded_as_files(folder: Path, *, per_class: bool) -> Path:
    """Write the embedded digits as PNG files, labelled by a table or by folders."""
    source, _ = demo.embedded(folder / "csv")
    train = np.loadtxt(source / "train.csv", delimiter=",", skiprows=1, dtype=np.uint8)
    test = np.loadtxt(source / "test.csv", delimiter=",", skiprows=1, dtype=np.uint8)
    made = folder / "files"
    for row, (label, *pixels) in enumerate(train.tolist()):
        image = np.array(pixels, np.uint8).reshape(28, 28)
        save(made / "train" / (str(label) if per_class else "") / f"{row}.png", image)
    for row, pixels in enumerate(test):
        save(made / "test" / f"{row + 1}.png", pixels.reshape(28, 28))
    shutil.copy(source / "sample_submission.csv", made)
    if not per_class:
        table(made / "train.csv", "id,Label", *(f"{n},{row[0]}" for n, row in enumerate(train)))
    return made


@pytest.mark.parametrize("per_class", [False, True])
def test_the_embedded_digits_as_files_are_the_same_data(tmp_path, read, per_class) -> None:
    """The same digest: from there on, every byte that is made of them is the same."""
    dataset, _ = read(embedded_as_files(tmp_path, per_class=per_class))
    plain = load(None, Workspace(tmp_path / "plain"))
    assert dataset.digest == plain.digest
    np.testing.assert_array_equal(dataset.images, plain.images)
    assert dataset.test_ids == plain.test_ids


@pytest.mark.parametrize("packed", [False, True])
def test_a_kernel_finds_and_is_verified_on_image_files(tmp_path, read, packed) -> None:
    folder = competition(tmp_path / "data", drawn(30))
    data = zipped(folder, tmp_path / "data.zip") if packed else folder
    root = tmp_path / "kaggle"
    script = Kernel("me", "digits", {}, b"", tmp_path)
    verification._lay_out(root, root / "input" / "birds", data, script)
    found = find_inputs(root / "input", "birds")
    assert isinstance(found, ImageSource)
    assert read(found.path)[0].digest == read(data)[0].digest


def test_a_kernel_reads_the_data_as_they_are_read_at_home(tmp_path, capfd) -> None:
    """Every command of the script that reads data has the options."""
    place = ["--workspace", str(tmp_path / "w")]
    words = ["--image-size", "12x16", "--groups", "a b", "--skip-broken", "--title", "birds"]
    with pytest.raises(SystemExit) as ended:
        cli.cli(["kernel", "build", "--dir", str(tmp_path / "kernel"), *words, *place])
    assert not ended.value.code, capfd.readouterr().err
    plan = read_script(next((tmp_path / "kernel").glob("*.py")).read_bytes(), "it").plan
    assert plan.reading == "--image-size 12x16 --groups 'a b' --skip-broken"
    given = ["--image-size", "12x16", "--groups", "a b", "--skip-broken"]
    for command in [*plan.commands(), *plan.rehearsal()]:
        assert " ".join(given) in " ".join(command) or command[0] == "check"
    assert Plan.from_json(plan.to_json()) == plan


def test_many_images_are_decoded_into_a_file_that_goes(tmp_path, monkeypatch) -> None:
    from kaggle_digits.core.data import cache

    images = drawn(30)
    folder, place = competition(tmp_path / "data", images), Workspace(tmp_path / "w")
    monkeypatch.setattr(cache, "_LARGE", 100)
    kinds: list[type] = []
    make = cache.room

    def watched(workspace: Workspace) -> Callable[[tuple[int, ...]], np.ndarray]:
        def room(shape: tuple[int, ...]) -> np.ndarray:
            made = make(workspace)(shape)
            kinds.append(type(made))
            return made

        return room

    monkeypatch.setattr(cache, "room", watched)
    dataset = load(folder, place)
    assert kinds == [np.memmap, np.memmap]
    np.testing.assert_array_equal(dataset.images, images[:20])
    assert {path.name for path in (tmp_path / "w" / "cache" / "data").iterdir()} <= {
        dataset.digest, "sources.json", ".lock",
    }  # fmt: skip


@pytest.mark.parametrize("most", [1, 7, 40, 1 << 20])
def test_a_file_that_the_system_gives_in_parts_is_read_whole(tmp_path, monkeypatch, most) -> None:
    content = bytes(range(40))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(content)
    (tmp_path / "train" / "empty.png").write_bytes(b"")
    give = os.read
    with ImageSource(tmp_path, ()).open() as files:
        monkeypatch.setattr(os, "read", lambda file, size: give(file, min(size, most)))
        assert files.read("train/a.png") == content and files.read("train/empty.png") == b""
        (tmp_path / "train" / "empty.png").unlink()
        with pytest.raises(FileNotFoundError):
            files.read("train/empty.png")
