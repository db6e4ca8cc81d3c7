"""A workspace goes on with the data it was made from, and takes no other."""

from __future__ import annotations

import json
import shutil

import pytest

from kaggle_digits.core.data import dataset as dataset_module
from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.shell import cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A current folder without data/ and without a workspace."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def works(workspace) -> None:
    """Leave what a search leaves."""
    write_json(workspace.tuning / "best.json", {})


def call(capfd, *words: object) -> tuple[int, str]:
    """Call the command line; its exit code and stderr."""
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words)], prog_name="kaggle-digits")
    return int(ended.value.code or 0), capfd.readouterr().err


def test_a_forgotten_data_option_goes_on_with_the_workspaces_own_data(made, workspace) -> None:
    first = load(made.folder, workspace)
    again = load(None, workspace)
    assert again.digest == first.digest and again.name == first.name and again.truth is None


def test_a_relative_path_is_found_from_another_folder(made, workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first = load(made.folder.relative_to(tmp_path), workspace)
    monkeypatch.chdir(tmp_path / "here")
    assert load(None, workspace).digest == first.digest


def test_data_that_came_later_do_not_take_the_place_of_the_embedded(workspace, make, tmp_path):
    first = load(None, workspace)
    make("here/data")
    told: list[str] = []
    again = load(None, workspace, told.append)
    assert again.digest == first.digest and again.truth is not None
    assert told == ["going on with this workspace's own data, embedded digits; data is not read"]


def test_other_data_are_refused_with_both_named(make, workspace) -> None:
    one, two = make("letters"), make("figures", rows=33)
    first = load(one.folder, workspace)
    works(workspace)
    with pytest.raises(ArtefactError) as caught:
        load(two.folder, workspace)
    message = caught.value.message
    assert f"made from {one.folder} (digest {first.digest})" in message
    assert f"{two.folder} (digest " in message and "is other data" in message
    assert caught.value.mend and "another --workspace" in caught.value.mend
    assert "--fresh" not in message + caught.value.mend
    # And the workspace is what it was.
    assert load(None, workspace).digest == first.digest


def test_the_embedded_digits_do_not_come_into_a_workspace_of_other_data(
    make, workspace, capfd
) -> None:
    made = make("letters")
    load(made.folder, workspace)
    works(workspace)
    code, err = call(capfd, "blend", "--workspace", workspace.root)
    assert code == 4 and "plan.json" in err
    assert json.loads((workspace.root / "data.json").read_text())["path"] == str(made.folder)
    assert not (workspace.cache / "embedded").exists()


def test_before_anything_was_made_a_workspace_takes_other_data(make, workspace) -> None:
    one, two = make("letters"), make("figures", rows=33)
    load(one.folder, workspace)
    second = load(two.folder, workspace)
    assert load(None, workspace).digest == second.digest


def test_the_same_data_in_another_place_are_the_same(made, workspace, tmp_path) -> None:
    first = load(made.folder, workspace)
    works(workspace)
    packed = load(made.zipped(tmp_path / "packed.zip"), workspace)
    assert packed.digest == first.digest
    shutil.rmtree(made.folder)
    # The place given last is where they are.
    assert load(None, workspace).digest == first.digest


def test_files_that_are_gone_are_named(made, workspace) -> None:
    load(made.folder, workspace)
    made.folder.rename(made.folder.with_name("moved"))
    with pytest.raises(DataError, match=f"made from {made.folder}, which is no longer there") as e:
        load(None, workspace)
    assert e.value.mend == "Give --data the place where the files are now."
    assert load(made.folder.with_name("moved"), workspace).images.shape == (30, 4, 4)


def test_files_that_have_changed_are_refused(made, workspace) -> None:
    first = load(made.folder, workspace)
    works(workspace)
    made.set("train.csv", 2, 0, "1")
    for path in (made.folder, None):
        with pytest.raises(ArtefactError, match=f"have changed since .*digest {first.digest}, now"):
            load(path, workspace)


def test_the_same_files_in_another_shape_are_other_data(made, workspace) -> None:
    load(made.folder, workspace)
    works(workspace)
    with pytest.raises(ArtefactError, match="images of 2x8.* is other data"):
        load(None, workspace, wanted=Wanted(shape=ImageShape(2, 8)))


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "{}", '"x"', "{", '{"path": 1, "digest": "", "image_shape": null}',
     '{"path": null, "digest": "y", "image_shape": "round"}'],
)  # fmt: skip
def test_a_record_of_another_form_is_named(made, workspace, content) -> None:
    load(made.folder, workspace)
    path = workspace.root / "data.json"
    path.write_text(content)
    with pytest.raises(ArtefactError, match="data.json"):
        load(made.folder, workspace)


def test_a_record_that_is_right_is_not_written_again(made, workspace, monkeypatch) -> None:
    load(made.folder, workspace)
    path = workspace.root / "data.json"
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(dataset_module, "read_competition", None)
    load(made.folder, workspace)
    load(None, workspace)
    assert path.stat().st_mtime_ns == before
    assert json.loads(path.read_text())["path"] == str(made.folder)


def test_download_says_to_run_elsewhere_in_a_workspace_of_other_data(
    workspace, monkeypatch, capfd, tmp_path
) -> None:
    from submissions import api
    from submissions.download import Downloaded

    monkeypatch.setattr(api, "KaggleClient", lambda competition: None)
    monkeypatch.setattr(api, "fetch", lambda *given, **more: Downloaded({"a.csv": 1}, True))

    def next_line(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.cli(
                ["download", "--workspace", str(workspace.root), *words], prog_name="kaggle-digits"
            )
        assert not ended.value.code
        out, err = capfd.readouterr()
        return next(line for line in (out + err).splitlines() if "next: " in line)

    assert next_line().endswith(f"kaggle-digits run --workspace {workspace.root}")
    load(None, workspace)
    assert next_line().endswith(f"kaggle-digits run --data data --workspace {workspace.root}")
    works(workspace)
    assert next_line().endswith("kaggle-digits run --data data --workspace digit-recognizer")
    # An address is no folder, and a folder's name may hold blanks.
    address = "https://www.kaggle.com/competitions/kannada-mnist/overview"
    told = next_line("--competition", address, "--data", "my data")
    assert told.endswith("kaggle-digits run --data 'my data' --workspace kannada-mnist")
