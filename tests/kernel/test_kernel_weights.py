"""`kernel weights` and `kernel build --predict-only`: networks from home predict on Kaggle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.kaggle_service.transport import CallError, Patience
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.records.weights import Weights, checked_networks, read_weights, write_weights
from kaggle_digits.shell import cli
from kernel import machine
from kernel import weights as weights_module
from kernel.machine import Stop
from kernel.metadata import read_kernel

Call = Callable[..., tuple[int, dict[str, Any], str]]


@dataclass(frozen=True)
class Home:
    """A workspace with a blend of four networks, two sets of two folds; and its data."""

    data: Path
    workspace: Path

    @property
    def shared(self) -> list[object]:
        return ["--data", self.data, "--workspace", self.workspace, "--seed", 3]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, competition_in: Any) -> Home:
    """The one real training that all of these tests share."""
    base = tmp_path_factory.mktemp("home")
    made = Home(competition_in(base / "data"), base / "w")
    for name, filters in (("a", 4), ("b", 5)):
        config = TrainingConfig(filters=filters, depth=1, augmentation="none")
        (base / f"{name}.json").write_text(json.dumps(config.to_json()))
    run("cv-train", *made.shared, "--config", base / "a.json", "--config", base / "b.json",
        "--folds", 2, "--epochs", 1, "--keep-weights")  # fmt: skip
    run("blend", *made.shared, "--method", "geometric")
    return made


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words), "--quiet"], prog_name="kaggle-digits")
    return int(ended.value.code or 0)


@pytest.fixture
def gathered(home: Home, call: Call, tmp_path: Path) -> Path:
    """A folder of networks whose owner is known, nothing uploaded."""
    folder = tmp_path / "weights"
    code, _, err = call("weights", *home.shared, "--owner", "tester", "--dry-run", "--dir", folder)
    assert code == 0, err
    return folder


def test_the_blends_networks_become_a_private_data_set(
    home: Home, call: Call, server: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("weights", *home.shared, "--owner", "tester", "--dir", tmp_path / "weights")
    code, values, err = call(*words)
    assert code == 0, err
    assert values["dataset"] == "tester/kaggle-digits-weights" and values["state"] == "made"
    kept = read_weights(tmp_path / "weights")
    assert values["digest"] == kept.digest and len(kept.files) == 4
    ((method, request),) = server.dataset_requests
    assert method == "CreateDataset" and request["isPrivate"] is True
    wanted = {"ownerSlug": "tester", "slug": "kaggle-digits-weights",
              "title": "Kaggle Digits Weights", "licenseName": "other"}  # fmt: skip
    assert {name: request[name] for name in wanted} == wanted
    assert {name: len(content) for name, content in server.dataset.items()} == values["files"]
    for name, content in server.dataset.items():
        assert (tmp_path / "weights" / name).read_bytes() == content
    assert sum(values["files"].values()) == values["bytes"]
    # What it comes to is said before anything is sent.
    assert f"weights: 4 networks, {values['bytes'] / 1e6:.1f} MB in all" in err
    assert server.keys_sent_to_files == 0
    code, again, _ = call(*words)
    assert code == 0 and again["state"] == "there already" and again["sent"] == []
    assert len(server.dataset_requests) == 1
    run("blend", *home.shared, "--method", "mean")
    capfd.readouterr()
    code, other, _ = call(*words)
    run("blend", *home.shared, "--method", "geometric")
    assert code == 0 and other["state"] == "new version" and other["digest"] != values["digest"]
    ((_, version),) = server.dataset_requests[1:]
    assert version["body"]["versionNotes"] == f"weights {other['digest']}"
    assert set(server.dataset) == set(other["files"])


def test_an_upload_that_broke_off_is_gone_on_from(
    home: Home, call: Call, server: Any, tmp_path: Path
) -> None:
    words = ("weights", *home.shared, "--owner", "tester", "--dir", tmp_path / "weights")
    server.lost_puts = 3
    code, values, _ = call(*words)
    assert code != 0 and "the upload" in values["error"] and server.dataset is None
    before = server.requests.count("PUT")
    server.lost_puts = 0
    code, values, _ = call(*words)
    assert code == 0 and len(values["sent"]) == 3
    assert server.requests.count("PUT") == before + 3 and len(server.dataset) == 5


def test_what_kaggle_refuses_is_an_error(
    home: Home, call: Call, server: Any, tmp_path: Path
) -> None:
    words = ("weights", *home.shared, "--dir", tmp_path / "weights")
    code, values, _ = call(*words, "--owner", "")
    assert code == 2 and "--owner" in values["error"]
    server.answers["CreateDataset"] = {"status": "Error", "error": "the title is in use"}
    code, values, _ = call(*words, "--owner", "tester")
    assert code != 0 and "the title is in use" in values["error"]
    code, values, _ = call(*words, "--owner", "tester", "--slug", "short")
    assert code == 2 and "6 to 50" in values["error"]
    asked = len(server.requests)
    given = ("--slug", "digits-weights", "--title", "x" * 51)
    code, values, _ = call(*words, "--owner", "tester", *given)
    assert code == 2 and "51 characters" in values["error"] and len(server.requests) == asked
    (tmp_path / "file").write_text("mine")
    code, values, _ = call("weights", *home.shared, "--dir", tmp_path / "file")
    assert code == 2 and f"--dir was given as {tmp_path / 'file'}, where" in values["error"]
    (tmp_path / "weights" / "notes.txt").write_text("mine")
    code, values, _ = call(*words, "--owner", "tester")
    assert code == 2 and "other files are: notes.txt" in values["error"]
    assert (tmp_path / "weights" / "notes.txt").read_text() == "mine"


def test_a_disk_without_room_for_networks_is_told_by_its_own_option(
    home: Home, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1))
    folder = tmp_path / "weights"
    words = ("weights", *home.shared, "--owner", "tester", "--dry-run", "--dir", folder)
    code, values, _ = call(*words)
    assert code == 4 and "No room on the disk for the networks" in values["error"]
    assert values["mend"] == "Make room, or put --dir on another disk."
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("status", "again"), [(429, 0), (403, 0), (503, 0), (400, 5)])
def test_what_has_arrived_is_forgotten_only_where_kaggle_refuses_it(
    home: Home, call: Call, server: Any, tmp_path: Path, status: int, again: int
) -> None:
    """A connection that broke at the last step cost the whole upload."""
    words = ("weights", *home.shared, "--owner", "tester", "--dir", tmp_path / "weights")
    server.broken["CreateDataset"] = status
    code, values, _ = call(*words)
    assert code == 1 and str(status) in values["error"]
    server.broken.clear()
    code, values, err = call(*words)
    assert code == 0 and len(values["sent"]) == again, err


def test_an_outage_while_kaggle_takes_a_data_set_in_is_waited_for(tmp_path: Path) -> None:
    class Datasets:
        patience = Patience(pause=lambda seconds: None)
        answers: list[Any] = []

        def state(self, owner: str, slug: str) -> str:
            answer = self.answers.pop(0)
            if isinstance(answer, CallError):
                raise answer
            return str(answer)

        def files_of(self, owner: str, slug: str) -> dict[str, int]:
            return {"w.json": 1}

    held = SimpleNamespace(name="w.json", sizes={"w.json": 1})
    gathered = weights_module.Gathered(tmp_path, held, "me/digits-weights", "Digits Weights")
    datasets, told = Datasets(), []
    progress = SimpleNamespace(say=told.append)
    datasets.answers = [CallError("No answer.", transient=True), "ready"]
    weights_module._wait(datasets, gathered, progress)
    assert told[0] == "No answer. Asking again." and datasets.answers == []
    datasets.answers = [CallError("Refused.", mend="Call the command again.")]
    with pytest.raises(CallError, match="Refused") as error:
        weights_module._wait(datasets, gathered, progress)
    assert str(error.value.mend).startswith("The data set me/digits-weights is sent: its page")


def test_only_members_with_weight_are_chosen_and_all_need_their_networks() -> None:
    keys = [
        MemberKey(TrainingConfig(filters=4 + number), fold, 0, 3, 1, "d" * 16, "f" * 16, "b")
        for number in range(2)
        for fold in range(2)
    ]
    names = [key.name for key in keys]
    account = {
        "sets": {"a": names[:2], "b": names[2:]}, "weights": {"a": 1.0, "b": 0.0}, "extras": [],
    }  # fmt: skip

    class Store:
        kept = frozenset(names)

        def read_plan(self) -> tuple[dict[str, Any], list[MemberKey]]:
            return {}, keys

        def has_weights(self, key: MemberKey) -> bool:
            return key.name in self.kept

    store: Any = Store()
    assert list(weights_module._chosen(account, store)) == names[:2]
    assert list(weights_module._chosen(account | {"weights": None}, store)) == names
    store.kept = frozenset(names[1:])
    with pytest.raises(ArtefactError, match="1 of the blend's 2 members have no network"):
        weights_module._chosen(account, store)
    for more, says in (
        ({"extras": [{"name": "xgb"}]}, "made elsewhere, xgb"),
        ({"sets": None}, "earlier version"),
    ):
        with pytest.raises(ArtefactError, match=says):
            weights_module._chosen(account | more, store)


def test_a_changed_missing_or_foreign_network_is_named(gathered: Path) -> None:
    weights = read_weights(gathered)
    assert Weights.from_json(json.loads(weights.to_bytes())) == weights
    first, second = [gathered / f"{name}.keras" for name in list(weights.files)[:2]]
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    with pytest.raises(ArtefactError, match=f"1 of 4 networks .* checksum.*{first.name}"):
        checked_networks(gathered, weights)
    first.write_bytes(content)
    second.unlink()
    with pytest.raises(ArtefactError, match=f"lacks 1 of 4 networks: {second.name}"):
        checked_networks(gathered, weights)
    account = gathered / weights.name
    account.write_text(account.read_text().replace('"planes": 1', '"planes": 3'))
    account.write_text(account.read_text().replace('"height": 12', '"height": 13'))
    with pytest.raises(ArtefactError, match="not what its name says"):
        read_weights(gathered)
    account.unlink()
    with pytest.raises(ArtefactError, match="holds no weights"):
        read_weights(gathered)


def test_what_asked_neighbours_by_other_distances_is_refused_everywhere(
    home: Home, call: Call, gathered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = {"rows": 60, "test_rows": 30, "exponents": [0.6, 4.0], "helps": True,
            "images": [4, 1, 7], "log_loss": [-0.1, -0.2, -0.05]}  # fmt: skip
    now = read_weights(gathered)
    write_weights(gathered, replace(now, account=now.account | {"neighbours": near}))
    output = tmp_path / "sub.csv"
    assert run("predict", *home.shared, "--weights", gathered, "--output", output) == 4
    assert not output.exists() and not output.with_suffix(".json").exists()
    words = ("build", "--predict-only", "--weights", gathered, "--dir", tmp_path / "d")
    code, values, _ = call(*words)
    assert code == 4 and "by other distances" in values["error"] and not (tmp_path / "d").exists()
    broken = now.account | {"neighbours": near | {"exponents": "0.6"}}
    write_weights(gathered, replace(now, account=broken))
    with pytest.raises(ArtefactError, match=r"neighbours\.exponents"):
        read_weights(gathered)
    monkeypatch.setattr(
        weights_module, "read_account", lambda *_: now.account | {"neighbours": near}
    )
    folder = tmp_path / "more"
    code, values, _ = call("weights", *home.shared, "--dry-run", "--dir", folder)
    assert code == 4 and "by other distances" in values["error"] and not folder.exists()


def test_the_kernel_finds_its_networks_wherever_they_are_mounted(tmp_path: Path) -> None:
    name, digest = "me/digits-weights", "0123456789abcdef"
    inputs = tmp_path / "input"
    (inputs / "digit-recognizer").mkdir(parents=True)
    with pytest.raises(Stop, match=r"is the data set me/digits-weights among .*digit-recognizer"):
        machine.find_weights(inputs, name, digest)
    other = inputs / "digits-weights" / "weights-fedcba9876543210.json"
    other.parent.mkdir()
    other.write_text("{}")
    with pytest.raises(Stop, match="others than .* fedcba9876543210, expected 0123456789abcdef"):
        machine.find_weights(inputs, name, digest)
    for place in (inputs / "digits-weights", inputs / "datasets" / "me" / "digits-weights"):
        place.mkdir(parents=True, exist_ok=True)
        wanted = place / f"weights-{digest}.json"
        wanted.write_text("{}")
        assert machine.find_weights(inputs, name, digest) == place
        wanted.unlink()


def test_a_kernel_that_only_predicts_is_built_on_its_data_set(
    call: Call, gathered: Path, tmp_path: Path
) -> None:
    words = ("build", "--predict-only", "--weights", gathered, "--dir", tmp_path / "d")
    code, values, err = call(*words)
    assert code == 0, err
    assert values["id"] == "tester/kaggle-digits-predict"
    about = read_kernel(tmp_path / "d").metadata
    assert about["dataset_sources"] == ["tester/kaggle-digits-weights"]
    assert about["enable_internet"] is False
    script = (tmp_path / "d" / "kaggle_digits_kernel.py").read_text()
    head = script.partition('"""')[0]
    digest = read_weights(gathered).digest
    assert f"(digest {digest})" in head and "tune" not in head.partition("Then these")[2]
    code, values, _ = call(*words, "--best", tmp_path / "best.json")
    assert code == 2 and "--best was given with --predict-only" in values["error"]
    code, values, _ = call("build", "--predict-only", "--weights", tmp_path / "no")
    assert code == 4 and "holds no weights" in values["error"]


def test_predicting_at_home_by_the_networks_makes_the_blends_own_submission(
    home: Home, gathered: Path, tmp_path: Path
) -> None:
    output = tmp_path / "sub.csv"
    assert run("predict", *home.shared, "--weights", gathered, "--output", output) == 0
    assert output.read_bytes() == (home.workspace / "submissions/submission.csv").read_bytes()
    assert json.loads(output.with_suffix(".json").read_text())["method"] == "geometric"
    assert run("predict", *home.shared, "--weights", gathered, "--images", home.data) == 2
    assert run("predict", *home.shared) == 2


def test_other_test_images_are_labelled_and_other_data_refused(
    home: Home, gathered: Path, tools: Any, tmp_path: Path
) -> None:
    hidden = tools.competition(tmp_path / "hidden", seed=9)
    test = (hidden / "test.csv").read_text().splitlines()
    (hidden / "test.csv").write_text("\n".join([*test, *test[1:8]]) + "\n")
    shared = ["--data", hidden, "--workspace", tmp_path / "w2", "--weights", gathered]
    output = tmp_path / "hidden.csv"
    assert run("predict", *shared, "--output", output) == 0
    rows = output.read_text().split()
    assert len(rows) == 1 + 15 + 7 and [row.split(",")[1] for row in rows[16:]] == [
        row.split(",")[1] for row in rows[1:8]
    ]
    train = (hidden / "train.csv").read_text().replace("\n0,", "\n7,")
    (hidden / "train.csv").write_text(train)
    from ensembles.carried import _require_fit
    from kaggle_digits.core.data import load
    from kaggle_digits.ground.workspace import Workspace

    with pytest.raises(DataError, match=r"their classes are \('0', '1', '2'\)"):
        _require_fit(read_weights(gathered).competition, load(hidden, Workspace(tmp_path / "w3")))


@pytest.mark.slow
def test_the_script_predicts_without_internet_what_the_package_does(
    home: Home, call: Call, gathered: Path, tmp_path: Path
) -> None:
    weights = ("--weights", gathered, "--dir", tmp_path / "d")
    assert call("build", "--predict-only", *weights)[0] == 0
    code, values, err = call("verify", "--data", home.data, *weights)
    assert code == 0 and values["same"] is True, err
    assert values["rows"] == 15 and "networks: " in err
    assert not [name for name in values["outputs"] if name.endswith(".keras")]
    made = (home.workspace / "submissions" / "submission.csv").read_bytes()
    assert values["sha256"] == hashlib.sha256(made).hexdigest()
    some = next(iter(gathered.glob("*.keras")))
    shutil.copy(some, tmp_path / "kept")
    some.write_bytes(b"damaged")
    code, values, err = call("verify", "--data", home.data, *weights)
    assert code == 1 and "networks in" in err and some.name in err
    shutil.copy(tmp_path / "kept", some)
