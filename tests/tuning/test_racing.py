"""The race's statistics and its course, and the choice of configurations with different errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.predictions import error_of_mean, score
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.ranking import Ranked, ranking_path, read_ranking
from tuning import coordination
from tuning.racing import Race, _path, fallen_behind, row_scores
from tuning.scoring import Result, ScoringSettings, Splits, splits_of
from tuning.selection import diverse
from tuning.study import StudyOnDisk, read_array, write_array

ROWS, CLASSES = 600, 3
LABELS = np.arange(ROWS) % CLASSES


def softmax(wrong: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Predictions that give each row's label 1 - wrong."""
    found = np.repeat(wrong[:, None] / (CLASSES - 1), CLASSES, axis=1)
    found[np.arange(len(labels)), labels] = 1 - wrong
    return found.astype(np.float32)


def entries(count: int) -> list[Ranked]:
    return [Ranked(TrainingConfig(filters=8 * (n + 1)), n, 0.1 + n, 0.9) for n in range(count)]


def splits(folds: int = 5) -> Splits:
    return Splits(LABELS, ScoringSettings(rows=300, copies=1, folds=0, race_folds=folds, seed=0))


def make_race(tmp_path, count: int, folds: int = 5, repeats: int = 1) -> Race:
    return Race(entries(count), tmp_path, splits(folds), LABELS, 4, repeats, Silent())


def drive(race: Race, mean: dict[int, float], *, rounds: int = 99) -> list[tuple[int, int]]:
    """Let every unit be done with a given mean of `wrong`; return (trial, round) as done."""
    done = []
    while (unit := race.take()) is not None and len(done) < rounds:
        trial = unit.config.filters // 8 - 1
        _, held_out = splits(race._splits.race_folds).race(unit.round)
        random = np.random.default_rng([trial, unit.round])
        wrong = np.clip(mean[trial] * np.exp(random.normal(0, 0.5, len(held_out))), 0.001, 0.9)
        race.give(unit, Result(softmax(wrong, LABELS[held_out])))
        done.append((trial, unit.round))
    return done


def test_row_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(CLASSES), 50)
    losses, right = row_scores(probabilities, LABELS[:50])
    assert losses.mean() == pytest.approx(log_loss(LABELS[:50], probabilities), rel=1e-6)
    assert right.sum() == (probabilities.argmax(1) == LABELS[:50]).sum()


def test_the_rule_is_the_paired_t_test_it_says():
    random = np.random.default_rng(1)
    base = random.exponential(1.0, 400)
    shift = np.where(np.arange(400) % 2, 1.0, -1.0)
    # Mean d and sd 1 give t = d sqrt(400) / sd; the limit for one comparison at 1 % is 2.326.
    spread = shift.std(ddof=1)
    for t, falls in ((2.2, False), (2.5, True)):
        other = base + shift + t * spread / math.sqrt(400)
        assert bool(fallen_behind({"a": base, "b": other})) is falls
    # With five comparisons it is 2.878.
    many = {f"c{n}": base + 1e-9 * shift for n in range(4)}
    other = base + shift + 2.5 * spread / math.sqrt(400)
    assert "b" not in fallen_behind({"a": base, "b": other, **many})


def test_chance_alone_drops_few_and_a_real_difference_drops():
    random = np.random.default_rng(2)
    dropped = 0
    for _ in range(300):
        rows = random.exponential(1.0, 300)
        same = {name: rows + random.normal(0, 0.3, 300) for name in "abcd"}
        dropped += len(fallen_behind(same))
    # The leader is the best of four by chance, so a little more than 1 % in 300 races.
    assert dropped <= 15
    better = {"a": rows, "b": rows + random.normal(0.2, 0.3, 300)}
    assert set(fallen_behind(better)) == {"b"}


def test_equal_racers_stay():
    rows = np.ones(10)
    assert fallen_behind({"a": rows, "b": rows.copy()}) == {}


def test_rows_of_few_groups_tell_less_than_rows_on_their_own():
    differences = np.repeat([1.0, 1.0, 1.0, -1.0], 100)
    losses = {"a": np.full(400, 2.0), "b": 2.0 + differences}
    alone = fallen_behind(losses)
    assert alone["b"] > 10
    # Mean 0.5, groups' sums apart from it by 50, 50, 50 and -150: an error of 0.5.
    assert fallen_behind(losses, np.repeat(np.arange(4), 100)) == {}
    assert fallen_behind(losses, np.arange(400)) == pytest.approx(alone)


def test_those_far_behind_leave_after_two_rounds_and_the_rest_goes_on(tmp_path):
    race = make_race(tmp_path, 4)
    done = drive(race, {0: 0.050, 1: 0.5, 2: 0.051, 3: 0.4})
    assert race.is_over
    assert [trial for trial, number in done if number == 1] == [0, 1, 2, 3]
    assert {trial for trial, number in done if number > 1} == {0, 2}
    assert len(done) == 2 * 4 + 3 * 2
    standing = race.standing()
    assert {entry.trial for entry in standing[:2]} == {0, 2}
    assert [entry.trial for entry in standing[2:]] == [3, 1]
    assert [entry.folds for entry in standing] == [5, 5, 2, 2]


def test_the_standing_is_mean_and_standard_error_over_the_rows(tmp_path):
    race = make_race(tmp_path, 2)
    drive(race, {0: 0.05, 1: 0.051})
    rows = np.concatenate(
        [race._scores[race.standing()[0].config.digest, number][0] for number in range(5)]
    )
    best = race.standing()[0]
    assert best.rows == len(rows) and best.folds == 5
    assert best.log_loss == pytest.approx(rows.mean(), rel=1e-6)
    assert best.log_loss_se == pytest.approx(rows.std(ddof=1) / np.sqrt(len(rows)), rel=1e-6)


def test_the_standing_of_rows_in_groups_has_the_errors_of_groups(tmp_path):
    groups = np.arange(ROWS) // 60
    race = Race(
        entries(2), tmp_path, splits(), LABELS, 4, 1, Silent(), groups_of=lambda rows: groups[rows]
    )
    drive(race, {0: 0.3, 1: 0.301})
    best = race.standing()[0]
    own = groups[race._judged(best.folds)]
    losses, right = race._rows(best.config.digest, best.folds)
    assert best.log_loss_se == pytest.approx(error_of_mean(losses, own))
    assert 0 < best.accuracy_se == pytest.approx(error_of_mean(right, own))


def test_all_racers_share_folds_and_seeds_and_repeats_have_their_own(tmp_path):
    own = splits()
    held_out = [own.race(number)[1] for number in range(5)]
    assert len(np.unique(np.concatenate(held_out))) == sum(map(len, held_out))
    assert own.race_seed(4) == own.race_seed(0) != own.race_seed(5)
    assert own.race(5)[1].tolist() != own.race(0)[1].tolist()


@pytest.mark.parametrize("folds", [0, 3])
def test_the_race_uses_other_rows_than_those_the_racers_were_chosen_by(folds):
    settings = ScoringSettings(rows=100, copies=1, folds=folds, race_folds=5, seed=0)
    own = Splits(LABELS, settings)
    assert len(own.trial_rows) == (150 if folds else 50)
    assert len(np.intersect1d(own.trial_rows, np.concatenate(own.race(0)))) == 0


def test_a_race_goes_on_from_its_files(tmp_path):
    wanted = make_race(tmp_path / "whole", 3)
    mean = {0: 0.05, 1: 0.5, 2: 0.051}
    done = drive(wanted, mean)
    begun = make_race(tmp_path / "parts", 3)
    first = drive(begun, mean, rounds=4)
    resumed = make_race(tmp_path / "parts", 3)
    second = drive(resumed, mean)
    # The unit that was taken and not done is done again.
    assert first + second == done
    assert resumed.standing() == wanted.standing()
    assert make_race(tmp_path / "parts", 3).is_over


def test_nobody_is_placed_before_all_have_run(tmp_path):
    race = make_race(tmp_path, 3)
    drive(race, {0: 0.05, 1: 0.05, 2: 0.05}, rounds=2)
    assert race.standing() == []


def test_a_racer_that_fails_leaves_and_keeps_what_it_had(tmp_path):
    race = make_race(tmp_path, 3)
    mean = {0: 0.05, 1: 0.0501, 2: 0.0502}
    drive(race, mean, rounds=3)
    race = make_race(tmp_path, 3)
    unit = race.take()
    assert unit.round == 1
    race.give(unit, Result(None, "memory"))
    drive(race, mean)
    failed = unit.config
    place = next(entry for entry in race.standing() if entry.config == failed)
    assert place.folds == 1 and race.standing()[-1] == place
    again = make_race(tmp_path, 3)
    assert again.is_over and again.standing() == race.standing()


def test_a_search_races_its_best_and_ranks_them_first(go, workspace, dataset, formula):
    found = go(12, racers=3)
    raced = [name for name in formula.names if name.startswith("race")]
    assert raced and found.raced >= 3
    assert all(entry.folds for entry in found.best[: found.raced])
    assert not any(entry.folds for entry in found.best[found.raced :])
    assert len({entry.config for entry in found.best}) == len(found.best)
    assert read_ranking(ranking_path(workspace), dataset.digest) == found.best
    count = len(formula.names)
    assert go(12, racers=3).best == found.best and len(formula.names) == count
    # What every search has to beat is among the racers, however it did.
    assert any(entry.config == found.trials[0].config for entry in found.best[: found.raced])


def test_a_race_stands_though_a_later_call_wants_none(go, formula):
    found = go(12, racers=3)
    count = len(formula.names)
    again = go(12, racers=0)
    assert again.raced == found.raced > 0 and again.best == found.best
    assert len(formula.names) == count


def test_racers_of_a_race_that_was_cut_take_no_places_from_those_of_one_that_ended(
    go, workspace, dataset, formula
):
    found = go(12, racers=3)
    later = found.best[found.raced].config
    labels = dataset.labels[splits_of(dataset, go.settings.scoring).race(0)[1]]
    scores = row_scores(softmax(np.full(len(labels), 0.001), labels), labels)
    write_array(_path(StudyOnDisk(workspace).race, later.digest, 0, "npy"), scores)
    again = go(12, racers=3)
    assert again.raced == found.raced and again.best == found.best
    assert again.best[0].folds > 1


def test_a_race_of_trials_on_folds_has_files_of_its_own(go, workspace, formula):
    found = go(4, racers=2, folds=3)
    folder = StudyOnDisk(workspace).race
    assert found.raced >= 2
    assert {path.parent for path in folder.rglob("*.npy")} == {folder / "apart"}


def test_rows_in_groups_give_trials_and_racers_the_errors_of_groups(
    go, workspace, dataset, formula
):
    groups = np.arange(60) // 6
    grouped = dataclasses.replace(dataset, groups=groups)
    found = go(4, data=grouped, racers=2)
    own, study = splits_of(grouped, go.settings.scoring), StudyOnDisk(workspace)
    rows = own.trial_rows
    for trial in found.trials:
        given = study.predictions(trial.number), grouped.labels[rows]
        told = score(*given, groups[rows])
        assert (trial.log_loss_se, trial.accuracy_se) == (told.log_loss_se, told.accuracy_se)
        assert trial.log_loss_se != score(*given).log_loss_se
    best = found.best[0]
    rounds = range(best.folds)
    rows = np.concatenate([own.race(number)[1] for number in rounds])
    files = [_path(study.race, best.config.digest, number, "npy") for number in rounds]
    losses = np.concatenate([read_array(file)[0] for file in files]).astype(np.float64)
    assert best.log_loss_se == pytest.approx(error_of_mean(losses, groups[rows]))


def test_predictions_of_what_a_search_has_to_beat_are_kept_whatever_its_rank(
    go, workspace, formula, monkeypatch
):
    monkeypatch.setattr(coordination, "KEPT", 2)
    portfolio = tuple(
        TrainingConfig(augmentation="none", dropout=dropout) for dropout in (0.0, 0.4, 0.3, 0.2)
    )
    found = go(4, portfolio=portfolio)
    assert [entry.trial for entry in found.best] == [1, 2, 3, 0]
    study = StudyOnDisk(workspace)
    kept = [number for number in range(4) if study.predictions(number) is not None]
    assert kept == [0, 1, 2]


@pytest.mark.parametrize("killed", [0, 2, 5])
def test_a_race_that_was_killed_repeats_only_the_running_round(
    go, workspace, formula, tmp_path, killed
):
    from kaggle_digits.ground.workspace import Workspace

    wanted = go(12, Workspace(tmp_path / "other"), racers=4)
    names = formula.names.copy()
    formula.names.clear()
    victim = [name for name in names if name.startswith("race")][killed]
    formula.killed = {victim}
    with pytest.raises(formula.Kill):
        go(12, racers=4)
    formula.killed = set()
    found = go(12, racers=4)
    assert found.best == wanted.best
    names.insert(names.index(victim), victim)
    assert formula.names == names


def test_a_time_budget_keeps_time_for_the_race_and_uses_the_rest(go, workspace, formula):
    formula.seconds = 0.02
    found = go(None, seconds=3.0, racers=3)
    assert found.raced >= 3 and found.best[0].folds >= 2
    assert 2.7 <= found.seconds <= 3.3
    count = len(formula.names)
    assert go(None, seconds=3.0, racers=3).best == found.best and len(formula.names) == count


def test_a_race_that_would_not_come_to_its_first_test_is_left_out(go, workspace, formula):
    formula.seconds = 0.4
    found = go(None, seconds=3.0, racers=4)
    # 0.9 s are kept for it, two racers need 1.6 s: the time goes to trials.
    assert found.raced == 0 and not any(name.startswith("race") for name in formula.names)
    assert 2.7 <= found.seconds <= 3.3 and len(found.trials) >= 5


def predictions(wrong_rows: set[int]) -> np.ndarray:
    wrong = np.full(12, 0.02)
    wrong[list(wrong_rows)] = 0.9
    return softmax(wrong, LABELS[:12])


OVERLAPPING = {
    0: predictions({1, 2}), 1: predictions({1, 3, 4}), 2: predictions({2, 5, 6, 7}),
}  # fmt: skip
"""The best one, wrong in two rows, shares a wrong row with each of the others."""


def test_diverse_prefers_other_errors_to_rank():
    made = entries(4)
    of = {0: predictions({1, 2}), 1: predictions({1, 2, 3}), 2: predictions({7, 8, 9})}
    chosen = diverse(made, of, LABELS[:12], 2)
    # By rank the second place is trial 1's, which errs where trial 0 does.
    assert [entry.trial for entry in chosen] == [0, 2, 1, 3]


def test_the_best_two_need_not_hold_the_best_one():
    made = entries(3)
    assert [entry.trial for entry in diverse(made, OVERLAPPING, LABELS[:12], 2)] == [1, 2, 0]
    assert [entry.trial for entry in diverse(made, OVERLAPPING, LABELS[:12], 1)] == [0, 1, 2]


def test_who_won_a_race_stays_though_the_best_two_do_not_hold_it():
    first, *others = entries(3)
    raced = [dataclasses.replace(first, folds=3), *others]
    assert [entry.trial for entry in diverse(raced, OVERLAPPING, LABELS[:12], 2)] == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_no_exchange_betters_what_diverse_takes(seed):
    random = np.random.default_rng(seed)
    made = entries(7)
    of = {n: random.dirichlet(np.ones(CLASSES) * 2, 12).astype(np.float32) for n in range(7)}

    def loss(trials: set[int]) -> float:
        mean = np.mean([of[trial] for trial in trials], axis=0)
        sure = temper(mean, best_temperature(mean, LABELS[:12]))
        return float(-np.log(sure[np.arange(12), LABELS[:12]]).mean())

    order = [entry.trial for entry in diverse(made, of, LABELS[:12], 3)]
    taken = set(order[:3])
    others = set(range(7)) - taken
    exchanged = [taken - {leaves} | {comes} for leaves in taken for comes in others]
    assert loss(taken) <= min(map(loss, exchanged)) + 1e-9
    # Then by what each adds: of those taken from the best of them, of the others to all before.
    assert order[0] == min(taken)
    for place in (1, 3, 4, 5):
        among = taken if place < 3 else set(range(7))
        left = among - set(order[:place])
        assert order[place] == min(left, key=lambda trial: loss({*order[:place], trial}))


def test_a_search_orders_by_diversity_when_asked(go, formula):
    plain = go(12)
    other = go(12, averaged=2)
    assert {entry.config for entry in other.best} == {entry.config for entry in plain.best}
    assert other.best[0] == plain.best[0]
