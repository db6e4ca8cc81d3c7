"""The search with training stood in for by a formula: resume, failures, budget, ranking."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import OutOfTimeError
from kaggle_digits.ground.errors import ArtefactError, TrainingError
from kaggle_digits.ground.files import remove, write_json
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import ranking_path, read_ranking
from tuning.scoring import ScoringSettings, Unit, bank_of, copies_of, splits_of
from tuning.selection import ranked
from tuning.study import COMPLETED, FAILED, RUNNING, StudyOnDisk, Trial

STRATEGIES = ("random", "hyperband", "bayesian", "grid")


class Lines:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def task(self, label, total, unit=""):
        from kaggle_digits.ground.progress import Silent

        return Silent().task(label, total, unit)


def scores(found):
    """What must not depend on how a search was interrupted: all but the time."""
    return [(t.number, t.config, t.epochs, t.state, t.log_loss, t.rejected) for t in found.trials]


def test_ranking_is_distinct_takes_the_longest_trial_and_breaks_ties_by_accuracy():
    def trial(
        number: int, depth: int, loss: float | None, accuracy: float | None, epochs: int = 4
    ) -> Trial:
        state = FAILED if loss is None else COMPLETED
        config = TrainingConfig(depth=depth)
        return Trial(number, config, epochs, state, log_loss=loss, accuracy=accuracy)

    trials = [
        trial(0, 1, 0.2, 0.9), trial(1, 2, 0.1, 0.8), trial(2, 3, 0.1, 0.9),
        trial(3, 4, None, None), trial(4, 3, 0.3, 0.99), trial(5, 1, 0.01, 0.99, epochs=2),
    ]  # fmt: skip
    assert [entry.trial for entry in ranked(trials, 9)] == [2, 1, 0]
    assert [entry.trial for entry in ranked(trials, 2)] == [2, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_goes_on_and_a_finished_one_runs_nothing(go, workspace, formula, strategy):
    first = go(7, strategy=strategy)
    assert formula.names == [f"trial {number}" for number in range(7)]
    again = go(7, strategy=strategy)
    assert scores(again) == scores(first) and again.best == first.best
    assert len(formula.names) == 7
    more = go(12, strategy=strategy)
    assert formula.names[7:] == [f"trial {number}" for number in range(7, 12)]
    assert scores(more)[:7] == scores(first)


def test_a_finished_search_does_not_even_load_keras_tuner(go, workspace, formula, monkeypatch):
    from tuning import search as search_module

    wanted = go(3)
    monkeypatch.setattr(search_module, "Proposer", lambda *_: pytest.fail("it proposed"))
    assert scores(go(3)) == scores(wanted)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("killed_at", [0, 3, 8])
def test_a_killed_search_repeats_only_the_running_trial(
    go, workspace, formula, tmp_path, strategy, killed_at
):
    wanted = go(14, Workspace(tmp_path / "other"), strategy=strategy)
    formula.names.clear()
    formula.killed = {f"trial {killed_at}"}
    with pytest.raises(formula.Kill):
        go(14, strategy=strategy)
    left = StudyOnDisk(workspace).trials()
    assert [trial.state for trial in left] == [COMPLETED] * killed_at + [RUNNING]
    formula.killed = set()
    found = go(14, strategy=strategy)
    assert formula.names == [f"trial {n}" for n in [*range(killed_at + 1), *range(killed_at, 14)]]
    assert scores(found) == scores(wanted) and found.best == wanted.best


def test_the_running_trial_goes_on_with_the_configuration_it_had(go, workspace, formula):
    formula.killed = {"trial 2"}
    with pytest.raises(formula.Kill):
        go(4)
    begun = StudyOnDisk(workspace).trials()[2]
    formula.killed = set()
    formula.jobs.clear()
    go(4)
    assert formula.jobs[0].config == begun.config


def test_seeds_fix_trials_and_scores_and_zero_is_a_seed(go, formula, tmp_path):
    places = [Workspace(tmp_path / name) for name in "abc"]
    first, same = go(6, places[0], seed=0), go(6, places[1], seed=0)
    assert scores(first) == scores(same)
    assert scores(first) != scores(go(6, places[2], seed=1))


def test_best_json_is_read_back_for_its_data_only(go, dataset, workspace, formula):
    found = go(3)
    path = ranking_path(workspace)
    assert read_ranking(path, dataset.digest) == found.best
    assert all(entry.log_loss_se > 0 and entry.rows == 15 for entry in found.best)
    with pytest.raises(ArtefactError, match="was made on other data"):
        read_ranking(path, "0" * 16)
    write_json(path, {"data": dataset.digest, "configurations": [{"config": {"depth": 99}}]})
    with pytest.raises(ArtefactError, match="not a ranking of configurations"):
        read_ranking(path, dataset.digest)
    path.write_text("{half")
    with pytest.raises(ArtefactError, match="cannot be read as JSON"):
        read_ranking(path, dataset.digest)


def test_best_json_of_an_earlier_version_is_read(go, dataset, workspace, formula):
    found = go(3)
    path = ranking_path(workspace)
    old = json.loads(path.read_text())
    for entry in old["configurations"]:
        for name in ("log_loss_se", "accuracy_se", "rows", "folds"):
            del entry[name]
    write_json(path, old)
    read = read_ranking(path, dataset.digest)
    assert [entry.config for entry in read] == [entry.config for entry in found.best]
    assert read[0].log_loss_se == 0


def test_other_settings_are_refused_with_the_difference(go, workspace, formula):
    go(2)
    with pytest.raises(ArtefactError, match="epochs: 4 → 2, seed: 0 → 1") as caught:
        go(2, seed=1, epochs=2)
    assert "--fresh" in str(caught.value.mend)
    with pytest.raises(ArtefactError, match="strategy: random → grid"):
        go(2, strategy="grid")
    from tuning.narrowing import narrow

    with pytest.raises(ArtefactError, match="space depth: 1, 2, 3"):
        go(2, space=narrow({"augmentation": "none", "depth": [1, 2]}, "the test"))
    remove(workspace.tuning)
    go(2, seed=1, epochs=2)


def test_a_failed_trial_is_recorded_and_the_search_goes_on(go, formula):
    formula.failing = {"trial 1"}
    formula.not_numbers = {"trial 3"}
    found = go(5)
    assert [trial.state for trial in found.trials] == [
        COMPLETED, FAILED, COMPLETED, FAILED, COMPLETED,
    ]  # fmt: skip
    assert found.trials[1].reason == "trial 1 ran out of memory"
    assert found.trials[3].reason == "trial 3: its predictions are not numbers."
    assert {entry.trial for entry in found.best} == {0, 2, 4}
    assert scores(go(5)) == scores(found)


def test_three_failures_in_a_row_end_the_search(go, workspace, formula):
    formula.failing = {f"trial {number}" for number in range(1, 9)}
    with pytest.raises(TrainingError, match="The last 3 trials failed; the last: trial 3"):
        go(9)
    assert len(StudyOnDisk(workspace).trials()) == 4
    with pytest.raises(TrainingError, match="The last 3 trials failed; the last: trial 6") as again:
        go(9)
    assert "call again" in str(again.value.mend) and len(formula.names) == 7
    formula.failing = set()
    found = go(9)
    assert [trial.state for trial in found.trials].count(FAILED) == 6, "the cause is mended"


def test_a_missing_or_broken_trial_is_named(go, workspace, formula):
    go(3)
    path = workspace.tuning / "trials" / "0001.json"
    content = path.read_text()
    path.write_text("{}")
    with pytest.raises(ArtefactError, match="0001.json is not a trial's record"):
        go(3)
    path.unlink()
    with pytest.raises(ArtefactError, match="Trial 1 is missing"):
        go(3)
    path.write_text(content)
    go(3)


def test_a_trial_is_read_as_it_was_written(go, workspace):
    made = go(2).trials
    assert all(trial.threads > 0 for trial in made)
    assert StudyOnDisk(workspace).trials() == made


def test_every_trial_is_scored_on_the_same_held_out_rows_with_the_same_seed(go, formula):
    go(3)
    first, *others = formula.jobs
    assert not set(first.train_rows.tolist()) & set(first.held_out_rows.tolist())
    for job in others:
        assert job.train_rows.tolist() == first.train_rows.tolist()
        assert job.held_out_rows.tolist() == first.held_out_rows.tolist()
        assert (job.epochs, job.seed) == (first.epochs, first.seed)


def test_trials_have_copies_of_their_own_rows_and_of_those_only_that_they_walk_through(
    dataset, workspace
):
    settings = ScoringSettings(rows=20, copies=5, folds=0, race_folds=3, seed=0)
    site = Site(dataset, workspace, Silent())
    splits = splits_of(dataset, settings)
    short, long, raced = (
        Unit(0, TrainingConfig(), epochs, round_)
        for epochs, round_ in ((2, None), (5, None), (2, 1))
    )
    bank = bank_of(short, site, settings)
    assert bank.key[-1].tolist() == splits.trial[0][0].tolist() and bank.size == 20
    assert bank_of(long, site, settings).digest == bank.digest
    walked = copies_of(short, bank, site, settings)
    assert len(walked) == 2 and set(walked) == set(bank.order(0, 5, 2))
    assert copies_of(long, bank, site, settings) == list(range(5))
    race = bank_of(raced, site, settings)
    for number in range(3):
        race.places(splits.race(number)[0])  # raises where one is missing
    assert set(copies_of(raced, race, site, settings)) == set(race.order(1, 5, 2))
    most = dataclasses.replace(settings, rows=31)
    assert bank_of(short, site, most).key[-1] is None, "above half of the data, all of it"


def test_folds_score_every_row_of_the_sample_once(go, workspace, formula):
    found = go(2, folds=3)
    assert formula.names[:3] == [f"trial 0, fold {fold}" for fold in range(3)]
    held_out = [row for job in formula.jobs[:3] for row in job.held_out_rows.tolist()]
    assert len(held_out) == len(set(held_out)) == 45
    assert found.trials[0].rows == 45


def test_an_exhausted_space_ends_the_search(go, workspace, formula):
    from tuning.narrowing import narrow

    few = narrow(
        {
            "augmentation": "none", "family": "pooled", "filters": 16, "growth": 1.5,
            "kernel_size": 3, "dense_units": 0, "batch_norm": True, "spatial_dropout": 0.0,
            "dropout": [0.1, 0.3], "batch_size": 256, "learning_rate": 0.01,
            "weight_decay": 0.05, "label_smoothing": 0.05,
        },
        "the test",
    )  # fmt: skip
    for strategy in STRATEGIES:
        remove(workspace.tuning)
        found = go(50, strategy=strategy, space=few, portfolio=())
        assert len({trial.config for trial in found.trials}) == 6, strategy


def test_the_time_budget_ends_a_search_with_completed_trials_only(go, workspace, formula):
    formula.seconds = 0.15
    found = go(None, seconds=2.0)
    assert 2.0 <= formula.clock() <= 2.0 + 0.15, "no work goes on after the time"
    assert all(trial.state == COMPLETED for trial in found.trials) and len(found.trials) == 13
    assert {entry.trial for entry in found.best} <= {trial.number for trial in found.trials}
    count = len(formula.names)
    again = go(None, seconds=2.0)
    assert len(formula.names) == count and again.best == found.best
    more = go(None, seconds=3.0)
    assert len(more.trials) > len(found.trials)


def test_a_trial_cut_by_the_time_is_taken_up_by_a_later_call(go, workspace, formula):
    formula.seconds = 0.4
    go(None, seconds=1.0)
    cut = StudyOnDisk(workspace).trials()[-1]
    assert cut.state == RUNNING
    formula.jobs.clear()
    go(cut.number + 1)
    assert [job.config for job in formula.jobs] == [cut.config]


def test_no_time_for_a_single_trial_is_an_error(go, formula):
    formula.seconds = 2.0
    with pytest.raises(OutOfTimeError, match="before the first trial was completed"):
        go(3, seconds=0.2)


def test_the_live_table_shows_values_score_best_and_time_left(go, formula):
    lines = Lines()
    go(3, progress=lines)
    table = [line for line in lines.said if line.split()[0] in ("trial", "0", "1", "2")]
    assert table[0].split() == [
        "trial", "log-loss", "best", "accuracy", "epochs", "time", "left", "values",
    ]  # fmt: skip
    assert len(table) == 4
    trials = [line.split(maxsplit=9) for line in table[1:]]
    best = min(float(cells[1]) for cells in trials)
    assert float(trials[-1][2]) == best
    assert "augmentation none" in table[1]


def test_only_the_best_predictions_are_kept(go, workspace, formula):
    found = go(30)
    kept = {int(path.stem) for path in (workspace.tuning / "predictions").glob("*.npy")}
    assert kept == {entry.trial for entry in found.best} and len(kept) == 20
