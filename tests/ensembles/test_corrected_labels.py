"""`--labels` from training to submission: who trains on what, and who is judged by what."""

from __future__ import annotations

import base64
import csv
import html
import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from ensembles.image_report import _as_csv, _command
from ensembles.suspects import suspects
from kaggle_digits.core.data import load
from kaggle_digits.core.data.provenance import DRAWN, Provenance
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell import cli
from kaggle_digits.shell.report.parts import Subject
from tuning.scoring import ScoringSettings, Splits

LEFT_OUT, CORRECTED = 5, 7


@pytest.fixture
def call(capfd, workspace, competition):
    """Call the command line on the workspace; gives exit code, stdout and stderr."""

    def call(*words: object, root=workspace.root) -> tuple[int, str, str]:
        given = [*words, "--data", competition.folder, "--workspace", root]
        with pytest.raises(SystemExit) as ended:
            cli.cli([str(word) for word in given], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def competition(make):
    """Images that show their class, but for two whose labels are wrong."""
    made = make(rows=60, test_rows=12)
    rows = made.rows_of("train.csv")
    for number, row in enumerate(rows[1:]):
        row[1:] = ["200" if place % 3 == int(row[0]) else "10" for place in range(len(row) - 1)]
        if number in (LEFT_OUT, CORRECTED):
            row[0] = str((int(row[0]) + 1) % 3)
    made.write("train.csv", rows)
    return made


@pytest.fixture
def fixes(tmp_path, competition):
    """The file that mends the data."""
    path = tmp_path / "fixes.csv"
    path.write_text(f"row,take\n{LEFT_OUT},exclude\n{CORRECTED},{CORRECTED % 3}\n")
    return path


@pytest.fixture
def trained(call, fixes, planted, tmp_path):
    """Members of two configurations, trained on the corrected labels."""
    planted.sharpness = 1e-3
    configs = []
    for depth in (1, 2):
        path = tmp_path / f"{depth}.toml"
        path.write_text(f"depth = {depth}\n")
        configs += ["--config", path]
    code, _, err = call(
        "cv-train", *configs, "--folds", 3, "--epochs", 1, "--workers", 1, "--labels", fixes
    )
    assert code == 0, err
    assert f"labels: {fixes} (digest" in err and "1 corrected, 1 row left out" in err
    return planted


def test_no_member_sees_a_row_that_is_left_out(trained, workspace, competition):
    for job in trained.jobs:
        assert LEFT_OUT not in job.train_rows and LEFT_OUT not in job.held_out_rows
        assert (CORRECTED in job.train_rows) != (CORRECTED in job.held_out_rows)


def test_both_figures_are_given_and_all_artefacts_say_what_was_corrected(
    trained, call, workspace, competition
):
    code, out, err = call("blend", "--json")
    assert code == 0, err
    values = json.loads(out)
    # Every image shows its class, so that the one label that stays wrong in train.csv is missed.
    assert values["oof_accuracy"] == 1.0
    account = {"digest": values["labels"]["digest"], "corrected": 1, "left_out": 1}
    assert values["labels"]["rows"] == 59
    assert values["labels"]["oof_accuracy"] == pytest.approx(58 / 59)
    assert "going on with this workspace's own labels" in err
    places = [
        "ensembles/blend/blend.json",
        "submissions/submission.json",
    ]
    stored = [json.loads((workspace.root / place).read_text())["labels"] for place in places]
    plan = json.loads((workspace.root / "ensembles" / "plan.json").read_text())
    stored.append(plan["settings"]["request"]["labels"])
    store = MemberStore(workspace)
    for key in store.read_plan()[1]:
        stored.append(store.record(key)["labels"])
    assert len(stored) == 9
    for one in stored:
        assert {name: one[name] for name in account} == account
    code, out, _ = call("blend")
    assert "on train.csv's labels  0.98305 ± 0.01680" in out
    assert "labels                 1 corrected, 1 row left out" in out


def test_the_list_of_members_has_both_figures(trained, call):
    code, out, err = call("members")
    assert code == 0, err
    assert "1 corrected, 1 row left out; mean accuracy 1.00000 by them, 0.98305 by those" in out


def test_the_report_has_both_figures(trained, call, workspace):
    assert call("blend")[0] == 0
    code, _, err = call("report")
    assert code == 0 and "could not be made" not in err, err
    page = html.unescape((workspace.root / "report.html").read_text("utf-8"))
    for text in ("on train.csv's labels", "0.98305 ± 0.01680", "1 corrected, 1 row left out"):
        assert text in page


def test_the_reports_list_of_labels_that_look_wrong_mends_them(
    call, planted, workspace, competition, tmp_path
):
    planted.sharpness = 1e-3
    config = tmp_path / "one.toml"
    config.write_text("depth = 1\n")
    words = ["--config", config, "--folds", 3, "--epochs", 1, "--workers", 1]
    for command in (["cv-train", *words], ["blend"], ["report"]):
        assert call(*command)[0] == 0
    page = (workspace.root / "report.html").read_text("utf-8")
    assert "--labels labels-that-look-wrong.csv --workspace corrected" in page
    content = re.search(r'href="data:text/csv;base64,([^"]+)"', page)
    taken = tmp_path / "labels-that-look-wrong.csv"
    taken.write_bytes(base64.b64decode(content[1]))
    root = tmp_path / "corrected"
    code, _, err = call("cv-train", *words, "--labels", taken, root=root)
    assert code == 0 and "2 corrected, 0 rows left out" in err
    code, out, _ = call("blend", "--json", root=root)
    values = json.loads(out)
    assert values["oof_accuracy"] == 1.0
    assert values["labels"]["oof_accuracy"] == pytest.approx(58 / 60)
    # A list of that workspace holds what is corrected there already.
    lines = csv.DictReader(_listed(root, competition).splitlines())
    assert {int(line["row"]): line["take"] for line in lines} == {
        row: str(row % 3) for row in (LEFT_OUT, CORRECTED)
    }


def test_the_reports_command_reads_and_scores_the_data_as_they_are_here(
    call, planted, workspace, competition, tmp_path
):
    planted.sharpness = 1e-3
    head, *rows = competition.rows_of("train.csv")
    rows = [[*row, f"w{number // 2}"] for number, row in enumerate(rows)]
    competition.write("train.csv", [[*head, "the writer"], *rows])
    config = tmp_path / "one.toml"
    config.write_text("depth = 1\n")
    words = ["--config", config, "--folds", 3, "--epochs", 1, "--workers", 1]
    for command in (
        ["cv-train", *words, "--groups", "the writer"],
        ["blend", "--metric", "macro-f1"],
        ["report"],
    ):
        code, _, err = call(*command)
        assert code == 0, err
    page = html.unescape((workspace.root / "report.html").read_text("utf-8"))
    data = shlex.quote(str(competition.folder.resolve()))
    assert (
        f">kaggle-digits run --data {data} --groups 'the writer' --metric macro-f1 "
        "--labels labels-that-look-wrong.csv --workspace corrected<" in page
    )


@pytest.mark.parametrize(
    ("path", "data"), [(None, ""), (DRAWN, " --data shapes"), ("/my data", " --data '/my data'")]
)
def test_the_command_names_data_of_every_kind(workspace, path, data):
    wanted = Wanted(size=(48, 64), skip_broken=True)
    known = Provenance(path, "0" * 16, None, wanted.to_json())
    write_json(workspace.data_record, known.to_json())
    assert _command(Subject(workspace, pytest.fail, str)) == (
        f"kaggle-digits run{data} --image-size 48x64 --skip-broken "
        "--labels labels-that-look-wrong.csv --workspace corrected"
    )


def _listed(root, competition) -> str:
    """Return the list as it is where one label more looks wrong than is corrected."""
    dataset = load(competition.folder, Workspace(root))
    oof = np.full((60, 3), 0.05)
    oof[np.arange(60), dataset.labels] = 0.9
    seen = SimpleNamespace(dataset=dataset, blend=SimpleNamespace(rows=np.arange(60), oof=oof))
    return _as_csv(seen, suspects(oof, dataset.labels)).decode()


def test_members_of_other_labels_are_not_mixed(trained, call, tmp_path, competition):
    other = tmp_path / "other.csv"
    other.write_text(f"row,take\n{CORRECTED},{CORRECTED % 3}\n")
    code, _, err = call("blend", "--labels", other)
    assert code == 4
    assert "fixes.csv" in err and "other.csv" in err and "is other data" in err


def test_a_workspace_made_without_corrections_takes_none(call, fixes, planted, tmp_path):
    config = tmp_path / "one.toml"
    config.write_text("depth = 1\n")
    words = ["--config", config, "--folds", 3, "--epochs", 1, "--workers", 1]
    assert call("cv-train", *words)[0] == 0
    code, _, err = call("cv-train", *words, "--labels", fixes)
    assert code == 4 and "is other data" in err and "another --workspace" in err


def test_trials_are_neither_trained_nor_judged_on_rows_left_out(competition, workspace, fixes):
    dataset = load(competition.folder, workspace, labels=fixes)
    settings = ScoringSettings(rows=40, copies=1, folds=0, race_folds=2, seed=0)
    splits = Splits(dataset.labels, settings, dataset.kept)
    for split in (*splits.trial, *(splits.race(number) for number in range(4))):
        assert LEFT_OUT not in np.concatenate(split)


def test_neighbours_are_asked_of_the_rows_that_are_judged(trained, call, monkeypatch):
    monkeypatch.setattr("ensembles.neighbours._SHARE", 0.9)
    code, out, err = call("blend", "--neighbours", "--json")
    assert code == 0, err
    assert json.loads(out)["neighbours"]["rows"] == 53


def test_the_python_api_takes_them_too(competition, workspace, fixes, trained):
    import kaggle_digits as kd

    given = kd.load(competition.folder, workspace=workspace.root, labels=fixes, progress=False)
    assert given.facts()["labels"] == "1 corrected, 1 row left out"
    blended = kd.blend(given)
    assert (blended.oof_accuracy, blended.given_oof_accuracy) == (1.0, pytest.approx(58 / 59))
    again = kd.load(workspace=workspace.root, progress=False)
    assert again.dataset.digest == given.dataset.digest
