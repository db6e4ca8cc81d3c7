"""`members` and `cv-train` as a user calls them: what is listed, counted, refused."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.files import HOST
from kaggle_digits.records.members import MODEL, MemberStore, require_same
from kaggle_digits.records.plan import going_on
from kaggle_digits.shell import cli

SMALL = 'depth = 1\naugmentation = "none"\n'


@pytest.fixture
def call(capfd, made, tmp_path, planted):
    """Call a command on the small competition; return exit code, stdout and stderr."""
    (tmp_path / "a.toml").write_text(SMALL)
    (tmp_path / "b.toml").write_text(SMALL + "filters = 8\n")

    def call(name: str, *words: object) -> tuple[int, str, str]:
        common = ["--data", made.folder, "--workspace", tmp_path / "w", "--quiet"]
        with pytest.raises(SystemExit) as ended:
            cli.cli([name, *map(str, [*words, *common])], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def train(call, tmp_path):
    """Call `cv-train` on one of two configurations; return its JSON."""

    def train(name: str, *words: object) -> dict[str, object]:
        given = ["--config", tmp_path / f"{name}.toml", "--folds", 3, "--epochs", 2]
        code, out, err = call("cv-train", *given, *words, "--json")
        assert code == 0, err
        return json.loads(out)

    return train


def listed(call, *words: object) -> dict[str, object]:
    code, out, err = call("members", *words, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def store(tmp_path) -> MemberStore:
    from kaggle_digits.ground.workspace import Workspace

    return MemberStore(Workspace(tmp_path / "w"))


def test_before_any_training_there_is_nothing_to_list(call) -> None:
    code, out, err = call("members")
    assert code == 4 and out == "" and "kaggle-digits cv-train" in err
    assert listed(call, "--all")["members"] == []


def test_the_list_holds_configuration_fold_seed_score_and_state(call, train, store) -> None:
    train("a", "--seeds", 2, "--keep-weights")
    keys = store.read_plan()[1]
    values = listed(call)
    assert (values["planned"], values["trained"]) == (6, 6)
    assert [one["name"] for one in values["members"]] == [key.name for key in keys]
    one, key = values["members"][4], keys[4]
    record = store.record(key)
    wanted = {
        "fold_set": key.set_name, "configuration": key.config.digest, "family": "strided",
        "fold": 1, "repeat": 1, "seed": key.seed, "round": 0, "epochs": 2, "state": "trained",
        "planned": True, "seconds": record["seconds"],
        "weights_bytes": store.model_path(key).stat().st_size,
    } | {name: record["score"][name]
         for name in ("accuracy", "accuracy_se", "log_loss", "log_loss_se")}  # fmt: skip
    assert {name: one[name] for name in wanted} == wanted
    assert values["weights_bytes"] == sum(store.model_path(k).stat().st_size for k in keys)
    code, out, _ = call("members")
    lines = out.splitlines()
    assert code == 0 and lines[0].split()[:5] == [
        "configuration", "family", "fold", "repeat", "seed",
    ]  # fmt: skip
    assert lines[5].split()[:7] == [
        key.config.digest[:8], "strided", "1", "1", str(key.seed), "0", "2",
    ]  # fmt: skip
    assert f"{record['score']['accuracy']:.4f} ± {record['score']['accuracy_se']:.4f}" in lines[5]
    assert "trained  6 of 6" in out and "weights  6 networks" in out


def test_missing_and_resumable_members_are_told_apart(call, train, store) -> None:
    train("a")
    keys = store.read_plan()[1]
    for key in keys[1:]:
        shutil.rmtree(store.path(key))
    store.checkpoints(keys[2]).mkdir(parents=True)
    (store.checkpoints(keys[2]) / "0123.npz").write_bytes(b"a checkpoint")
    values = listed(call)
    assert [one["state"] for one in values["members"]] == ["trained", "missing", "resumable"]
    assert values["members"][1]["accuracy"] is None
    code, out, _ = call("members")
    assert code == 0 and "trained  1 of 3" in out and "next: kaggle-digits cv-train" in out
    # What was left over is gone once the member is there.
    train("a")
    assert not store.checkpoints(keys[2]).exists()
    assert listed(call)["trained"] == 3


def test_the_next_command_goes_on_with_the_plan_that_is_there(call, train, store, tmp_path) -> None:
    """`cv-train` alone planned anew, by a search that nobody had made."""
    train("a")
    shutil.rmtree(store.path(store.read_plan()[1][1]))
    code, out, _ = call("members")
    made = f"cv-train --preset quick --seed 0 --config {tmp_path / 'a.toml'} --folds 3 --epochs 2"
    (line,) = [line for line in out.splitlines() if line.startswith("next: ")]
    assert code == 0 and line.startswith(f"next: kaggle-digits {made} --data ")
    code, _, err = call(*shlex.split(line)[2:])
    assert code == 0, err
    values = listed(call)
    assert (values["planned"], values["trained"]) == (3, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 0, "calls": ["cv-train --folds 3", "cv-train --add --seeds 2"]},
         "cv-train --add --seeds 2"),
        ({"seed": 3, "calls": ["cv-train --folds 3", None]}, "cv-train --add --seed 3"),
        ({"seed": 0, "calls": [None]}, "cv-train --add"),
        ({"seed": 3, "calls": []}, "cv-train --add --seed 3"),
        ({"seed": 0}, "cv-train --add"),
    ],
)  # fmt: skip
def test_a_plan_is_gone_on_with_by_its_last_call_or_by_one_that_adds_nothing(
    settings, words
) -> None:
    assert going_on(settings) == words


def test_members_outside_the_plan_are_listed_on_request(call, train) -> None:
    train("a")
    train("b")
    assert [one["planned"] for one in listed(call)["members"]] == [True] * 3
    values = listed(call, "--all")
    assert [one["planned"] for one in values["members"]] == [True] * 3 + [False] * 3
    assert "trained, not planned" in call("members", "--all")[1]


def test_what_a_kill_left_of_a_member_is_none(call, train, store) -> None:
    train("a")
    path = store.path(store.read_plan()[1][0])
    shutil.copytree(path, path.with_name(f"{path.name}.part-{HOST}-{2**30}.former"))
    assert len(listed(call, "--all")["members"]) == 3


def test_cv_train_says_what_was_there_and_what_was_trained(call, train, tmp_path) -> None:
    values = train("a")
    assert (values["trained"], values["known"], values["fold_sets"]) == (3, 0, 1)
    values = train("a")
    assert (values["trained"], values["known"], values["members"]) == (0, 3, 3)
    values = train("b", "--add", "--keep-weights", "--seeds", 2)
    assert (values["trained"], values["known"], values["members"]) == (9, 0, 9)
    assert values["weights_bytes"] > 0 and values["configurations"] == 2
    code, out, _ = call("cv-train", "--add")
    assert code == 0 and "9 (3 fold sets × 3 folds)" in out
    assert "0 now, 9 were there already" in out


def test_seeds_alone_are_added_with_the_plans_configurations(call, train, store) -> None:
    train("b")
    code, out, err = call("cv-train", "--add", "--seeds", 3, "--json")
    assert code == 0, err
    keys = store.read_plan()[1]
    assert {key.config.filters for key in keys} == {8} and {key.epochs for key in keys} == {2}
    assert [key.repeat for key in keys] == [0] * 3 + [1] * 3 + [2] * 3
    assert json.loads(out)["trained"] == 6


def test_pseudo_labels_by_the_command_line(call, train, store) -> None:
    values = train("a", "--pseudo-label", "--pseudo-threshold", 0.4, "--pseudo-targets", "hard")
    assert values["members"] == 6
    about = store.record(store.read_plan()[1][3])["pseudo_labels"]
    assert about["rule"] == {"threshold": 0.4, "share": 1.0, "rounds": 1, "targets": "hard"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--time-budget", "soon"], "--time-budget was given as 'soon'; expected a time like"),
        (["--pseudo-share", "0.5"], "--pseudo-share was given without --pseudo-label"),
        (["--pseudo-label", "--pseudo-threshold", "2"], "--pseudo-threshold was given as 2.0"),
        (["--pseudo-label", "--pseudo-targets", "firm"], "--pseudo-targets"),
        (["--seeds", "0"], "--seeds"),
        (["--config", "none.toml"], "--config none.toml cannot be read"),
    ],
)
def test_wrong_options_end_with_2(call, words, says) -> None:
    code, out, err = call("cv-train", *words)
    assert code == 2 and out == "" and says in err and "Traceback" not in err


# --- what members are checked for


def test_a_members_rows_cannot_be_moved(train, store) -> None:
    train("a")
    key = store.read_plan()[1][0]
    path = store.path(key) / "held_out.npy"
    array = np.load(path)
    np.save(path, array[::-1])
    with pytest.raises(ArtefactError, match="is not the file that training wrote"):
        store.load(key, (10, 12), 3)


def test_members_without_digests_are_read_as_before(train, store) -> None:
    train("a")
    key = store.read_plan()[1][0]
    path = store.path(key) / "member.json"
    about = json.loads(path.read_text())
    del about["sha256"]
    path.write_text(json.dumps(about))
    assert store.load(key, (10, 12), 3).key == key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fold": 2}, "holds another member than its name says"),
        ({"what": 1}, "is not a member's record"),
        ({"config": {"depht": 1}}, "is not a member's record"),
    ],
)
def test_a_folder_that_holds_something_else_is_named(call, train, store, change, says) -> None:
    train("a")
    path = store.path(store.read_plan()[1][0]) / "member.json"
    about = json.loads(path.read_text())
    about["key"] |= change
    path.write_text(json.dumps(about))
    with pytest.raises(ArtefactError, match=says):
        store.on_disk()
    code, _, err = call("members", "--all")
    assert code == 4 and path.parent.name in err


def test_members_of_other_classes_data_or_folds_are_refused_by_name(train, store) -> None:
    train("a")
    keys = store.read_plan()[1]
    require_same(keys, keys[0].data, keys[0].folds)
    with pytest.raises(ArtefactError, match=f"{keys[0].name} was made from other data"):
        require_same(keys, "0" * 16, keys[0].folds)
    with pytest.raises(ArtefactError, match=f"{keys[0].name} was made from other folds"):
        require_same(keys, keys[0].data, "0" * 16)
    with pytest.raises(ArtefactError, match=r"has shape \(10, 3\); expected \(10, 4\)"):
        store.load(keys[0], (10, 12), 4)


def test_a_broken_plan_is_refused(call, train, tmp_path: Path) -> None:
    train("a")
    path = tmp_path / "w" / "ensembles" / "plan.json"
    stored = json.loads(path.read_text())
    stored["members"][0]["config"]["colour"] = 1
    path.write_text(json.dumps(stored))
    code, _, err = call("members")
    assert code == 4 and "is not a plan of members" in err
    assert "elete" in err and "--fresh" not in err, "the members can stay"
    path.unlink()
    assert train("a")["known"] == 3


def test_fresh_begins_anew(call, train, store) -> None:
    train("a", "--keep-weights")
    assert train("b", "--fresh")["known"] == 0
    assert len(store.on_disk()) == 3 and not list(store.folder.rglob(MODEL))
