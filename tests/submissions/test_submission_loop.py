"""The whole loop on the command line: against the stand-in, and offline."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROWS = 400
PIXELS = 784
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def competition(server: Any) -> np.ndarray:
    """Fill the server with a small competition; return the truth, int [400]."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, ROWS)
    head = ",".join(f"pixel{number}" for number in range(PIXELS))

    def lines(count: int, first: Callable[[int], str]) -> str:
        pixels = generator.integers(0, 256, (count, PIXELS))
        return "".join(
            first(row) + ",".join(map(str, pixels[row])) + "\r\n" for row in range(count)
        )

    server.truth = {str(row + 1): str(label) for row, label in enumerate(truth)}
    server.files = {
        "train.csv": f"label,{head}\r\n{lines(60, lambda row: f'{row % 10},')}".encode(),
        "test.csv": f"{head}\r\n{lines(ROWS, lambda row: '')}".encode(),
        "sample_submission.csv": (
            "ImageId,Label\r\n" + "".join(f"{row + 1},0\r\n" for row in range(ROWS))
        ).encode(),
    }
    server.board = [("us", "0.90000")] + [(f"t{i}", f"{1 - i / 100:.5f}") for i in range(1, 60)]
    server.allowed = 9
    return truth


def write_blend(folder: Path, ids: list[str], labels: np.ndarray, cv: float) -> Path:
    """Leave in a workspace what `blend` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "submission.csv"
    rows = "".join(f"{key},{label}\r\n" for key, label in zip(ids, labels, strict=True))
    path.write_bytes(f"ImageId,Label\r\n{rows}".encode())
    account = {
        "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "method": "mean", "members": ["a", "b", "c"], "oof_accuracy": cv,
        "oof_accuracy_se": 0.005, "oof_log_loss": 0.05, "oof_log_loss_se": 0.004, "rows": 600,
        "data_digest": "x", "folds": 5, "seed": 0, "versions": {},
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(account))
    return path


def wrong(truth: np.ndarray, rows: range) -> np.ndarray:
    labels = truth.copy()
    labels[list(rows)] = (labels[list(rows)] + 1) % 10
    return labels


def values(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_download_submit_wait_leaderboard(
    server: Any, competition: np.ndarray, command_line: Run, here: Run, tmp_path: Path,
    standing: Any, planted_in: Callable[[Path], tuple[int, list[str]]],
) -> None:  # fmt: skip
    """The whole way, and that no credential is in anything that it says or leaves behind."""
    said: list[str] = []

    def kd(*words: str, variables: dict[str, str] | None = None) -> Any:
        apart = variables is not None
        done = command_line(*words, server=server, variables=variables) if apart else here(*words)
        said.append(done.stdout + done.stderr)
        return done

    ids = [str(row + 1) for row in range(ROWS)]
    place = tmp_path / "workspace" / "submissions"
    assert values(kd("download", "--json"))["fetched"] is True
    assert (tmp_path / "data" / "train.csv").read_bytes() == server.files["train.csv"]

    write_blend(place, ids, wrong(competition, range(8)), 0.97)
    dry = values(kd("submit", "--dry-run", "--json"))
    assert (dry["would_send"], dry["left_today"], server.entries) == (True, 9, [])
    first = kd("submit", "--wait", "--message", "first [/try]", "--json")
    assert "9 submissions left today" in first.stderr
    told = values(first)
    assert (told["sent"], told["state"], told["public_score"]) == (True, "complete", "0.92000")
    assert told["forecast"]["interval"][0] < 0.97 < told["forecast"]["interval"][1]
    description = server.entries[0].description
    assert "mean of 3, CV 0.97000 ± 0.00500 | first [/try]" in description
    assert told["digest"][:12] in description
    again = values(kd("submit", "--json"))
    assert (again["sent"], again["ref"], len(server.entries)) == (False, told["ref"], 1)

    write_blend(place, ids, wrong(competition, range(3, 7)), 0.98)
    ahead = values(kd("submit", "--forecast", "--json"))
    (difference,) = ahead["forecast"]["differences"]
    assert difference["ids"] == ["1", "2", "3", "8"]
    assert difference["largest_change"] == pytest.approx(4 / 100)
    assert ahead["forecast"]["bounds"] == pytest.approx([0.88, 0.96])
    assert Path(tmp_path / ahead["sheet"]).read_bytes().startswith(b"\x89PNG")
    assert len(server.entries) == 1
    server.order("CreateSubmission", standing.Fault("drop", act=True))
    second = kd("submit", "--wait", variables={"VERBOSE": "1"})
    assert second.returncode == 0 and len(server.entries) == 2
    assert "against #1001: 4 rows differ" in second.stderr and "it has arrived" in second.stderr
    assert "0.96000 (4 errors on 100 rows)" in second.stdout

    write_blend(place, ids, wrong(competition, range(90, 105)), 0.95)
    assert kd("submit").returncode == 0
    server.create(b"ImageId,Label\r\n" + b"1,1\r\n" * 8, "by hand =1+1 [/bold]", "x.csv")
    listed = values(kd("submissions", "--export", "csv", "--json"))
    assert [one["digest"] is None for one in listed["submissions"]] == [False] * 3 + [True]
    with open(tmp_path / listed["export"], encoding="utf-8", newline="") as handle:
        exported = list(csv.DictReader(handle))
    assert [row["ref"] for row in exported] == ["1001", "1002", "1003", "1004"]
    assert exported[0]["cv_log_loss"] == "0.05" and exported[0]["members"] == "a b c"
    assert values(kd("submissions", "--export", "json", "--offline", "--json"))["asked"] is False
    assert len(json.loads((place / "submissions.json").read_text())) == 4

    data = {path: path.read_bytes() for path in (tmp_path / "data").glob("*.csv")}
    board = values(kd("leaderboard", "--json"))
    ours = board["submissions"]
    assert [one["public_score"] for one in ours][:3] == ["0.92000", "0.96000", "0.90000"]
    assert [one["errors"] for one in ours][:3] == [8, 4, 10]
    # t1 to t59 hold 0.99 down to 0.41; 7, 3 and 9 of them are better.
    assert [(one["rank"], one["teams"]) for one in ours][:3] == [(8, 60), (4, 60), (10, 60)]
    assert ours[1]["share"] == pytest.approx(4 / 60)
    assert [one["gap_within_noise"] for one in ours][:3] == [False, True, False]
    assert ours[0]["gap"] == pytest.approx(-0.05)
    assert board["best"]["ref"] == 1002
    assert board["rank_correlation"]["n"] == 3 and board["rank_correlation"]["p"] > 0.1
    assert (board["teams"], board["public_rows"]) == (60, 100)
    assert {path: path.read_bytes() for path in data} == data
    assert not list((tmp_path / "data").glob("*.zip"))
    shown = kd("leaderboard")
    assert "best" in shown.stdout and "C CV, P public" in shown.stdout
    assert (place / "leaderboard.png").read_bytes().startswith(b"\x89PNG")

    broken = standing.Fault(
        "body", status=200, body=b"<html>", headers={"Content-Type": "text/html"}
    )
    before = (place / "board-kaggle.zip").read_bytes()
    server.order("DownloadLeaderboard", broken)
    bad = kd("leaderboard")
    assert bad.returncode == 1 and "nothing was overwritten" in bad.stderr
    assert (place / "board-kaggle.zip").read_bytes() == before

    server.order("ListSubmissions", standing.Fault("status", status=401))
    refused = kd("submit", "--force", variables={})
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 3
    read, found = planted_in(tmp_path)
    assert read > 20 and found == []
    everything = "".join(said)
    for secret in (standing.KEY, standing.TOKEN, standing.SIGNATURE):
        assert secret not in everything


def test_the_scorers_refusal_ends_with_an_error(
    server: Any, competition: np.ndarray, here: Run, tmp_path: Path, standing: Any
) -> None:
    (tmp_path / "data").mkdir()
    for name, content in server.files.items():
        (tmp_path / "data" / name).write_bytes(content)
    ids = [str(row + 1) for row in range(ROWS)]
    blend = write_blend(tmp_path / "workspace" / "submissions", ids, competition, 0.97)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(blend.read_bytes())
    server.polls_until_scored = 10**6
    first = values(here("submit", "copy.csv", "--json"))
    assert (first["state"], first["method"], first["cv_accuracy"]) == ("pending", "mean", 0.97)
    item = {"status": "ERROR", "errorDescription": "Solution missing", "ref": 1002}
    body = json.dumps({"submissions": [item]}).encode()
    none = standing.Fault("none")
    refused = standing.Fault("body", status=200, body=body)
    server.order("ListSubmissions", none, none, refused)
    done = here("submit", "--force", "--wait", "--json")
    assert done.returncode == 1 and "Solution missing" in done.stderr
    shown = values(here("submissions", "--offline", "--json"))
    assert [one["state"] for one in shown["submissions"]] == ["pending", "error"]


def test_what_the_commands_import() -> None:
    """Heavy libraries are loaded by what uses them, not by the commands' module."""
    heavy = "kaggle kagglesdk requests matplotlib pandas numpy keras tensorflow sklearn scipy"
    script = (
        "import sys, submissions.commands\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_token_leaves_no_trace_either(
    server: Any, competition: np.ndarray, command_line: Run, tmp_path: Path, standing: Any,
    planted_in: Callable[[Path], tuple[int, list[str]]],
) -> None:  # fmt: skip
    token = {"KAGGLE_API_TOKEN": standing.TOKEN, "VERBOSE": "true"}
    for status in (None, 401, 500):
        if status is not None:
            server.order("IntrospectToken", *[standing.Fault("status", status=status)] * 9)
        done = command_line("submissions", "--json", server=server, variables=token)
        assert done.returncode == 0, done.stderr
        assert values(done)["asked"] is (status is None)
        assert standing.TOKEN not in done.stdout + done.stderr
    read, found = planted_in(tmp_path)
    assert read >= 2 and found == []


def test_the_search_finds_what_is_planted(
    tmp_path: Path, standing: Any, planted_in: Callable[[Path], tuple[int, list[str]]]
) -> None:
    place = tmp_path / "deep"
    place.mkdir()
    (place / "log.txt").write_text(f"Authorization: Bearer {standing.TOKEN}")
    read, found = planted_in(tmp_path)
    assert read == 1 and len(found) == 1
    (place / "log.txt").unlink()


def test_missing_credentials_give_three_lines(
    server: Any, competition: np.ndarray, command_line: Run, tmp_path: Path
) -> None:
    none = {"KAGGLE_USERNAME": "", "KAGGLE_KEY": ""}
    environment = server.environment(tmp_path / "home")
    done = command_line(
        "download", variables={k: v for k, v in environment.items() if k not in none}
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[0] == "error: No Kaggle credentials were found."
    assert len(done.stderr.splitlines()) == 3
    assert server.requests == []


def test_an_unreachable_kaggle_is_said_and_the_ledger_shown(
    server: Any, command_line: Run, tmp_path: Path
) -> None:
    environment = server.environment(tmp_path / "home")
    for name in ("HTTP_PROXY", "http_proxy"):
        environment[name] = "http://127.0.0.1:9"
    done = command_line("submissions", "--json", variables=environment)
    assert values(done)["asked"] is False
    assert "cannot be reached" in values(done)["remark"]
    again = command_line("download", variables=environment)
    assert again.returncode == 1 and "cannot be reached" in again.stderr


def test_the_loop_offline_on_the_embedded_digits(
    server: Any, here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same commands with --local; nothing is asked of any network."""
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.workspace import Workspace

    monkeypatch.chdir(tmp_path)  # where no data/ is
    data = load(None, Workspace(tmp_path / "workspace"))
    assert data.truth is not None
    truth = np.array([int(data.truth[key]) for key in data.test_ids])
    place = tmp_path / "workspace" / "submissions"

    kd = here
    plain = None
    for count, cv in ((14, 0.975), (9, 0.985), (30, 0.95)):
        write_blend(place, list(data.test_ids), wrong(truth, range(count)), cv)
        told = values(kd("submit", "--local", "--wait", "--json"))
        assert (told["sent"], told["state"], told["service"]) == (True, "complete", "local")
        public = round((1 - float(told["public_score"])) * 150)
        private = round((1 - float(told["private_score"])) * 449)
        assert public + private == count
        plain = told
    assert values(kd("check", "--json"))["local_errors"] == 30
    assert plain is not None and len(plain["forecast"]["differences"]) == 2
    assert values(kd("submit", "--local", "--json"))["sent"] is False
    assert values(kd("submit", "--local", "--dry-run", "--json"))["left_today"] is None
    board = values(kd("leaderboard", "--local", "--json"))
    assert [one["rank"] for one in board["submissions"]] == [2, 1, 3]
    assert board["public_rows"] == 150 and board["rank_correlation"]["rho"] == pytest.approx(1)
    assert len(values(kd("submissions", "--local", "--json"))["submissions"]) == 3
    refused = kd("submit")
    assert refused.returncode == 2 and "--local" in refused.stderr
    labels = tmp_path / "truth.csv"
    labels.write_bytes((place / "submission.csv").read_bytes())
    told = values(kd("submit", "--local", "--truth", "truth.csv", "--force", "--json"))
    assert told["public_score"] == "1.00000"
    assert kd("submit", "--truth", "truth.csv").returncode == 2
    assert server.requests == []


def test_watching_tells_of_changes_and_ends_with_ctrl_c(
    server: Any, competition: np.ndarray, command_line: Run, tmp_path: Path, fonts: Path
) -> None:
    (tmp_path / "data").mkdir()
    for name, content in server.files.items():
        (tmp_path / "data" / name).write_bytes(content)
    server.polls_until_scored = 4
    ids = [str(row + 1) for row in range(ROWS)]
    write_blend(tmp_path / "workspace" / "submissions", ids, wrong(competition, range(8)), 0.97)
    assert command_line("submit", server=server).returncode == 0
    done = command_line(
        "leaderboard", "--watch", "--interval", "0.05", "--times", "4", server=server
    )
    assert done.returncode == 0
    assert "#1001: complete, public score 0.92000, rank 8 of 60" in done.stderr
    watching = subprocess.Popen(
        [sys.executable, "-m", "kaggle_digits", "leaderboard", "--watch", "--interval", "0.05"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MPLCONFIGDIR": str(fonts)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = server.count("DownloadLeaderboard")
    for _ in range(2400):
        if server.count("DownloadLeaderboard") >= before + 3:
            break
        server.released.wait(0.05)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "no longer watching" in err and "0.92000" in out
