"""One test for each trap that Keras Tuner 1.4.8 sets, named after the trap."""

from __future__ import annotations

import dataclasses
import gc
import os
import tomllib
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.core import training
from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.workspace import Workspace
from tuning.oracles import ProposalSettings
from tuning.proposals import ProposalLimits, Proposer
from tuning.scoring import ScoringSettings, Unit, score_unit
from tuning.selection import ranked
from tuning.space import Space
from tuning.study import COMPLETED, FAILED, RUNNING, StudyOnDisk, Trial

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {
    text.split(">")[0]: text
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "dependencies"
    ]
}


def _proposer(strategy: str) -> Proposer:
    settings = ProposalSettings(4, 0, strategy, Space(), (TrainingConfig(),))
    return Proposer(settings, ProposalLimits(20, (28, 28, 10)))


def test_tensorboard_is_needed_though_nothing_pulls_it_in():
    assert "tensorboard" in REQUIRED
    import tensorboard.plugins.hparams.api  # noqa: F401


def test_a_seed_of_zero_counts_as_none(go, formula, tmp_path):
    import keras_tuner

    drawn = {keras_tuner.oracles.RandomSearchOracle("loss", seed=0).seed for _ in range(30)}
    assert len(drawn) > 1, "Keras Tuner takes 0 for a seed now: the offset can go"
    first, second = (go(6, Workspace(tmp_path / name)).trials for name in "ab")
    assert {_proposer("random")._oracle.seed for _ in range(9)} == {1}
    assert [trial.config for trial in first] == [trial.config for trial in second]


def test_a_finished_search_runs_its_last_trial_again(go, formula):
    go(5)
    assert formula.names.count("trial 4") == 1
    go(5)
    assert formula.names.count("trial 4") == 1


def test_json_is_written_in_place_and_a_kill_leaves_half(go, workspace, formula, monkeypatch):
    go(2)
    names = {path.name for path in workspace.root.rglob("*") if path.is_file()}
    assert not names & {"oracle.json", "trial.json", "tuner0.json"}
    whole = (workspace.tuning / "trials" / "0001.json").read_bytes()

    def cut(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        go(3)
    monkeypatch.undo()
    assert (workspace.tuning / "trials" / "0001.json").read_bytes() == whole
    assert [trial.state for trial in StudyOnDisk(workspace).trials()] == [COMPLETED, COMPLETED]


@pytest.mark.parametrize("change", [{"epochs": 9}, {"seed": 1}, {"folds": 3}, {"rows": 20}])
def test_changed_hyperband_parameters_are_ignored_on_reload(go, formula, change):
    go(3, strategy="hyperband")
    with pytest.raises(ArtefactError, match=f"{next(iter(change))}: "):
        go(3, strategy="hyperband", **change)


def test_the_best_trials_are_padded_with_unfinished_ones():
    trials = [
        Trial(0, TrainingConfig(), 4, COMPLETED, log_loss=0.3, accuracy=0.9),
        Trial(1, TrainingConfig(depth=1), 4, RUNNING),
        Trial(2, TrainingConfig(depth=3), 4, FAILED, reason="memory"),
    ]
    assert [entry.trial for entry in ranked(trials, 3)] == [0]


def test_hyperband_lists_the_same_values_in_several_rounds(go, formula):
    found = go(25, strategy="hyperband")
    configs = [trial.config for trial in found.trials]
    assert len(set(configs)) < len(configs)
    assert len({entry.config for entry in found.best}) == len(found.best)
    longest = {trial.config: trial.epochs for trial in found.trials}  # later rounds come later
    by_number = {trial.number: trial for trial in found.trials}
    assert all(by_number[e.trial].epochs == longest[e.config] for e in found.best)


def test_the_best_epoch_of_one_split_and_one_seed_flatters_the_winner(go, formula):
    found = go(8, racers=2)
    trial_jobs = [job for job in formula.jobs if job.name.startswith("trial")]
    race_jobs = [job for job in formula.jobs if job.name.startswith("race")]
    # Epochs are fixed beforehand; the winner's score comes from several networks on other folds
    # with another seed, not from the trial that chose it.
    assert {job.epochs for job in trial_jobs + race_jobs} == {4}
    assert {job.seed for job in race_jobs} & {job.seed for job in trial_jobs} == set()
    best = found.best[0]
    assert best.folds >= 2 and best.log_loss != found.trials[best.trial].log_loss


def test_private_names_are_imported_from_keras():
    """An upper bound keeps out the minor release that would break Keras Tuner."""
    assert "<3." in REQUIRED["keras"] and "<1.5" in REQUIRED["keras-tuner"]
    import keras

    assert keras.__version__.startswith("3.")


class _Epochs:
    """Progress that counts epochs and may end the work."""

    def __init__(self, last: int) -> None:
        self.seen: list[int] = []
        self._last = last

    def say(self, text: str) -> None:
        pass

    def task(self, label, total, unit=""):
        from contextlib import nullcontext

        return nullcontext(self)

    def advance(self, by=1, note=None, *, timed=True) -> None:
        if note is not None:
            self.seen.append(int(note.split("epoch ")[1].split("/")[0]))

    def __float__(self) -> float:
        return float(bool(self.seen) and self.seen[-1] >= self._last)


def _tiny(dataset, workspace):
    settings = ScoringSettings(40, 1, 0, 3, 0)
    config = TrainingConfig(depth=1, filters=8, batch_size=16, augmentation="none")
    unit = Unit("trial 0", "trial 0", config, epochs=6)

    def run(progress, deadline):
        return score_unit(Site(dataset, workspace, True, progress, deadline), settings, unit)

    return run


def _registered_gradients() -> set[str]:
    from tensorflow.python.framework import ops

    return {name for name in ops.gradient_registry._registry if name.startswith("CustomGradient")}


def test_a_killed_trial_restarts_from_nothing(dataset, workspace, monkeypatch):
    """Keras Tuner's issue 439; here with a real, tiny network."""
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0.0)
    run = _tiny(dataset, workspace)
    registered = _registered_gradients()
    first = _Epochs(last=4)
    with pytest.raises(OutOfTimeError):
        run(first, Deadline(0.5, started=0.0, clock=first.__float__))
    second = _Epochs(last=99)
    result = run(second, Deadline())
    assert first.seen[-1] == 4 and second.seen[0] in (3, 4) and second.seen[-1] == 6
    assert result.held_out is not None
    # With each stays the graph of a whole network.
    assert _registered_gradients() == registered
    assert list(workspace.cache.glob("checkpoints/*"))
    result.drop_checkpoints()
    assert not list(workspace.cache.glob("checkpoints/*"))


def test_one_lack_of_memory_loses_the_earlier_executions(go, formula, workspace):
    """Keras Tuner's issue 702: what ran before stays, of the trials and of the race."""
    formula.failing = {"trial 3", "race, trial 1, round 1"}
    found = go(6, racers=6)
    assert [trial.state for trial in found.trials].count(COMPLETED) == 5
    assert "out of memory" in found.trials[3].reason
    raced = {entry.trial: entry.folds for entry in found.best}
    assert raced[1] == 1 and max(raced.values()) >= 2


def test_checkpoints_fill_the_disk(go, formula, workspace, monkeypatch):
    """Keras Tuner's issues 288 and 481: nothing but small files is left of 40 trials."""
    from tuning import scoring

    folder = workspace.cache / "checkpoints"

    def leaving(job, *rest, **more):
        trained = formula(job, *rest, **more)
        trained.checkpoint = folder / f"{job.name}.npz"
        folder.mkdir(parents=True, exist_ok=True)
        trained.checkpoint.write_bytes(b"0" * 1_000_000)
        assert len(list(folder.iterdir())) == 1
        return trained

    monkeypatch.setattr(scoring, "train", leaving)
    go(40, racers=3)
    assert not list(folder.iterdir())
    size = sum(path.stat().st_size for path in workspace.tuning.rglob("*") if path.is_file())
    assert size < 250_000


def test_memory_grows_over_trials(go, formula, workspace, monkeypatch):
    """Keras Tuner's issue 873, the study's own part; benchmarks/memory.py has real nets."""
    from tuning import scoring

    made: list[weakref.ref] = []

    def watched(*given, **more):
        trained = formula(*given, **more)
        trained.held_out = np.array(trained.held_out)
        made.append(weakref.ref(trained.held_out))
        return trained

    monkeypatch.setattr(scoring, "train", watched)
    found = go(60, racers=3)
    gc.collect()
    assert len(found.trials) == 60 < len(made)
    assert [ref for ref in made if ref() is not None] == []


def test_a_bayesian_proposal_takes_ten_seconds(monkeypatch):
    """Keras Tuner starts 50 gradient descents in all dimensions for each proposal."""
    from keras_tuner.src.tuners import bayesian

    descents: list[object] = []
    counted = SimpleNamespace(minimize=lambda *words, **_: descents.append(words))
    monkeypatch.setattr(bayesian, "scipy", SimpleNamespace(optimize=counted))
    proposer = _proposer("bayesian")
    random = np.random.default_rng(0)
    for _ in range(16):
        trial = proposer.propose()
        proposer.tell(dataclasses.replace(trial, state=COMPLETED, log_loss=float(random.random())))
    assert not descents
