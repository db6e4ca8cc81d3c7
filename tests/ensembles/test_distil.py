"""One network that learns what the blend says: what each student is taught, and by whom."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ensembles import api, distilling, student
from ensembles.cross_validation import CrossValidationSettings, cross_validate
from ensembles.distilling import Course, Distillation, find_teachers
from ensembles.evaluation import compare, row_results
from ensembles.stored import read_blend
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.core.metrics import fit_thresholds
from kaggle_digits.core.place import Place
from kaggle_digits.engine import Resources, Site, open_engine
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore

CONFIGS = [TrainingConfig(augmentation="none"), TrainingConfig(augmentation="none", depth=1)]
SETTINGS = CrossValidationSettings(folds=3, epochs=2, copies=1, seed=0, keep_weights=True)
COURSE = Course(TrainingConfig(augmentation="none", filters=8), 2, 1, 0, "mean", False)
FOLD = 1


def taught(
    dataset: Any, place: Workspace, course: Course = COURSE, networks: bool = True
) -> tuple[np.ndarray, bytes, Distillation]:
    """Train members and students in a workspace."""
    folds = make_folds(dataset, 3, 0, place)
    settings = dataclasses.replace(SETTINGS, keep_weights=networks)
    keys = cross_validate(CONFIGS, dataset, place, settings, Silent()).keys
    teachers = find_teachers(keys, MemberStore(place), dataset, folds)
    assert teachers.has_networks == networks
    with open_engine(Site(dataset, place, Silent()), Resources(workers=1)) as engine:
        found = Distillation(teachers, course, engine)
        oof, network = found.learn()
    return oof, network, found


def students(planted: Any) -> list[Any]:
    """Return the students' jobs: three of folds, and the one that is delivered."""
    return [job for job in planted.jobs if job.name.startswith("student")]


def test_each_student_learns_from_its_own_folds_members(dataset, workspace, planted) -> None:
    oof, _, _ = taught(dataset, workspace)
    folds = make_folds(dataset, 3, 0, workspace)
    members = [
        (job, result)
        for job, result in zip(planted.jobs, planted.results, strict=True)
        if job.name.startswith("member")
    ]
    *of_folds, whole = students(planted)
    assert [job.name for job in of_folds] == [f"student fold {fold}" for fold in range(3)]
    means = {job.name: np.load(path) for job, path in models(planted, workspace)}

    def said(names: list[str], images: np.ndarray) -> np.ndarray:
        return np.mean([planted.say(means[name], images) for name in names], axis=0)

    for fold, job in enumerate(of_folds):
        own = folds.held_out_rows(fold)
        mine = [one.name for one, _ in members if one.held_out_rows.tolist() == own.tolist()]
        assert len(mine) == 2
        assert job.train_rows.tolist() == folds.training_rows(fold).tolist()
        assert np.allclose(job.targets, said(mine, dataset.images[job.train_rows]), atol=1e-6)
        assert len(job.pseudo_labels.rows) == len(dataset.test_images)
        assert np.allclose(job.pseudo_labels.targets, said(mine, dataset.test_images), atol=1e-6)
    everyone = [one.name for one, _ in members]
    assert len(whole.train_rows) == 30 and not len(whole.held_out_rows)
    assert np.allclose(whole.targets, said(everyone, dataset.images), atol=1e-6)
    assert np.allclose(whole.pseudo_labels.targets, said(everyone, dataset.test_images), atol=1e-6)
    found = {job.name: result for job, result in zip(planted.jobs, planted.results, strict=True)}
    for fold in range(3):
        wanted = found[f"student fold {fold}"].held_out
        assert np.array_equal(oof[folds.held_out_rows(fold)], wanted)


def models(planted: Any, workspace: Workspace) -> list[tuple[Any, Path]]:
    """Return members' jobs, each with the file of what it learned."""
    store = MemberStore(workspace)
    return [
        (job, store.model_path(key))
        for key in store.on_disk()
        for job in planted.jobs
        if job.name.startswith("member") and job.seed == key.seed
    ]


# --- no label of a fold can reach the student that is judged on it


def learned_with(dataset: Any, changed: bool, folder: Path, planted: Any) -> list[Any]:
    place = Workspace(folder)
    own = make_folds(dataset, 3, 0, place).held_out_rows(FOLD)
    labels = dataset.labels.copy()
    if changed:
        labels[own] = (labels[own] + 1) % 3
    planted.jobs.clear()
    planted.results.clear()
    taught(dataclasses.replace(dataset, labels=labels), place)
    return [
        (job, result.held_out)
        for job, result in zip(planted.jobs, planted.results, strict=True)
        if job.name.startswith("student")
    ]


def require_that_the_folds_student_is_the_same(dataset, tmp_path, planted) -> None:
    true = learned_with(dataset, False, tmp_path / "true", planted)
    other = learned_with(dataset, True, tmp_path / "other", planted)
    for (job, held_out), (changed, told) in zip(true, other, strict=True):
        if job.name == f"student fold {FOLD}":
            assert job.made_by("d", "b") == changed.made_by("d", "b")
            assert np.array_equal(held_out, told)
        else:  # every other student's members have seen the change
            assert not np.array_equal(job.targets, changed.targets)


def test_no_label_of_a_fold_reaches_its_student(dataset, tmp_path, planted) -> None:
    require_that_the_folds_student_is_the_same(dataset, tmp_path, planted)


def test_the_same_test_finds_a_leak(dataset, tmp_path, planted, monkeypatch) -> None:
    own = Distillation._said
    monkeypatch.setattr(Distillation, "_said", lambda self, fold, rows: own(self, None, rows))
    with pytest.raises(AssertionError):
        require_that_the_folds_student_is_the_same(dataset, tmp_path, planted)


# --- going on, and what cannot be learned


def test_what_is_complete_is_not_done_again(dataset, workspace, planted) -> None:
    oof, network, found = taught(dataset, workspace)
    folder = workspace.cache / "checkpoints" / f"student-{found.made_by}"
    assert len(list(folder.iterdir())) == 6 + 4
    (folder / "fold1.npy").write_bytes(b"cut")
    planted.jobs.clear()
    again, same, _ = taught(dataset, workspace)
    assert [job.name for job in students(planted)] == ["student fold 1"]
    assert np.array_equal(again, oof) and same == network
    found.forget()
    assert not folder.exists()


def test_without_networks_training_images_teach_by_their_labels(
    dataset, workspace, planted
) -> None:
    taught(dataset, workspace, networks=False)
    assert len(students(planted)) == 4
    assert all(job.targets is None and job.pseudo_labels for job in students(planted))


def test_another_seed_method_or_network_is_another_student(dataset, workspace, planted) -> None:
    _, _, found = taught(dataset, workspace)
    teachers = found._teachers
    known = {
        distilling.made_by(teachers, dataclasses.replace(COURSE, **other))
        for other in (
            {}, {"seed": 1}, {"method": "geometric"}, {"calibrated": True}, {"epochs": 3},
            {"config": TrainingConfig(augmentation="none", filters=9)},
        )
    }  # fmt: skip
    assert len(known) == 6


@pytest.fixture
def place(dataset, workspace) -> Place:
    return Place(workspace, lambda: dataset, Silent())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"config": TrainingConfig(views=9)}, "The student's views was given as 9"),
        ({"config": TrainingConfig(normalisation="deslant")}, "student's normalisation"),
        ({"config": Path("none.toml")}, "none.toml"),
        ({"output": Path("network.h5")}, "ends in .keras or .onnx"),
        ({"epochs": 0}, "epochs was given as 0"),
    ],
)
def test_what_cannot_be_a_student_is_refused(place, given, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        api.distil(place, load_presets()["quick"], 0, **given)


def test_onnx_by_name_is_refused_at_once_where_it_cannot_be_written(place, monkeypatch) -> None:
    monkeypatch.setattr("kaggle_digits.core.portable.ONNX_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ConfigurationError, match="not installed: no_such_package") as error:
        api.distil(place, load_presets()["quick"], 0, output=Path("network.onnx"))
    assert "kaggle-digits[onnx]" in str(error.value.mend)


def test_without_a_blend_there_is_nothing_to_learn(place) -> None:
    with pytest.raises(ArtefactError, match="has no blend yet") as error:
        api.distil(place, load_presets()["quick"], 0)
    assert "kaggle-digits blend" in str(error.value.mend)


def test_a_blend_of_other_rows_is_refused_before_anything_is_trained(
    make, workspace, planted
) -> None:
    """Rows of a class too rare for four folds are in no fold then, and in one of three."""
    made = make(classes=("0", "1"), rows=40)
    for line in (2, 12, 22):
        made.set("train.csv", line, 0, "2")
    dataset = load(made.folder, workspace)
    place = Place(workspace, lambda: dataset, Silent())
    settings = dataclasses.replace(SETTINGS, folds=4, rare="keep-in-train")
    cross_validate(CONFIGS, dataset, workspace, settings, Silent())
    api.blend(place, neighbours=False)
    keys = cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys
    with pytest.raises(ArtefactError, match="judged on 37 of the 40 training rows") as error:
        api.distil(place, load_presets()["quick"], 0)
    assert "kaggle-digits blend" in str(error.value.mend) and not students(planted)
    api.blend(place, neighbours=False)
    teachers = find_teachers(
        keys, MemberStore(workspace), dataset, make_folds(dataset, 3, 0, workspace)
    )
    assert student.remarks(teachers, read_blend(workspace, dataset), keys) == []


def test_a_blend_judged_on_every_row_has_those_that_it_knows_nothing_of(
    dataset, workspace, planted, place
) -> None:
    """The same probability for every class may also be what it says."""
    cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent())
    api.blend(place, neighbours=False)
    path = workspace.ensembles / "blend" / "oof.npy"
    oof = np.load(path)
    oof[4] = 1 / 3
    np.save(path, oof)
    found = read_blend(workspace, dataset)
    assert found.rows.tolist() == list(range(30)) and np.array_equal(found.oof, oof)


def test_that_members_were_planned_since_the_blend_is_said(
    dataset, workspace, planted, place
) -> None:
    cross_validate(CONFIGS[:1], dataset, workspace, SETTINGS, Silent())
    api.blend(place, neighbours=False)
    keys = cross_validate(CONFIGS[1:], dataset, workspace, SETTINGS, Silent()).keys
    store, folds = MemberStore(workspace), make_folds(dataset, 3, 0, workspace)
    teachers = find_teachers(keys, store, dataset, folds)
    assert student.remarks(teachers, read_blend(workspace, dataset), keys) == [
        "the plan has changed since the blend: 3 teachers not in it, 3 members of it no longer "
        "planned and not teaching"
    ]


def test_that_what_neighbours_said_is_not_taught_is_said(
    dataset, workspace, planted, place
) -> None:
    keys = cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys
    api.blend(place, neighbours=False)
    folds, blend = make_folds(dataset, 3, 0, workspace), read_blend(workspace, dataset)
    teachers = find_teachers(keys, MemberStore(workspace), dataset, folds)
    remark = "what the nearest training images said is not taught: no network says it"
    for helps, said in ((True, [remark]), (False, [])):
        about = blend.about | {"neighbours": {"helps": helps}}
        asked = dataclasses.replace(blend, about=about)
        assert student.remarks(teachers, asked, keys) == said


def test_beside_the_blend_rows_of_a_group_err_together(dataset, workspace, planted) -> None:
    dataset = dataclasses.replace(dataset, groups=np.arange(30) // 3)
    keys = cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys
    api.blend(Place(workspace, lambda: dataset, Silent()), neighbours=False)
    folds, blend = make_folds(dataset, 3, 0, workspace), read_blend(workspace, dataset)
    teachers = find_teachers(keys, MemberStore(workspace), dataset, folds)
    oof = np.tile(np.float32([0.5, 0.3, 0.2]), (30, 1))
    found = student._beside(workspace, dataset, teachers, blend, oof, blend.test)
    results = [row_results(one, dataset.labels) for one in (oof, blend.oof)]
    assert found["against_blend"] == dataclasses.asdict(compare(*results, dataset.groups))
    assert found["against_blend"] != dataclasses.asdict(compare(*results))


def test_members_of_other_folds_alone_cannot_teach(dataset, workspace, planted) -> None:
    keys = cross_validate(CONFIGS, dataset, workspace, SETTINGS, Silent()).keys
    store, folds = MemberStore(workspace), make_folds(dataset, 5, 0, workspace)
    with pytest.raises(ArtefactError, match="no set of the plan's own 5 folds is whole") as error:
        find_teachers(keys, store, dataset, folds)
    assert "cv-train" in str(error.value.mend)
    other = dataclasses.replace(dataset, digest="0" * 16)
    with pytest.raises(ArtefactError, match="was made from other data"):
        find_teachers(keys, store, other, folds)


# --- real networks

ALONE = """
import sys, json, numpy as np, keras
model = keras.models.load_model("student.keras")
images = np.load("images.npy")
assert "kaggle_digits" not in sys.modules
np.save("alone.npy", model.predict(images, verbose=0))
import onnxruntime
session = onnxruntime.InferenceSession("student.onnx")
(wanted,), (given,) = session.get_outputs(), session.get_inputs()
assert (given.name, given.type, wanted.name) == ("images", "tensor(uint8)", "probabilities")
np.save("onnx.npy", session.run(None, {"images": images})[0])
"""


def test_the_network_says_the_same_wherever_its_files_are_loaded(make, tmp_path) -> None:
    for name in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(name)
    workspace = Workspace(tmp_path / "w")
    dataset = load(make(height=8, width=8, rows=48).folder, workspace)
    told: list[Any] = []
    place = Place(workspace, lambda: dataset, Silent(), told.append)
    quick = load_presets()["quick"]
    small = TrainingConfig(filters=4, depth=1, batch_size=16, augmentation="none")
    api.cross_validate(place, quick, 0, config=[small], folds=2, epochs=1, keep_weights=True)
    blended = api.blend(place, metric="macro-f1")
    output = tmp_path / "copy.onnx"
    given = {"config": small, "epochs": 2, "output": output}
    found = api.distil(place, quick, 0, **given)
    about = json.loads((workspace.ensembles / "distilled" / "student.json").read_text())
    assert found.trained and found.onnx is not None and about["learned"] == "probabilities"
    assert output.read_bytes() == found.onnx.read_bytes()
    assert about["keras_bytes"] == found.path.stat().st_size
    assert 0 <= about["onnx_apart"] <= 1e-5 and found.oof.shape == (48, 3)
    assert min(about[f"{who}images_per_second"] for who in ("", "onnx_", "ensemble_")) > 0
    by_metric = about["metric"]
    for who, oof in (("oof", found.oof), ("blend", blended.oof)):
        wanted = f1_score(dataset.labels, oof.argmax(axis=1), average="macro")
        assert by_metric[who]["value"] == pytest.approx(wanted, abs=1e-9)
    apart = by_metric["against_blend"]
    assert apart["value"] == by_metric["oof"]["value"] - by_metric["blend"]["value"]
    header, *rows = found.table()
    assert [row[0] for row in rows] == ["student", "student, ONNX", "blend"]
    assert {len(row) for row in (header, *rows)} == {7}
    assert rows[0][header.index("OOF macro-f1")].startswith(f"{by_metric['oof']['value']:.5f} ± ")
    assert found.facts()["macro-f1 against it"].startswith(f"{apart['value']:+.5f} [")
    assert [event.step for event in told] == ["cv-train", "blend", "distil"]
    # Called again, nothing is left to do; what was broken since is told of.
    account = workspace.ensembles / "distilled" / "student.json"
    written = account.stat().st_mtime_ns
    assert not api.distil(place, quick, 0, **given).trained
    assert account.stat().st_mtime_ns == written
    # Another blend is another one to stand beside, for the same network.
    (workspace.root / "metric.json").unlink()
    blended = api.blend(place, metric="qwk")
    beside = api.distil(place, quick, 0, **given)
    assert not beside.trained and beside.path.read_bytes() == found.path.read_bytes()
    assert beside.about["metric"]["oof"]["name"] == "qwk"
    thresholds = fit_thresholds(found.oof, dataset.labels)
    assert beside.about["thresholds"] == list(thresholds)
    answers = np.digitize(beside.test.astype(float) @ np.arange(3), thresholds)
    assert beside.about["test_agreement"] == np.mean(answers == blended.blend.answers)
    assert json.loads(account.read_text()) == beside.about
    for path in (found.path, found.onnx):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.save(tmp_path / "images.npy", dataset.test_images[..., np.newaxis])
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, check=True, capture_output=True)
    for name in ("alone.npy", "onnx.npy"):
        assert np.abs(np.load(tmp_path / name) - found.test).max() < 1e-5
    found.path.write_bytes(b"other")
    with pytest.raises(ArtefactError, match="student.keras is not the file"):
        student.read(workspace)
