"""`download`: resumed, checked, unpacked safely; nothing is overwritten by what is not right."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaggle_digits.core.data.provenance import Provenance
from kaggle_digits.ground.errors import ArtefactError, DataError, InUseError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from kaggle_digits.kaggle_service.transport import CallError, Patience
from submissions.commands import _run_on
from submissions.download import download

QUICK = Patience(timeout=1.5, tries=3, pause=lambda seconds: None)
FILES = {"train.csv": b"label,pixel0\r\n1,2\r\n", "test.csv": b"pixel0\r\n7\r\n"}
LINK = (stat.S_IFLNK | 0o777) << 16


@pytest.fixture
def client(server: Any) -> KaggleClient:
    server.files = dict(FILES)
    return KaggleClient("digit-recognizer", QUICK)


def there(folder: Path) -> dict[str, bytes]:
    """Return the files in place; the folder of unfinished downloads is no part of them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".download" not in path.parts
    }


def test_the_files_arrive_and_are_not_fetched_again(
    client: KaggleClient, server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    assert download(client, folder, Silent(), replace=False).fetched
    assert there(folder) == FILES
    assert not download(client, folder, Silent(), replace=False).fetched
    assert server.count("DownloadDataFiles") == 1
    assert [path.name for path in (folder / ".download").iterdir()] == [".lock"]


def test_other_files_are_replaced_on_demand_only(
    client: KaggleClient, server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match="another file"):
        download(client, folder, Silent(), replace=False)
    assert there(folder) == {"train.csv": b"mine"}
    assert server.count("DownloadDataFiles") == 0
    same_size = FILES["train.csv"].replace(b"1", b"9")
    (folder / "train.csv").write_bytes(same_size)
    with pytest.raises(DataError, match="another file"):
        download(client, folder, Silent(), replace=False)
    assert there(folder) == {"train.csv": same_size}
    download(client, folder, Silent(), replace=True)
    assert there(folder) == FILES


def test_what_fresh_replaces_is_said_and_a_folder_in_the_way_costs_no_file(
    client: KaggleClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    (folder / "test.csv").mkdir(parents=True)
    (folder / "train.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"test\.csv is a folder"):
        download(client, folder, Silent(), replace=True)
    assert there(folder) == {"train.csv": b"mine"}
    (folder / "test.csv").rmdir()
    told: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "say", told.append)
    download(client, folder, progress, replace=True)
    assert told[-1] == f"--fresh replaces 1 file in {folder}: train.csv"
    assert there(folder) == FILES


def large() -> dict[str, bytes]:
    generator = random.Random(3)
    return {"train.csv": generator.randbytes(3_000_000), "test.csv": generator.randbytes(500_000)}


def test_a_body_cut_short_is_gone_on_from(
    client: KaggleClient, server: Any, standing: Any, tmp_path: Path
) -> None:
    server.files = large()
    server.order("GET digit-recognizer.zip", standing.Fault("truncate"))
    download(client, tmp_path / "data", Silent(), replace=False)
    assert there(tmp_path / "data") == server.files
    assert [name for name in server.requests if name.startswith("resumed")]


def test_a_killed_download_is_gone_on_from(
    client: KaggleClient, server: Any, standing: Any, tmp_path: Path
) -> None:
    """Killed when half of the body has come; the next call asks for the other half only."""
    server.files = large()
    server.order("GET digit-recognizer.zip", standing.Fault("stall"))
    script = (
        "import sys; from pathlib import Path\n"
        "from kaggle_digits.kaggle_service.client import KaggleClient\n"
        "from kaggle_digits.kaggle_service.transport import Patience\n"
        "from kaggle_digits.ground.progress import Silent\n"
        "from submissions.download import download\n"
        "client = KaggleClient('digit-recognizer', Patience(timeout=30))\n"
        "download(client, Path(sys.argv[1]), Silent(), replace=False)\n"
    )
    folder = tmp_path / "data"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], env=os.environ | {"PYTHONPATH": str(root)}
    )
    part = folder / ".download" / "data.zip"
    for _ in range(2400):
        if part.is_file() and part.stat().st_size > 1_000_000:
            break
        assert process.poll() is None
        server.released.wait(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -9
    size = part.stat().st_size
    assert 1_000_000 < size < len(server.zipped())
    assert there(folder) == {}
    download(client, folder, Silent(), replace=False)
    assert there(folder) == server.files
    assert f"resumed digit-recognizer.zip at {size}" in server.requests


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # doubled names are wanted here
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = LINK
    return made


GOOD = tuple(FILES.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of(*GOOD, ("../evil.csv", b"x")), "lead out"),
        (zip_of(*GOOD, ("/evil.csv", b"x")), "lead out"),
        (zip_of(*GOOD, ("a/../../evil.csv", b"x")), "lead out"),
        (zip_of(*GOOD, ("C:evil.csv", b"x")), "lead out"),
        (zip_of(*GOOD, ("..\\evil.csv", b"x")), "lead out"),
        (zip_of(*GOOD, (link("evil.csv"), b"/etc/passwd")), "link"),
        (zip_of(*GOOD, ("TRAIN.csv", b"x")), "twice"),
        (zip_of(*GOOD, ("test.csv", b"x")), "twice"),
        (zip_of(GOOD[0]), "lacks 'test.csv'"),
        (zip_of(GOOD[0], ("test.csv", b"short")), "listed are"),
        (zip_of(*GOOD)[:-40], "no whole zip"),
        (zip_of(*GOOD).replace(b"1,2", b"1,3", 1), "no whole zip"),
        (b"<html>an error page</html>", "no whole zip"),
        (b"", "no whole zip"),
    ],
)
def test_what_is_not_right_touches_nothing(
    client: KaggleClient, server: Any, tmp_path: Path, content: bytes, message: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    server.data_zip = content
    with pytest.raises(CallError, match=message):
        download(client, folder, Silent(), replace=True)
    assert there(tmp_path) == {"data/notes.txt": b"mine"}
    assert not list(tmp_path.rglob("*evil*"))
    server.data_zip = None
    download(client, folder, Silent(), replace=False)
    assert there(folder) == FILES | {"notes.txt": b"mine"}


STEPS = ("ListDataFiles", "DownloadDataFiles", "GET digit-recognizer.zip")
KINDS = ("html", "drop", "hang", "truncate", 401, 403, 404, 429, 500)


@pytest.mark.parametrize(
    ("step", "kind"),
    # A redirect has no body to cut.
    [(s, k) for s in STEPS for k in KINDS if (s, k) != ("DownloadDataFiles", "truncate")],
)
def test_each_fault_is_a_clear_error_or_mended(
    client: KaggleClient, server: Any, standing: Any, tmp_path: Path, kind: str | int, step: str
) -> None:
    known = isinstance(kind, int)
    fault = standing.Fault("status", status=kind) if known else standing.Fault(kind)
    folder = tmp_path / "data"
    server.order(step, *[fault] * 3)
    first = client
    if kind == "hang":  # three times it is waited out
        first = KaggleClient("digit-recognizer", replace(QUICK, timeout=0.4))
    with pytest.raises(CallError) as caught:
        download(first, folder, Silent(), replace=False)
    assert "planted0key" not in caught.value.message and "sig=" not in caught.value.message
    assert there(folder) == {}
    server.faults.clear()
    download(client, folder, Silent(), replace=False)
    assert there(folder) == FILES


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/etc/evil", ".download/data.zip", "a\x1b.csv", ""]
)
def test_a_listed_name_that_leads_out_is_refused(
    client: KaggleClient, server: Any, tmp_path: Path, name: str
) -> None:
    server.files[name] = b"x"
    with pytest.raises(CallError, match="lead out"):
        download(client, tmp_path / "data", Silent(), replace=False)
    assert server.count("DownloadDataFiles") == 0
    assert there(tmp_path) == {}


def test_a_place_that_cannot_be_written_is_said(client: KaggleClient, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(ArtefactError):
        download(client, tmp_path / "data", Silent(), replace=False)


def test_the_next_command_can_be_pasted_whatever_the_folders_name(workspace: Any) -> None:
    write_json(workspace.data_record, Provenance(None, "0" * 16, None).to_json())
    (workspace.tuning / "trials").mkdir(parents=True)
    session = SimpleNamespace(workspace=workspace, data=Path("my data"))
    assert _run_on(session, session.data, "digit-recognizer") == (
        "kaggle-digits run --data 'my data' --workspace digit-recognizer"
    )


def test_a_folder_in_use_or_too_full_is_told_by_its_own_option(
    client: KaggleClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    with (
        Workspace(folder).lock(folder / ".download"),
        pytest.raises(InUseError, match="is in use") as refused,
    ):
        download(client, folder, Silent(), replace=False)
    assert refused.value.mend == "Wait until it has ended, or give another --data."
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1))
    with pytest.raises(ArtefactError, match="No room") as refused:
        download(client, folder, Silent(), replace=False)
    assert refused.value.mend == "Make room, or put --data on another disk."
    assert there(folder) == {}
