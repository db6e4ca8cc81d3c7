"""Noise, lattice, forecast and board: against figures computed another way."""

from __future__ import annotations

import dataclasses
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.transport import CallError
from submissions.account import About
from submissions.drawing import draw_plot, draw_sheet, draw_strips
from submissions.forecast import forecast
from submissions.lattice import count_errors, find_rows
from submissions.leaderboard import Board, read_board, summarise
from submissions.ledger import Record
from submissions.noise import correlate, gap, predict, public_rows
from submissions.sending import sent_copy
from submissions.tables import forecast_facts, forecast_rows
from submissions.validation import SubmissionFile, validate


@pytest.mark.parametrize(
    ("errors", "rows", "future"), [(126, 42000, 7000), (0, 600, 150), (9, 600, 150)]
)
def test_the_prediction_is_scipys_beta_binomial(errors: int, rows: int, future: int) -> None:
    found = predict(1 - errors / rows, None, rows, future)
    same = stats.betabinom(future, errors + 0.5, rows - errors + 0.5)
    assert found.low_errors == same.ppf(0.025)
    assert found.high_errors == same.ppf(0.975)
    assert found.low == 1 - found.high_errors / future


def test_the_prediction_covers() -> None:
    generator = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        rate = generator.uniform(0.002, 0.01)
        cv = 1 - generator.binomial(42000, rate) / 42000
        one = predict(cv, None, 42000, 7000)
        inside += one.low_errors <= generator.binomial(7000, rate) <= one.high_errors
    assert 0.93 <= inside / 400 <= 0.995


def test_a_larger_standard_error_widens_the_prediction() -> None:
    plain, wide = predict(0.997, 0.00027, 42000, 7000), predict(0.997, 0.002, 42000, 7000)
    assert wide.high_errors - wide.low_errors > 1.5 * (plain.high_errors - plain.low_errors)


def test_the_gap_is_judged_by_the_public_parts_binomial_noise() -> None:
    found = gap(0.997, 0.0, 0.997 - 0.0012, 7000)
    assert found.sd == pytest.approx(0.00065, abs=1e-5)
    assert found.within
    assert not gap(0.997, 0.0, 0.997 - 0.0014, 7000).within
    assert gap(0.997, 0.0005, 0.997, 7000).sd > found.sd
    assert gap(1.0, 0.0, 1.0, 7000).sd > 0


def test_rank_correlation_is_scipys() -> None:
    x = [0.991, 0.993, 0.992, 0.996, 0.997, 0.995, 0.995]
    y = [0.990, 0.991, 0.993, 0.995, 0.996, 0.997, 0.994]
    found = correlate(x, y)
    assert found is not None and found.low is not None and found.high is not None
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    exact = stats.permutation_test(
        (x,),
        lambda one: stats.spearmanr(one, y).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
    )
    assert found.p == pytest.approx(exact.pvalue, abs=1e-9)
    assert -1 < found.low < found.rho < found.high < 1
    assert correlate(x[:2], y[:2]) is None
    assert correlate([1, 1, 1], [1, 2, 3]) is None
    full = correlate([1, 2, 3, 4], [2, 3, 4, 5])
    assert full is not None and (full.rho, full.low) == (pytest.approx(1.0), None)
    assert full.p == pytest.approx(2 / 24)


def test_more_pairs_are_tested_by_shuffles() -> None:
    generator = random.Random(5)
    x = [generator.random() for _ in range(20)]
    found = correlate(x, [value + 0.3 * generator.random() for value in x])
    assert found is not None and found.p < 0.01
    y = [generator.random() for _ in x]
    weak = correlate(x, y)
    assert weak is not None
    assert weak.p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.01)


@pytest.mark.parametrize("rows", [7000, 6999, 150, 28000])
def test_every_count_of_errors_is_decoded(rows: int) -> None:
    for errors in {0, 1, 2, 17, rows // 3, rows - 1, rows}:
        exact = 1 - errors / rows
        assert count_errors(f"{exact:.5f}", rows) == errors
        cut = f"{int((rows - errors) * 100000 // rows) / 100000:.5f}"
        assert count_errors(cut, rows) == errors


def test_scores_that_fit_no_count_or_several_are_left_alone() -> None:
    assert count_errors("0.99765", 7000) is None  # between 16 and 17 errors
    assert count_errors("0.997", 7000) is None  # seven counts round to it
    assert count_errors("0.99757", 7000) == 17


def test_the_public_part_is_found_from_a_board() -> None:
    generator = random.Random(1)
    scores = [f"{1 - generator.randrange(10, 400) / 7013:.5f}" for _ in range(60)]
    assert find_rows(scores, 7000) == 7013
    assert find_rows(scores[:5], 7000) is None
    assert find_rows([f"{1 - k / 7000:.5f}" for k in range(60)], 7000) == 7000
    assert find_rows([*scores, "0.123456789"], 7000) is None


def record(**fields: Any) -> Record:
    base: dict[str, Any] = {"service": "kaggle", "competition": "c", "state": "complete"}
    return Record(**(base | fields))


def sent_and_new(
    workspace: Workspace, dataset: Any, sent: bytes, new: bytes
) -> tuple[SubmissionFile, SubmissionFile]:
    """Return two submissions, of which the workspace keeps the first as one that was sent."""
    old = validate(sent, "old.csv", dataset)
    write_bytes(sent_copy(workspace, old.digest), old.content)
    return old, validate(new, "new.csv", dataset)


def test_a_forecast_counts_and_bounds(
    dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    old, new = sent_and_new(workspace, dataset, csv_of(dataset, 4), csv_of(dataset, 3, first=4))
    earlier = [
        record(id=1, ref=1, digest=old.digest, public_score="0.96000"),
        record(id=2, ref=2, message="elsewhere"),
        record(id=3, digest=old.digest, state="failed"),
    ]
    about = About(cv_accuracy=0.985, cv_accuracy_se=0.0019, cv_rows=4000)
    ahead = forecast(new, about, earlier, workspace, 0.25)
    assert ahead.rows == public_rows(200, 0.25) == 50
    (one,) = ahead.differences
    assert [change.id for change in one.changes] == ["1", "2", "3", "4", "5", "6", "7"]
    assert [change.row for change in one.changes] == list(range(7))
    assert one.largest == pytest.approx(7 / 50)
    # 2 errors before on the public part: 7 changes mend at most these 2 or add at most 7.
    assert (one.high, one.low) == (1.0, pytest.approx(1 - 9 / 50))
    assert (ahead.low, ahead.high, ahead.unknown) == (one.low, 1.0, 1)
    assert ahead.interval is not None and ahead.interval.low_errors <= 0.015 * 50
    values = ahead.to_json()
    assert values["differences"][0]["rows"] == 7
    assert forecast(new, About(), [], workspace, 0.25).interval is None


def test_no_change_of_the_truth_breaks_the_bounds(
    dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    """Whatever the hidden truth and the public part, the score lies within what was told."""
    workspace = Workspace(tmp_path)
    generator = random.Random(11)
    old, new = sent_and_new(workspace, dataset, csv_of(dataset, 30), csv_of(dataset, 12, first=20))
    for _ in range(200):
        truth = [generator.choice((a, b, "0")) for a, b in zip(old.labels, new.labels, strict=True)]
        public = generator.sample(range(200), 50)
        before, after = (
            1 - sum(truth[row] != labels[row] for row in public) / 50
            for labels in (old.labels, new.labels)
        )
        one = record(id=1, ref=1, digest=old.digest, public_score=f"{before:.5f}")
        ahead = forecast(new, About(), [one], workspace, 0.25)
        assert ahead.low - 1e-9 <= after <= ahead.high + 1e-9
        assert abs(after - before) <= ahead.differences[0].largest + 1e-9


def test_a_kernel_is_scored_on_other_images_so_that_nothing_here_bounds_its_score(
    dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    old, new = sent_and_new(workspace, dataset, csv_of(dataset, 4), csv_of(dataset, 3, first=4))
    sent = record(id=1, ref=1, digest=old.digest, public_score="0.96000")
    about = About(cv_accuracy=0.985, cv_accuracy_se=0.0019, cv_rows=4000)
    kernel = dataclasses.replace(new, kernel="me/digits/2")
    ahead = forecast(kernel, about, [sent], workspace, 0.25)
    (one,) = ahead.differences
    assert ahead.is_hidden and len(one.changes) == 7
    assert (one.largest, one.low, one.high) == (None, None, None)
    assert (ahead.interval, ahead.low, ahead.high) == (None, None, None)
    why = "no interval: a kernel is scored on images that are not here"
    assert forecast_facts(ahead) == {"forecast": why}
    assert forecast_rows(ahead)[1] == ["#1", "0.96000", "7", "-", "-"]
    # Nor does what a kernel has scored bound a file's score.
    of_kernel = dataclasses.replace(sent, kernel="me/digits/1")
    ahead = forecast(new, about, [of_kernel], workspace, 0.25)
    (one,) = ahead.differences
    assert not ahead.is_hidden and len(one.changes) == 7
    assert (one.largest, one.low, one.high) == (None, None, None)
    assert (ahead.low, ahead.high) == (0.0, 1.0) and ahead.interval is not None


def board_zip(text: str, name: str = "board.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, text)
    return out.getvalue()


def test_the_board_is_read_whole_and_places_are_counted() -> None:
    rows = "".join(f'{i},{i},"team, {i}",2026-01-01,{1 - i / 7000:.5f}\n' for i in range(1, 3001))
    board = read_board(board_zip("\ufeffRank,TeamId,TeamName,LastSubmissionDate,Score\n" + rows))
    assert len(board.teams) == 3000
    assert board.place(1 - 10 / 7000, "team, 10") == (10, 3000)
    assert board.place(1.0, "team, 10") == (1, 3000)
    assert board.place(0.0, "new") == (3001, 3001)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"",
        b"PK\x03\x04broken",
        board_zip("Rank,Name\n1,x\n"),
        board_zip(""),
        board_zip("TeamName,Score\n"),
        board_zip("TeamName,Score\nx,nan\n"),
        board_zip("TeamName,Score\nx,high\n"),
        board_zip("TeamName,Score\nx\n"),
        board_zip("TeamName,Score\nx,0.5\n", name="board.txt"),
        board_zip("TeamName,Score\nx,0.5\n")[:-30],
    ],
)
def test_what_is_no_board_is_refused(content: bytes) -> None:
    with pytest.raises(CallError, match="nothing was overwritten"):
        read_board(content)


def test_the_summary_puts_cv_and_public_together(tmp_path: Path) -> None:
    records = [
        record(
            id=n,
            ref=n,
            date=f"2026-01-0{n}T00:00:00",
            cv_accuracy=1 - e / 42000,
            cv_accuracy_se=0.0003,
            public_score=f"{1 - p / 7000:.5f}",
            rank=n,
            teams=50,
        )
        for n, (e, p) in enumerate([(150, 25), (130, 50), (120, 18), (140, 21)], start=1)
    ] + [record(id=5, ref=5, state="pending"), record(id=6, state="failed")]
    summary = summarise(records, Board(("a",), ("0.99757",)), 7000)
    assert [one.errors for one in summary.standings] == [25, 50, 18, 21, None]
    assert [one.gap.within for one in summary.standings if one.gap] == [True, False, True, True]
    assert summary.best is not None and summary.best.ref == 3
    assert summary.correlation is not None and summary.correlation.pairs == 4
    assert summary.to_json()["submissions"][0]["share"] == pytest.approx(1 / 50)
    lines = draw_strips(summary)
    assert len(lines) == 6 and all(len(line) <= 72 for line in lines)
    assert all(("P" in line and "C" in line) or "X" in line for line in lines[1:5])
    draw_plot(tmp_path / "plot.png", summary)
    draw_plot(tmp_path / "empty.png", summarise([], None, 7000))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert draw_strips(summarise([], None, 7000)) == []


def test_a_kernels_gap_needs_rows_that_scores_tell() -> None:
    """How many images are here was taken for how many it was scored on."""
    told = {"cv_accuracy": 0.98, "cv_accuracy_se": 0.001, "cv_rows": 4000}
    told |= {"metric": "auc", "cv_metric": 0.98, "cv_metric_se": 0.001}

    def has_gap(public: str, metric: str | None, kernel: str | None) -> bool:
        one = record(id=1, ref=1, public_score=public, kernel=kernel, **told)
        return summarise([one], None, 50, metric).standings[0].gap is not None

    kernel = "me/digits/1"
    # Of 50 rows no count of errors gives 0.98765, and one gives 0.98.
    assert not has_gap("0.98765", None, kernel) and has_gap("0.98765", None, None)
    assert has_gap("0.98000", None, kernel)
    assert not has_gap("0.98000", "auc", kernel) and has_gap("0.98000", "auc", None)


def test_the_sheet_shows_the_images_that_differ(
    dataset: Any, csv_of: Callable[..., bytes], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    old, new = sent_and_new(workspace, dataset, csv_of(dataset, 50), csv_of(dataset, 0))
    earlier = [record(id=1, ref=1, digest=old.digest, public_score="0.5")]
    ahead = forecast(new, About(), earlier, workspace, 0.25)
    shown = draw_sheet(tmp_path / "sheet.png", ahead, dataset.test_images)
    assert shown == 36
    from matplotlib.image import imread

    picture = imread(tmp_path / "sheet.png")
    assert picture.shape[0] > 300 and picture.std() > 0.05
    same = forecast(old, About(), earlier, workspace, 0.25)
    assert draw_sheet(tmp_path / "none.png", same, dataset.test_images) == 0
