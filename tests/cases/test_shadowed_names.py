"""A user's own files that bear the names of the tool's packages."""

from __future__ import annotations

import pytest

OURS = ("tuning", "ensembles", "submissions", "kernel")


@pytest.fixture
def folder(tmp_path):
    """A folder with a script of each of our packages' names, and one of a library's."""
    place = tmp_path / "mine"
    place.mkdir()
    for name in (*OURS, "numpy", "rich"):
        (place / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    return place


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tune", "--show"], "There is no study"),
        (["members"], "no members have been planned"),
        (["check"], "submission.csv is not there"),
        (["kernel", "push"], "kernel-metadata.json is not there"),
    ],
)
def test_a_folder_with_a_script_of_our_name_breaks_nothing(words, says, folder, start):
    with start(*words, cwd=folder) as process:
        out, err = process.communicate()
    assert process.returncode == 4, err
    assert out == "" and says in err
