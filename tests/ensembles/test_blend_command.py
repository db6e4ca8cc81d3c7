"""`blend` as a user calls it, on members whose predictions are planted."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from ensembles.methods import METHODS
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.predictions import score, softmax
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.stamps import digest
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell import cli
from submissions.account import read_about
from submissions.validation import validate

FOLDS = 3
NOISES = {TrainingConfig(): 1.4, TrainingConfig(depth=1): 1.6, TrainingConfig(filters=8): 3.0}


@pytest.fixture
def competition(make):
    return make(rows=240, test_rows=60)


@pytest.fixture
def members(competition, workspace) -> list[Member]:
    """Whole fold sets of three configurations, the truth's logits with more and more noise."""
    dataset = load(competition.folder, workspace)
    folds = make_folds(dataset, FOLDS, 0, workspace)
    store, made = MemberStore(workspace), []
    truth = np.random.default_rng(7).integers(0, 3, 60)
    for config, noise in NOISES.items():
        for fold in range(FOLDS):
            seed = int(digest([config.digest, fold])[:7], 16)
            random = np.random.default_rng(seed)
            key = MemberKey(config, fold, seed, 2, 1, dataset.digest, folds.digest, "b" * 16)
            held_out = folds.held_out_rows(fold)
            arrays = [
                softmax(2 * np.eye(3)[labels] + noise * random.normal(size=(len(labels), 3)))
                for labels in (dataset.labels[held_out], truth)
            ]
            member = Member(key, *arrays, {"seconds": 1.0})
            store.add(member)
            made.append(member)
    store.write_plan({"folds": FOLDS, "seed": 0}, [member.key for member in made])
    return made


@pytest.fixture
def blend(competition, workspace, members, capfd):
    """Call `blend`; return exit code, stdout and stderr."""

    def call(*words: object, root=workspace.root) -> tuple[int, str, str]:
        given = ["blend", "--data", competition.folder, "--workspace", root, *words]
        with pytest.raises(SystemExit) as ended:
            cli.cli([str(word) for word in given], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def values(blend):
    """Call `blend --json`, which must succeed; return its object."""

    def call(*words: object, **where: object):
        code, out, err = blend("--json", *words, **where)
        assert code == 0, err
        return json.loads(out)

    return call


def test_plain_blend_is_the_mean_of_all_members_byte_for_byte(blend, members, workspace):
    assert blend()[0] == 0
    mean = np.mean([member.test.astype(np.float64) for member in members], axis=0)
    lines = [f"{row + 1},{label}" for row, label in enumerate(mean.argmax(axis=1))]
    wanted = "".join(f"{line}\r\n" for line in ["ImageId,Label", *lines]).encode()
    assert (workspace.submissions / "submission.csv").read_bytes() == wanted
    np.testing.assert_allclose(np.load(workspace.ensembles / "blend" / "test.npy"), mean, atol=1e-6)


def test_a_temperature_changes_probabilities_and_no_answer(values, workspace):
    plain = values()
    path = workspace.submissions / "submission.csv"
    before = path.read_bytes()
    calibrated = values("--temperature")
    assert path.read_bytes() == before
    assert plain["temperature"] is None and calibrated["temperature"] > 0
    assert calibrated["oof_accuracy"] == plain["oof_accuracy"]
    assert calibrated["fitted_log_loss"] < plain["fitted_log_loss"]


def test_neighbours_of_random_images_are_left_out_and_it_says_so(values, blend, monkeypatch):
    monkeypatch.setattr("ensembles.neighbours._SHARE", 0.5)
    wanted = values("--no-neighbours")
    for options in (["--neighbours"], []):  # asked by themselves, since the images are small
        found = values(*options)
        assert found["temperature"] is None
        assert found["oof_log_loss"] == wanted["oof_log_loss"]
        asked = found["neighbours"]
        assert (asked["rows"], asked["test_rows"], asked["helps"]) == (120, 0, False)
    assert "neighbours" not in wanted
    assert "left out, no gain shown" in blend()[1]


def test_neighbours_that_help_bring_their_temperature(values, monkeypatch):
    monkeypatch.setattr("ensembles.neighbours._SHARE", 0.5)
    monkeypatch.setattr("ensembles.neighbours.Asked.helps", True)
    found = values()
    assert found["temperature"] is not None and found["neighbours"]["test_rows"] > 0


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_every_method_leaves_an_account_that_stands_alone(
    values, members, workspace, competition, method
):
    shown = values("--method", method)
    path = workspace.submissions / "submission.csv"
    account = json.loads(path.with_suffix(".json").read_text())
    assert account["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert account["method"] in METHODS and method in (account["method"], "auto")
    assert account["members"] == [member.key.name for member in members]
    assert shown["oof_log_loss"] == account["oof_log_loss"]
    assert shown["members"] == 9 and shown["rows"] == 60 and account["rows"] == 240
    about = read_about(
        path, validate(path.read_bytes(), path.name, load(competition.folder, workspace))
    )
    assert (about.method, about.cv_accuracy) == (account["method"], account["oof_accuracy"])
    names = list(dict.fromkeys(member.key.set_name for member in members))
    if account["method"] in ("vote", "power"):
        assert account["weights"] is None
    else:
        assert sorted(account["weights"]) == sorted(names)
    if account["method"] in ("mean", "weighted", "greedy"):
        assert sum(account["weights"].values()) == pytest.approx(1)
    if account["method"] in ("weighted", "greedy", "stack"):
        assert account["weights"][names[0]] > account["weights"][names[2]]
        assert account["oof_log_loss"] > account["fitted_log_loss"]
    else:
        assert account["oof_log_loss"] >= account["fitted_log_loss"]


def test_the_saved_predictions_are_those_that_were_judged(values, competition, workspace):
    shown = values("--method", "weighted")
    folder = workspace.ensembles / "blend"
    assert shown["predictions"] == str(folder)
    oof = np.load(folder / "oof.npy")
    labels = load(competition.folder, workspace).labels
    assert score(oof, labels).log_loss == pytest.approx(shown["oof_log_loss"], abs=1e-6)
    about = json.loads((folder / "blend.json").read_text())
    assert about["method"] == "weighted" and about["classes"] == ["0", "1", "2"]


def test_the_comparison_holds_all_methods_and_all_member_sets(values, members, workspace):
    plain = values()
    before = (workspace.submissions / "submission.csv").read_bytes()
    shown = values("--compare")
    assert (workspace.submissions / "submission.csv").read_bytes() == before
    assert shown["method"] == "mean" and shown["oof_log_loss"] == plain["oof_log_loss"]
    assert [one["method"] for one in shown["methods"]] == list(METHODS)
    by_name = {one["method"]: one for one in shown["methods"]}
    assert by_name["mean"]["against_mean"] is None
    assert by_name["mean"]["honest"]["log_loss"] == plain["oof_log_loss"]
    weighted = by_name["weighted"]
    against = weighted["against_mean"]
    assert against["images_low"] < against["images"] < against["images_high"]
    gain = weighted["honest"]["log_loss"] - plain["oof_log_loss"]
    assert against["log_loss"] == pytest.approx(gain)
    right = (weighted["honest"]["accuracy"] - plain["oof_accuracy"]) * 240
    assert against["images"] == pytest.approx(right)
    names = list(dict.fromkeys(member.key.set_name for member in members))
    assert [one["name"] for one in shown["member_sets"]] == names
    assert shown["member_sets"][0]["verdict"] == "helps"
    assert np.shape(shown["agreement"]) == np.shape(shown["error_overlap"]) == (3, 3)
    assert all(0 <= row < 240 for row in shown["missed_by_all"])


def test_the_comparison_as_a_person_sees_it(blend, members):
    code, out, _ = blend("--compare", "--method", "auto")
    assert code == 0
    lines = out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()[:1]}
    assert set(METHODS) <= set(rows)
    assert sum("*" in rows[name].split()[1] for name in METHODS) == 1
    assert "]" in rows["weighted"] and "]" not in rows["mean"]
    for name in {member.key.set_name for member in members}:
        assert "[" in rows[name]
    assert "missed by all:" in out
    # On a pipe nothing is folded: each row is one line, and the words of a cell stay together.
    assert "images against mean" in lines[0]


def test_what_is_not_whole_is_left_out_and_told(blend, members, workspace):
    store = MemberStore(workspace)
    (store.path(members[4].key) / "member.json").unlink()
    code, out, err = blend("--method", "weighted", "--json")
    assert code == 0 and "1 of 9 planned members are not trained yet" in err
    weights = json.loads(out)["weights"]
    assert sorted(weights) == sorted({members[0].key.set_name, members[8].key.set_name})


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_one_configuration_alone_can_be_blended(values, members, workspace, method):
    MemberStore(workspace).write_plan(
        {"folds": FOLDS, "seed": 0}, [member.key for member in members[:3]]
    )
    shown = values("--method", method, "--compare")
    assert shown["member_sets"][0]["effect"] is None
    if method == "auto":
        assert shown["method"] == "mean"


def test_a_blend_is_an_extra_for_others(values, members, workspace, tmp_path):
    alone = values()
    theirs = tmp_path / "theirs"
    (workspace.ensembles / "blend").rename(theirs)
    extra = f"{theirs / 'oof.npy'},{theirs / 'test.npy'},friend"
    shown = values("--extra", extra, "--compare", "--method", "mean")
    assert shown["members"] == 10 and shown["weights"]["friend"] == pytest.approx(1 / 4)
    assert shown["oof_log_loss"] != alone["oof_log_loss"]
    friend = shown["member_sets"][3]
    assert friend["name"] == "friend" and friend["effect"]["images_low"] <= 0
    assert friend["score"]["log_loss"] == pytest.approx(alone["oof_log_loss"], abs=1e-6)
    account = json.loads((workspace.submissions / "submission.json").read_text())
    (told,) = account["extras"]
    assert told["name"] == "friend" and account["members"][-1] == "friend"
    for part in ("oof", "test"):
        content = (theirs / f"{part}.npy").read_bytes()
        assert told[f"{part}_sha256"] == hashlib.sha256(content).hexdigest()


def test_extras_in_disorder_are_refused(values, blend, workspace, tmp_path, competition):
    values()
    folder = workspace.ensembles / "blend"
    # One row too far: three classes in turn, so that nearly every answer is the neighbour's.
    np.save(tmp_path / "oof.npy", np.roll(np.load(folder / "oof.npy"), 1, axis=0))
    np.save(tmp_path / "test.npy", np.load(folder / "test.npy"))
    code, out, err = blend("--extra", f"{tmp_path / 'oof.npy'},{tmp_path / 'test.npy'}")
    assert code == 3 and out == ""
    # How many of the rolled answers happen to be right depends on the machine's rounding.
    assert re.search(
        r"oof is right on 1?\d\.\d% of the training rows, no better than guessing", err
    )


def test_extras_of_the_same_name_are_refused(blend, values, workspace):
    values()
    folder = workspace.ensembles / "blend"
    words = ["--extra", f"{folder / 'oof.npy'},{folder / 'test.npy'}"]
    code, out, err = blend(*words, *words)
    assert code == 2 and out == ""
    assert "Two predictions to blend are named 'oof'" in err and "NAME" in err


@pytest.mark.parametrize(
    ("extra", "code", "says"),
    [
        ("one.npy", 2, "--extra was given as 'one.npy'; expected --extra OOF,TEST"),
        ("none.npy,none.npy", 3, "none.npy cannot be read"),
    ],
)
def test_extras_that_cannot_be_used_end_with_one_line(blend, workspace, extra, code, says):
    ended, out, err = blend("--extra", extra)
    assert ended == code and out == "" and says in err
    assert "Traceback" not in err
    assert not (workspace.submissions / "submission.csv").exists()


def test_members_of_other_classes_are_refused_by_name(blend, members, workspace):
    path = MemberStore(workspace).path(members[2].key)
    np.save(path / "held_out.npy", np.full((80, 4), 0.25, dtype=np.float32))
    code, out, err = blend()
    assert code == 4 and out == "" and members[2].key.name in err
