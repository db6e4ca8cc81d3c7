"""The search with training stood in for by a formula: proposals, replay, resume, failures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.core.architecture import FAMILIES, megamacs
from kaggle_digits.core.augmentation import POLICIES
from kaggle_digits.core.data import load
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, TrainingError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.ranking import ranking_path, read_ranking
from kaggle_digits.ground.workspace import write_json
from tuning import search as search_module
from tuning import space
from tuning.proposals import Proposer
from tuning.search import SearchSettings, search
from tuning.study import COMPLETED, FAILED, Study, Trial, ranked

SHAPE = (28, 28, 10)


def proposer(seed: int = 0, limit: float = 20) -> Proposer:
    return Proposer(seed, SHAPE, limit)


def loss(config: TrainingConfig) -> float:
    """A score that depends on the configuration alone."""
    return abs(config.dropout - 0.4) + abs(config.depth - 2) + abs(config.learning_rate - 0.004)


def proposals(of: Proposer, count: int) -> list[TrainingConfig]:
    found = []
    for _ in range(count):
        found.append(of.propose())
        of.tell(loss(found[-1]))
    return found


def test_the_space_searches_what_was_promised():
    names = {dimension.name for dimension in space.SPACE}
    assert {"family", "depth", "filters", "growth", "kernel_size", "dropout"} <= names
    assert {"learning_rate", "weight_decay", "label_smoothing", "augmentation"} <= names
    assert names <= {field.name for field in dataclasses.fields(TrainingConfig)}
    for dimension in space.SPACE:
        if isinstance(dimension, space.Choice):
            known = {"family": FAMILIES, "augmentation": POLICIES}.get(dimension.name)
            assert known is None or set(dimension.values) <= set(known)


def test_default_configuration_is_in_the_space():
    default = TrainingConfig()
    assert space.to_config(space.to_values(default)) == default
    for dimension in space.SPACE:
        value = getattr(default, dimension.name)
        match dimension:
            case space.Choice(values=values):
                assert value in values
            case space.LogRange(low=low, high=high) | space.Range(low=low, high=high):
                assert low <= value <= high


def test_proposals_start_with_the_default_are_distinct_and_affordable():
    found = proposals(proposer(), 12)
    assert found[0] == TrainingConfig()
    assert len({config.digest for config in found}) == 12
    assert all(megamacs(config, *SHAPE) <= 20 for config in found[1:])


def test_seeds_fix_the_proposals_and_zero_is_a_seed():
    assert proposals(proposer(0), 9) == proposals(proposer(0), 9)
    assert proposals(proposer(0), 9) != proposals(proposer(1), 9)


@pytest.mark.parametrize("done", [1, 5, 8])
def test_replay_brings_the_oracle_to_where_it_was(done):
    wanted = proposals(proposer(), 10)
    trials = [
        Trial(number, config, COMPLETED, log_loss=loss(config), accuracy=0.5)
        for number, config in enumerate(wanted[:done])
    ]
    resumed = proposer()
    resumed.replay(trials, Silent())
    assert proposals(resumed, 10 - done) == wanted[done:]


def test_replay_refuses_trials_of_another_search():
    trials = [Trial(0, TrainingConfig(depth=1), COMPLETED, log_loss=1.0, accuracy=0.5)]
    with pytest.raises(ArtefactError, match="Trial 0 of the study is not what this search"):
        proposer().replay(trials, Silent())


def test_an_exhausted_space_says_so():
    nothing = proposer(limit=0.001)
    nothing.propose()
    nothing.tell(1.0)
    with pytest.raises(ConfigurationError, match="no further configuration within 0.001 million"):
        nothing.propose()


def test_ranking_is_distinct_and_breaks_ties_by_accuracy():
    def trial(number: int, depth: int, loss: float | None, accuracy: float | None) -> Trial:
        state = FAILED if loss is None else COMPLETED
        return Trial(number, TrainingConfig(depth=depth), state, log_loss=loss, accuracy=accuracy)

    trials = [
        trial(0, 1, 0.2, 0.9), trial(1, 2, 0.1, 0.8), trial(2, 3, 0.1, 0.9),
        trial(3, 4, None, None), trial(4, 3, 0.3, 0.99),
    ]  # fmt: skip
    assert [entry.trial for entry in ranked(trials, 9)] == [2, 1, 0]
    assert [entry.trial for entry in ranked(trials, 2)] == [2, 1]


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60).folder, workspace)


SETTINGS = SearchSettings(1, 30, 1, 20, seed=0)


class Stop(BaseException):
    """Stands for a kill."""


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Put a formula in the place of training; return the names of the jobs that ran."""
    names: list[str] = []

    def train(job, dataset, bank, checkpoints, progress):
        names.append(job.name)
        if job.name in train.killed:
            raise Stop
        if job.name in train.failing:
            raise TrainingError(f"{job.name} ran out of memory")
        share = 1 / (2 + job.config.dropout)
        held_out = np.full((len(job.held_out_rows), 3), (1 - share) / 2, dtype=np.float32)
        held_out[np.arange(len(held_out)), dataset.labels[job.held_out_rows]] = share
        return SimpleNamespace(held_out=held_out, checkpoint=Path(tmp_path / "none"))

    train.failing, train.killed = set(), set()
    monkeypatch.setattr(search_module, "train", train)
    return SimpleNamespace(names=names, train=train)


def test_a_search_goes_on_and_a_finished_one_runs_nothing(dataset, workspace, trained):
    done, best = search(dataset, workspace, SETTINGS, 3, Silent())
    assert trained.names == ["trial 0", "trial 1", "trial 2"]
    again = search(dataset, workspace, SETTINGS, 3, Silent())
    assert again == (done, best) and len(trained.names) == 3
    more, _ = search(dataset, workspace, SETTINGS, 5, Silent())
    assert trained.names[3:] == ["trial 3", "trial 4"] and more[:3] == done


def test_a_killed_search_repeats_only_the_running_trial(dataset, workspace, trained, tmp_path):
    from kaggle_digits.ground.workspace import Workspace

    wanted = search(dataset, Workspace(tmp_path / "other"), SETTINGS, 4, Silent())[1]
    trained.names.clear()
    trained.train.killed = {"trial 2"}
    with pytest.raises(Stop):
        search(dataset, workspace, SETTINGS, 4, Silent())
    trained.train.killed = set()
    best = search(dataset, workspace, SETTINGS, 4, Silent())[1]
    assert trained.names == ["trial 0", "trial 1", "trial 2", "trial 2", "trial 3"]
    assert best == wanted


def test_best_json_is_read_back_for_its_data_only(dataset, workspace, trained):
    _, best = search(dataset, workspace, SETTINGS, 3, Silent())
    path = ranking_path(workspace)
    assert read_ranking(path, dataset.digest) == best
    with pytest.raises(ArtefactError, match="was made on other data"):
        read_ranking(path, "0" * 16)
    write_json(path, {"data": dataset.digest, "configurations": [{"config": {"depth": 99}}]})
    with pytest.raises(ArtefactError, match="no ranking of configurations"):
        read_ranking(path, dataset.digest)
    path.write_text("{half")
    with pytest.raises(ArtefactError, match="cannot be read as JSON"):
        read_ranking(path, dataset.digest)


def test_other_settings_are_refused_with_the_difference(dataset, workspace, trained):
    search(dataset, workspace, SETTINGS, 2, Silent())
    other = dataclasses.replace(SETTINGS, seed=1, epochs=2)
    with pytest.raises(ArtefactError, match="epochs: 1 → 2, seed: 0 → 1") as caught:
        search(dataset, workspace, other, 2, Silent())
    assert "--fresh" in str(caught.value.mend)
    Study(workspace).clear()
    search(dataset, workspace, other, 2, Silent())


def test_a_failed_trial_is_recorded_and_the_search_goes_on(dataset, workspace, trained):
    trained.train.failing = {"trial 1"}
    done, best = search(dataset, workspace, SETTINGS, 3, Silent())
    assert [trial.state for trial in done] == [COMPLETED, FAILED, COMPLETED]
    assert done[1].reason == "trial 1 ran out of memory"
    assert {entry.trial for entry in best} == {0, 2}
    assert search(dataset, workspace, SETTINGS, 3, Silent())[0] == done


def test_three_failures_in_a_row_end_the_search(dataset, workspace, trained):
    trained.train.failing = {f"trial {number}" for number in range(1, 9)}
    with pytest.raises(TrainingError, match="The last 3 trials failed; the last: trial 3"):
        search(dataset, workspace, SETTINGS, 9, Silent())
    assert len(Study(workspace).trials()) == 4


def test_a_missing_or_broken_trial_is_named(dataset, workspace, trained):
    search(dataset, workspace, SETTINGS, 3, Silent())
    path = workspace.tuning / "trials" / "0001.json"
    content = path.read_text()
    path.write_text("{}")
    with pytest.raises(ArtefactError, match="0001.json is not a trial's record"):
        search(dataset, workspace, SETTINGS, 3, Silent())
    path.unlink()
    with pytest.raises(ArtefactError, match="Trial 1 is missing"):
        search(dataset, workspace, SETTINGS, 3, Silent())
    path.write_text(content)
    search(dataset, workspace, SETTINGS, 3, Silent())


def test_every_trial_is_scored_on_the_same_held_out_rows(dataset, workspace, monkeypatch):
    rows = []

    def train(job, *_):
        rows.append((job.train_rows.tolist(), job.held_out_rows.tolist(), job.epochs, job.seed))
        raise TrainingError("enough")

    monkeypatch.setattr(search_module, "train", train)
    with pytest.raises(TrainingError):
        search(dataset, workspace, SETTINGS, 2, Silent())
    assert len(rows) == 2 and rows[0] == rows[1]
    assert not set(rows[0][0]) & set(rows[0][1])
