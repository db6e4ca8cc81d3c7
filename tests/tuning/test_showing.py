"""What a user sees of a study: tables, CSV, importances, plots, TensorBoard logs, the command."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.records.ranking import Ranked
from kaggle_digits.shell import cli as cli_module
from kaggle_digits.shell import report
from tuning import board, plotting, showing
from tuning.importance import importances
from tuning.results import Tuned
from tuning.study import COMPLETED, FAILED, RUNNING, StudyOnDisk, Trial


def trial(number: int, random: np.random.Generator) -> Trial:
    config = TrainingConfig(
        family=str(random.choice(["pooled", "wide"])),
        depth=int(random.integers(1, 4)),
        dropout=float(random.choice([0.0, 0.2, 0.4, 0.6])),
        learning_rate=float(f"{10 ** random.uniform(-2.5, -1.5):.4g}"),
    )
    # Only the dropout and, less, the learning rate matter.
    loss = np.exp(
        -3 + 2 * abs(config.dropout - 0.4) + 0.3 * abs(np.log10(config.learning_rate) + 2)
    )
    return Trial(
        number, config, 4, COMPLETED,
        log_loss=float(loss), accuracy=0.98, log_loss_se=0.001, accuracy_se=0.001, rows=100,
        seconds=12.0, history=(1.0, 0.5, 0.25, 0.2),
    )  # fmt: skip


@pytest.fixture
def trials() -> list[Trial]:
    """60 completed trials, a failed one and one under way."""
    random = np.random.default_rng(0)
    made = [trial(number, random) for number in range(60)]
    failed = Trial(60, TrainingConfig(depth=3), 4, FAILED, reason="memory, all of it")
    return [*made, failed, Trial(61, TrainingConfig(depth=1), 4, RUNNING)]


def test_the_table_has_a_row_for_each_trial(trials):
    header, *rows = showing.table(trials)
    assert len(rows) == 62 and all(len(row) == len(header) for row in rows)
    assert rows[0][2] == f"{trials[0].log_loss:.4f} ± 0.0010"
    assert rows[60][1] == "failed" and "memory, all of it" in rows[60][-1]


def test_times_are_numbers_that_the_reports_page_sorts_by(trials):
    header, *rows = showing.table([replace(trials[0], seconds=s) for s in (40.0, 185.0, 612.4)])
    place = header.index("seconds")
    cells = [row[place] for row in rows]
    assert cells == ["40.0", "185.0", "612.4"]
    script = Path(report.__file__).with_name("templates") / "page.js"
    number = re.search(r"=> /(.*)/\.test\(cell", script.read_text("utf-8"))[1]
    assert all(re.search(number, cell) for cell in cells) and not re.search(number, "3:05")


def test_values_name_what_differs_from_the_default():
    assert showing.values(TrainingConfig()) == "default"
    assert showing.values(TrainingConfig(depth=3, learning_rate=0.00512)) == (
        "depth 3, learning_rate 0.00512"
    )


def test_the_csv_holds_every_trial_and_every_field(trials, tmp_path):
    path = tmp_path / "study.csv"
    showing.export(trials, path)
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 62
    assert float(rows[5]["log_loss"]) == trials[5].log_loss
    assert rows[60]["reason"] == "memory, all of it" and rows[60]["log_loss"] == ""
    for row, wanted in zip(rows, trials, strict=True):
        fields = wanted.config.to_json()
        assert {name: row[name] for name in fields} == {n: str(v) for n, v in fields.items()}


def tuned(*best: tuple[float, float, int]) -> Tuned:
    """A search whose best have these log-losses, accuracies and folds of the race."""
    entries = tuple(
        Ranked(TrainingConfig(filters=8 * (n + 1)), n, loss, accuracy, 0.01, 0.02, 90, folds)
        for n, (loss, accuracy, folds) in enumerate(best)
    )
    return Tuned(
        trials=(), best=entries, rejected=0, raced=0, strategy="random", path=Path("best.json"),
        written={}, seconds=1.0,
    )  # fmt: skip


def test_the_best_one_alone_is_named_though_another_stands_first():
    found = tuned((0.3, 0.9, 0), (0.1, 0.8, 0), (0.1, 0.85, 0), (0.1, 0.85, 0))
    assert found.leader is found.best[2]
    assert found.facts()["best"].startswith("log-loss 0.1000 ± 0.0100, accuracy 0.8500 ± 0.0200 ")
    scores = found.event("quick", 0).scores
    assert (scores["log_loss"], scores["accuracy"]) == (0.1, 0.85)
    assert list(found.frame.log_loss) == [0.3, 0.1, 0.1, 0.1]
    # Who came furthest in a race goes before those with better figures on other rows.
    raced = tuned((0.2, 0.9, 2), (0.4, 0.9, 3), (0.3, 0.9, 3), (0.1, 0.9, 0))
    assert raced.leader is raced.best[2]
    assert raced.facts()["best"].startswith("log-loss 0.3000 ± ")
    assert raced.facts()["best"].endswith(" on the race's 90 rows")


def test_importances_find_what_matters(trials):
    found = importances(trials)
    names = [name for name, _ in found.shares]
    assert names[0] == "dropout" and found.fit > 0.5 and not found.is_weak
    shares = dict(found.shares)
    assert shares["dropout"] > 5 * max(shares["family"], shares["depth"])
    assert found.trials == 60 and "filters" not in shares


def test_importances_say_when_they_are_worth_little(trials):
    assert importances(trials[:7]) is None
    assert importances(trials[:12]).is_weak
    random = np.random.default_rng(1)
    noise = [replace(t, log_loss=float(random.random())) for t in trials[:60]]
    assert importances(noise).is_weak


def test_importances_of_equal_scores_are_zero(trials):
    flat = [replace(t, log_loss=0.1) for t in trials[:20]]
    assert {share for _, share in importances(flat).shares} == {0.0}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_plot_is_a_picture_and_a_page_that_needs_nothing_else(trials, tmp_path):
    picture, page = plotting.plot(trials, tmp_path / "study.png")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[1] > 800 and pixels.std() > 0.02
    text = page.read_text("utf-8")
    read = _Page()
    read.feed(text)
    assert sum(tag == "polyline" for tag, _ in read.tags) == 60
    best = min((one for one in trials if one.log_loss is not None), key=lambda one: one.log_loss)
    *_, last = re.findall(r"<polyline[^>]*><title>(trial \d+): ", text)
    assert last == f"trial {best.number}"
    for _, attributes in read.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "<h1><bdi>Study of 60 trials</bdi></h1>" in text and "<nav" not in text


def test_the_best_line_is_drawn_last_and_lowest(trials):
    laid_out = plotting.figure(trials)
    assert [axis.name for axis in laid_out.axes][-1] == "log-loss"
    assert "filters" not in [axis.name for axis in laid_out.axes]
    best = laid_out.lines[-1]
    assert best.places[-1] == 0.0 and best.rank == 0.0 and laid_out.lines[0].places[-1] == 1.0
    assert all(-0.04 < place < 1.04 for line in laid_out.lines for place in line.places)


def test_plots_need_trials_and_a_png(trials, tmp_path):
    with pytest.raises(ArtefactError, match="two completed trials or more; the study has 1"):
        plotting.plot(trials[:1], tmp_path / "study.png")
    with pytest.raises(ConfigurationError, match=r"ends in \.png"):
        plotting.plot(trials, tmp_path / "study.jpg")


def test_tensorboard_reads_the_logs_with_hyperparameters(trials, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    for made in (trials[0], trials[60], trials[61]):
        board.log_trial(made, tmp_path)
    (folder,) = tmp_path.iterdir()
    board.log_trial(trials[0], tmp_path)
    assert len(list(folder.iterdir())) == 1
    events = EventAccumulator(str(folder))
    events.Reload()
    steps = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert steps == [(0, 1.0), (1, 0.5), (2, 0.25), (3, pytest.approx(0.2))]
    assert events.Scalars("held-out/log_loss")[0].value == pytest.approx(trials[0].log_loss)
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["depth"].number_value == trials[0].config.depth
    assert start.hparams["family"].string_value == trials[0].config.family


def call(capfd, *words: object) -> tuple[int, str, str]:
    """Call the command line in this process; return exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        cli_module.cli([str(word) for word in words], prog_name="kaggle-digits")
    out, err = capfd.readouterr()
    return (0 if ended.value.code is None else int(ended.value.code)), out, err


@pytest.fixture
def tune(capfd, make, workspace, tmp_path):
    """Call `tune` on 60 generated rows."""
    folder = make(height=8, width=8, rows=60).folder
    space = tmp_path / "space.toml"
    space.write_text('augmentation = "none"\n')

    def tune(*words: object) -> tuple[int, str, str]:
        common = ("--data", folder, "--workspace", workspace.root)
        search = () if "--show" in words else ("--max-epochs", 3, "--space", space)
        return call(capfd, "tune", *common, *search, *words)

    return tune


def test_the_command_searches_shows_exports_plots_and_logs(tune, workspace, tmp_path, formula):
    picture, table = tmp_path / "out" / "study.png", tmp_path / "study.csv"
    code, out, err = tune(
        "--trials", 12, "--json", "--export", table, "--plot", picture, "--tensorboard"
    )
    assert code == 0, err
    values = json.loads(out)
    assert values["trials"] == values["completed"] == 12 and values["raced"] >= 2
    assert values["best_log_loss_se"] >= 0 and values["rejected"] >= 0
    assert table.exists() and picture.exists() and picture.with_suffix(".html").exists()
    assert len(list((workspace.tuning / "tensorboard").iterdir())) == 12
    assert "log-loss     best" in err
    count = len(formula.names)
    code, out, _ = tune("--show")
    assert code == 0 and len(formula.names) == count
    assert "importances" in out and "hyperband, 3 epochs, seed 0" in out
    assert sum(line.split()[1:2] == ["completed"] for line in out.splitlines()) == 12
    code, out, _ = tune("--show", "--json")
    assert len(json.loads(out)["trials"]) == 12
    code, out, _ = tune("--trials", 12)
    assert code == 0 and len(formula.names) == count


def test_the_bundled_configurations_come_first_unless_they_are_not_wanted(tune, workspace, formula):
    space = workspace.root.parent / "wide.toml"
    space.write_text('dropout = [0.2, 0.3, 0.4]\naugmentation = ["standard", "elastic"]\n')
    words = ("--trials", 2, "--strategy", "random", "--space", space, "--json")
    code, out, err = tune(*words)
    assert code == 0, err
    usual = [trial.config for trial in StudyOnDisk(workspace).trials()]
    assert usual == load_portfolio()[:2]
    code, out, err = tune(*words, "--no-portfolio")
    assert code == 4 and "portfolio" in err, "another study: refused with the difference"
    code, out, err = tune(*words, "--no-portfolio", "--fresh")
    assert code == 0, err
    drawn = [trial.config for trial in StudyOnDisk(workspace).trials()]
    assert not set(drawn) & set(load_portfolio())


@pytest.mark.parametrize(
    ("words", "code", "message", "mend"),
    [
        (("--show",), 4, "There is no study in", "tune"),
        (("--time-budget", "soon"), 2, "--time-budget was given as 'soon'", "90m"),
        (("--strategy", "hyperbnd"), 2, "hyperbnd", "hyperband"),
        (("--cluster", "a:1", "--workers", "2"), 2, "--workers and --cluster were given", "one of"),
        (("--cluster", "127.0.0.1:1"), 2, "no cluster can be used there", "ray start --head"),
        (("--folds", "1"), 2, "--folds", "1"),
        (("--folds", "30"), 3, "rows than the 30 folds", "--folds 20"),
        (("--space", "none.toml"), 2, "--space was given as none.toml", "TOML"),
        (("--trials", "0"), 2, "--trials", "0"),
    ],
)
def test_wrong_options_are_answered_without_a_traceback(tune, formula, words, code, message, mend):
    got, out, err = tune(*words)
    assert got == code
    assert message in err and mend in err and "Traceback" not in err and out == ""


def test_changed_options_on_an_old_study_are_refused_with_the_difference(tune, formula):
    assert tune("--trials", 2)[0] == 0
    code, _, err = tune("--trials", 2, "--strategy", "grid", "--seed", 3)
    assert code == 4 and "seed: 0 → 3, strategy: hyperband → grid" in err and "--fresh" in err
    assert tune("--trials", 2, "--strategy", "grid", "--seed", 3, "--fresh")[0] == 0


def test_what_is_called_next_trains_as_much_as_was_searched_for(tune, formula):
    """It was `cv-train` alone, which trains as the preset `quick` does."""
    words = ("--trials", 2, "--preset", "medium", "--seed", 3)
    code, out, err = tune(*words, "--top-k", 1)
    assert code == 0, err
    assert "kaggle-digits cv-train --preset medium --seed 3 --top-k 1 --data " in out + err
    code, out, err = tune("--trials", 2, "--fresh")
    assert code == 0 and "kaggle-digits cv-train --data " in out + err
