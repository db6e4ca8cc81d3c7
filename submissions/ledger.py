"""The ledger: what was submitted, where it stands, and what it scored; one SQLite file.

A row is written before the submission is made, so that no crash forgets one; Kaggle's list
completes it afterwards. Several processes may write at once: write-ahead log, a long busy
time-out, and every change in one immediate transaction.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from kaggle_digits.ground.errors import ArtefactError, ReadOnlyError
from kaggle_digits.ground.files import make_folder
from kaggle_digits.kaggle_service.client import Sent

_BUSY_SECONDS = 60.0
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One submission.

    Args:
        id: The ledger's own number; 0 before it is written.
        service: `kaggle` or `local`.
        competition: The competition's short name.
        tag: Text unique to this sending, part of its message; None if made elsewhere.
        ref: The service's reference; None until it is known.
        digest: 64 hex digits over ids and labels, or over a kernel's version; None if made
            elsewhere.
        file_sha256: 64 hex digits over the bytes sent.
        file_name: The file's name.
        message: The description sent.
        state: `sending` (under way, or broken off), `unknown` (it is in doubt whether it arrived),
            `pending`, `complete`, `error` (refused by the scorer), `failed` (never arrived).
        method: The blend's method.
        members: The blend's members.
        cv_accuracy: Out-of-fold accuracy, 0 to 1.
        cv_accuracy_se: Its standard error.
        cv_log_loss: Out-of-fold log-loss.
        cv_log_loss_se: Its standard error.
        cv_rows: Training rows behind them.
        metric: What the competition was scored by, one of `names.METRICS`; None where nobody said.
        cv_metric: Its out-of-fold value.
        cv_metric_se: Its standard error.
        rows: Test rows predicted.
        data_digest: The digest of the data the blend was made from.
        created: When the row was written, ISO 8601, UTC, this machine's clock.
        date: When it was submitted, the service's clock.
        public_score: As text.
        private_score: As text.
        rank: Its place on the public board when last seen, from 1.
        teams: Teams on the board then.
        error: Why it could not be scored or never arrived, or why that is in doubt.
        listed_before: How many submissions the service listed just before this one was sent.
        today_before: How many it counted for the day then.
        total_before: How many it counted in all then.
        kernel: `owner/slug/version` of the kernel that was submitted; None for a file.
    """

    id: int = 0
    service: str
    competition: str
    tag: str | None = None
    ref: int | None = None
    digest: str | None = None
    file_sha256: str | None = None
    file_name: str = ""
    message: str = ""
    state: str
    method: str | None = None
    members: tuple[str, ...] = field(default=())
    cv_accuracy: float | None = None
    cv_accuracy_se: float | None = None
    cv_log_loss: float | None = None
    cv_log_loss_se: float | None = None
    cv_rows: int | None = None
    metric: str | None = None
    cv_metric: float | None = None
    cv_metric_se: float | None = None
    rows: int | None = None
    data_digest: str | None = None
    created: str = ""
    date: str | None = None
    public_score: str | None = None
    private_score: str | None = None
    rank: int | None = None
    teams: int | None = None
    error: str | None = None
    listed_before: int | None = None
    today_before: int | None = None
    total_before: int | None = None
    kernel: str | None = None

    @property
    def share(self) -> float | None:
        """Part of the board's teams that are at this rank or better, 0 to 1."""
        return self.rank / self.teams if self.rank is not None and self.teams else None

    @property
    def when(self) -> str:
        """The service's time where it is known, else this machine's."""
        return self.date or self.created

    @property
    def public(self) -> float | None:
        """The public score as a number."""
        return float(self.public_score) if self.public_score is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return all fields, times with their zone, and the share of the board."""
        return dataclasses.asdict(self) | {
            "members": list(self.members),
            "share": self.share,
            "created": _zoned(self.created),
            "date": _zoned(self.date),
        }


_FIELDS = tuple(entry.name for entry in dataclasses.fields(Record) if entry.name != "id")

# Applied once each, in order; never change one that was released, add another.
_MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "submissions",
        (
            """CREATE TABLE submissions (
                id INTEGER PRIMARY KEY,
                service TEXT NOT NULL, competition TEXT NOT NULL, tag TEXT UNIQUE, ref INTEGER,
                digest TEXT, file_sha256 TEXT, file_name TEXT NOT NULL, message TEXT NOT NULL,
                state TEXT NOT NULL
                    CHECK (state IN ('sending', 'pending', 'complete', 'error', 'failed')),
                method TEXT, members TEXT NOT NULL, cv_accuracy REAL, cv_accuracy_se REAL,
                cv_log_loss REAL, cv_log_loss_se REAL, cv_rows INTEGER, rows INTEGER,
                data_digest TEXT, created TEXT NOT NULL, date TEXT, public_score TEXT,
                private_score TEXT, error TEXT,
                UNIQUE (service, competition, ref))""",
            "CREATE INDEX submissions_by_digest ON submissions (service, competition, digest)",
        ),
    ),
    (
        "place on the board",
        (
            "ALTER TABLE submissions ADD COLUMN rank INTEGER",
            "ALTER TABLE submissions ADD COLUMN teams INTEGER",
        ),
    ),
    (
        "in doubt whether it arrived",
        (  # SQLite changes a CHECK only with the table
            """CREATE TABLE doubted (
                id INTEGER PRIMARY KEY,
                service TEXT NOT NULL, competition TEXT NOT NULL, tag TEXT UNIQUE, ref INTEGER,
                digest TEXT, file_sha256 TEXT, file_name TEXT NOT NULL, message TEXT NOT NULL,
                state TEXT NOT NULL CHECK (
                    state IN ('sending', 'unknown', 'pending', 'complete', 'error', 'failed')),
                method TEXT, members TEXT NOT NULL, cv_accuracy REAL, cv_accuracy_se REAL,
                cv_log_loss REAL, cv_log_loss_se REAL, cv_rows INTEGER, rows INTEGER,
                data_digest TEXT, created TEXT NOT NULL, date TEXT, public_score TEXT,
                private_score TEXT, error TEXT, rank INTEGER, teams INTEGER,
                listed_before INTEGER, today_before INTEGER, total_before INTEGER,
                UNIQUE (service, competition, ref))""",
            "INSERT INTO doubted SELECT *, NULL, NULL, NULL FROM submissions",
            "DROP TABLE submissions",
            "ALTER TABLE doubted RENAME TO submissions",
            "CREATE INDEX submissions_by_digest ON submissions (service, competition, digest)",
        ),
    ),
    (
        "what it is scored by",
        (
            "ALTER TABLE submissions ADD COLUMN metric TEXT",
            "ALTER TABLE submissions ADD COLUMN cv_metric REAL",
            "ALTER TABLE submissions ADD COLUMN cv_metric_se REAL",
        ),
    ),
    ("kernels", ("ALTER TABLE submissions ADD COLUMN kernel TEXT",)),
)


class Ledger:
    """The submissions of one workspace, of all services and competitions.

    Args:
        path: The SQLite file; made, or brought up to date, when it is opened.
        reading: Go on with a copy where the file cannot be written.

    Raises:
        ArtefactError: It is broken, cannot be written, or was made by a newer version.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self._path = path
        self._aside: TemporaryDirectory[str] | None = None
        try:
            make_folder(path.parent)
            with self._errors():
                self._open(path)
        except ReadOnlyError:
            if not reading:
                raise
            self._open_copy()

    @property
    def is_kept(self) -> bool:
        """Whether what is changed here stays; not in a copy of a ledger that cannot be written."""
        return self._aside is None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._base.close()
        if self._aside is not None:
            self._aside.cleanup()

    def add(self, record: Record) -> Record:
        """Write a new submission and return it with its number and time."""
        with self._change():
            return self._insert(record)

    def change(self, record: Record, **fields: Any) -> Record:
        """Change some fields of a submission and return it as it is now."""
        if fields:
            changed = dataclasses.replace(record, **fields)
            values = dict(zip(_FIELDS, _values(changed), strict=True))
            setting = ", ".join(f"{name} = ?" for name in fields)
            with self._change():
                self._base.execute(
                    f"UPDATE submissions SET {setting} WHERE id = ?",
                    [*(values[name] for name in fields), record.id],
                )
        return self.get(record.id)

    def get(self, number: int) -> Record:
        """Return one submission by the ledger's number."""
        (found,) = self._select("id = ?", [number])
        return found

    def all(self, service: str | None = None, competition: str | None = None) -> list[Record]:
        """Return the submissions by date, the oldest first."""
        wheres, values = ["1"], []
        if service is not None:
            wheres.append("service = ?")
            values.append(service)
        if competition is not None:
            wheres.append("competition = ?")
            values.append(competition)
        found = self._select(" AND ".join(wheres), values)
        return sorted(found, key=lambda record: (record.when[:19], record.ref or 0, record.id))

    def take_in(self, service: str, competition: str, listed: Sequence[Sent]) -> int:
        """Bring the ledger up to what the service lists; what it did not know is added.

        A row is the listed submission if it has its reference, or else if the listed message or
        file name holds its tag. All of it is one transaction.

        Args:
            service: Its name.
            competition: The competition's short name.
            listed: All that it lists.

        Returns:
            How many were made elsewhere and are new here.
        """
        new = 0
        with self._change():
            known = self._select("service = ? AND competition = ?", [service, competition])
            by_ref = {record.ref: record for record in known if record.ref is not None}
            waiting = [record for record in known if record.ref is None and record.tag]
            for sent in listed:
                record = by_ref.get(sent.ref) or next(
                    (one for one in waiting if one.tag and holds_tag(sent, one.tag)), None
                )
                if record is None:
                    record = Record(
                        service=service,
                        competition=competition,
                        state="pending",
                        message=sent.message,
                        file_name=sent.file_name,
                    )
                    record = self._insert(record)
                    new += 1
                elif record in waiting:
                    waiting.remove(record)
                self._base.execute(
                    "UPDATE submissions SET ref = ?, date = ?, state = ?, error = ?, "
                    "public_score = coalesce(?, public_score), "
                    "private_score = coalesce(?, private_score) WHERE id = ?",
                    [
                        sent.ref,
                        sent.date or record.date,
                        # An old answer that comes late must not undo a score.
                        record.state
                        if sent.state == "pending" and record.state in ("complete", "error")
                        else sent.state,
                        sent.error or None,
                        sent.public_score,
                        sent.private_score,
                        record.id,
                    ],
                )
        return new

    def _insert(self, record: Record) -> Record:
        made = dataclasses.replace(record, created=record.created or now())
        names, marks = ", ".join(_FIELDS), ", ".join("?" for _ in _FIELDS)
        cursor = self._base.execute(
            f"INSERT INTO submissions ({names}) VALUES ({marks})", _values(made)
        )
        return dataclasses.replace(made, id=cursor.lastrowid or 0)

    def _select(self, where: str, values: Sequence[Any]) -> list[Record]:
        names = ", ".join(("id", *_FIELDS))
        with self._errors():
            rows = self._base.execute(
                f"SELECT {names} FROM submissions WHERE {where} ORDER BY id", values
            ).fetchall()
        return [_record(row) for row in rows]

    def _open_copy(self) -> None:
        self._aside = TemporaryDirectory(prefix="kaggle-digits-")
        # What a kill has left in the write-ahead log belongs to it.
        for place in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            try:
                shutil.copyfile(place, Path(self._aside.name) / place.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ArtefactError(
                    f"The ledger {self._path} cannot be read: {error.strerror}.",
                    mend="Check its permissions.",
                ) from error
        with self._errors():
            self._open(Path(self._aside.name) / self._path.name)

    def _open(self, path: Path) -> None:
        self._base = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._bring_up_to_date()
        except BaseException:
            self._base.close()
            raise

    def _bring_up_to_date(self) -> None:
        self._to_wal()
        self._base.execute("PRAGMA synchronous = FULL")
        with self._change():
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied TEXT NOT NULL)"
            )
            # What begins like this on a file that may only be read is an error only here.
            self._base.execute("DELETE FROM migrations WHERE 0")
        for number, (name, statements) in enumerate(_MIGRATIONS, start=1):
            with self._change():  # the change and its record stand or fall together
                applied = (
                    self._base.execute("SELECT max(number) FROM migrations").fetchone()[0] or 0
                )
                if applied > len(_MIGRATIONS):
                    raise ArtefactError(
                        f"{self._path} was made by a newer version (its form is {applied}; this "
                        f"version knows {len(_MIGRATIONS)}).",
                        mend="Install the newer version, or give another --workspace.",
                    )
                if applied >= number:
                    continue
                for statement in statements:
                    self._base.execute(statement)
                self._base.execute("INSERT INTO migrations VALUES (?, ?, ?)", [number, name, now()])

    def _to_wal(self) -> None:
        """Switch to the write-ahead log; SQLite's busy time-out does not cover this one step."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._errors():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._base.in_transaction:  # a full disk has rolled back already
                    self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
            kind = ReadOnlyError if primary in _UNWRITABLE else ArtefactError
            raise kind(
                f"The ledger {self._path} cannot be used: {error}.",
                mend="Check the disk; if the file is broken, move it away: the next call makes a "
                "new one from Kaggle's list.",
            ) from error


def holds_tag(sent: Sent, tag: str) -> bool:
    """Say whether a listed submission is the sending that the tag was made for."""
    return tag in sent.message or tag in sent.file_name


def minute(when: str) -> str:
    """Return a time of the ledger, ISO 8601 and UTC, as a person reads it, to the minute."""
    return when.replace("T", " ")[:16]


def now() -> str:
    """Return this machine's time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _zoned(when: str | None) -> str | None:
    return f"{when[:19]}Z" if when else when


def _values(record: Record) -> list[Any]:
    values = {name: getattr(record, name) for name in _FIELDS}
    values["members"] = json.dumps(list(record.members))
    return [values[name] for name in _FIELDS]


def _record(row: Sequence[Any]) -> Record:
    values = dict(zip(("id", *_FIELDS), row, strict=True))
    values["members"] = tuple(json.loads(values["members"]))
    return Record(**values)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    # The low byte is the code itself; the rest says more closely what is busy.
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
