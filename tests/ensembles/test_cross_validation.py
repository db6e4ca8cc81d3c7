"""The plan of members: configurations × folds × seeds, added to, kept with weights, in a budget."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from ensembles.configurations import choose, read_config
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.pseudo_labels import PseudoRule
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import MODEL, MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.records.ranking import Ranked, write_ranking

A, B, C = (TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2, 3))
SETTINGS = CrossValidationSettings(folds=3, epochs=4, copies=4, seed=0)


class Lines(Silent):
    """Keeps what is said, and for each unit of a task whether its time counts."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.timed: list[bool] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Lines]:
        yield self

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self.timed += [timed] * by


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def run(dataset, workspace, planted, lines):
    """Call `cross_validate` on the small competition; options replace those of SETTINGS."""

    def run(*configs, **options):
        settings = dataclasses.replace(SETTINGS, **options)
        return cross_validate(configs, dataset, workspace, settings, lines, planted.clock)

    return run


@pytest.fixture
def store(workspace) -> MemberStore:
    return MemberStore(workspace)


def sets(keys) -> list[tuple[int, int, int]]:
    """Return depth, repeat and epochs of each fold set, in order."""
    return list(dict.fromkeys((k.config.depth, k.repeat, k.epochs) for k in keys))


def test_whole_fold_sets_configurations_first_then_seeds(run, planted) -> None:
    done = run(A, B, seeds=2)
    assert sets(done.keys) == [(1, 0, 4), (2, 0, 4), (1, 1, 4), (2, 1, 4)]
    assert [(k.config, k.repeat, k.fold) for k in done.keys] == [
        (config, repeat, fold) for repeat in (0, 1) for config in (A, B) for fold in range(3)
    ]
    assert [job.seed for job in planted.jobs] == [key.seed for key in done.keys]
    assert len({key.seed for key in done.keys}) == 12
    assert (done.trained, done.known) == (12, 0)


def test_a_member_keeps_its_seed_and_name_whatever_is_trained_beside_it(run) -> None:
    alone = run(B).keys
    assert [key for key in run(A, B, seeds=3).keys if key.config == B and not key.repeat] == alone


def test_keys_from_before_there_were_repeats_and_rounds_are_read_and_keep_their_names(run) -> None:
    key = run(A).keys[0]
    assert not {"repeat", "round", "pseudo"} & set(key.to_json())
    assert MemberKey.from_json(key.to_json()) == key
    other = dataclasses.replace(key, repeat=1, round=2, pseudo="ab")
    assert MemberKey.from_json(json.loads(json.dumps(other.to_json()))) == other
    names = {key.name, *(dataclasses.replace(key, **{n: v}).name for n, v in (
        ("repeat", 1), ("round", 1), ("pseudo", "x")))}  # fmt: skip
    assert len(names) == 4


def test_a_fold_sets_members_share_its_name_and_no_others_do(run) -> None:
    names = [key.set_name for key in run(A, B, seeds=2).keys]
    assert names == [name for name in dict.fromkeys(names) for _ in range(3)]
    assert names[0] == f"{A.digest[:8]}-epochs4-repeat0"


def test_finished_members_are_counted_and_never_trained_again(run, planted) -> None:
    run(A)
    done = run(A, B)
    assert (done.trained, done.known) == (3, 3)
    assert len(planted.jobs) == 6


def test_without_add_the_plan_is_replaced_and_members_are_taken_up_again(run, store) -> None:
    run(A)
    assert sets(run(B).keys) == sets(store.read_plan()[1]) == [(2, 0, 4)]
    assert len(store.on_disk()) == 6
    assert (run(A).known, run(A).trained) == (3, 0)


def test_add_brings_seeds_and_configurations_to_what_is_there(run, store, lines) -> None:
    run(A)
    assert sets(run(A, add=True, seeds=2).keys) == [(1, 0, 4), (1, 1, 4)]
    done = run(B, add=True)
    assert sets(done.keys) == sets(store.read_plan()[1]) == [(1, 0, 4), (1, 1, 4), (2, 0, 4)]
    assert (done.trained, done.known) == (3, 6)
    assert lines.timed[-9:] == [False] * 6 + [True] * 3, "the time left is that of new members"
    again = run(B, add=True)
    assert again.keys == done.keys and again.trained == 0


def test_add_trains_what_the_plan_still_lacks(run, store, planted) -> None:
    from kaggle_digits.ground.files import remove

    keys = run(A).keys
    remove(store.path(keys[1]))
    done = run(B, add=True)
    assert store.has(keys[1]) and done.trained == 4 and done.known == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 2}, "--folds was given as 2; the plan that is added to has 3"),
        ({"seed": 5}, "--seed was given as 5"),
    ],
)
def test_members_on_other_folds_cannot_be_added(run, options, says) -> None:
    run(A)
    with pytest.raises(ConfigurationError, match=says):
        run(A, add=True, **options)


def test_members_of_other_data_are_not_added_to(run, dataset, workspace, planted) -> None:
    keys = run(A).keys
    other = dataclasses.replace(dataset, digest="0" * 16)
    with pytest.raises(ArtefactError, match=f"{keys[0].name} was made from other data"):
        cross_validate(
            [A], other, workspace, dataclasses.replace(SETTINGS, add=True), Silent(), planted.clock
        )


# --- weights


def test_networks_are_kept_beside_the_predictions_and_nowhere_else(run, store, workspace) -> None:
    keys = run(A, keep_weights=True).keys
    assert all(store.has_weights(key) for key in keys)
    assert sorted(p.name for p in store.path(keys[0]).iterdir()) == [
        "held_out.npy", "member.json", MODEL, "test.npy",
    ]  # fmt: skip
    assert not list(workspace.cache.rglob(MODEL))
    assert store.checked_model(keys[0]) == store.model_path(keys[0])


def test_members_without_weights_are_trained_again_only_when_asked_and_it_is_said(
    run, store, lines, planted
) -> None:
    keys = run(A).keys
    assert run(A).trained == 0 and not any(map(store.has_weights, keys))
    before = [store.record(key) for key in keys]
    done = run(A, keep_weights=True)
    assert done.trained == 3 and all(map(store.has_weights, keys))
    assert "cv-train: 3 members have no weights and are trained again to keep them" in lines.lines
    # The same predictions: the members are the same ones, with their records as they were.
    assert [store.record(key) for key in keys] == before
    said = len(lines.lines)
    assert run(A, keep_weights=True).trained == run(A).trained == 0
    assert len(lines.lines) == said
    assert store.has_weights(keys[0])


def test_weights_of_another_machine_replace_the_member(run, store, lines, planted) -> None:
    keys = run(A).keys
    old = store.load(keys[0], (10, 12), 3)
    planted.sharpness *= 2
    run(A, keep_weights=True)
    new = store.load(keys[0], (10, 12), 3)
    assert not np.array_equal(old.test, new.test)
    assert store.checked_model(keys[0]).exists()
    assert sum("predicts otherwise than before" in line for line in lines.lines) == 3


def test_a_kill_between_predictions_and_weights_leaves_a_whole_member(
    run, store, monkeypatch
) -> None:
    keys = run(A).keys

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kaggle_digits.records.members.write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        run(A, keep_weights=True)
    monkeypatch.undo()
    assert store.has(keys[0]) and not store.has_weights(keys[0])
    store.load(keys[0], (10, 12), 3)


def test_another_network_in_a_members_folder_is_refused(run, store) -> None:
    key, other, *_ = run(A, keep_weights=True).keys
    store.model_path(key).write_bytes(store.model_path(other).read_bytes())
    with pytest.raises(ArtefactError, match="is not the file that training wrote"):
        store.checked_model(key)


# --- a time budget


# A member is 1 s + 4 × 1 s, a set of three 15 s.


def test_a_budget_is_filled_with_whole_sets_and_more_seeds(run, measured, planted, lines) -> None:
    done = run(A, B, budget=100)
    # 97 s can be planned with, 1 s went into measuring: six sets of 15 s.
    assert sets(done.keys) == [(1, r, 4) if d == 1 else (2, r, 4) for r in range(3) for d in (1, 2)]
    assert planted.now == 91 and done.trained == 18
    plan = [line for line in lines.lines if "plan" in line or "repeat 0: 3 folds" in line]
    assert plan[0] == "plan: 6 fold sets in 1 min 30 s of 1 min 39 s"
    assert "strided, repeat 0: 3 folds × 4 epochs, 20 images/s, " in plan[1]


def test_a_small_budget_means_fewer_epochs_of_one_whole_set(run, measured, planted) -> None:
    done = run(A, B, budget=12)
    assert sets(done.keys) == [(1, 0, 2)] and done.trained == 3
    assert planted.now == 9.5
    assert {key.copies for key in done.keys} == {2}
    assert [config for config, _ in measured.calls] == [A]


def test_even_no_time_at_all_makes_one_whole_set(run, measured) -> None:
    assert sets(run(A, B, budget=0.1).keys) == [(1, 0, 1)]


def test_what_is_left_after_full_sets_goes_into_one_of_fewer_epochs(run, measured) -> None:
    # 34 s: 33 to plan with, 0.5 measured twice; 15 + 15 leave 2, which is nothing; of 28, 12 are.
    assert sets(run(A, B, budget=34).keys) == [(1, 0, 4), (2, 0, 4)]
    assert sets(run(C, budget=29.5).keys) == [(3, 0, 4), (3, 1, 3)]


def test_measuring_takes_a_small_part_of_a_short_budget(run, measured) -> None:
    run(A, budget=100)
    run(B, budget=301)
    assert [seconds for _, seconds in measured.calls] == [2.0, 6.0]


@pytest.mark.parametrize("wrong", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("budget", [40, 77, 150, 240])
def test_a_budget_is_kept_within_a_tenth_whatever_was_measured(
    run, measured, planted, wrong, budget
) -> None:
    measured.wrong = wrong
    done = run(A, B, C, budget=budget)
    assert all(len({k.fold for k in done.keys if k.fold_set == s}) == 3
               for s in {k.fold_set for k in done.keys})  # fmt: skip
    assert planted.now <= 1.1 * budget
    # What is left would not make half a set.
    assert budget * 0.97 - planted.now < 3 * (1 + 2) + 0.01


def test_a_plan_within_a_budget_is_the_plan_that_blend_reads(run, measured, store) -> None:
    done = run(A, budget=40)
    settings, keys = store.read_plan()
    assert keys == done.keys and settings["ended"] is True
    assert settings["folds"] == 3 and settings["seed"] == 0


def test_the_same_budget_again_does_nothing_and_with_add_it_buys_more(
    run, measured, planted
) -> None:
    first = run(A, budget=40)
    started = planted.now
    again = run(A, budget=40)
    assert again.keys == first.keys and again.trained == 0 and planted.now == started
    more = run(A, budget=40, add=True)
    assert more.keys[: len(first.keys)] == first.keys
    assert sets(more.keys) == [(1, r, 4) for r in range(4)]
    assert planted.now - started <= 40
    evenmore = run(A, budget=40, add=True)
    assert sets(evenmore.keys) == [(1, r, 4) for r in range(6)]


def test_finished_members_cost_nothing_of_a_budget(run, measured) -> None:
    run(A, B)
    done = run(A, B, budget=40)
    assert sets(done.keys)[:2] == [(1, 0, 4), (2, 0, 4)]
    assert done.known == 6 and len(done.keys) == 12


class Killed(BaseException):
    pass


def test_an_interrupted_plan_is_gone_on_with_its_epochs(
    run, measured, planted, monkeypatch, store
) -> None:
    # A set is a third of the time, so a small one comes before it.
    wanted = [(1, 0, 1), (1, 0, 4), (2, 0, 4)]
    real = planted.train
    calls: list[object] = []

    def killed_later(*args, **more):
        calls.append(args)
        if len(calls) == 5:
            raise Killed
        return real(*args, **more)

    monkeypatch.setattr("ensembles.member_training.train", killed_later)
    with pytest.raises(Killed):
        run(A, B, budget=45)
    assert sets(store.read_plan()[1]) == wanted
    assert store.read_plan()[0]["ended"] is False
    monkeypatch.setattr("ensembles.member_training.train", real)
    started = planted.now
    done = run(A, B, budget=45)
    assert sets(done.keys) == wanted[1:]
    assert (done.known, done.trained) == (4, 5)
    assert planted.now - started < 45


def test_another_request_plans_anew(run, measured, store) -> None:
    run(A, budget=40)
    done = run(A, B, budget=40)
    assert sets(done.keys) == [(1, 0, 4), (2, 0, 4), (1, 1, 4), (2, 1, 4)]
    assert done.known == 6


# --- where configurations come from


def test_configurations_are_read_from_toml_and_json(tmp_path) -> None:
    (tmp_path / "a.toml").write_text("filters = 8\nlearning_rate = 1\n")
    (tmp_path / "b.json").write_text('{"family": "pooled"}')
    assert read_config(tmp_path / "a.toml") == TrainingConfig(filters=8, learning_rate=1.0)
    assert read_config(tmp_path / "b.json") == TrainingConfig(family="pooled")


@pytest.mark.parametrize(
    ("name", "content", "says", "mend"),
    [
        ("a.toml", "filter = 8", "'filter' is not a field of a configuration", "'filters'"),
        ("a.toml", "filters = 2", "filters was given as 2; expected 4 to 256", None),
        ("a.toml", "filters 8", "is no TOML: ", None),
        ("a.json", "{", "is no JSON: ", None),
        ("a.json", "[1]", "holds a list; expected names and values", None),
        ("a.txt", "", "whose name ends in .toml or .json", None),
        ("a.toml", None, "cannot be read: No such file", "Give the path"),
    ],
)
def test_broken_configuration_files(tmp_path, name, content, says, mend) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_config(tmp_path / name)
    assert name in caught.value.message
    assert mend is None or mend in str(caught.value.mend)


def test_where_configurations_come_from(run, store, dataset, workspace, tmp_path) -> None:
    (tmp_path / "c.toml").write_text('depth = 3\naugmentation = "none"\n')
    ranking, file, said = tmp_path / "best.json", tmp_path / "c.toml", []

    def chosen(**options):
        options = {"given": (), "top_k": None, "usual": 1, "add": False} | options
        return choose(store, ranking, dataset.digest, say=said.append, **options)

    assert chosen(given=(file, file)) == [C]  # no best.json is needed
    with pytest.raises(ArtefactError, match="no search has ended yet"):
        chosen()
    write_ranking(ranking, [Ranked(A, 0, 0.1, 0.9), Ranked(B, 1, 0.2, 0.8)], dataset.digest, 0)
    assert chosen() == [A]
    assert chosen(top_k=2, given=(file,)) == [A, B, C]
    assert said == [] and chosen(top_k=3) == [A, B]
    assert said == ["cv-train: 3 configurations asked for, best.json holds 2"]
    assert chosen(add=True) == [A]  # there is no plan yet
    run(C, B)
    assert chosen(add=True) == [C, B]
    assert chosen(add=True, top_k=1) == [A]


def test_what_is_added_follows_the_plan_unless_it_is_given() -> None:
    plan = {"folds": 5, "epochs": 20, "copies": 24, "seeds": 3}
    followed = SETTINGS.following(plan, None, None, None)
    assert (followed.folds, followed.epochs, followed.copies, followed.seeds) == (5, 20, 24, 1)
    given = SETTINGS.following(plan, 2, 4, 2)
    assert (given.folds, given.epochs, given.copies, given.seeds) == (2, 4, 4, 2)
    pseudo = dataclasses.replace(SETTINGS, pseudo=PseudoRule())
    assert pseudo.following(plan, None, None, None).seeds == 3
    del plan["seeds"]  # a plan from before there were seeds
    assert pseudo.following(plan, None, None, None).seeds == 1


def test_a_budget_with_real_networks(make, workspace, lines, store) -> None:
    """Measured, planned and trained in earnest; that the time is kept is shown by a false clock."""
    from kaggle_digits.core.data import load

    config = TrainingConfig(filters=4, depth=1, batch_size=16, augmentation="light")
    settings = CrossValidationSettings(folds=2, epochs=3000, copies=3, seed=0, budget=7)
    dataset = load(make(height=6, width=6, rows=60).folder, workspace)
    done = cross_validate([config], dataset, workspace, settings, lines)
    # On a fast machine a second, longer set may have been begun.
    assert [key.fold for key in done.keys[:2]] == [0, 1] and len(sets(done.keys[:2])) == 1
    assert 1 <= done.keys[0].epochs < 3000
    assert any(line.startswith(f"measuring {config.digest[:8]}: some ") for line in lines.lines)
    assert any(line.startswith("plan: 1 fold set in ") for line in lines.lines)
    for key in done.keys:
        assert len(store.record(key)["history"]) == key.epochs
