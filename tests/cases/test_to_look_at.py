"""What is looked at: tables, help, figures and plots that fit and say what is so."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from ensembles.listing import header
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.figures import accuracy_text, error_bound
from kaggle_digits.shell.cli import COMMANDS
from kaggle_digits.shell.console import Console, Outcome
from kaggle_digits.shell.fitting import fit
from tuning import plotting
from tuning.study import COMPLETED, StudyOnDisk, Trial


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


MEMBERS = [
    header(None),
    *(
        ["f11f9c7c", "residual", str(fold), "0", f"12345{fold}", "0", "12",
         f"0.99{fold}6 ± 0.0003", f"0.0{fold}30 ± 0.0012", f"12{fold}", "12.3 MB", "trained"]
        for fold in range(3)
    ),
]  # fmt: skip


@pytest.mark.parametrize("width", [50, 80, 130])
def test_a_wide_table_fits_the_terminal_and_breaks_no_figure(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    out = Terminal()
    Console(out, io.StringIO(), quiet=False, as_json=False).finish(
        Outcome({}, rows=MEMBERS, facts={"a fact": "of many words " * 12})
    )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(map(len, shown.splitlines())) <= width
    for row in MEMBERS[1:]:
        for cell in (row[2], row[4], row[7], row[8]):
            assert cell in shown
    assert ("all: configuration f11f9c7c, family residual" in shown) == (width < 130)
    assert ("repeat" in shown.splitlines()[0]) == (width == 130)


def test_what_differs_is_never_taken_out_of_a_table():
    rows = [["a" * 10, "b", "c"], ["x" * 24, "1", "7"], ["y" * 24, "2", "7"]]
    assert fit(rows, 200) == fit(rows, 200) and fit(rows, 200).same == {}
    fitted = fit(rows, 26)
    assert fitted.same == {"c": "7"}
    assert [list(map(list, part)) for part in fitted.parts] == [
        [["a" * 10], ["x" * 24], ["y" * 24]],
        [["b"], ["1"], ["2"]],
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_uses_more_where_there_are_more(name, call, monkeypatch):
    widest = []
    for columns in (80, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = call(name, "--help")
        assert code == 0
        widest.append(max(map(len, out.splitlines())))
    assert widest[0] <= 80
    assert 80 < widest[1] <= 110 or name in ("kernel", "clean")


@pytest.mark.parametrize(
    ("rows", "bound"), [(1, 0.95), (100, 0.0295), (1797, 0.001666), (42_000, 7.13e-05)]
)
def test_no_error_seen_is_said_as_a_bound_of_the_error(rows, bound):
    assert error_bound(rows) == pytest.approx(bound, rel=1e-2)
    # Clopper and Pearson: at the bound, seeing none has a chance of 5 %.
    assert (1 - error_bound(rows)) ** rows == pytest.approx(0.05)
    text = accuracy_text(1.0, 0.0, rows)
    assert text == f"1.0000 (error < {error_bound(rows):.2g})" and "±" not in text


def test_other_accuracies_keep_their_standard_error():
    assert accuracy_text(0.99662, 0.00028, 42_000, 5) == "0.99662 ± 0.00028"
    assert accuracy_text(0.9966, 0.0, 0) == "0.9966"


def test_a_blend_without_an_error_shows_the_bound():
    from types import SimpleNamespace

    from ensembles.tables import blend_facts
    from kaggle_digits.core.predictions import Score

    perfect = Score(1.0, 0.0, 0.001, 0.0001, 1198)
    rule = SimpleNamespace(weights=None)
    blend = SimpleNamespace(
        method="mean", honest=perfect, fitted=perfect, temperature=None, rule=rule, metric=None
    )
    facts = blend_facts(blend, SimpleNamespace(members=("a",), names=("a",), extras=(), folds=(2,)))
    assert facts["OOF accuracy"] == "1.00000 (error < 0.0025)"


def made_trial(number: int, **fields: object) -> Trial:
    return Trial(
        number, TrainingConfig(**fields), 4, COMPLETED, log_loss=0.1 + number / 100, accuracy=0.98,
        log_loss_se=0.001, accuracy_se=0.001, rows=100, seconds=1.0, history=(1.0,),
    )  # fmt: skip


def test_a_plots_lines_and_texts_keep_within_its_axes_and_apart():
    random = np.random.default_rng(0)
    trials = [
        made_trial(
            number,
            filters=int(random.choice([16, 17, 18, 19, 20, 21, 96, 97])),
            depth=int(random.integers(1, 4)),
            learning_rate=float(f"{0.01 + 1e-7 * number:.9f}"),
        )
        for number in range(40)
    ]
    laid_out = plotting.figure(trials)
    for line in laid_out.lines:
        assert all(0 <= place <= 1 for place in line.places)
    for axis in laid_out.axes:
        places = [place for place, _ in axis.ticks]
        assert all(0 <= place <= 1 for place in places)
        assert all(b - a >= 0.045 for a, b in zip(places, places[1:], strict=False))
        texts = [text for _, text in axis.ticks]
        assert all(a != b for a, b in zip(texts, texts[1:], strict=False)), axis


def test_the_page_fits_its_window(tmp_path):
    _, page = plotting.plot([made_trial(0, depth=1), made_trial(1, depth=3)], tmp_path / "p.png")
    text = page.read_text("utf-8")
    (svg,) = re.findall(r"<svg[^>]*>", text)
    assert "viewBox" in svg and " width=" not in svg and re.search(r"max-width:\d+px", svg)
    assert re.search(r"\.drawing \{[^}]*width: 100%; height: auto", text)


def test_text_with_dollars_is_drawn_as_it_is(tmp_path):
    """No name of a configuration holds any today; a drawing must not depend on that."""
    config = TrainingConfig()
    object.__setattr__(config, "augmentation", "$\\frac{1$ <b>&")
    odd = replace(made_trial(1), config=config)
    picture, page = plotting.plot([made_trial(0), odd], tmp_path / "p.png")
    assert picture.stat().st_size > 1000
    assert "$\\frac{1$ &lt;b&gt;&amp;" in page.read_text("utf-8")


@pytest.mark.parametrize("option", ["--export", "--plot"])
def test_export_and_plot_show_the_study_that_is_there_whatever_made_it(
    option, workspace, tmp_path, call
):
    """`run` searches by other settings than `tune`'s defaults, which was an error then."""
    study = StudyOnDisk(workspace)
    study.open({"strategy": "random", "epochs": 4, "seed": 0, "made": "by run"})
    for number in range(2):
        study.put(made_trial(number, depth=number + 1))
    file = tmp_path / ("study.csv" if option == "--export" else "study.png")
    code, out, err = call("tune", option, file, "--workspace", workspace.root)
    assert code == 0, err
    assert str(file) in out and "random, 4 epochs, seed 0" in out
    if option == "--export":
        with open(file, newline="", encoding="utf-8") as handle:
            assert [row["depth"] for row in csv.DictReader(handle)] == ["1", "2"]
    else:
        assert file.read_bytes()[:4] == b"\x89PNG"
        assert file.with_suffix(".html").exists()


def test_trials_of_the_same_values_have_no_coordinates():
    from kaggle_digits.shell.report.parts import Chart, Text
    from tuning.report import _parallel

    same = _parallel([made_trial(0, filters=16), made_trial(1, filters=16)])
    assert same == Text("All trials had the same values; there are no coordinates to draw.")
    assert isinstance(_parallel([made_trial(0, filters=16), made_trial(1, filters=32)]), Chart)


def test_a_search_of_too_few_trials_is_gone_on_with_by_its_own_call(workspace):
    """The report said `run`, which may be another search's call, and was refused then."""
    from kaggle_digits.shell.report.parts import Subject, Text
    from tuning.report import search

    def hints() -> list[str | None]:
        subject = Subject(workspace, lambda: pytest.fail("no data are needed"), str)
        return [part.command for part in search(subject).parts if isinstance(part, Text)]

    study, settings = StudyOnDisk(workspace), {"strategy": "random", "epochs": 4, "seed": 0}
    study.open(settings)
    study.put(made_trial(0, depth=1))
    assert hints() == ["run --trials 6"]  # an earlier version did not say
    study.open(settings, "tune --preset quick --seed 0 --race 0")
    assert hints() == ["tune --preset quick --seed 0 --race 0 --trials 6"]
    study.put(made_trial(1, depth=3))
    assert hints() == ["tune --preset quick --seed 0 --race 0 --trials 20"]
