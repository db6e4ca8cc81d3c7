"""`--output` and its like, given as a device, a pipe, a folder or a link."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kaggle_digits.core.place import Place
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.shell.cli import cli

# The commands that write a file where the user says, with what it takes to get that far.
WRITERS = (
    ("run", "--output"),
    ("blend", "--output"),
    ("predict", "--images", "nowhere.png", "--output"),
    ("tune", "--export"),
    ("tune", "--show", "--export"),
    ("tune", "--plot"),
)


def test_a_device_stays_a_device() -> None:
    before = os.stat("/dev/null")
    require_output(Path("/dev/null"), "--output")
    write_bytes(Path("/dev/null"), b"x" * 100_000)
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and after.st_ino == before.st_ino


def test_a_link_to_a_device_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "out.csv"
    link.symlink_to("/dev/null")
    write_bytes(link, b"x")
    assert link.is_symlink() and stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_full_device_is_an_error_without_a_trace() -> None:
    with pytest.raises(ArtefactError, match="No room on the disk while writing /dev/full"):
        write_bytes(Path("/dev/full"), b"x")


def test_a_pipe_gets_all_of_it_and_stays(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    require_output(pipe, "--output")
    content = os.urandom(300_000)  # more than a pipe holds
    write_bytes(pipe, content)
    reader.join(20)
    assert got == [content] and stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "real.csv", tmp_path / "link.csv"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("far/real.csv")
    require_output(link, "--output")
    write_bytes(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and not target.is_symlink()
    assert os.listdir(tmp_path / "far") == ["real.csv"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is a folder; a file is to be written"):
        write_bytes(tmp_path, b"x")
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path)
    for place in (tmp_path, linked):
        with pytest.raises(ConfigurationError, match="which is a folder; expected a file"):
            require_output(place, "--output")
    assert os.listdir(tmp_path) == ["link"]


def test_places_that_cannot_take_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refused = {
        tmp_path / "file" / "out.csv": "but .*file is no folder",
        tmp_path / "file" / "deeper" / "out.csv": "but .*file is no folder",
        tmp_path / "a": "a link that leads to itself",
        Path("/dev/stdout"): "own streams",
        Path("/dev/fd/2"): "own streams",
        Path("/proc/self/fd/1"): "own streams",
    }
    for place, why in refused.items():
        with pytest.raises(ConfigurationError, match=why):
            require_output(place, "--output")
    require_output(tmp_path / "new" / "folder" / "out.csv", "--output")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        require_output(tmp_path / "shut" / "out.csv", "--output")


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_folder_is_refused_before_the_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.png").mkdir()
    done = CliRunner().invoke(cli, [*words, "out.png", "--json"])
    assert done.exit_code == 2, done.output
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["log.txt"])


def test_the_page_beside_a_plot_is_looked_at_beforehand_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.html").mkdir()
    for name in ("out.png", "/dev/null", "out.svg"):
        assert CliRunner().invoke(cli, ["tune", "--plot", name]).exit_code == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["log.txt"]


def test_a_kernel_is_built_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist" / "kernel-metadata.json").mkdir(parents=True)
    words = ["kernel", "build", "--owner", "someone", "--dir"]
    assert CliRunner().invoke(cli, [*words, "dist"]).exit_code == 2
    assert os.listdir(tmp_path / "dist") == ["kernel-metadata.json"]
    assert CliRunner().invoke(cli, [*words, "/dev/null"]).exit_code == 2
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_run_into_a_device_still_checks_its_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, training: Any
) -> None:
    """What is written to a device cannot be read back; the workspace's own is checked."""
    import submissions.api as wing

    asked: list[Path | None] = []
    check = wing.check

    def noted(place: Place, file: Path | None = None, truth: Path | None = None) -> wing.Checked:
        asked.append(file)
        return check(place, file, truth)

    monkeypatch.setattr(wing, "check", noted)
    monkeypatch.chdir(tmp_path)
    sizes = ["--trials", "1", "--folds", "2", "--epochs", "1"]
    where = ["--data", str(made.folder), "--output", "/dev/null"]
    done = CliRunner().invoke(cli, ["run", *sizes, *where])
    assert done.exit_code == 0, done.output
    assert asked == [None]
    assert (tmp_path / "workspace/submissions/submission.csv").stat().st_size
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
