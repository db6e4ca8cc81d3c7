"""New images: what is read, what is refused, and that kept networks say what their members said."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.prediction import NewImages, predict_images, read_images, render, with_weights
from kaggle_digits.core.data import load
from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell import cli

SHAPE = Competition(4, 6, ("a", "b", "c"), SubmissionFormat())


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (4, 6)).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path) -> None:
    wanted = [draw(seed) for seed in range(3)]
    for name, image in zip(("b.png", "c.PNG", "a.png"), wanted, strict=True):
        save(tmp_path / name.lower(), image).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    new = read_images([tmp_path], SHAPE)
    assert new.names == ("a.png", "b.png", "c.PNG")
    assert new.pixels.dtype == np.uint8
    assert np.array_equal(new.pixels, [wanted[2], wanted[0], wanted[1]])


def test_colours_become_grey_and_transparency_is_kept(tmp_path) -> None:
    grey = draw(0)
    alike = save(tmp_path / "alike.png", np.dstack([grey] * 3))
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 2] = 200
    clear = np.dstack([grey, grey, grey, np.where(grey > 99, 255, 0).astype(np.uint8)])
    new = read_images(
        [alike, save(tmp_path / "r.png", red), save(tmp_path / "c.png", clear)], SHAPE
    )
    assert np.array_equal(new.pixels[0], grey)
    assert new.pixels[1].tolist() == np.full((4, 6), 60).tolist()  # 0.299 × 200
    assert new.opaque[:2].min() == 255
    assert np.array_equal(new.pixels[2], grey)
    assert np.array_equal(new.opaque[2], np.where(grey > 99, 255, 0))


@pytest.mark.parametrize("with_ids", [False, True])
def test_a_csv_in_the_form_of_test_csv(tmp_path, make, workspace, with_ids) -> None:
    form = {"id_column": "image", "ids": [f"n{n}" for n in range(12)]} if with_ids else {}
    made = make(height=4, width=4, **form)
    dataset = load(made.folder, workspace)
    new = read_images([made.folder / "test.csv"], dataset.competition)
    assert np.array_equal(new.pixels, dataset.test_images)
    assert new.names == (dataset.test_ids if with_ids else tuple(str(n + 1) for n in range(12)))


def test_several_paths_are_joined(tmp_path) -> None:
    first, second = (save(tmp_path / f"{n}.png", draw(n)) for n in (1, 2))
    assert read_images([second, first, second], SHAPE).names == ("2.png", "1.png", "2.png")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.png", draw(0, 6, 4), r"x.png has images of 6×4 pixels .*expected 4×6"),
        ("x.png", b"no image", "x.png cannot be read as an image"),
        ("x.png", b"", "x.png is empty"),
        ("x.gif", b"GIF", "x.gif cannot be read as an image"),
        ("x.doc", b"GIF", "x.doc is neither a folder, nor an image file, nor a CSV"),
        ("x.png", None, "There is nothing at .*x.png"),
        ("x.csv", b"pixel0,pixel1,pixel2,pixel3\n0,0,0,0\n", "x.csv has images of 2×2 pixels"),
        ("x.csv", b"0x0,0x1,1x0,1x1,2x0,2x1\n0,0,0,0,0,0\n", "x.csv has images of 3×2"),
        ("x.csv", b"1x1\n", "x.csv has images of 1×1"),
        ("x.csv", b"", "x.csv is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, name, content, says) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save(path, content)
    with pytest.raises(DataError, match=says):
        read_images([path], SHAPE)


def test_values_of_16_bits_become_those_of_8(tmp_path) -> None:
    save(tmp_path / "x.png", draw(0).astype(np.uint16) * 257)
    assert np.array_equal(read_images([tmp_path], SHAPE).pixels, [draw(0)])


def test_for_a_competition_in_colour_images_keep_or_get_their_planes(tmp_path) -> None:
    colour = np.dstack([draw(0), draw(1), draw(2)])  # as OpenCV saves: blue, green, red
    save(tmp_path / "a.png", colour)
    save(tmp_path / "b.png", draw(3))
    form = Competition(4, 6, ("a", "b", "c"), SubmissionFormat(), planes=3)
    new = read_images([tmp_path], form)
    assert np.array_equal(new.pixels, [colour[..., ::-1], np.dstack([draw(3)] * 3)])


def test_where_the_competitions_images_were_scaled_new_ones_are_too(tmp_path) -> None:
    save(tmp_path / "a.png", np.full((40, 40), 200, np.uint8))
    form = Competition(4, 6, ("a", "b", "c"), SubmissionFormat(), fitted=True)
    new = read_images([tmp_path], form)
    wanted = np.zeros((4, 6), np.uint8)
    wanted[:, 1:5] = 200
    assert np.array_equal(new.pixels, [wanted])


def test_a_folder_without_images_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="has no image files"):
        read_images([tmp_path], SHAPE)


def test_a_csv_with_doubled_ids(make) -> None:
    made = make(height=4, width=4, id_column="id", ids=["7"] * 12)
    with pytest.raises(DataError, match="has the id '7' twice"):
        read_images([made.folder / "test.csv"], Competition(4, 4, ("a",), SubmissionFormat()))


def test_a_csv_in_the_form_of_train_csv_is_read_without_its_labels(make) -> None:
    made = make(height=4, width=4)
    told: list[str] = []
    form = Competition(4, 4, ("a",), SubmissionFormat())
    new = read_images([made.folder / "train.csv"], form, told.append)
    assert np.array_equal(new.pixels, made.images.reshape(-1, 4, 4))
    assert told == ["train.csv: left out what is no pixel or id: label"]


def test_the_file_has_a_line_for_each_image() -> None:
    blank = np.zeros((2, 4, 6), np.uint8)
    new = NewImages(("one.png", 'a,"b.png'), blank, blank)
    content = render(new, np.asarray([[0.25, 0.5, 0.25], [0.9, 0.05, 0.05]]), ("a", "b", "c"))
    assert content.decode() == (
        "image,label,p_a,p_b,p_c\n"
        "one.png,b,0.25000000,0.50000000,0.25000000\n"
        '"a,""b.png",a,0.90000000,0.05000000,0.05000000\n'
    )


# --- with networks


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with two small networks, one of three views of normalised images; its data."""
    folder = tmp_path_factory.mktemp("kept")
    draw_ = np.random.default_rng(0)
    names = ",".join(f"pixel{n}" for n in range(36))
    for name, rows in (("train", 40), ("test", 15)):
        images = draw_.integers(0, 256, (rows, 36)).astype(str)
        lines = [",".join(row) for row in images.tolist()]
        if name == "train":
            lines = [f"{'xy'[row % 2]},{line}" for row, line in enumerate(lines)]
            names_ = f"label,{names}"
        else:
            names_ = names
        (folder / f"{name}.csv").write_text("\n".join([names_, *lines, ""]))
    place = Workspace(folder / "workspace")
    dataset = load(folder, place)
    small = {"filters": 4, "depth": 1, "batch_size": 16, "augmentation": "none"}
    configs = [
        TrainingConfig(**small),
        TrainingConfig(**small, views=3, weight_averaging=0.9, normalisation="deslant-box20"),
    ]
    settings = CrossValidationSettings(folds=2, epochs=2, copies=1, seed=0, keep_weights=True)
    cross_validate(configs, dataset, place, settings, Silent())
    return folder


@pytest.fixture
def kept(trained, tmp_path):
    """The same in a place of its own: folder, data, store and planned keys."""
    folder = tmp_path / "kept"
    shutil.copytree(trained, folder)
    place = Workspace(folder / "workspace")
    store = MemberStore(place)
    return folder, load(folder, place), store, store.read_plan()[1]


def test_networks_say_on_test_csv_what_their_members_said_in_training(kept) -> None:
    folder, dataset, store, keys = kept
    new = read_images([folder / "test.csv"], dataset.competition)
    members = [store.load(key, (20, 15), 2) for key in keys]
    for member in members:
        found = predict_images(store, [member.key], new.pixels, 2, Silent())
        np.testing.assert_allclose(found, member.test, atol=1e-5)
    found = predict_images(store, keys, new.pixels, 2, Silent())
    np.testing.assert_allclose(found, np.mean([m.test for m in members], axis=0), atol=1e-5)
    assert len(keys) == 4 and np.ptp([m.test[0, 0] for m in members]) > 1e-4


def test_a_networks_file_is_not_much_larger_than_its_parameters(kept) -> None:
    _, _, store, keys = kept
    for key in keys:
        size = store.model_path(key).stat().st_size
        assert size < 4 * store.record(key)["parameters"] + 120_000


def predict(capfd, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.cli(["predict", *map(str, words)], prog_name="kaggle-digits")
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_writes_labels_and_probabilities(kept, capfd, tmp_path) -> None:
    folder, dataset, store, keys = kept
    output = tmp_path / "out" / "new.csv"
    given = ["--images", folder / "test.csv", "--output", output, "--quiet"]
    common = ["--data", folder, "--workspace", folder / "workspace"]
    code, out, _ = predict(capfd, *given, *common)
    assert code == 0 and "members      4 of 4" in out and f"{output} (15 images)" in out
    with open(output, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    mean = np.mean([store.load(key, (20, 15), 2).test for key in keys], axis=0)
    assert [row["image"] for row in rows] == list(dataset.test_ids)
    assert [row["label"] for row in rows] == ["xy"[i] for i in mean.argmax(axis=1)]
    found = [[float(row["p_x"]), float(row["p_y"])] for row in rows]
    np.testing.assert_allclose(found, mean, atol=1e-5)
    # The blend of the members that are left.
    store.model_path(keys[0]).unlink()
    code, out, err = predict(capfd, *given[:-1], *common, "--json")
    assert code == 0 and "3 of 4 planned members have weights" in err
    assert json.loads(out)["members"] == 3 and len(json.loads(out)["labels"]) == 15


def test_without_weights_the_command_says_how_to_get_them(kept, capfd) -> None:
    folder, _, store, keys = kept
    for key in keys:
        store.model_path(key).unlink()
    code, out, err = predict(
        capfd,
        "--images",
        folder / "test.csv",
        "--data",
        folder,
        "--workspace",
        folder / "workspace",
    )
    assert code == 4 and out == ""
    assert "None of the 4 planned members has weights" in err
    assert "kaggle-digits cv-train --add --keep-weights" in err


def test_members_of_other_data_are_refused_by_name(kept) -> None:
    _, _, store, keys = kept
    with pytest.raises(ArtefactError, match=f"{keys[0].name} was made from other data"):
        with_weights(store, keys, "0" * 16)


def test_a_changed_or_broken_network_is_refused(kept) -> None:
    _, dataset, store, keys = kept
    content = store.model_path(keys[0]).read_bytes()
    store.model_path(keys[0]).write_bytes(content[:-9])
    with pytest.raises(ArtefactError, match="is not the file that training wrote"):
        predict_images(store, keys, dataset.test_images, 2, Silent())


def test_images_are_needed(capfd) -> None:
    code, _, err = predict(capfd)
    assert code == 2 and "--images" in err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.json", '{"sha256": "0"}', "expected a name that does not end in .json"),
        ("mine.csv", '{"lr": 0.1}', "where its account goes, is another file"),
        ("mine.csv", "no JSON", "where its account goes, is another file"),
    ],
)
def test_an_account_takes_the_place_of_no_other_file(
    made, tmp_path, capfd, name, content, says
) -> None:
    """`predict --weights` wrote its account over a JSON of the user's own."""
    beside, output = tmp_path / "mine.json", tmp_path / "mine.csv"
    beside.write_text(content)
    words = ["--weights", tmp_path / "none", "--data", made.folder, "--workspace", tmp_path / "w"]
    code, out, err = predict(capfd, *words, "--output", tmp_path / name)
    # Before the weights, which are not there, are looked for.
    assert code == 2 and out == "" and says in err
    assert beside.read_text() == content and not output.exists()
    beside.write_text('{"sha256": "0", "members": []}')
    code, _, err = predict(capfd, *words, "--output", output)
    assert code == 4 and "holds no weights" in err
