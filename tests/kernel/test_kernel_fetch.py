"""`kernel fetch`: what comes home, and everything that is refused with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.folds import make_folds
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.stamps import digest
from kaggle_digits.ground.sums import Sums
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.metric import keep_metric, kept_metric
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell import cli
from kaggle_digits.shell.console import Outcome
from kernel import api, commands
from kernel.bundle import code_digest
from kernel.manifest import Manifest

ABOUT = "kaggle-digits/kernel.json"
Fetch = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def fetch(call: Any, server: Any, ran: Any, tmp_path: Path) -> Fetch:
    """Fetch the real run's output, which the server shows."""
    server.files = ran.output()
    server.page = 100  # one call lists all; where pages are what is tested, fewer

    def fetch(data: Path | None = None) -> tuple[int, dict[str, Any], str]:
        given = ["--workspace", tmp_path / "w", "--data", data or ran.data]
        result: tuple[int, dict[str, Any], str] = call(
            "fetch", "--kernel", "tester/kaggle-digits", *given
        )
        return result

    return fetch


def change_about(server: Any, change: Callable[[dict[str, Any]], None]) -> None:
    about = json.loads(server.files[ABOUT])
    change(about)
    server.files[ABOUT] = json.dumps(about).encode()


def replace(server: Any, name: str, content: bytes) -> None:
    """Replace a file of the output together with its checksum, as a faulty run would."""
    server.files[f"kaggle-digits/{name}"] = content
    sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change_about(server, lambda about: about["files"].update({name: sums}))


def nothing_taken(workspace: Path) -> bool:
    members = workspace / "ensembles" / "members"
    return not members.exists() and not (workspace / "ensembles" / "plan.json").exists()


def members_of(server: Any) -> list[str]:
    return sorted({name.split("/")[3] for name in server.files if "/members/" in name})


def test_members_and_submission_come_home_and_blend(
    fetch: Fetch, server: Any, ran: Any, tmp_path: Path, capfd: Any
) -> None:
    server.page = 4
    code, values, _ = fetch()
    assert code == 0, values
    assert values["added"] == members_of(server) and len(values["added"]) == 2
    assert values["finished"] is True
    home = tmp_path / "w"
    for name, content in server.files.items():
        if "/members/" in name:
            assert (home / name.removeprefix("kaggle-digits/")).read_bytes() == content
    submission = (ran.working / "submission.csv").read_bytes()
    assert Path(values["submission"]) == home / "submissions" / "kaggle-digits.csv"
    assert Path(values["submission"]).read_bytes() == submission
    beside = json.loads((home / "submissions" / "kaggle-digits.json").read_text())
    assert beside["sha256"] == hashlib.sha256(submission).hexdigest()
    with pytest.raises(SystemExit) as ended:
        cli.cli(
            ["blend", "--quiet", "--workspace", str(home), "--data", str(ran.data)],
            prog_name="kaggle-digits",
        )
    assert not ended.value.code
    assert (home / "submissions" / "submission.csv").read_bytes() == submission


def test_fetching_again_changes_nothing(fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    plan = (tmp_path / "w" / "ensembles" / "plan.json").read_bytes()
    code, values, _ = fetch()
    assert code == 0 and values["added"] == [] and len(values["known"]) == 2
    assert (tmp_path / "w" / "ensembles" / "plan.json").read_bytes() == plan


def test_members_of_here_and_there_stand_in_one_plan(
    fetch: Fetch, server: Any, ran: Any, tmp_path: Path
) -> None:
    """Home has a plan of the same folds with a member of its own, of another configuration."""
    workspace = Workspace(tmp_path / "w")
    dataset = load(ran.data, workspace)
    folds = make_folds(dataset, 2, 3, workspace)
    store = MemberStore(Workspace(ran.working / "kaggle-digits"))
    settings, theirs = store.read_plan()
    own = []
    for key in theirs:
        values = key.to_json()
        values["config"]["filters"] = 99
        own.append(type(key).from_json(values))
    assert own[0].folds == folds.digest
    MemberStore(workspace).write_plan(settings, own)
    assert fetch()[0] == 0
    assert MemberStore(workspace).read_plan() == (settings, [*own, *theirs])


@pytest.mark.parametrize(("count", "seed"), [(3, 3), (2, 0), (5, 0)])
def test_members_of_other_folds_than_those_at_home_join_its_plan_and_blend(
    fetch: Fetch, server: Any, ran: Any, tmp_path: Path, count: int, seed: int, capfd: Any
) -> None:
    """As `quick` at home (4 folds) and `best` on Kaggle (10) are."""
    workspace = Workspace(tmp_path / "w")
    dataset = load(ran.data, workspace)
    folds = make_folds(dataset, count, seed, workspace)
    store = MemberStore(workspace)
    classes = len(dataset.competition.classes)
    own = []
    for fold in range(count):
        key = MemberKey(TrainingConfig(), fold, fold, 1, 1, dataset.digest, folds.digest, "b" * 16)
        rows = len(folds.held_out_rows(fold)), len(dataset.test_images)
        arrays = [np.full((number, classes), 1 / classes, np.float32) for number in rows]
        store.add(Member(key, *arrays, {"seconds": 1.0}))
        own.append(key)
    settings = {"folds": count, "seed": seed}
    store.write_plan(settings, own)
    code, values, _ = fetch()
    assert code == 0 and len(values["added"]) == 2, values
    assert store.read_plan()[0] == settings
    assert [key.name for key in store.read_plan()[1]] == [
        *(key.name for key in own), *members_of(server),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        cli.cli(
            ["blend", "--json", "--workspace", str(workspace.root), "--data", str(ran.data)],
            prog_name="kaggle-digits",
        )
    out, err = capfd.readouterr()
    assert not ended.value.code, err
    blended = json.loads(out)
    assert blended["members"] == count + 2 and blended["set_folds"] == [count, 2]


def test_a_kernel_of_other_code_is_refused(fetch: Fetch, server: Any, tmp_path: Path) -> None:
    change_about(server, lambda about: about.update(code="f" * 16))
    code, values, _ = fetch()
    assert code == 4 and "built from other code (digest ffffffffffffffff" in values["error"]
    assert nothing_taken(tmp_path / "w")


def test_a_kernel_on_other_data_is_refused(
    fetch: Fetch, server: Any, tools: Any, tmp_path: Path
) -> None:
    other = tools.competition(tmp_path / "other", seed=1)
    code, values, _ = fetch(other)
    assert code == 4 and "trained on other data" in values["error"]
    change_about(server, lambda about: about.update(data=None))
    code, values, _ = fetch(other)
    assert code == 4 and "was made from other data" in values["error"]
    assert nothing_taken(tmp_path / "w")


def test_a_run_that_goes_on_is_not_fetched(fetch: Fetch, server: Any) -> None:
    server.states = ["RUNNING"]
    code, values, _ = fetch()
    assert code == 1 and "has not ended: running" in values["error"]


def test_what_a_failed_run_left_is_taken(fetch: Fetch, server: Any) -> None:
    server.states = ["ERROR"]
    change_about(server, lambda about: about.update(finished=False))
    code, values, _ = fetch()
    assert code == 0 and values["finished"] is False and len(values["added"]) == 2


def test_a_run_that_left_nothing_shows_its_last_line(fetch: Fetch, server: Any) -> None:
    server.files, server.log = {}, "kernel: error: not installed: keras_tuner\n\n"
    code, values, _ = fetch()
    assert code == 1 and "kernel: error: not installed: keras_tuner" in values["error"]


@pytest.mark.parametrize("name", ["submission.csv", "held_out.npy", "member.json", "kernel.json"])
def test_an_error_body_is_not_a_file(fetch: Fetch, server: Any, tmp_path: Path, name: str) -> None:
    """The address answers 404 with a body, or worse, 200 with one."""
    path = next(path for path in sorted(server.files, reverse=True) if path.endswith(name))
    server.broken[path] = 404
    code, values, _ = fetch()
    assert code == 1 and "404" in values["error"]
    del server.broken[path]
    server.files[path] = b'{"error": "expired"}'
    code, values, _ = fetch()
    assert code == 4 and name in values["error"]
    assert nothing_taken(tmp_path / "w")
    assert not (tmp_path / "w" / "submissions").exists()


def test_a_file_that_is_missing_is_named(fetch: Fetch, server: Any, tmp_path: Path) -> None:
    path = next(path for path in server.files if "/members/" in path and path.endswith("/test.npy"))
    del server.files[path]
    code, values, _ = fetch()
    assert code == 4 and path in values["error"] and nothing_taken(tmp_path / "w")


def test_a_submission_for_other_images_is_refused(fetch: Fetch, server: Any) -> None:
    for content, says in (
        (b"ImageId,Label\r\n1,1\r\n", "other ids"),
        (server.files["submission.csv"].replace(b"15,", b"15,7"), "which is no class"),
    ):
        server.files["submission.csv"] = content
        sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        change_about(server, lambda about, sums=sums: about.update(submission=sums))
        code, values, _ = fetch()
        assert code == 3 and says in values["error"]


@pytest.mark.parametrize("kept", [None, "macro-f1"])
def test_a_submission_of_probabilities_comes_home_with_what_it_was_made_for(
    call: Any, server: Any, make: Any, tmp_path: Path, kept: str | None
) -> None:
    """Where labels stand in the sample, it was held against them, and no such run came home."""
    made = make(classes=("0", "1"))
    made.sample([str(number) for number in range(1, 13)])
    content = b"ImageId,Label\n" + b"".join(b"%d,0.25\n" % number for number in range(1, 13))
    about = Manifest(
        code=code_digest(api.read_sources()),
        data=None,
        finished=True,
        files={},
        submission=Sums.of(content),
        facts={"plan": {"competition": "pets", "metric": "auc"}},
    )
    server.files = {"submission.csv": content, ABOUT: about.to_bytes()}
    home = Workspace(tmp_path / "w")
    keep_metric(home, kept)
    words = ["--kernel", "tester/pets", "--workspace", home.root, "--data", made.folder]
    code, values, err = call("fetch", *words)
    assert code == 0, err
    assert Path(values["submission"]).read_bytes() == content and values["competition"] == "pets"
    assert kept_metric(home) == (kept or "auc")
    change_about(server, lambda about: about["plan"].update(metric=""))
    code, values, _ = call("fetch", *words)
    assert code == 3 and "the label '0.25', which is no class" in values["error"]


def test_a_kernel_that_is_called_submission_leaves_blends_own_files(
    call: Any, server: Any, made: Any, tmp_path: Path
) -> None:
    content = b"ImageId,Label\n" + b"".join(b"%d,1\n" % number for number in range(1, 13))
    account, name = b'{"method": "mean"}', "submissions/submission.json"
    about = Manifest(
        code=code_digest(api.read_sources()),
        data=None,
        finished=True,
        files={name: Sums.of(account)},
        submission=Sums.of(content),
    )
    server.files = {"submission.csv": content, ABOUT: about.to_bytes()}
    server.files[f"kaggle-digits/{name}"] = account
    folder = tmp_path / "w" / "submissions"
    folder.mkdir(parents=True)
    own = {"submission.csv": b"mine", "submission.json": b"{}"}
    for file, kept in own.items():
        (folder / file).write_bytes(kept)
    words = ("--kernel", "tester/submission", "--workspace", tmp_path / "w", "--data", made.folder)
    code, values, err = call("fetch", *words)
    assert code == 0, err
    assert Path(values["submission"]) == folder / "kernel-submission.csv"
    theirs = {"kernel-submission.csv": content, "kernel-submission.json": account}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == own | theirs


def array_bytes(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (array_bytes(np.full((29, 3), 1 / 3)), "shape"),
        (array_bytes(np.full((30, 3), np.nan)), "no probability distribution"),
        (array_bytes(np.full((30, 3), 0.5)), "no probability distribution"),
        (array_bytes(np.array([{"a": 1}]), allow_pickle=True), "no array"),
        (b"<html>", "no array"),
    ],
)
def test_predictions_that_are_none_are_refused(
    fetch: Fetch, server: Any, tmp_path: Path, content: bytes, says: str
) -> None:
    replace(server, f"ensembles/members/{members_of(server)[0]}/held_out.npy", content)
    code, values, _ = fetch()
    assert code == 4 and says in values["error"]
    assert nothing_taken(tmp_path / "w")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda key: key.update(fold=7), "another member than its name says"),
        (lambda key: key.update(epochs=500), "another member than its name says"),
        (lambda key: key.update(epochs="2"), 'epochs is "2"; expected a whole number'),
        (lambda key: key.update(colour=1), "cannot be read"),
        (lambda key: key.clear(), "cannot be read"),
    ],
)
def test_a_member_that_is_another_is_refused(
    fetch: Fetch, server: Any, tmp_path: Path, change: Any, says: str
) -> None:
    name = f"ensembles/members/{members_of(server)[0]}/member.json"
    about = json.loads(server.files[f"kaggle-digits/{name}"])
    change(about["key"])
    replace(server, name, json.dumps(about).encode())
    code, values, _ = fetch()
    assert code == 4 and says in values["error"]
    assert nothing_taken(tmp_path / "w")


@pytest.mark.parametrize("content", ["null", "[]", "{}", '"x"', '{"settings": {}, "mem', "\xff"])
def test_a_broken_plan_of_members_is_refused(
    fetch: Fetch, server: Any, tmp_path: Path, content: str
) -> None:
    replace(server, "ensembles/plan.json", content.encode("latin-1"))
    code, values, _ = fetch()
    assert code == 4 and "The plan of members of tester/kaggle-digits is broken" in values["error"]
    assert nothing_taken(tmp_path / "w")


def test_members_of_other_folds_than_their_plan_names_are_refused(
    fetch: Fetch, server: Any, tmp_path: Path
) -> None:
    stored = json.loads(server.files["kaggle-digits/ensembles/plan.json"])
    stored["settings"]["seed"] = 9
    replace(server, "ensembles/plan.json", json.dumps(stored).encode())
    code, values, _ = fetch()
    assert code == 4 and "was made from other folds" in values["error"]
    assert nothing_taken(tmp_path / "w")


def about_with(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda about: json.dumps(about | changes).encode()


SUMS = {"bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda about: b"null", "None where an object is expected"),
        (lambda about: b"[]", "[] where an object is expected"),
        (lambda about: b'"x"', "'x' where an object is expected"),
        (lambda about: b"{}", "format None; expected 1"),
        (lambda about: json.dumps(about).encode()[:-40], "is not what our script writes"),
        (lambda about: b"\xff\xfe", "is not what our script writes"),
        (lambda about: b"[" * 100_000, "is not what our script writes"),
        (about_with(format=2), "format 2; expected 1"),
        (about_with(code=None), "code is None"),
        (about_with(data=5), "data is 5"),
        (about_with(finished="yes"), "finished is 'yes'"),
        (about_with(files=[]), "files is []"),
        (about_with(files={"a": 1}), "1 where bytes and sha256 are expected"),
        (about_with(files={"a": SUMS | {"bytes": "9"}}), "'9' bytes"),
        (about_with(files={"a": SUMS | {"bytes": -1}}), "-1 bytes"),
        (about_with(files={"a": SUMS | {"sha256": "x"}}), "the sha256 'x'"),
        (about_with(files={"/etc/x": SUMS}), "points outside"),
        (about_with(files={"a/../x": SUMS}), "points outside"),
        (about_with(files={"C:\\x": SUMS}), "points outside"),
        (about_with(files={"a": SUMS | {"bytes": 10**9}}), "names more than 200 MB of files"),
        (about_with(submission=[]), "submission is []"),
    ],
)
def test_a_kernel_json_of_another_form_is_refused_with_what_is_wrong(
    fetch: Fetch, server: Any, tmp_path: Path, content: Any, says: str
) -> None:
    server.files[ABOUT] = content(json.loads(server.files[ABOUT]))
    code, values, _ = fetch()
    assert code == 4 and says in values["error"] and ABOUT in values["error"]
    assert nothing_taken(tmp_path / "w")


def test_no_name_leads_out_of_the_workspace(fetch: Fetch, server: Any, tmp_path: Path) -> None:
    old = members_of(server)[0]
    for path in [path for path in server.files if old in path]:
        content = server.files.pop(path)
        file = path.rsplit("/", 1)[1]
        change_about(
            server,
            lambda about, file=file: about["files"].pop(f"ensembles/members/{old}/{file}"),
        )
        replace(server, f"ensembles/members/../{file}", content)
    code, values, _ = fetch()
    assert code == 4 and "points outside" in values["error"]
    assert not (tmp_path / "w" / "ensembles" / "member.json").exists()


def test_a_workspace_in_use_is_left_alone(fetch: Fetch, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    with workspace.lock(workspace.ensembles):
        code, values, _ = fetch()
    assert code == 4 and "in use" in values["error"]


def test_keys_survive_their_way_through_json(ran: Any) -> None:
    """A member's name ends in the digest of its key, which is read back from JSON here."""
    state = ran.working / "kaggle-digits"
    for folder in (state / "ensembles" / "members").iterdir():
        key = json.loads((folder / "member.json").read_text())["key"]
        assert folder.name.endswith(digest(key)[:8])


def test_what_was_fetched_can_be_submitted_at_once(
    call: Any, server: Any, ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def submit(session: Any, *, file: Path, competition: str) -> Outcome:
        seen.append((file, competition))
        return Outcome({"ref": 5})

    stand_in = SimpleNamespace(body=submit)
    monkeypatch.setattr(commands, "load_command", {"submit": stand_in}.__getitem__)
    server.files = ran.output()
    words = ["--kernel", "tester/kaggle-digits", "--data", ran.data, "--workspace", tmp_path / "w"]
    change_about(server, lambda about: about["plan"].update(competition="kannada-mnist"))
    assert call("fetch", "--submit", *words)[:2] == (0, {"ref": 5})
    ((file, competition),) = seen
    assert competition == "kannada-mnist"  # it went to digit-recognizer, whatever the kernel's
    assert file.read_bytes() == server.files["submission.csv"]
    change_about(server, lambda about: about["plan"].pop("competition"))
    assert call("fetch", "--submit", *words)[0] == 0 and seen[1][1] == "digit-recognizer"
    change_about(server, lambda about: about.update(submission=None))
    code, values, _ = call("fetch", "--submit", *words)
    assert code == 4 and "left no submission" in values["error"] and len(seen) == 2


def test_a_kernel_that_trained_no_member_gives_none(
    fetch: Fetch, server: Any, tmp_path: Path
) -> None:
    def without(about: dict[str, Any]) -> None:
        about["files"] = {k: v for k, v in about["files"].items() if k.startswith("tuning")}
        about["submission"] = about["data"] = None

    change_about(server, without)
    code, values, _ = fetch()
    assert code == 0 and values["added"] == [] and values["submission"] is None
    assert nothing_taken(tmp_path / "w")
    shutil.rmtree(tmp_path / "w")
