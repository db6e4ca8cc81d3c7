"""`import kaggle_digits` with members planted: the command line's bytes, locks, interruptions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import kaggle_digits as kd
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell import cli

CONFIG = kd.TrainingConfig(augmentation="none")
SIZES: dict[str, Any] = {"folds": 3, "epochs": 1, "workers": 1}
WORDS = ["--folds", "3", "--epochs", "1", "--workers", "1"]


def call(*words: object) -> int:
    """Call the command line in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words), "--quiet"], prog_name="kaggle-digits")
    return int(ended.value.code or 0)


@pytest.fixture
def competition(made: Any, tmp_path: Path) -> kd.Loaded:
    return kd.load(made.folder, workspace=tmp_path / "python", progress=False)


class Interrupted(Silent):
    """Stands for a user who interrupts the notebook's kernel at a member that is trained."""

    def say(self, text: str) -> None:
        if "accuracy" in text:
            raise KeyboardInterrupt


def test_members_and_blend_are_those_of_the_command_line(
    competition: kd.Loaded, made: Any, planted: Any, tmp_path: Path
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('augmentation = "none"\n')
    there = ["--data", made.folder, "--workspace", tmp_path / "shell"]
    assert call("cv-train", *there, "--config", config, *WORDS) == 0
    trained = kd.cross_validate(competition, config=CONFIG, **SIZES)
    assert trained.trained == 3
    assert call("blend", *there, "--method", "weighted", "--temperature") == 0
    blended = kd.blend(competition, method="weighted", temperature=True)
    other = tmp_path / "shell/submissions/submission.csv"
    assert blended.submission.read_bytes() == other.read_bytes()
    for name in ("oof.npy", "test.npy"):
        theirs = tmp_path / "shell/ensembles/blend" / name
        assert (blended.predictions / name).read_bytes() == theirs.read_bytes()
    # One workspace for both: each goes on from the other.
    assert call("blend", "--workspace", competition.workspace.root) == 0
    assert kd.members(competition).frame.state.tolist() == ["trained"] * 3


def test_a_whole_run_gives_the_bytes_of_the_command_line(
    competition: kd.Loaded,
    made: Any,
    planted: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuning.scoring.train", planted.train)
    monkeypatch.setattr("tuning.search.make_copies", lambda *_: None)
    there = ["--data", made.folder, "--workspace", tmp_path / "shell"]
    assert call("run", *there, "--trials", "2", "--top-k", "2", *WORDS) == 0
    ran = kd.run(competition, trials=2, top_k=2, output=tmp_path / "s.csv", **SIZES)
    theirs = (tmp_path / "shell/submissions/submission.csv").read_bytes()
    assert (tmp_path / "s.csv").read_bytes() == theirs and ran.submission == tmp_path / "s.csv"
    assert (len(ran.tuned.trials), len(ran.trained.keys), ran.checked.local) == (2, 6, None)
    assert ran.oof_accuracy == ran.blended.oof_accuracy
    for name in ("study.json", "best.json"):
        mine = competition.workspace.tuning / name
        assert mine.read_bytes() == (tmp_path / "shell/tuning" / name).read_bytes()
    # The search alone, likewise: the study of the run is gone on with.
    more = ["--trials", "3", "--race", "0"]
    assert call("tune", *there, "--strategy", ran.tuned.strategy, *more) == 0
    tuned = kd.tune(competition, strategy=ran.tuned.strategy, trials=3, race=0)
    assert [one.number for one in tuned.trials] == [0, 1, 2]
    assert tuned.path.read_bytes() == (tmp_path / "shell/tuning/best.json").read_bytes()


def test_another_notebook_on_the_workspace_gets_a_clear_error(
    competition: kd.Loaded, planted: Any
) -> None:
    with (
        competition.workspace.lock(competition.workspace.ensembles),
        pytest.raises(kd.InUseError, match="in use by process") as refused,
    ):
        kd.cross_validate(competition, config=CONFIG, **SIZES)
    assert "Wait until it has ended" in refused.value.__notes__[0]
    assert not planted.jobs


@pytest.mark.parametrize("fresh", [False, True])
def test_an_interrupted_call_leaves_the_workspace_whole_and_goes_on(
    made: Any, planted: Any, tmp_path: Path, fresh: bool
) -> None:
    def load(progress: Any) -> kd.Loaded:
        return kd.load(made.folder, workspace=tmp_path / "w", progress=progress)

    with pytest.raises(KeyboardInterrupt):
        kd.cross_validate(load(Interrupted()), config=CONFIG, fresh=fresh, **SIZES)
    store = MemberStore(load(False).workspace)
    kept = store.on_disk()
    assert 0 < len(kept) < 3
    again = kd.cross_validate(load(False), config=CONFIG, **SIZES)
    assert (again.known, again.trained) == (len(kept), 3 - len(kept))
    assert kd.blend(load(False)).members == again.names


def test_a_running_event_loop_does_no_harm(competition: kd.Loaded, planted: Any) -> None:
    async def cell() -> kd.Blended:
        kd.cross_validate(competition, config=CONFIG, **SIZES)
        return kd.blend(competition)

    assert len(asyncio.run(cell()).members) == 3


def test_progress_is_told_and_silence_is_silent(
    made: Any, planted: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = kd.load(made.folder, workspace=tmp_path / "w", progress=False)
    kd.cross_validate(quiet, config=CONFIG, **SIZES)
    kd.blend(quiet)
    assert capsys.readouterr() == ("", "")
    loud = kd.load(made.folder, workspace=tmp_path / "w2")
    kd.cross_validate(loud, config=CONFIG, **SIZES)
    out, err = capsys.readouterr()
    assert out == "" and "cv-train: 3/3 members" in err


def test_what_is_put_in_by_hand_is_checked(competition: kd.Loaded, planted: Any) -> None:
    with pytest.raises(kd.ConfigurationError, match="expected a time like"):
        kd.cross_validate(competition, config=CONFIG, time_budget="soon")
    with pytest.raises(kd.ConfigurationError, match="was given as -1 s; expected 40s or more"):
        kd.cross_validate(competition, config=CONFIG, time_budget=-1)
    with pytest.raises(kd.ConfigurationError, match="public_share was given as 2"):
        kd.submit(competition, local=True, public_share=2)
