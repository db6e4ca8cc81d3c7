"""Competitions that ask for probabilities: read off the sample, written, checked, sent."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from kaggle_digits.core import inference
from kaggle_digits.core.data import load
from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.files import write_bytes, write_json
from kaggle_digits.ground.sums import Sums
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.blend import read_account
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.weights import Weights, write_weights
from kaggle_digits.shell import cli
from kernel.bundle import read_script
from submissions.scoreboard import figure_of
from submissions.validation import validate

IDS = [str(number) for number in range(1, 13)]


@pytest.mark.parametrize(
    ("classes", "columns", "found"),
    [
        (("0", "1", "2"), ("0", "1", "2"), ("0", "1", "2")),
        (("0", "1", "2"), ("p_2", "p_0", "p_1"), ("2", "0", "1")),
        (("cat", "dog", "emu"), ("Cat", "Emu", "Dog"), ("cat", "emu", "dog")),
        (("cat", "dog", "emu"), ("is_cat", "is_dog", "is_emu"), ("cat", "dog", "emu")),
        (("10", "11", "12"), ("class10", "class11", "class12"), ("10", "11", "12")),
    ],
)
def test_a_column_for_each_class(make, workspace, classes, columns, found) -> None:
    made = make(classes=classes)
    made.write("sample_submission.csv", [["id", *columns], *([n, *["0.3"] * 3] for n in IDS)])
    told: list[str] = []
    form = load(made.folder, workspace, told.append).competition.form
    assert form.values == tuple(zip(columns, found, strict=True))
    assert any("asks for the probabilities of the 3 classes" in text for text in told)


@pytest.mark.parametrize(
    ("classes", "column", "positive"),
    [
        (("0", "1"), "label", "1"),
        (("benign", "malignant"), "target", "malignant"),
        (("cat", "dog"), "cat", "cat"),
        (("9", "10"), "label", "10"),
    ],
)
def test_one_probability_of_two_classes(make, workspace, classes, column, positive) -> None:
    made = make(classes=classes)
    made.write("sample_submission.csv", [["id", column], *([n, "0.5"] for n in IDS)])
    told: list[str] = []
    dataset = load(made.folder, workspace, told.append)
    assert dataset.competition.form.values == ((column, positive),)
    assert any(f"{column} is that of the class {positive}" in text for text in told)
    assert load(made.folder, workspace).competition == dataset.competition


def test_labels_stay_labels_and_their_digest(make, workspace) -> None:
    made = make(classes=("0", "1"))
    made.write("sample_submission.csv", [["id", "label"], *([n, "0"] for n in IDS)])
    form = load(made.folder, workspace).competition
    assert form.form.values == () and "values" not in form.to_json()["form"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (("a", "b", "c"), r"3 columns of values \(a, b, c\), which are not the 3 classes"),
        (("0", "1"), "2 columns of values"),
        (("label",), "one column of probabilities, 'label', but there are 3 classes"),
    ],
)
def test_columns_that_are_not_the_classes_are_named(make, workspace, columns, says) -> None:
    made = make()
    row = ["0.5"] * len(columns)
    made.write("sample_submission.csv", [["id", *columns], *([n, *row] for n in IDS)])
    with pytest.raises(DataError, match=says):
        load(made.folder, workspace)


OF_EACH = SubmissionFormat("id", "label", "\n", values=(("C", "c"), ("A", "a"), ("B", "b")))
THREE = Competition(4, 4, ("a", "b", "c"), OF_EACH)
ONE = Competition(4, 4, ("n", "y"), SubmissionFormat("id", "p", "\n", values=(("p", "y"),)))


def test_a_submission_is_written_and_read_back_in_the_columns_order() -> None:
    assert Competition.from_json(json.loads(json.dumps(THREE.to_json()))) == THREE
    rows = [[0.2, 0.5, 0.3], [1 / 3, 0.0, 2 / 3]]
    content = THREE.form.render_fields(["x", "y"], THREE.fields(rows, [1, 2]))
    assert content == b"id,C,A,B\nx,0.3,0.2,0.5\ny,0.666666667,0.333333333,0\n"
    assert THREE.read_values(content, "s") == {"x": [0.3, 0.2, 0.5],
                                               "y": [0.666666667, 0.333333333, 0.0]}  # fmt: skip
    assert THREE.answers(content, "s") == {"x": "b", "y": "c"}
    content = ONE.form.render_fields(["x", "y"], ONE.fields([[0.9, 0.1], [0.25, 0.75]], [0, 1]))
    assert content == b"id,p\nx,0.1\ny,0.75\n"
    assert ONE.answers(content, "s") == {"x": "n", "y": "y"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,label\n1,0\n", "has the header 'id,label'; expected 'id,0,1,2'"),
        ("id,0,1,2\n1,0.2,0.8\n", "line 2 has 3 fields; expected 4"),
        ("id,0,1,2\n1,0.2,0.8,x\n", "line 2 has the value 'x'; expected a probability"),
        ("id,0,1,2\n1,0.2,0.8,-1\n", "expected a probability, 0 to 1"),
        ("id,0,1,2\n1,0.2,0.8,nan\n", "expected a probability, 0 to 1"),
        ("id,0,1,2\n1,0.2,0.8,0\n1,0.2,0.8,0\n", "the id '1' twice"),
        ("id,0,1,2\n99,0.2,0.8,0\n", "has the id '99', which is none"),
        ("id,0,1,2\n1,0.2,0.8,0\n", "has 1 predictions; expected 12"),
    ],
)
def test_what_breaks_a_rule_is_named(make, workspace, text, says) -> None:
    made = make()
    made.write("sample_submission.csv", [["id", "0", "1", "2"], *([n, *["0.3"] * 3] for n in IDS)])
    dataset = load(made.folder, workspace)
    with pytest.raises(DataError, match=says):
        validate(text.encode(), "s.csv", dataset)


def test_rows_that_do_not_sum_to_1_are_remarked_and_digests_tell_values_apart(
    make, workspace
) -> None:
    made = make()
    made.write("sample_submission.csv", [["id", "0", "1", "2"], *([n, *["0.3"] * 3] for n in IDS)])
    dataset = load(made.folder, workspace)
    lines = [f"{n},0.2,0.7,0.1" for n in IDS]
    one = validate("\n".join(["id,0,1,2", *lines]).encode() + b"\n", "s.csv", dataset)
    assert one.labels == ("1",) * 12 and not one.remarks
    lines[3] = "4,0.2,0.6,0.1"
    other = validate("\n".join(["id,0,1,2", *lines]).encode() + b"\n", "s.csv", dataset)
    assert other.labels == one.labels and other.digest != one.digest
    assert other.remarks[0].startswith("the probabilities of '4' sum to 0.9000, not 1")


def test_log_loss_is_of_rows_that_are_divided_by_their_sums() -> None:
    """Rows of half the probabilities had ln 2 more, and rows of ones none at all."""
    truth, told = ["a", "c", "b"], [(0.2, 0.5, 0.3), (0.7, 0.1, 0.2), (0.1, 0.3, 0.6)]

    def found(values: list[tuple[float, ...]]) -> float:
        return figure_of("log-loss", THREE, truth, values, truth).value

    wanted = -np.log([0.5, 0.7, 0.6]).mean()
    assert found(told) == pytest.approx(wanted)
    assert found([tuple(value / 2 for value in row) for row in told]) == pytest.approx(wanted)
    for nothing in (1.0, 0.0):
        assert found([(nothing,) * 3] * 3) == pytest.approx(np.log(3))


@pytest.mark.parametrize("columns", [("1",), ("0", "1")])
def test_from_training_to_sending(make, tmp_path, capfd, columns) -> None:
    made = make(classes=("0", "1"), height=8, width=8)
    row = ["0.5"] * len(columns)
    made.write("sample_submission.csv", [["id", *columns], *([n, *row] for n in IDS)])
    place = ["--workspace", tmp_path / "w"]
    data = ["--data", made.folder]

    def call(*words: object) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            cli.cli([*map(str, (*words, *place, "--json"))], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    (tmp_path / "c.toml").write_text('filters = 8\naugmentation = "none"\n')
    call("cv-train", *data, "--config", tmp_path / "c.toml", "--folds", 2, "--epochs", 1,
         "--workers", 1)  # fmt: skip
    blended = call("blend", "--metric", "auc", "--output", tmp_path / "s.csv")
    found = blended["metric"]
    assert found["name"] == "auc" and 0 <= found["value"] <= 1 and found["se"] > 0
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    test = np.load(tmp_path / "w" / "ensembles" / "blend" / "test.npy")
    assert [list(row) for row in rows][0] == ["id", *columns]
    for column in columns:
        wanted = test[:, int(column)]
        np.testing.assert_allclose([float(one[column]) for one in rows], wanted, atol=1e-6)
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label\n" + "".join(f"{n},{int(n) % 2}\n" for n in IDS))
    checked = call("check", "--truth", truth)
    positive = [float(one[columns[-1]]) for one in rows]
    wanted = metrics.roc_auc_score([int(n) % 2 for n in IDS], positive)
    assert checked["local_metric"]["name"] == "auc"
    assert checked["local_metric"]["value"] == pytest.approx(wanted)
    call("submit", "--local", "--truth", truth)
    assert call("submissions")
    # What was said once is gone on with, and another is refused until it is taken back.
    assert call("blend")["metric"]["name"] == "auc"
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, ("blend", "--metric", "qwk", *place))], prog_name="kaggle-digits")
    assert ended.value.code and "is scored by auc so far" in capfd.readouterr().err
    (tmp_path / "w" / "metric.json").unlink()
    # The class is cut out of the expected one, of two classes as of more.
    assert call("blend", "--metric", "qwk")["thresholds"]


def gather(workspace: Workspace, folder: Path) -> Weights:
    """Lay a blend's networks out as `kernel weights` does; each is its member's name."""
    dataset = load(None, workspace)
    keys = {key.name: key for key in MemberStore(workspace).read_plan()[1]}
    for name in keys:
        write_bytes(folder / f"{name}.keras", name.encode())
    files = {name: Sums.of(name.encode()) for name in keys}
    account = read_account(workspace, dataset.digest)
    weights = Weights(dataset.competition, account, keys, files)
    write_weights(folder, weights)
    write_json(folder / "dataset-metadata.json", {"id": "me/digits-weights"})
    return weights


def test_carried_networks_write_the_blends_own_probabilities(
    make, workspace, training, call, tmp_path, monkeypatch
) -> None:
    """They wrote labels, which such a metric says little of, and a kernel submitted them."""
    made = make(classes=("0", "1"), height=8, width=8)
    made.sample(IDS, ("id", "label"))
    (tmp_path / "c.toml").write_text('filters = 8\naugmentation = "none"\n')
    data = ["--data", made.folder]
    home = [*data, "--workspace", workspace.root]
    for words in (
        ["cv-train", "--config", tmp_path / "c.toml", "--folds", 2, "--epochs", 1, "--workers", 1],
        ["blend", "--metric", "auc", "--no-neighbours"],
    ):
        code, _, err = call(*words, *home)
        assert code == 0, err
    weights = gather(workspace, tmp_path / "networks")
    assert weights.metric == "auc"
    members = workspace.ensembles / "members"
    monkeypatch.setattr(inference, "load", lambda path: path.stem)
    monkeypatch.setattr(inference, "predict", lambda name, *_: np.load(members / name / "test.npy"))
    output, there = tmp_path / "s.csv", Workspace(tmp_path / "there")
    away = [*data, "--workspace", there.root]
    carried = ["--weights", tmp_path / "networks"]
    code, _, err = call("predict", *carried, "--output", output, *away)
    assert code == 0, err
    content = output.read_bytes()
    assert content == (workspace.submissions / "submission.csv").read_bytes()
    said = {row["label"] for row in csv.DictReader(content.decode().splitlines())}
    assert not said <= {"0", "1"}
    # The next command of a kernel's script: it knows what such a submission looks like.
    assert kept_metric(there) == "auc"
    code, out, err = call("check", output, *away)
    assert code == 0 and "valid, 12 rows" in out, err
    dist = tmp_path / "dist"
    assert call("kernel", "build", "--predict-only", *carried, "--dir", dist, *away)[0] == 0
    (script,) = dist.glob("*.py")
    assert read_script(script.read_bytes(), "it").plan.metric == "auc"
