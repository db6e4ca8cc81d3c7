"""`kernel push` and `status` against a stand-in, by the unpatched client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.kaggle_service.datasets import KaggleDatasets
from kaggle_digits.kaggle_service.kernels import KaggleKernels
from kaggle_digits.kaggle_service.transport import CallError, Patience

Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def built(call: Call, tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    code, _, _ = call("build", "--owner", "tester", "--gpu", "--dir", folder)
    assert code == 0
    return folder


def test_a_push_sends_the_script_as_it_is(call: Call, server: Any, built: Path) -> None:
    code, values, _ = call("push", "--dir", built)
    assert code == 0
    assert (values["version"], values["kernel"]) == (1, "tester/kaggle-digits")
    assert values["competition"] == "digit-recognizer"
    (sent,) = server.saved
    assert sent["text"].encode() == (built / "kaggle_digits_kernel.py").read_bytes()
    assert sent["slug"] == "tester/kaggle-digits" and sent["newTitle"] == "Kaggle Digits"
    assert (sent["language"], sent["kernelType"]) == ("python", "script")
    assert sent["enableInternet"] is False
    assert sent["isPrivate"] is True and sent["enableGpu"] is True
    assert sent["machineShape"] == "NvidiaTeslaT4"
    assert sent["competitionDataSources"] == ["digit-recognizer"]
    assert server.requests == ["SaveKernel"]


def test_kaggles_own_command_pushes_the_same(call: Call, server: Any, built: Path) -> None:
    call("push", "--dir", built)
    ended = subprocess.run(
        [sys.executable, "-m", "kaggle", "kernels", "push", "-p", str(built)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ours, theirs = server.saved
    same = {
        "slug", "newTitle", "text", "language", "kernelType", "isPrivate", "enableGpu",
        "enableInternet", "machineShape", "competitionDataSources",
    }  # fmt: skip
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert "does not resolve" not in ended.stdout


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"error": "Notebook not found"}, "Kaggle refused the kernel: Notebook not found"),
        ({"versionNumber": 1, "invalidCompetitionSources": ["nope"]}, "sources: nope"),
        ({"versionNumber": 1, "invalidDatasetSources": ["a/b"]}, "dataset sources: a/b"),
        ({"versionNumber": 1, "invalidKernelSources": ["a/b"]}, "kernel sources: a/b"),
        ({"versionNumber": 1, "invalidTags": ["t"]}, "invalid tags: t"),
        ({}, "no version number"),
        ([], "no version number"),
    ],
)
def test_an_error_inside_the_answer_is_an_error(
    call: Call, server: Any, built: Path, answer: Any, says: str
) -> None:
    server.answers["SaveKernel"] = answer
    code, values, _ = call("push", "--dir", built)
    assert code == 1 and says in values["error"]
    assert server.requests == ["SaveKernel"]


def test_a_push_is_never_repeated(call: Call, server: Any, built: Path) -> None:
    server.failures["SaveKernel"] = 1
    code, values, _ = call("push", "--dir", built)
    assert code == 1 and "kernel status" in values["mend"]
    assert server.requests == ["SaveKernel"]


def test_a_build_without_an_owner_is_not_pushed(call: Call, server: Any, tmp_path: Path) -> None:
    os.environ.pop("KAGGLE_USERNAME")
    call("build", "--dir", tmp_path / "d")
    for words in (["push"], ["status"], ["fetch"]):
        code, values, _ = call(*words, "--dir", tmp_path / "d")
        assert code == 2 and "without an owner" in values["error"]
    assert server.requests == []


def test_a_folder_without_a_build_is_named(call: Call, tmp_path: Path) -> None:
    code, values, _ = call("push", "--dir", tmp_path / "none")
    assert code == 4 and "kernel build" in values["mend"]


def test_a_script_that_was_cut_is_not_pushed(call: Call, server: Any, built: Path) -> None:
    path = built / "kaggle_digits_kernel.py"
    whole = path.read_bytes()
    archive = whole.index(b'ARCHIVE = """')
    changed = whole[:archive] + whole[archive:].replace(b"A", b"B", 1)
    for cut in (whole[:5000], whole[: archive + 5000], whole[:-20], whole[:-1], changed):
        path.write_bytes(cut)
        code, values, _ = call("push", "--dir", built)
        assert code == 4 and "no script of this tool" in values["error"]
    path.write_bytes(b"#" * 900_000)
    code, values, _ = call("push", "--dir", built)
    assert code == 4 and "900,000 bytes" in values["error"]
    assert server.saved == []


def test_waiting_ends_with_the_run(call: Call, server: Any, built: Path) -> None:
    server.states = ["QUEUED", "RUNNING", "RUNNING", "COMPLETE"]
    code, values, err = call("push", "--wait", "--dir", built)
    assert (code, values["state"]) == (0, "complete")
    assert server.requests.count("GetKernelSessionStatus") == 4
    assert err.count("running") == 1 and "queued" in err


def test_an_outage_while_a_run_is_waited_for_does_not_end_the_waiting(
    call: Call, server: Any, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said to call the command again, which pushes a second time."""
    monkeypatch.setenv("KAGGLE_DIGITS_WAIT", "0.001")
    server.states = ["RUNNING", "COMPLETE"]
    server.failures["GetKernelSessionStatus"] = 6  # one more than a question is repeated
    code, values, err = call("push", "--wait", "--dir", built)
    assert (code, values["state"]) == (0, "complete"), err
    assert err.count("now (503). Asking again.") == 1
    assert server.requests.count("SaveKernel") == 1
    assert server.requests.count("GetKernelSessionStatus") == 8


@pytest.mark.parametrize(("status", "told"), [(403, "owner is this account"), (400, "")])
def test_what_is_saved_is_said_where_its_run_cannot_be_waited_for(
    call: Call, server: Any, built: Path, status: int, told: str
) -> None:
    server.broken["GetKernelSessionStatus"] = status
    code, values, _ = call("push", "--wait", "--dir", built)
    assert code == 1 and f"({status})" in values["error"]
    assert told in values["mend"] and values["mend"].endswith(
        "Version 1 of tester/kaggle-digits is saved: `kaggle-digits kernel status --kernel "
        "tester/kaggle-digits` tells how its run is."
    )


@pytest.mark.parametrize("state", ["ERROR", "CANCEL_ACKNOWLEDGED"])
def test_a_run_that_failed_is_an_error(call: Call, server: Any, built: Path, state: str) -> None:
    server.states, server.failure = ["RUNNING", state], "Out of memory"
    code, values, _ = call("push", "--wait", "--dir", built)
    assert code == 1 and "Out of memory" in values["error"]
    code, values, _ = call("status", "--dir", built)
    assert code == 1 and state.split("_")[0].lower() in values["error"]


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "COMPLETE"])
def test_status_tells_the_state(call: Call, server: Any, built: Path, state: str) -> None:
    server.states = [state]
    server.failures["GetKernelSessionStatus"] = 2
    assert call("status", "--dir", built)[1]["state"] == state.lower()
    code, values, _ = call("status", "--kernel", "other/kernel-name")
    assert (code, values["kernel"]) == (0, "other/kernel-name")


def test_no_secret_in_what_is_told(call: Call, server: Any, built: Path) -> None:
    server.answers["SaveKernel"] = {"error": "key planted0kernel1key2 is bad"}
    code, values, err = call("push", "--dir", built)
    assert code == 1 and "planted" not in err + str(values)


def test_a_file_is_fetched_whole_and_without_credentials(server: Any) -> None:
    kernels = KaggleKernels(Patience(timeout=2, wait=0.01, tries=3))
    server.files = {f"f{number}": b"x" * number for number in range(11)}
    output = kernels.output("tester", "kaggle-digits")
    assert list(output.files) == sorted(server.files)
    assert kernels.fetch("f10", output.files["f10"], 10) == b"x" * 10
    with pytest.raises(CallError, match="larger"):
        kernels.fetch("f10", output.files["f10"], 9)
    for status in (403, 404):
        server.broken["f3"] = status
        with pytest.raises(CallError, match=str(status)) as told:
            kernels.fetch("f3", output.files["f3"], 100)
        assert "address for it may have expired" in str(told.value.mend)
    assert server.keys_sent_to_files == 0
    with pytest.raises(CallError, match="not Kaggle's"):
        kernels.fetch("f", "http://elsewhere.example/f", 100)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    ("method", "thing", "ask"),
    [
        ("SaveKernel", "kernel", lambda patience, about: KaggleKernels(patience).save(about, "x")),
        ("GetKernelSessionStatus", "kernel",
         lambda patience, _: KaggleKernels(patience).run_state("me", "digits")),
        ("ListDatasetFiles", "data set",
         lambda patience, _: KaggleDatasets(patience).files_of("me", "weights")),
        ("StartBlobUpload", "data set",
         lambda patience, _: KaggleDatasets(patience).upload_blob(b"x", "x.keras")),
    ],
)  # fmt: skip
def test_what_is_refused_is_advised_in_one_wording(
    server: Any, built: Path, method: str, thing: str, ask: Any, status: int
) -> None:
    """A kernel and a data set each had advice of its own, and an upload that of a competition."""
    server.broken[method] = status
    about = json.loads((built / "kernel-metadata.json").read_text())
    with pytest.raises(CallError, match=f"{status}") as told:
        ask(Patience(timeout=2, wait=0.01, tries=2), about)
    wanted = f"See that the {thing}'s owner is this account, and its name is right."
    made = {"kernel": " Was it pushed?", "data set": " Was it uploaded?"}[thing]
    assert told.value.mend == wanted + (made if status == 404 else "")
    assert server.requests == [method]
