"""The local scoreboard: where the truth is at hand, it scores what Kaggle would score."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.competition import Competition, read_labels
from kaggle_digits.ground.errors import DataError, shorten
from kaggle_digits.ground.figures import Figure, higher_is_better
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.client import Limits, Sent
from kaggle_digits.kaggle_service.transport import CallError, Patience
from submissions.ledger import now
from submissions.validation import read_file

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True)
class LocalScore:
    """A count of errors over rows whose truth is known.

    Args:
        rows: Rows scored.
        errors: Of these, how many are wrong.
    """

    rows: int
    errors: int

    @property
    def accuracy(self) -> float:
        """Share of the rows that is right, 0 to 1."""
        return 1 - self.errors / self.rows

    def __str__(self) -> str:
        """Return the figures as a person reads them."""
        return f"{self.accuracy:.4f} ({self.errors} of {self.rows} wrong)"


def score(ids: Sequence[str], labels: Sequence[str], truth: Mapping[str, str]) -> LocalScore:
    """Count the errors over all ids.

    Args:
        ids: n test ids.
        labels: n predicted classes.
        truth: The class of each id; all of `ids` are in it.
    """
    errors = sum(truth[key] != label for key, label in zip(ids, labels, strict=True))
    return LocalScore(rows=len(ids), errors=errors)


def figure_of(
    metric: str,
    competition: Competition,
    labels: Sequence[str],
    values: Sequence[Sequence[float]],
    truth: Sequence[str],
) -> Figure:
    """Judge a submission by a metric, as Kaggle would.

    Args:
        metric: One of `names.METRICS`.
        competition: Gives the classes, and the columns of values.
        labels: n predicted classes.
        values: Where probabilities are submitted, those of the form's columns, n rows; else none.
        truth: n true classes.
    """
    import numpy as np

    from kaggle_digits.core.metrics import figure

    place = {label: index for index, label in enumerate(competition.classes)}
    wanted = np.array([place[label] for label in truth])
    named = np.array([place[label] for label in labels])
    if values:
        probabilities = np.zeros((len(wanted), len(place)))
        columns = [place[label] for _, label in competition.form.values]
        probabilities[:, columns] = np.array(values)
        if len(columns) == 1:
            probabilities[:, 1 - columns[0]] = 1 - probabilities[:, columns[0]]
        elif metric == "log-loss":
            # As Kaggle does; a row of zeros says nothing.
            sums = probabilities.sum(axis=1, keepdims=True)
            even = np.full_like(probabilities, 1 / len(place))
            probabilities = np.divide(probabilities, sums, out=even, where=sums > 0)
    else:
        probabilities = np.eye(len(place))[named]
    return figure(metric, probabilities, wanted, named)


def find_truth(path: Path | None, dataset: Dataset) -> Mapping[str, str] | None:
    """Return the class of each test id, from a file or from the embedded data; None if unknown.

    Args:
        path: A CSV of two columns, id and label, with every test id, or a test file that has
            labels beside its pixels; None for the data's own.
        dataset: The competition's data.

    Raises:
        DataError: The file is broken, an id is absent, or a label is none of the classes.
    """
    if path is None:
        return dataset.truth
    from kaggle_digits.core.data.labels import class_of
    from kaggle_digits.core.data.truth import labels_of_test

    truth = labels_of_test(path, dataset)
    if truth is None:
        truth = read_labels(read_file(path), str(path))
    for key in dataset.test_ids:
        if key not in truth:
            raise DataError(
                f"{path} has no label for the id {key!r}; expected all {len(dataset.test_ids)} "
                "test ids."
            )
        label = class_of(truth[key], dataset.competition.classes)
        if label is None:
            raise DataError(
                f"{path} has the label {truth[key]!r} for the id {key!r}; expected one of "
                f"{shorten(dataset.competition.classes)}."
            )
        truth[key] = label
    return {key: truth[key] for key in dataset.test_ids}


class LocalScoreboard:
    """Plays Kaggle's part where the truth is known: the same calls, the same answers.

    A quarter of the test rows, drawn once by their ids, is the public part; its score is what
    counts on the board, as at Kaggle. There is no daily limit.

    Args:
        workspace: Its state is in `submissions/scoreboard/`.
        competition: The competition's short name.
        truth: The class of each test id; None where only what was scored before is asked for.
        public_share: Part of the rows that is public, above 0 to 1.
        form: The competition's form; None for one of labels.
        metric: What is scored, with the form; None for accuracy.
    """

    name = "local"
    doubt = 0.0

    def __init__(
        self,
        workspace: Workspace,
        competition: str,
        truth: Mapping[str, str] | None,
        public_share: float,
        form: Competition | None = None,
        metric: str | None = None,
    ) -> None:
        self._form = form
        self._metric = metric
        self.competition = competition
        self.patience = Patience(timeout=1.0, wait=0.001)
        self._folder = workspace.submissions / "scoreboard"
        self._workspace = workspace
        self._truth = truth
        self._share = public_share
        self._uploads: list[tuple[str, dict[str, str], dict[str, list[float]]]] = []

    def limits(self) -> Limits:
        """Tell that there is no limit."""
        today = now()[:10]
        entries = self._entries()
        return Limits(
            today=sum(one["date"][:10] == today for one in entries),
            left=None,
            total=len(entries),
        )

    def submissions(self) -> list[Sent]:
        """List all that was sent."""
        return [
            Sent(
                ref=one["ref"],
                date=one["date"],
                message=one["message"],
                file_name=one["file_name"],
                state="complete",
                public_score=one["public_score"],
                private_score=one["private_score"],
                team=f"local {one['ref']}",
                error="",
            )
            for one in self._entries()
        ]

    def upload(self, content: bytes, file_name: str) -> str:
        """Take a file's predictions.

        Raises:
            DataError: It is no submission.
        """
        values: dict[str, list[float]] = {}
        if self._form is not None and self._form.form.values:
            values = self._form.read_values(content, file_name)
            labels = self._form.most_probable(values)
        else:
            labels = read_labels(content, file_name)
        self._uploads.append((file_name, labels, values))
        return str(len(self._uploads) - 1)

    def create(self, upload: str, message: str) -> int:
        """Score an upload and keep its scores.

        Raises:
            CallError: The truth is not known.
        """
        if self._truth is None:
            raise CallError("The local scoreboard has no truth to score by.", mend="Give --truth.")
        file_name, labels, values = self._uploads[int(upload)]
        public, private = split_public(list(self._truth), self._share)
        scores = {
            name: f"{self._score(part, labels, values, self._truth):.5f}" if part else None
            for name, part in (("public_score", public), ("private_score", private))
        }
        with self._workspace.lock(self._folder):
            entries = self._entries()
            ref = max((one["ref"] for one in entries), default=0) + 1
            entries.append(
                {"ref": ref, "date": now(), "message": message, "file_name": file_name} | scores
            )
            write_json(self._folder / "scores.json", {self.competition: entries} | self._others())
        return ref

    def download_board(self) -> bytes | None:
        """Return a board on which every submission is a team of its own; None without any."""
        if not self._entries():
            return None
        out = io.BytesIO()
        sign = -1 if higher_is_better(self._metric) else 1
        rows = sorted(self._entries(), key=lambda one: sign * float(one["public_score"]))
        lines = ["Rank,TeamId,TeamName,LastSubmissionDate,Score"] + [
            f"{rank},{one['ref']},local {one['ref']},{one['date']},{one['public_score']}"
            for rank, one in enumerate(rows, start=1)
        ]
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("board.csv", "\n".join(lines) + "\n")
        return out.getvalue()

    def _score(
        self,
        ids: Sequence[str],
        labels: Mapping[str, str],
        values: Mapping[str, Sequence[float]],
        truth: Mapping[str, str],
    ) -> float:
        named = [labels[key] for key in ids]
        if self._metric in (None, "accuracy") or self._form is None:
            return score(ids, named, truth).accuracy
        told = [values[key] for key in ids] if values else []
        wanted = [truth[key] for key in ids]
        return figure_of(self._metric, self._form, named, told, wanted).value

    def _state(self) -> dict[str, list[dict[str, Any]]]:
        path = self._folder / "scores.json"
        if not path.is_file():
            return {}
        return read_artefact(
            path,
            _build,
            "the local scoreboard's scores",
            "Move it away: the scoreboard begins anew.",
        )

    def _entries(self) -> list[dict[str, Any]]:
        return list(self._state().get(self.competition, []))

    def _others(self) -> dict[str, list[dict[str, Any]]]:
        return {name: rows for name, rows in self._state().items() if name != self.competition}


def split_public(ids: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """Draw the public part: by a hash of the id, so that every call draws the same.

    Args:
        ids: n test ids.
        share: Part that is public, above 0 to 1.

    Returns:
        The public ids, round(share n) but at least one, and the private ones.
    """
    drawn = sorted(ids, key=lambda key: hashlib.sha256(f"public:{key}".encode()).digest())
    size = max(1, round(share * len(ids)))
    return drawn[:size], drawn[size:]


def _build(values: object) -> dict[str, list[dict[str, Any]]]:
    fields = Fields(values)
    found = {name: fields.each(name) for name in fields.all()}
    for entry in (entry for entries in found.values() for entry in entries):
        entry.whole("ref")
        for name in ("date", "message", "file_name"):
            entry.text(name)
        for name in ("public_score", "private_score"):
            score = entry.text_or_none(name)
            if score is not None and not re.fullmatch(r"-?\d+(\.\d+)?", score):
                raise FormError(f"{name} is {score!r}; expected a score")
        entry.text("public_score")
    return {name: [entry.all() for entry in entries] for name, entries in found.items()}
