"""What a service says of our submissions and the board: now, or when it was last asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kaggle_digits.ground.competition import DIGIT_RECOGNIZER
from kaggle_digits.ground.errors import ArtefactError, ReadOnlyError
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.transport import CallError
from submissions.leaderboard import Board, read_board
from submissions.ledger import Ledger, Record
from submissions.sending import Service, catch_up


def ask(
    service: Service,
    ledger: Ledger,
    workspace: Workspace,
    progress: Progress,
    metric: str | None = None,
) -> tuple[list[Record], Board | None]:
    """Ask for our submissions and for the board, and note each one's place on it.

    Returns:
        Our submissions, the oldest first, and the board.

    Raises:
        CallError: The service cannot be asked, or its board is broken.
    """
    catch_up(service, ledger, workspace, progress)
    content = service.download_board()
    board = None
    if content is not None:
        board = read_board(content)
        write_if_possible(lambda: write_bytes(_board_path(workspace, service), content), progress)
    teams: dict[int, str] = {sent.ref: sent.team for sent in service.submissions()}
    records = []
    for record in ledger.all(service.name, service.competition):
        if record.public is not None and board is not None:
            rank, count = board.place(record.public, teams.get(record.ref or 0, ""), metric)
            if (record.rank, record.teams) != (rank, count):
                record = ledger.change(record, rank=rank, teams=count)
        records.append(record)
    return records, board


def remember(
    service: Service,
    ledger: Ledger,
    workspace: Workspace,
    progress: Progress,
    metric: str | None = None,
) -> tuple[list[Record], Board | None]:
    """Return what `ask` returned when it was last called, without asking anybody.

    Raises:
        ArtefactError: The board that was kept is broken.
    """
    path = _board_path(workspace, service)
    board = None
    if path.is_file():
        try:
            board = read_board(path.read_bytes())
        except (OSError, CallError) as error:
            raise ArtefactError(
                f"{path} is not the board that was kept: {error}.",
                mend="Delete it, or call the command without --offline.",
            ) from error
    return ledger.all(service.name, service.competition), board


def write_if_possible(write: Callable[[], None], progress: Progress) -> bool:
    """Write what is only convenient to have; say whether the workspace took it."""
    try:
        write()
    except ReadOnlyError as error:
        progress.say(error.message)
        return False
    return True


def _board_path(workspace: Workspace, service: Service) -> Path:
    name = service.name
    if service.competition != DIGIT_RECOGNIZER:
        name = f"{name}-{service.competition}"
    return workspace.submissions / f"board-{name}.zip"
