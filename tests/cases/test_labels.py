"""Labels: numbers compare as numbers, the sample says how they look, and all can be submitted."""

from __future__ import annotations

import pytest

from kaggle_digits.core.data import load
from kaggle_digits.core.data.labels import class_of, in_sample_form
from kaggle_digits.ground.errors import DataError
from kaggle_digits.shell import cli
from submissions.scoreboard import find_truth
from submissions.validation import validate

IDS = [str(number) for number in range(1, 13)]


def test_floats_in_train_and_whole_numbers_in_the_sample(make, workspace) -> None:
    made = make(classes=("0.0", "5.0", "10.0"))
    made.sample(IDS)
    told: list[str] = []
    dataset = load(made.folder, workspace, told.append)
    assert dataset.competition.classes == ("0", "5", "10")
    assert dataset.labels.tolist() == [0, 1, 2] * 10
    assert "labels such as 0.0 are written as 0, as the sample submission has them" in told
    right = dataset.competition.form.render(IDS, ["5"] * 12)
    assert validate(right, "right.csv", dataset).labels == ("5",) * 12
    wrong = dataset.competition.form.render(IDS, ["5.0"] * 12)
    with pytest.raises(DataError, match=r"has the label '5\.0'"):
        validate(wrong, "wrong.csv", dataset)


def test_the_truth_may_be_written_in_another_form(make, workspace, tmp_path) -> None:
    made = make(classes=("0.0", "5.0", "10.0"))
    made.sample(IDS)
    dataset = load(made.folder, workspace)
    (tmp_path / "truth.csv").write_text("id,label\n" + "".join(f"{n},10.0\n" for n in IDS))
    assert find_truth(tmp_path / "truth.csv", dataset) == dict.fromkeys(IDS, "10")


@pytest.mark.parametrize(
    ("train", "sample", "wanted"),
    [
        (["5.0", "7.0"], ["0"], ["5", "7"]),
        (["5", "7"], ["0.0"], ["5.0", "7.0"]),
        (["5.00", "7."], ["0.0"], ["5.0", "7.0"]),
        (["5", "7"], ["0"], ["5", "7"]),
        (["5.0", "7.0"], [], ["5.0", "7.0"]),
        (["5.0", "5", "7"], [], ["5", "5", "7"]),
        (["-1.0", "7"], ["0"], ["-1", "7"]),
        (["001", "007"], ["0"], ["001", "007"]),
        (["1.5", "2.0"], ["0"], ["1.5", "2.0"]),
        (["a", "2.0"], ["0"], ["a", "2.0"]),
        (["1.0", "2.0"], ["a"], ["1.0", "2.0"]),
        (["1e1", "2"], ["0"], ["1e1", "2"]),
    ],
)
def test_the_sample_decides_where_both_are_whole_numbers(train, sample, wanted) -> None:
    found, remark = in_sample_form(train, sample)
    assert found == wanted
    assert (remark is None) == (train == wanted)


def test_numbers_compare_as_numbers_and_words_as_words() -> None:
    assert class_of("7.0", ["5", "7"]) == "7" and class_of("7", ["7.0"]) == "7.0"
    assert class_of("07", ["7", "07"]) == "07" and class_of("7.00", ["7", "07"]) is None
    assert class_of("a", ["A"]) is None and class_of("nan", ["nan "]) is None


@pytest.mark.parametrize("label", ['"a\nb"', '"a\r\nb"', "a\tb", "a\x07b", "a\u2028b"])
def test_a_label_that_cannot_stand_in_a_submission_is_refused_before_the_search(
    make, tmp_path, capfd, label
) -> None:
    made = make(classes=("x", "y"))
    text = (made.folder / "train.csv").read_text()
    (made.folder / "train.csv").write_text(text.replace("y,", f"{label},"), "utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.cli(["run", "--data", str(made.folder), "--workspace", str(tmp_path / "w")])
    err = capfd.readouterr().err
    assert ended.value.code == 3
    assert "train.csv line 3 has the label" in err and "cannot stand in a submission" in err
    assert not list((tmp_path / "w" / "tuning").glob("trial*"))


def test_an_id_that_cannot_stand_in_a_submission_is_refused(make, workspace) -> None:
    made = make(id_column="id", ids=[*IDS[:-1], "a\tb"])
    with pytest.raises(DataError, match="has the id 'a.tb', which cannot stand in a submission"):
        load(made.folder, workspace)


def test_labels_of_other_characters_are_labels(make, workspace) -> None:
    made = make(classes=("$x$", "=1+1", "🎉é"))
    assert load(made.folder, workspace).competition.classes == ("$x$", "=1+1", "🎉é")
