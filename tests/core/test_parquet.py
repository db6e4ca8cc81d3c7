"""Tables in Parquet: the same data, checks and messages as from the CSV of them."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kaggle_digits.core.data import Dataset, load
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.workspace import Workspace

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra kaggle-digits[parquet])")

SIDE, ROWS, TEST_ROWS = 6, 2345, 40


def frames() -> dict[str, pd.DataFrame]:
    draw = np.random.default_rng(5)
    pixels = [f"pixel{number}" for number in range(SIDE * SIDE)]

    def images(rows: int) -> pd.DataFrame:
        return pd.DataFrame(draw.integers(0, 256, (rows, SIDE * SIDE), np.uint8), columns=pixels)

    train = images(ROWS)
    train.insert(0, "label", [f"c{row % 3}" for row in range(ROWS)])
    test = images(TEST_ROWS)
    ids = list(range(1, TEST_ROWS + 1))
    sample = pd.DataFrame({"ImageId": ids, "Label": ["c0"] * TEST_ROWS})
    return {"train": train, "test": test, "sample_submission": sample}


def write(folder: Path, tables: dict[str, pd.DataFrame], form: str) -> Path:
    folder.mkdir(parents=True)
    for name, table in tables.items():
        if form == "csv":
            table.to_csv(folder / f"{name}.csv", index=False)
        else:
            table.to_parquet(folder / f"{name}.parquet", index=False, row_group_size=700)
    return folder


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Path], Dataset]:
    workspaces = iter(range(99))

    def read(path: Path) -> Dataset:
        return load(path, Workspace(tmp_path / f"w{next(workspaces)}"))

    return read


def test_folder_zip_and_zip_in_zip_are_the_data_of_the_csv(
    read: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    tables = frames()
    wanted = read(write(tmp_path / "csv", tables, "csv"))
    folder = write(tmp_path / "parquet", tables, "parquet")
    packed = tmp_path / "packed.zip"
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    with zipfile.ZipFile(nested, "w") as archive:
        for path in folder.iterdir():
            inner = tmp_path / f"{path.name}.zip"
            with zipfile.ZipFile(inner, "w") as one:
                one.write(path, path.name)
            archive.write(inner, inner.name)
    for place in (folder, packed, nested):
        found = read(place)
        assert found.digest == wanted.digest, place
        assert found.competition == wanted.competition and found.test_ids == wanted.test_ids
        np.testing.assert_array_equal(found.images, wanted.images)
        np.testing.assert_array_equal(found.labels, wanted.labels)
    assert wanted.images.shape == (ROWS, SIDE, SIDE)
    np.testing.assert_array_equal(
        wanted.images.reshape(ROWS, -1), tables["train"].drop(columns="label").to_numpy()
    )


def test_a_parquet_and_a_csv_side_by_side_are_one_competition(
    read: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    tables = frames()
    wanted = read(write(tmp_path / "csv", tables, "csv"))
    mixed = write(tmp_path / "mixed", tables, "csv")
    (mixed / "train.csv").unlink()
    tables["train"].to_parquet(mixed / "train.parquet", index=False)
    assert read(mixed).digest == wanted.digest


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "float16", "Int16"])
def test_the_kind_of_the_columns_makes_no_difference(
    read: Callable[[Path], Dataset], tmp_path: Path, dtype: str
) -> None:
    tables = frames()
    wanted = read(write(tmp_path / "csv", tables, "csv"))
    for name in ("train", "test"):
        pixels = [column for column in tables[name] if column != "label"]
        tables[name] = tables[name].astype(dict.fromkeys(pixels, dtype))
    tables["train"]["label"] = tables["train"]["label"].astype("category")
    assert read(write(tmp_path / "parquet", tables, "parquet")).digest == wanted.digest


def test_pixels_of_0_to_1_and_an_image_in_one_column_as_a_list(
    read: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    tables = frames()
    wanted = read(write(tmp_path / "csv", tables, "csv"))
    scaled, listed = dict(tables), dict(tables)
    for name in ("train", "test"):
        pixels = [column for column in tables[name] if column != "label"]
        labels = tables[name].drop(columns=pixels)
        values = tables[name][pixels]
        scaled[name] = pd.concat([labels, (values / 255).astype("float32")], axis=1)
        listed[name] = labels.assign(pixels=list(values.to_numpy()))
    for number, made in enumerate((scaled, listed)):
        found = read(write(tmp_path / f"p{number}", made, "parquet"))
        assert found.digest == wanted.digest


@pytest.mark.parametrize(
    ("row", "column", "value", "says"),
    [
        (4, "pixel7", 300, "line 6, column 'pixel7' holds '300', which is out of range"),
        (0, "pixel0", -1, "line 2, column 'pixel0' holds '-1'"),
        (1500, "pixel3", None, "line 1502, column 'pixel3' has no value"),
        (9, "label", None, "line 11 has no label"),
        (2, "pixel1", 1.5, "line 4, column 'pixel1' holds '1.5'"),
    ],
)
def test_faults_have_the_messages_of_the_csv(
    read: Callable[[Path], Dataset],
    tmp_path: Path,
    row: int,
    column: str,
    value: float | None,
    says: str,
) -> None:
    tables = frames()
    faulty = tables["train"][column].astype(object)
    faulty[row] = value
    kind = "string" if column == "label" else "Float64"
    tables["train"][column] = faulty.astype(kind)
    said = []
    for form in ("csv", "parquet"):
        with pytest.raises(DataError) as error:
            read(write(tmp_path / form, tables, form))
        said.append(str(error.value).replace(".parquet", ".csv"))
    assert says in said[1] and said[0].split(" holds")[0] == said[1].split(" holds")[0]


def test_missing_and_doubled_columns_are_named(
    read: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    tables = frames()
    tables["test"] = tables["test"].drop(columns="pixel5")
    with pytest.raises(DataError, match=r"test\.parquet has other pixel columns.*lacks pixel5"):
        read(write(tmp_path / "one", tables, "parquet"))
    (tmp_path / "one" / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"has no test\.csv; it holds .*train\.parquet"):
        read(tmp_path / "one")


def test_damaged_files_and_foreign_columns_are_named(
    read: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    folder = write(tmp_path / "data", frames(), "parquet")
    whole = (folder / "train.parquet").read_bytes()
    broken = [b"", b"label,pixel0\n1,2\n", whole[: len(whole) // 2]]
    middle = len(whole) // 3
    broken.append(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    for content in broken:
        (folder / "train.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"train\.parquet"):
            read(folder)
    tables = frames()
    tables["train"]["picture"] = [{"bytes": b"x", "path": "a.png"}] * ROWS
    with pytest.raises(DataError, match="column 'picture' holds struct<.*expected numbers"):
        read(write(tmp_path / "structs", tables, "parquet"))


def test_without_pyarrow_it_is_said_what_to_install(
    read: Callable[[Path], Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data", frames(), "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="Parquet file") as error:
        read(folder)
    assert "pip install 'kaggle-digits[parquet]'" in str(error.value.mend)


def test_a_few_rows_at_a_time_are_made_into_text(tmp_path: Path) -> None:
    from kaggle_digits.core.data.source import find

    folder = write(tmp_path / "data", frames(), "parquet")
    with find(folder).open("train") as stream:
        assert stream.readline().startswith(b'"label","pixel0"')
        rows = stream.read().splitlines()
    assert len(rows) == ROWS and rows[-1].startswith(f'"c{(ROWS - 1) % 3}",'.encode())


def pictured(folder: Path, form: str) -> Path:
    """Write images as files, and the tables that name them in one form."""
    import cv2

    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        for number in range(8):
            image = np.full((6, 6), 20 * number, np.uint8)
            cv2.imwrite(str(folder / part / f"{part}{number}.png"), image)
    labels = [f"c{number % 2}" for number in range(8)]
    backwards = [f"test{number}" for number in reversed(range(8))]
    tables = {
        "train": {"id": [f"train{number}" for number in range(8)], "label": labels},
        "test": {"id": backwards},
        "sample_submission": {"id": backwards, "label": ["c0"] * 8},
    }
    for name, columns in tables.items():
        table = pd.DataFrame(columns)
        if form == "parquet":
            table.to_parquet(folder / f"{name}.parquet", index=False)
        else:
            table.to_csv(folder / f"{name}.{form}", index=False)
    return folder


@pytest.mark.parametrize("form", ["csv", "csv.gz", "csv.zip", "parquet"])
def test_image_files_named_by_tables_of_every_form(
    read: Callable[[Path], Dataset], tmp_path: Path, form: str
) -> None:
    wanted = read(pictured(tmp_path / "plain", "csv"))
    folder = pictured(tmp_path / "given", form)
    packed = shutil.make_archive(str(tmp_path / "all"), "zip", folder)
    for place in (folder, Path(packed)):
        found = read(place)
        assert found.digest == wanted.digest and found.competition == wanted.competition
        assert found.test_ids == tuple(f"test{number}" for number in reversed(range(8)))
    # Without a sample, the ids are those of the test table.
    (folder / f"sample_submission.{form}").unlink()
    assert read(folder).test_ids == wanted.test_ids


@pytest.mark.parametrize("form", ["csv.gz", "csv.zip", "parquet"])
def test_a_damaged_table_of_image_files_is_named(
    read: Callable[[Path], Dataset], tmp_path: Path, form: str
) -> None:
    folder = pictured(tmp_path / "given", form)
    path = folder / f"sample_submission.{form}"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"sample_submission\.{form} (cannot be read|is damaged)"):
        read(folder)
