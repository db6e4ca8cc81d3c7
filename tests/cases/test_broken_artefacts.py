"""Artefacts that are not what was written: named with a mend, or made anew, never a traceback."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.core.arrays import load_array
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import write_json
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.records.ranking import Ranked, ranking_path, write_ranking
from tuning.study import COMPLETED, StudyOnDisk, Trial

MEMBER = "member folder"


@pytest.fixture
def filled(made, workspace):
    """A workspace with one of each artefact, and the words every command on it is given."""
    made.sample([str(number) for number in range(1, 13)])
    dataset = load(made.folder, workspace)
    config = TrainingConfig()
    study = StudyOnDisk(workspace)
    study.open({"strategy": "random", "epochs": 1, "seed": 0})
    study.put(
        Trial(
            0,
            config,
            1,
            COMPLETED,
            log_loss=0.1,
            accuracy=0.9,
            log_loss_se=0.01,
            accuracy_se=0.01,
            rows=30,
            seconds=1.0,
            history=(1.0,),
        )  # fmt: skip
    )
    write_ranking(ranking_path(workspace), [Ranked(config, 0, 0.1, 0.9)], dataset.digest, 0)
    folds = make_folds(dataset, 2, 0, workspace)
    store, keys = MemberStore(workspace), []
    score = {"accuracy": 0.4, "accuracy_se": 0.1, "log_loss": 1.0, "log_loss_se": 0.1, "rows": 15}
    for fold in range(2):
        key = MemberKey(config, fold, 1, 1, 1, dataset.digest, folds.digest, "bank")
        third = np.full((15, 3), 1 / 3, np.float32)
        store.add(Member(key, third, third[:12], {"score": score, "seconds": 1.0}))
        keys.append(key)
    store.write_plan({"folds": 2, "seed": 0}, keys)
    truth = made.folder.parent / "truth.csv"
    truth.write_text("id,label\n" + "".join(f"{number},0\n" for number in range(1, 13)))
    sent = {"ref": 1, "date": "2026-01-01T00:00:00", "message": "", "file_name": "s.csv"}
    write_json(
        workspace.submissions / "scoreboard" / "scores.json",
        {dataset.digest: [sent | {"public_score": "0.98000", "private_score": None}]},
    )
    (workspace.submissions / "submission.csv").write_bytes(
        (made.folder / "sample_submission.csv").read_bytes()
    )
    write_json(workspace.submissions / "submission.json", {"sha256": "0" * 64})
    (workspace.submissions / "board-kaggle.zip").write_bytes(b"")
    return workspace


def place(workspace, name: str) -> Path:
    if name.startswith(MEMBER):
        (folder,) = (workspace.ensembles / "members").glob("*-fold0-*")
        return folder / name.removeprefix(f"{MEMBER}/")
    if "*" in name:
        (found,) = workspace.root.glob(name)
        return found
    return workspace.root / name


def submit(made) -> list[object]:
    return ["submit", "--local", "--dry-run", "--truth", made.folder.parent / "truth.csv"]


READERS: dict[str, list[Callable[..., list[object]]]] = {
    "tuning/study.json": [lambda made: ["tune", "--show"]],
    "tuning/trials/0000.json": [
        lambda made: ["tune", "--show"],
        lambda made: ["tune", "--export", made.folder.parent / "x.csv"],
    ],
    "tuning/best.json": [lambda made: ["cv-train"]],
    "ensembles/plan.json": [
        lambda made: ["members"],
        lambda made: ["blend"],
        lambda made: ["predict", "--images", made.folder / "test.csv"],
        lambda made: ["cv-train", "--add"],
    ],
    f"{MEMBER}/member.json": [
        lambda made: ["members"],
        lambda made: ["members", "--all"],
        lambda made: ["blend"],
    ],
    "ensembles/folds/*.json": [lambda made: ["blend"]],
    "submissions/submission.json": [submit],
    "submissions/scoreboard/scores.json": [
        lambda made: ["submissions", "--local"],
        lambda made: ["leaderboard", "--local"],
        submit,
    ],
    "submissions/board-kaggle.zip": [lambda made: ["leaderboard", "--offline"]],
}
WRONG = ("null", "[]", "{}", '"x"', "cut", '{"format": 99}')
NO_ERROR = {("submissions/scoreboard/scores.json", "{}")}
"""A scoreboard to which nothing was sent is an empty object."""


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", READERS)
def test_an_artefact_of_another_form_is_named_with_a_mend(name, wrong, filled, made, call):
    path = place(filled, name)
    before = path.read_bytes() if path.suffix == ".json" else b"{}"
    written = before[: len(before) // 2] if wrong == "cut" else wrong.encode()
    path.write_bytes(written)
    if (name, wrong) in NO_ERROR:
        return
    for words in READERS[name]:
        code, out, err = call(
            *words(made), "--data", made.folder, "--workspace", filled.root, "--quiet"
        )
        assert (code, out) == (4, ""), (words(made), err)
        message, mend = err.splitlines()[-2:]
        assert message.startswith("error: ") and str(path) in message
        assert mend.startswith("  ") and len(mend) > 10
        assert "Traceback" not in err and "internal error" not in err
        if wrong == '{"format": 99}' and path.suffix == ".json":
            assert "written by a newer version" in message
        assert path.read_bytes() == written  # it is theirs to mend


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, np.zeros(3))
    return stream.getvalue()


ARRAYS = {
    "empty": b"",
    "no array": b"{}",
    "an archive": archive(),
    "another shape": npy(np.full((4, 3), 1 / 3, np.float32)),
    "another type": npy(np.full((15, 3), "x")),
    "one number": npy(np.float32(1)),
    "cut": npy(np.full((15, 3), 1 / 3, np.float32))[:150],
    "a cut head": npy(np.full((15, 3), 1 / 3, np.float32))[:40],
}


@pytest.mark.parametrize("wrong", ARRAYS)
@pytest.mark.parametrize("name", ["held_out.npy", "test.npy"])
def test_a_members_array_of_another_form_is_named_with_a_mend(name, wrong, filled, made, call):
    path = place(filled, f"{MEMBER}/{name}")
    path.write_bytes(ARRAYS[wrong])
    code, out, err = call("blend", "--data", made.folder, "--workspace", filled.root)
    assert (code, out) == (4, "") and str(path) in err and "cv-train" in err


@pytest.mark.parametrize("wrong", [*WRONG, *ARRAYS])
@pytest.mark.parametrize(
    "name",
    ["data/sources.json", "data/*/meta.json", "data/*/images.npy", "data/*/labels.npy"],
)
def test_a_broken_cache_is_made_anew(name, wrong, filled, made):
    path = place(filled, f"cache/{name}")
    before = path.read_bytes()
    content = ARRAYS.get(wrong, wrong.encode())
    path.write_bytes(before[: len(before) // 2] if wrong == "cut" else content)
    found = load(made.folder, filled)
    assert found.images.tobytes() == made.images.tobytes()
    assert path.read_bytes() == before


@pytest.mark.parametrize("wrong", [b"", b"null", b"PK\x03\x04", archive(), "cut", "null inside"])
def test_a_broken_checkpoint_means_the_start(wrong, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from kaggle_digits.core import checkpoint

    variable = SimpleNamespace(shape=(3,), assign=lambda values: values)
    monkeypatch.setattr(checkpoint, "_variables", lambda model: [variable])
    path = tmp_path / "c.npz"
    if isinstance(wrong, bytes):
        path.write_bytes(wrong)
    else:
        about = "null" if wrong == "null inside" else json.dumps({"history": [1.0], "seconds": 2.0})
        stream = io.BytesIO()
        np.savez(stream, about=np.asarray(about), v0=np.zeros(3))
        content = stream.getvalue()
        path.write_bytes(content[: len(content) // 2] if wrong == "cut" else content)
    state = checkpoint.Checkpoint(path).restore(None)
    assert (state.history, state.seconds) == ([], 0.0)


def test_an_intact_workspace_is_read(filled, made, call):
    """Else all the refusals above would prove nothing."""
    for words in (
        ["tune", "--show"],
        ["members"],
        ["members", "--all"],
        ["submissions", "--local"],
    ):
        code, _, err = call(*words, "--data", made.folder, "--workspace", filled.root)
        assert code == 0, err
    (filled.submissions / "submission.json").unlink()
    code, _, err = call(*submit(made), "--data", made.folder, "--workspace", filled.root)
    assert code == 0, err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": "0"}, 'seed is "0"; expected a whole number'),
        ({"seed": True}, "seed is true"),
        ({"fold": "one"}, 'fold is "one"; expected a whole number'),
        ({"colour": 1}, "colour is no field that this version knows"),
        ({"config": {"depth": "x"}}, "depth was given as 'x'"),
    ],
)
def test_the_field_that_is_wrong_is_named(change, says, filled):
    path = filled.ensembles / "plan.json"
    stored = json.loads(path.read_text())
    stored["members"][0] |= change
    path.write_text(json.dumps(stored))
    with pytest.raises(ArtefactError, match="plan.json is not a plan of members") as error:
        MemberStore(filled).read_plan()
    assert says in error.value.message


def test_what_a_newer_version_wrote_is_said_so(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"versions": {"kaggle-digits": "99.0"}, "new": 1})
    with pytest.raises(ArtefactError, match="written by version 99.0; this is 0.") as error:
        read_artefact(path, lambda values: Fields(values).text("old"), "a thing", "Mend it.")
    assert error.value.mend.startswith("Install the newer version")
    write_json(path, {"versions": {"kaggle-digits": "0.0.1"}})
    with pytest.raises(ArtefactError, match="old is missing") as error:
        read_artefact(path, lambda values: Fields(values).text("old"), "a thing", "Mend it.")
    assert error.value.mend == "Mend it."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", None, []])
def test_a_number_is_a_finite_number(value):
    with pytest.raises(FormError, match="a is .*; expected a number"):
        Fields({"a": value}).number("a")


@pytest.mark.parametrize("wrong", ["empty", "no array", "an archive", "cut", "a cut head"])
def test_what_is_no_array_is_one_kind_of_error(wrong):
    with pytest.raises(ValueError):
        load_array(io.BytesIO(ARRAYS[wrong]))


@pytest.mark.parametrize("wrong", ARRAYS)
def test_a_broken_copy_of_the_bank_is_made_anew(wrong, made, workspace):
    from kaggle_digits.core.augmentation import Bank
    from kaggle_digits.ground.progress import Silent

    bank = Bank(load(made.folder, workspace), "light", 0, workspace)
    bank.ensure([0], Silent())
    before = np.array(bank.copy(0))
    (path,) = (workspace.cache / "bank").glob("*/copy-000/images.npy")
    path.unlink()  # the old file is mapped still
    path.write_bytes(ARRAYS[wrong])
    assert np.array_equal(bank.copy(0), before)
