"""What a competition is scored by: said once, kept, and followed by every command."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest
from sklearn import metrics

from kaggle_digits.core.data import load
from kaggle_digits.core.metrics import dealt, honest_answers, judged, measure
from kaggle_digits.core.predictions import softmax64
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.figures import Figure
from kaggle_digits.records.metric import (
    keep_metric,
    kept_metric,
    metric_path,
    scored,
    settle_metric,
)
from kaggle_digits.shell.cli import load_command
from submissions.account import About, cv_of
from submissions.forecast import forecast
from submissions.leaderboard import Board, read_board, summarise
from submissions.ledger import _MIGRATIONS, Ledger, Record
from submissions.noise import predict_by_error
from submissions.scoreboard import LocalScoreboard, split_public
from submissions.tables import board_facts, board_rows, forecast_facts
from submissions.validation import SubmissionFile


@pytest.fixture
def dataset(made, workspace):
    return load(made.folder, workspace)


def test_what_is_said_once_is_gone_on_with(dataset, workspace) -> None:
    assert settle_metric(workspace, None, dataset) is None
    assert not metric_path(workspace).exists()  # nothing said, nothing kept
    assert settle_metric(workspace, "qwk", dataset) == "qwk"
    assert settle_metric(workspace, None, dataset) == "qwk"
    assert settle_metric(workspace, "qwk", dataset) == "qwk"
    assert kept_metric(workspace) == "qwk"


def test_another_metric_is_refused_and_named(dataset, workspace) -> None:
    settle_metric(workspace, "qwk", dataset)
    with pytest.raises(
        ConfigurationError, match="--metric was given as auc, but .* by qwk"
    ) as told:
        settle_metric(workspace, "auc", dataset)
    assert "Leave --metric out to go on by qwk" in str(told.value.mend)
    assert kept_metric(workspace) == "qwk"


def test_a_fresh_start_takes_another_metric_once_it_has_a_result(dataset, workspace) -> None:
    settle_metric(workspace, "qwk", dataset)
    assert settle_metric(workspace, "auc", dataset, fresh=True) == "auc"
    assert kept_metric(workspace) == "qwk"
    keep_metric(workspace, "auc")
    assert kept_metric(workspace) == "auc"


def test_what_cannot_be_scored_is_refused_and_not_kept(make, workspace) -> None:
    dataset = load(make(classes=("cat", "dog")).folder, workspace)
    with pytest.raises(ConfigurationError, match="--metric qwk was given for the classes"):
        settle_metric(workspace, "qwk", dataset)
    with pytest.raises(ConfigurationError, match="metric was given as 'f1'"):
        settle_metric(workspace, "f1", dataset)
    assert kept_metric(workspace) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"metric": "f1"}', '{"metric": 3}'])
def test_a_broken_record_is_named(workspace, content) -> None:
    workspace.root.mkdir(parents=True)
    metric_path(workspace).write_text(content)
    with pytest.raises(ArtefactError, match="metric.json"):
        kept_metric(workspace)


def test_two_classes_scored_by_auc_are_submitted_as_a_probability(make, workspace) -> None:
    """Many such competitions show a sample submission of zeros."""
    made = make(classes=("0", "1"))
    made.sample([str(n) for n in range(1, 13)], ("id", "target"))
    dataset = load(made.folder, workspace)
    assert dataset.competition.form.values == ()
    assert scored(dataset, None) is dataset and scored(dataset, "macro-f1") is dataset
    told = scored(dataset, "auc")
    assert told.competition.form.header == ["id", "target"]
    assert told.competition.form.values == (("target", "1"),)
    assert told.digest == dataset.digest


def drawn(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 1.0
    return softmax64(logits), labels


def test_thresholds_know_nothing_of_the_rows_they_judge() -> None:
    probabilities, labels = drawn(60, 4)
    folds = dealt(60)
    before = honest_answers("qwk", probabilities, labels, folds)
    assert before is not None
    changed = labels.copy()
    changed[folds == 2] = 0  # other labels of a fold leave its own answers as they are
    after = honest_answers("qwk", probabilities, changed, folds)
    assert after is not None
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert judged("qwk", probabilities, labels, folds).value == pytest.approx(
        metrics.cohen_kappa_score(labels, before, weights="quadratic")
    )
    assert judged("auc", probabilities, labels, folds).value == measure(
        "auc", probabilities, labels
    )


def record(number: int = 1, **fields: object) -> Record:
    values = {"service": "kaggle", "competition": "c", "state": "complete", "id": number,
              "ref": number, "date": f"2026-01-0{number}T00:00:00"}  # fmt: skip
    return Record(**(values | fields))  # type: ignore[arg-type]


def test_less_log_loss_is_better_everywhere() -> None:
    board = Board(("a", "b", "c"), ("0.30", "0.40", "1.20"))
    assert board.place(0.35, "us", "log-loss") == (2, 4)
    assert board.place(0.35, "us") == (3, 4)
    records = [
        record(n, cv_log_loss=cv, cv_log_loss_se=0.01, cv_rows=4000, cv_accuracy=0.9,
               public_score=public)
        for n, (cv, public) in enumerate([(0.50, "0.52"), (0.40, "0.41"), (0.45, "0.60")], start=1)
    ]  # fmt: skip
    summary = summarise(records, board, 1000, "log-loss")
    assert summary.best is not None and summary.best.ref == 2
    assert summary.rows is None and {one.errors for one in summary.standings} == {None}
    # On a quarter of the rows the score's own noise is twice CV's: 0.01 · sqrt(1 + 4).
    gaps = [one.gap for one in summary.standings]
    assert [round(one.value, 6) for one in gaps if one] == [0.02, 0.01, 0.15]
    assert all(one is not None and one.sd == pytest.approx(0.01 * 5**0.5) for one in gaps)
    assert [one.within for one in gaps if one] == [True, True, False]
    assert board_rows(summary, 200)[0][3] == "CV log-loss"
    assert "lower is better" in board_facts(summary)["public part"]
    assert summary.to_json()["metric"] == "log-loss"


def test_figures_of_another_metric_are_not_compared() -> None:
    one = record(cv_accuracy=0.9, cv_accuracy_se=0.01, cv_rows=100, public_score="0.97")
    assert cv_of(one, "auc") is None  # blended before it was said
    assert summarise([one], None, 50, "auc").standings[0].gap is None
    told = record(metric="auc", cv_metric=0.95, cv_metric_se=0.02, cv_rows=100, cv_accuracy=0.9,
                  public_score="0.97")  # fmt: skip
    gap = summarise([told], None, 50, "auc").standings[0].gap
    assert gap is not None and gap.value == pytest.approx(0.02)
    assert gap.sd == pytest.approx(0.02 * 3**0.5)


def test_the_forecast_is_in_the_metrics_terms(workspace) -> None:
    file = SubmissionFile("s.csv", b"", ("1", "2", "3", "4"), ("0", "1", "0", "1"), ())
    about = About(metric="qwk", cv_metric=0.80, cv_metric_se=0.02, cv_rows=3, cv_accuracy=0.5)
    told = forecast(file, about, [], workspace, 0.25, "qwk")
    half = 1.959964 * 0.02 * 2
    assert told.interval is not None and told.low is None and told.metric == "qwk"
    assert told.interval.low == pytest.approx(0.8 - half)
    assert told.interval.high == pytest.approx(0.8 + half)
    assert forecast_facts(told)["forecast"].startswith("public qwk 0.72160 to 0.87840 with 95 %")
    assert forecast(file, about, [], workspace, 0.25, "macro-f1").interval is None


def test_a_forecast_keeps_to_what_a_metric_can_be() -> None:
    assert predict_by_error("auc", 0.99, 0.02, 100, 50).high == 1
    assert predict_by_error("log-loss", 0.01, 0.02, 100, 50).low == 0
    assert predict_by_error("log-loss", 0.9, 0.2, 100, 50).high > 1
    assert predict_by_error("qwk", 0.01, 0.1, 100, 50).low < 0


def test_the_intervals_hold_the_score_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        labels = random.integers(0, 2, 400 + 100)
        one = softmax64(np.stack([0 * labels, 1.5 * labels + random.normal(size=500)], axis=1))
        cv = judged("auc", one[:400], labels[:400], dealt(400))
        band = predict_by_error("auc", cv.value, cv.se, 400, 100)
        inside += band.low <= measure("auc", one[400:], labels[400:]) <= band.high
    assert 182 <= inside <= 198  # 190 are expected; the binomial's sd is 3.1


def test_a_ledger_from_before_there_were_metrics_goes_on(tmp_path, monkeypatch) -> None:
    path = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as before:
        before.setattr("submissions.ledger._MIGRATIONS", _MIGRATIONS[:3])
        before.setattr(
            "submissions.ledger._FIELDS",
            tuple(
                name
                for name in Record.__slots__
                if name not in ("id", "kernel") and "metric" not in name
            ),
        )
        before.setattr("submissions.ledger._record", lambda row: None)
        with Ledger(path) as ledger:
            ledger.add(record(0, cv_accuracy=0.9, cv_rows=10))
    with Ledger(path) as ledger:
        (one,) = ledger.all()
        assert (one.cv_accuracy, one.metric, one.cv_metric) == (0.9, None, None)
        kept = ledger.add(record(0, ref=2, metric="qwk", cv_metric=-0.1, cv_metric_se=0.2))
        assert ledger.get(kept.id).cv_metric == -0.1


def test_a_board_may_hold_scores_below_zero(workspace) -> None:
    board = LocalScoreboard(workspace, "c", {}, 0.5)
    content = board.download_board()
    assert content is None
    state = [{"ref": 1, "date": "d", "message": "", "file_name": "", "public_score": "-0.25",
              "private_score": None}]  # fmt: skip
    folder = workspace.submissions / "scoreboard"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"c": state}))
    content = board.download_board()
    assert content is not None and read_board(content).scores == ("-0.25",)


def test_the_local_scoreboard_scores_by_the_metric(make, workspace) -> None:
    made = make(classes=("0", "1"), test_rows=40)
    ids = [str(n) for n in range(1, 41)]
    made.sample(ids, ("id", "target"))
    form = scored(load(made.folder, workspace), "auc").competition
    random = np.random.default_rng(0)
    truth = {key: str(int(random.integers(2))) for key in ids}
    board = LocalScoreboard(workspace, "c", truth, 0.5, form, "auc")
    told = {key: round(float(random.random()), 3) for key in ids}
    content = "id,target\n" + "".join(f"{key},{value}\n" for key, value in told.items())
    board.create(board.upload(content.encode(), "s.csv"), "m")
    public, private = split_public(ids, 0.5)
    (sent,) = board.submissions()
    for part, found in ((public, sent.public_score), (private, sent.private_score)):
        wanted = metrics.roc_auc_score([truth[key] == "1" for key in part], [told[k] for k in part])
        assert found == f"{wanted:.5f}"


def test_the_local_board_is_led_by_the_least_log_loss(make, workspace) -> None:
    made = make(classes=("0", "1"))
    ids = [str(n) for n in range(1, 13)]
    made.sample(ids, ("id", "target"))
    form = scored(load(made.folder, workspace), "log-loss").competition
    board = LocalScoreboard(workspace, "c", dict.fromkeys(ids, "1"), 1.0, form, "log-loss")
    for value in (0.5, 0.9, 0.2):
        content = "id,target\n" + "".join(f"{key},{value}\n" for key in ids)
        board.create(board.upload(content.encode(), "s.csv"), "m")
    content = board.download_board()
    assert content is not None
    found = [float(score or "nan") for score in read_board(content).scores]
    assert found == pytest.approx(-np.log([0.9, 0.5, 0.2]), abs=1e-5)


def test_a_figure_says_what_it_lacks() -> None:
    assert Figure("auc", 0.75, 0.1, 9).loss == 0.25
    assert Figure("log-loss", 0.75, 0.1, 9).loss == 0.75


def test_the_option_is_explained_in_one_wording() -> None:
    """Three commands took it, each with another help and another default."""
    told = {
        option.help
        for command in ("tune", "blend", "run")
        for option in load_command(command).params
        if isinstance(option, click.Option) and option.name == "metric"
    }
    (only,) = told
    assert only is not None and "Default: as the workspace keeps it" in only
