"""The page of `report`: what stands on it, whatever the workspace holds."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.data.fixes import Fix
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace

HEADINGS = [
    "At a glance", "Search", "Training", "Members and blend", "Errors", "Labels that look wrong",
    "Data", "Leaderboard", "Provenance",
]  # fmt: skip


class Seen(HTMLParser):
    """What a browser makes of a page: tags with their attributes, and the text of each section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.sections: dict[str, str] = {}
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "h2":
            self.headings.append("")

    def handle_data(self, data: str) -> None:
        if self._in == "h2" and data.strip():
            self.headings[-1] += data
            self.sections[data] = ""
        elif self.headings and self._in not in ("script", "style"):
            self.sections[self.headings[-1]] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def downloaded(seen: Seen) -> str | None:
    """Return the list of labels that look wrong; None where there is none."""
    links = [tag["href"] for tag in seen.all("a") if "download" in tag]
    return base64.b64decode(links[0].split(",")[1]).decode() if links else None


@pytest.fixture
def report(call, filled):
    """Make the report; gives its page and the bytes."""

    def report(*words: object) -> tuple[Seen, bytes]:
        code, out, err = call("report", *filled.words, *words)
        assert code == 0, err
        path = Path(re.search(r"^report +(.*)$", out, re.MULTILINE)[1])
        content = path.read_bytes()
        return Seen(content.decode()), content

    return report


def test_what_nearest_images_brought_stands_beside_the_blend(report, filled):
    path = next((filled.workspace.root / "ensembles").rglob("blend.json"))
    about = json.loads(path.read_text("utf-8"))
    about["neighbours"] = {
        "rows": 12, "test_rows": 3, "exponents": [0.65, 4.0], "helps": True,
        "images": [11, -3.5, 25.5], "log_loss": [-0.00124, -0.00182, -0.00067],
    }  # fmt: skip
    path.write_text(json.dumps(about), "utf-8")
    told = report()[0].sections["Members and blend"]
    assert "+11 images, log-loss -0.00124 [-0.00182, -0.00067] on 12 unsure rows" in told
    assert "All are without the nearest training images." in told


def test_all_sections_are_filled_and_the_page_is_in_the_workspace(report, filled):
    seen, content = report()
    assert seen.headings == HEADINGS
    assert (filled.workspace.root / "report.html").read_bytes() == content
    assert "Call `" not in content.decode() and 'class="warning"' not in content.decode()
    says = {
        "At a glance": ["OOF accuracy", "of 120 images", "mean of 9 members", "10 trials"],
        "Search": ["Scores over time", "What mattered", "Parallel coordinates", "Trials"],
        "Training": ["Training loss by epoch", "Time and throughput", "9 of 9 members"],
        "Members and blend": ["Agreement", "What each set adds", "Methods compared", "Calibration"],
        "Errors": ["Confusion matrix", "The hardest images", "votes", "probabilities"],
        "Labels that look wrong": ["as CSV", "blend hesitates"],
        "Data": ["Classes", "Image statistics", "Augmented images: standard"],
        "Leaderboard": ["Scores by date", "CV against public", "rank correlation", "What it can"],
        "Provenance": [
            "data digest",
            "hardware",
            "kaggle-digits blend --method mean",
            "kaggle-digits tune --preset quick --seed 0 --strategy random --trials 10",
        ],
    }
    for heading, texts in says.items():
        for text in texts:
            assert text in seen.sections[heading], (heading, text)


def test_the_page_needs_nothing_from_elsewhere(report):
    seen, content = report()
    for _, attributes in seen.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    assert b"@import" not in content and b"url(" not in content
    policy = next(tag["content"] for tag in seen.all("meta") if "http-equiv" in tag)
    assert policy.startswith("default-src 'none'")
    assert len(content) < 3_000_000


def test_hostile_texts_are_texts(report, filled):
    seen, content = report()
    page = content.decode()
    assert len(seen.all("script")) == 1 and filled.script not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not [name for _, tag in seen.tags for name in tag if name.startswith("on")]
    for name in filled.classes:
        assert any(option.get("value") == name for option in seen.all("option"))
    rows = list(csv.reader(io.StringIO(downloaded(seen))))
    cells = {cell for row in rows[1:] for cell in row[1:4]}
    assert "'=1+1&'x'" in cells and not [cell for cell in cells if cell.startswith("=")]


def test_labels_that_are_wrong_come_first(report, filled):
    seen, _ = report()
    rows = list(csv.DictReader(io.StringIO(downloaded(seen))))
    assert {int(row["row"]) for row in rows[:3]} == set(filled.wrong)
    assert [row["confident"] for row in rows[:3]] == ["yes"] * 3
    # The sure ones are filled in; the others wait for a person.
    assert all(
        row["take"] == (row["suggested"] if row["confident"] == "yes" else "") for row in rows
    )
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins) and margins[-1] < 0


def test_every_cell_of_the_confusion_matrix_has_its_images(report, filled):
    seen, content = report()
    cells = [json.loads(tag["data-values"]) for tag in seen.all("button") if "data-values" in tag]
    shown = [json.loads(tag["data-tags"]) for tag in seen.all("li") if tag.get("data-tags")]
    assert cells and all(cell in shown for cell in cells)
    assert content.count(b"images: label") == len(cells)


@pytest.mark.parametrize(
    ("place", "broken", "says"),
    [
        ("tuning/study.json", ["Search"], "study.json"),
        ("ensembles/plan.json", ["Training", "Members and blend"], "plan.json"),
        ("ensembles/blend/blend.json", ["Members and blend", "Errors", "Labels that look wrong"],
         "blend.json"),
        ("submissions/ledger.sqlite", ["Leaderboard"], "ledger.sqlite"),
        ("data.json", HEADINGS[3:], "data.json"),
    ],
)  # fmt: skip
def test_a_broken_artefact_costs_its_sections_only(place, broken, says, call, filled):
    path = filled.workspace.root / place
    path.write_bytes(b"{ no artefact")
    code, _, err = call("report", "--workspace", filled.workspace.root)
    assert code == 0 and "Traceback" not in err
    seen = Seen((filled.workspace.root / "report.html").read_text("utf-8"))
    assert seen.headings == HEADINGS
    for heading in HEADINGS[1:]:
        is_hurt = f"the section {heading} could not be made" in err
        assert is_hurt == (heading in broken), heading
        if is_hurt:
            assert says in seen.sections[heading]


def test_commands_that_an_earlier_version_did_not_keep_are_not_made_up(report, filled):
    for name, change in (
        ("tuning/study.json", lambda told: told.pop("call")),
        ("ensembles/blend/blend.json", lambda told: told.pop("call")),
        ("ensembles/plan.json", lambda told: told["settings"].pop("calls", None)),
    ):
        path = filled.workspace.root / name
        told = json.loads(path.read_text("utf-8"))
        change(told)
        path.write_text(json.dumps(told), "utf-8")
    said = report()[0].sections["Provenance"]
    assert "No command is known that makes these results again." in said
    path.write_text(json.dumps(told | {"settings": told["settings"] | {"calls": 5}}), "utf-8")
    assert "settings.calls is 5" in report()[0].sections["Training"]


def test_a_broken_member_leaves_the_errors(call, filled):
    member = next((filled.workspace.ensembles / "members").glob("*/held_out.npy"))
    member.write_bytes(b"no array")
    code, _, err = call("report", *filled.words)
    assert code == 0 and err.count("could not be made") == 1 and "Members and blend" in err
    seen = Seen((filled.workspace.root / "report.html").read_text("utf-8"))
    assert "held_out.npy" in seen.sections["Members and blend"]
    assert "The hardest images" in seen.sections["Errors"]
    assert "votes" not in seen.sections["Errors"]


def test_members_without_a_search_are_gone_on_with(call, filled):
    shutil.rmtree(filled.workspace.tuning)
    code, out, err = call("report", "--text", *filled.words)
    assert code == 0 and "next: kaggle-digits submit" in out, out


def test_a_fault_of_ours_costs_one_section_and_goes_to_the_log(call, filled, monkeypatch):
    monkeypatch.setattr("tuning.report.search", lambda subject: 1 / 0)
    code, _, err = call("report", *filled.words)
    assert code == 0 and "Traceback" not in err and "the section Search could not be made" in err
    assert "ZeroDivisionError" in (filled.workspace.root / "log.txt").read_text("utf-8")


def test_an_empty_workspace_says_which_commands_fill_it(call, make, workspace):
    folder = make().folder
    load(folder, workspace)
    code, out, err = call("report", "--data", folder, "--workspace", workspace.root)
    assert code == 0, err
    seen = Seen((workspace.root / "report.html").read_text("utf-8"))
    wanted = {"Search": "run", "Training": "cv-train", "Members and blend": "cv-train",
              "Errors": "blend", "Labels that look wrong": "blend", "Data": "cv-train",
              "Leaderboard": "submit"}  # fmt: skip
    for heading, words in wanted.items():
        assert f"kaggle-digits {words}" in seen.sections[heading], heading
    assert "kaggle-digits run" in seen.sections["At a glance"]


def test_without_a_workspace_there_is_no_report(call, tmp_path):
    code, out, err = call("report", "--workspace", tmp_path / "none")
    assert code == 4 and "There is no workspace at" in err and "kaggle-digits run" in err
    assert not (tmp_path / "none" / "report.html").exists()


def test_the_essentials_in_the_terminal(call, filled):
    code, out, _ = call("report", "--text", *filled.words)
    assert code == 0
    assert "OOF accuracy" in out and "of 120 images" in out and "next: kaggle-digits" in out
    assert not (filled.workspace.root / "report.html").exists()
    code, out, _ = call("report", "--json", *filled.words)
    values = json.loads(out)
    assert values["failed"] == [] and values["report"].endswith("report.html")
    assert values["facts"]["blend"] == "mean of 9 members"


def test_the_page_goes_where_it_is_wanted(call, filled, tmp_path):
    wanted = tmp_path / "out" / "page.html"
    code, out, _ = call("report", *filled.words, "--output", wanted)
    assert code == 0 and str(wanted) in out
    assert wanted.exists() and not (filled.workspace.root / "report.html").exists()
    code, _, err = call("report", *filled.words, "--output", tmp_path)
    assert code == 2 and "--output was given as" in err


def test_run_makes_the_report_at_its_end(call, filled, monkeypatch):
    from kaggle_digits.shell import chain

    blended = SimpleNamespace(dataset=SimpleNamespace(test_ids=()))
    ran = SimpleNamespace(
        blended=blended, checked=SimpleNamespace(local=None), tuned=None,
        trained=SimpleNamespace(keys=()), submission="s.csv", facts=dict, oof_accuracy=1.0,
        oof_log_loss=0.0, oof_accuracy_se=0.0, oof_log_loss_se=0.0,
        oof_metric=None,
    )  # fmt: skip
    monkeypatch.setattr(chain, "run", lambda *_, **__: ran)
    code, out, err = call("run", *filled.words)
    assert code == 0, err
    page = filled.workspace.root / "report.html"
    assert page.exists() and re.search(rf"^report +{re.escape(str(page))}$", out, re.MULTILINE)


def blended(workspace, dataset, oof: np.ndarray) -> None:
    """Put a blend into a workspace that says this of the training rows."""
    place = workspace.ensembles / "blend"
    place.mkdir(parents=True)
    np.save(place / "oof.npy", oof)
    np.save(place / "test.npy", oof[: len(dataset.test_ids)])
    account = {"data_digest": dataset.digest, "method": "mean", "members": ["a"], "rows": len(oof)}
    figures = {
        f"oof_{name}": 0.1 for name in ("accuracy", "accuracy_se", "log_loss", "log_loss_se")
    }
    write_json(place / "blend.json", account | figures)


def test_another_competition_with_many_classes_has_a_table_of_pairs(call, make, workspace):
    classes = [f"c{number}" for number in range(50)]
    folder = make(height=8, width=8, rows=300, test_rows=50, classes=classes).folder
    dataset = load(folder, workspace)
    oof = np.full((300, 50), 0.01 / 49, dtype=np.float32)
    oof[np.arange(300), (dataset.labels + (np.arange(300) < 5)) % 50] = 0.99
    blended(workspace, dataset, oof)
    code, _, err = call("report", "--data", folder, "--workspace", workspace.root)
    assert code == 0 and "could not be made" not in err, err
    seen = Seen((workspace.root / "report.html").read_text("utf-8"))
    assert "Classes confused most often" in seen.sections["Errors"]
    assert "5 of 300 images" in seen.sections["Errors"]


def test_without_broken_images_rows_are_those_that_were_read(call, pictures, workspace, tmp_path):
    """The page, its list, and what `--labels` makes of the list."""
    (pictures / "train" / "4.png").write_bytes(b"no image")
    dataset = load(pictures, workspace, wanted=Wanted(skip_broken=True))
    oof = np.full((11, 2), 0.01, np.float32)
    oof[np.arange(11), dataset.labels] = 0.99
    oof[5] = [0.001, 0.999] if dataset.labels[5] == 0 else [0.999, 0.001]
    blended(workspace, dataset, oof)
    code, _, err = call("report", "--data", pictures, "--workspace", workspace.root)
    assert code == 0 and "could not be made" not in err, err
    seen = Seen((workspace.root / "report.html").read_text("utf-8"))
    told = seen.sections["Labels that look wrong"]
    assert "row of the images read" in told and "place in the images read, from 0" in told
    assert "row of train.csv" not in told and "--skip-broken --labels" in told
    path = tmp_path / "fixes.csv"
    path.write_text(downloaded(seen))
    other = Workspace(tmp_path / "other")
    fixed = load(pictures, other, wanted=Wanted(skip_broken=True), labels=path)
    assert fixed.fixes.changes == (Fix(5, str(dataset.labels[5]), str(1 - dataset.labels[5])),)


def test_the_python_api_gives_a_value_that_shows_itself(filled, tmp_path):
    import kaggle_digits as kd

    competition = kd.load(filled.folder, workspace=filled.workspace.root, progress=False)
    made = kd.report(competition)
    assert made.path == filled.workspace.root / "report.html" and made.path.is_file()
    assert list(made.sections) == HEADINGS[1:] and made.failed == ()
    assert made.headline["blend"] == "mean of 9 members"
    assert made.next_command.startswith("kaggle-digits ") and "--workspace" in made.next_command
    shown = made._repr_html_()
    assert "of 120 images" in shown and "<script" not in shown
    assert "OOF accuracy" in repr(made)
    elsewhere = kd.report(competition, output=tmp_path / "page.html")
    assert elsewhere.path == tmp_path / "page.html"
    empty = kd.report(kd.load(filled.folder, workspace=tmp_path / "new", progress=False))
    assert empty.headline == {"submission": "not made yet"} and "run" in empty.next_command
