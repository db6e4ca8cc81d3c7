"""Members of all rows: they speak of the test images, and no out-of-fold figure hears of them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from ensembles import api, report, student
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.distilling import find_teachers
from ensembles.pool import make_pool
from ensembles.pseudo_labels import PseudoRule, helpers
from ensembles.stored import read_blend
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.place import Place
from kaggle_digits.ground.artefacts import FormError
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell.cli import cli
from kaggle_digits.shell.report.parts import Subject

A, B = (TrainingConfig(depth=depth, augmentation="none") for depth in (1, 2))
SETTINGS = CrossValidationSettings(folds=3, epochs=4, copies=4, seed=0, keep_weights=True)


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def train(dataset: Any, workspace: Any, refit: int, *configs: TrainingConfig) -> list[MemberKey]:
    settings = dataclasses.replace(SETTINGS, refit=refit)
    return cross_validate(configs or (A,), dataset, workspace, settings, Silent()).keys


def blend(dataset: Any, workspace: Any) -> Any:
    return api.blend(Place(workspace, lambda: dataset, Silent()), neighbours=False)


def test_they_see_all_rows_after_all_folds_and_the_test_images_alone(
    dataset, workspace, planted
) -> None:
    keys = train(dataset, workspace, 2, A, B)
    assert [key.fold for key in keys] == [0, 1, 2] * 2 + [None] * 4
    assert [key.config.depth for key in keys] == [1] * 3 + [2] * 3 + [1, 1, 2, 2]
    assert len({key.seed for key in keys}) == 10
    for job in planted.jobs[6:]:
        assert job.train_rows.tolist() == list(range(len(dataset.images)))
        assert not len(job.held_out_rows) and job.predict_test
    store = MemberStore(workspace)
    classes = len(dataset.competition.classes)
    member = store.load(keys[-1], (0, len(dataset.test_images)), classes)
    assert "score" not in member.record and keys[-1].name.startswith(f"{B.digest[:8]}-all-seed")
    assert MemberKey.from_json(json.loads(json.dumps(keys[-1].to_json()))) == keys[-1]
    with pytest.raises(FormError, match="fold is missing"):
        MemberKey.from_json({k: v for k, v in keys[-1].to_json().items() if k != "fold"})


def test_out_of_fold_predictions_are_the_same_bytes_and_test_ones_the_mean_of_all(
    dataset, workspace, planted
) -> None:
    plain_keys = train(dataset, workspace, 0)
    plain = blend(dataset, workspace)
    keys = train(dataset, workspace, 2)
    assert keys[:3] == plain_keys and len(planted.jobs) == 5, "finished members are taken up"
    refitted = blend(dataset, workspace)
    assert refitted.oof.tobytes() == plain.oof.tobytes()
    assert refitted.oof_log_loss == plain.oof_log_loss
    said = np.stack([result.test for result in planted.results])
    np.testing.assert_allclose(refitted.test, said.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(plain.test, said[:3].mean(axis=0), atol=1e-6)
    assert len(refitted.about["members"]) == 5


def test_one_that_is_not_there_yet_leaves_its_fold_set_whole(dataset, workspace, planted) -> None:
    keys = train(dataset, workspace, 2)
    store, folds = MemberStore(workspace), make_folds(dataset, 3, 0, workspace)
    remove(store.path(keys[-1]))
    pool, missing = make_pool(keys, store, dataset, folds)
    assert missing == [keys[-1]] and pool.names == (keys[0].set_name,)
    said = np.stack([result.test for result in planted.results[:4]])
    np.testing.assert_allclose(pool.test[0], said.mean(axis=0), atol=1e-6)
    # A fold that is missing takes its set away, whatever stands beside it.
    remove(store.path(keys[0]))
    other = train(dataset, workspace, 0, B)
    pool, _ = make_pool([*keys, *other], store, dataset, folds)
    assert pool.names == (other[0].set_name,)


def test_no_label_of_a_fold_travels_by_them(dataset, workspace, planted) -> None:
    """They have seen every label: they teach nothing that is judged by one."""
    keys = train(dataset, workspace, 2)
    store, folds = MemberStore(workspace), make_folds(dataset, 3, 0, workspace)
    assert [key.fold for key in find_teachers(keys, store, dataset, folds).keys] == [0, 1, 2]
    for fold in range(3):
        assert [key.fold for key in helpers(keys, fold)] == [fold]


def test_what_they_can_bring_is_said_and_a_budget_plans_none(dataset, workspace, planted) -> None:
    lines = Lines()
    settings = dataclasses.replace(SETTINGS, refit=2)
    cross_validate((A,), dataset, workspace, settings, lines)
    # 1 - (2/3)^0.48
    (said,) = (line for line in lines.lines if "fewer errors" in line)
    assert "2 members of all 30 rows" in said and "18% fewer errors than one of 3 folds" in said
    assert any(line.startswith(f"member {A.digest[:8]} of all rows: ") for line in lines.lines)
    for other in ({"budget": 60.0}, {"pseudo": PseudoRule()}):
        with pytest.raises(ConfigurationError, match="was given with --refit"):
            dataclasses.replace(settings, **other)


def test_what_is_added_later_leaves_them_in_the_plan(dataset, workspace, planted) -> None:
    of_all = [key for key in train(dataset, workspace, 2) if key.fold is None]
    for more in ({"seeds": 2}, {}, {"pseudo": PseudoRule()}, {"refit": 1}):
        settings = dataclasses.replace(SETTINGS, add=True, **more)  # type: ignore[arg-type]
        keys = cross_validate((A,), dataset, workspace, settings, Silent()).keys
        assert set(of_all) <= set(keys), more
        assert len(keys) == len(set(keys)), more
    # Asked for beside a plan of two seeds, each of its sets has its own.
    assert SETTINGS.following({**SETTINGS.to_json((A,)), "seeds": 2}, None, None, None).seeds == 1
    refit = dataclasses.replace(SETTINGS, refit=2, add=True)
    settings = refit.following({**SETTINGS.to_json((A,)), "seeds": 2}, None, None, None)
    keys = cross_validate((A,), dataset, workspace, settings, Silent()).keys
    assert [key.repeat for key in keys if key.fold is None] == [0, 0, 1, 1]


def test_each_set_of_a_budget_has_its_own_and_none_is_trained_anew(
    dataset, workspace, planted
) -> None:
    for epochs, seeds in ((4, 1), (2, 2)):
        settings = dataclasses.replace(
            SETTINGS, epochs=epochs, copies=epochs, seeds=seeds, add=True
        )
        cross_validate((A,), dataset, workspace, settings, Silent())
    plan, before = MemberStore(workspace).read_plan()
    settings = dataclasses.replace(SETTINGS, refit=1, add=True)
    settings = settings.following({**plan, "epochs": 24, "seeds": 1}, None, None, None)
    keys = cross_validate((A,), dataset, workspace, settings, Silent()).keys
    assert set(keys) - set(before) == {key for key in keys if key.fold is None}
    added = [(key.epochs, key.repeat) for key in keys if key.fold is None]
    assert sorted(added) == [(2, 0), (2, 1), (4, 0)]


def test_the_report_names_the_calls_that_make_all_of_it_again(
    dataset, workspace, planted, tmp_path
) -> None:
    place = Place(workspace, lambda: dataset, Silent())
    quick, file = load_presets()["quick"], tmp_path / "a b.json"
    file.write_text(json.dumps(A.to_json()))
    given = {"folds": 3, "epochs": 4, "config": [file]}
    for more in ({"refit": 2}, {"add": True, "seeds": 2}, {"add": True, "seeds": 2}):
        api.cross_validate(place, quick, 0, **given, **more)  # type: ignore[arg-type]
    subject = Subject(workspace, lambda: dataset, str)
    first = f"cv-train --preset quick --seed 0 --config '{file}' --folds 3 --epochs 4 --refit 2"
    second = first.replace("--refit 2", "--seeds 2 --add")
    assert report.training(subject).repeat == [first, second], "called again, it goes on"
    api.cross_validate(place, quick, 0, folds=3, epochs=4, config=[A])
    section = report.training(subject)
    assert section.repeat == [] and "that no command repeats" in section.provenance["members"]


def test_a_budget_beside_one_that_is_missing_tells_of_those_that_are_there(
    dataset, workspace, planted, measured
) -> None:
    keys = train(dataset, workspace, 2)
    store = MemberStore(workspace)
    remove(store.path(keys[-1]))
    settings = dataclasses.replace(SETTINGS, add=True, budget=30.0)
    done = cross_validate((A, B), dataset, workspace, settings, Silent(), clock=planted.clock)
    assert keys[-1] not in done.keys and set(keys[:-1]) < set(done.keys)
    assert all(store.has(key) for key in done.keys)
    assert [key for key in store.read_plan()[1] if key.fold is None] == keys[3:], "it stays planned"


def test_distil_says_why_they_cannot_teach(dataset, workspace, planted) -> None:
    keys = train(dataset, workspace, 2)
    blend(dataset, workspace)
    teachers = find_teachers(
        keys, MemberStore(workspace), dataset, make_folds(dataset, 3, 0, workspace)
    )
    said = student.remarks(teachers, read_blend(workspace, dataset), keys)
    assert said == ["2 members of all rows cannot teach: they have seen every label"]


def test_the_list_shows_them_without_figures(dataset, workspace, planted) -> None:
    train(dataset, workspace, 1)
    place = Place(workspace, lambda: dataset, Silent())
    found = api.members(place)
    header, *rows = found.table()
    shown = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["fold"] for row in shown] == ["0", "1", "2", "all rows"]
    assert shown[-1]["accuracy"] == "" and shown[-1]["state"] == "trained"
    assert found.listed[-1].to_json()["fold"] is None and len(found.frame) == 4


def test_by_command_and_in_the_kernels_weights(made, tmp_path, capfd) -> None:
    config, folder = tmp_path / "small.json", tmp_path / "weights"
    config.write_text(json.dumps({"filters": 4, "depth": 1, "augmentation": "none"}))

    def call(*words: str) -> dict[str, Any]:
        given = [*words, "--workspace", str(tmp_path / "w"), "--json"]
        assert cli.main(given, standalone_mode=False) is None
        return json.loads(capfd.readouterr().out)

    train = ["cv-train", "--data", str(made.folder), "--config", str(config), "--folds", "2",
             "--epochs", "1", "--refit", "2", "--keep-weights"]  # fmt: skip
    assert call(*train)["members"] == 4
    with pytest.raises(SystemExit):
        call(*train, "--time-budget", "2m")
    assert "--time-budget was given with --refit" in capfd.readouterr().out
    call("blend")
    call("kernel", "weights", "--owner", "me", "--dry-run", "--dir", str(folder))
    assert len(list(folder.glob("*-all-seed*.keras"))) == 2
