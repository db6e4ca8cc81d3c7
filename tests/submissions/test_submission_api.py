"""The wing in Python: typed values, and not a sign on the streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaggle_digits.core.place import Place
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import KaggleClient
from submissions import api


@pytest.fixture
def place(dataset: Any, tmp_path: Path) -> Place:
    return Place(Workspace(tmp_path / "workspace"), lambda: dataset, Silent())


def test_the_loop_returns_values_and_prints_nothing(
    place: Place, csv_of: Callable[..., bytes], dataset: Any, tmp_path: Path, capfd: Any
) -> None:
    file = tmp_path / "s.csv"
    file.write_bytes(csv_of(dataset, 3))
    checked = api.check(place, file)
    assert checked.local is not None and checked.local.errors == 3
    service = api.open_service(place, local=True)
    ahead = api.look_ahead(place, service, file)
    planned = api.plan(place, service, ahead, message="mine")
    assert planned.would_send and planned.same is None and planned.message.endswith("| mine")
    done = api.submit(place, service, ahead, message="mine")
    assert done.sent and done.record.state == "complete"
    assert not api.plan(place, service, ahead).would_send
    assert not api.submit(place, service, ahead).sent
    listed = api.submissions(place, service)
    assert [record.ref for record in listed.records] == [1] and listed.remark is None
    summary = api.leaderboard(place, service)
    assert summary.best is not None and summary.best.rank == 1
    assert capfd.readouterr() == ("", "")
    for value in (place, checked, ahead, planned, done, listed, summary):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_download_and_kaggle(server: Any, tmp_path: Path, capfd: Any) -> None:
    server.files = {"train.csv": b"label\n1\n", "test.csv": b"pixel0\n1\n"}
    found = api.download(tmp_path / "data", Silent(), competition="c/digit-recognizer")
    assert found.fetched and sorted(found.files) == ["test.csv", "train.csv"]
    with pytest.raises(ConfigurationError, match="folder to download into"):
        api.download(tmp_path / "data" / "train.csv", Silent())
    assert capfd.readouterr() == ("", "")


def test_what_is_not_there_or_does_not_go_together_is_an_error(
    place: Place, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="is not there"):
        api.check(place)
    for name in ("embedded digits", "embedded shapes"):
        data = dataclasses.replace(place.data(), name=name)
        own = dataclasses.replace(place, data=lambda data=data: data)
        with pytest.raises(ConfigurationError, match=f"The {name} are no competition at Kaggle"):
            api.open_service(own)
    with pytest.raises(ConfigurationError, match="without --local"):
        api.open_service(place, truth=tmp_path / "t.csv")


def test_boards_of_two_competitions_are_kept_apart(place: Place, server: Any) -> None:
    """What was last seen of the one was shown as the other's."""
    known, other = KaggleClient("digit-recognizer"), KaggleClient("pets")
    assert api.leaderboard(place, known).teams == 30
    assert (place.workspace.submissions / "board-kaggle.zip").is_file()
    assert api.leaderboard(place, other, ask=False).teams is None
    server.competition, server.board = "pets", server.board[:2]
    assert api.leaderboard(place, other).teams == 2
    assert api.leaderboard(place, other, ask=False).teams == 2
    assert api.leaderboard(place, known, ask=False).teams == 30
