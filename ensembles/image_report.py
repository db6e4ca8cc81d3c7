"""The report's sections that show images: errors, labels that look wrong, images in doubt."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensembles.duplicates import NEAR, Pair, near_duplicates
from ensembles.pool import Pool
from ensembles.stored import StoredBlend, blend_of, pool_of
from ensembles.suspects import Suspects, hesitations, suspects
from kaggle_digits.core.data.fixes import COLUMNS, EXCLUDE, harmless
from kaggle_digits.core.data.provenance import read_provenance
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.blend import has_blend
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.shell.report.images import png
from kaggle_digits.shell.report.parts import (
    Download,
    Facts,
    Gallery,
    Matrix,
    Part,
    Picture,
    Section,
    Subject,
    Table,
    Text,
    in_words,
)  # fmt: skip

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_TRUE, _NAMED = "label", "predicted"
_MOST_WRONG, _MOST_RIGHT = 400, 100
_MOST_CLASSES = 40
_MOST_PAIRS = 50
_MOST_SUSPECTS, _MOST_DOUBTS, _MOST_TWICE = 60, 40, 20
_SHOWN_CLASSES = 4
_LIST = "labels-that-look-wrong.csv"


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The judged rows, and what members say of them where that can be read.

    Args:
        dataset: The data.
        blend: The blend, judged on them.
        labels: Of the judged rows, int64.
        pool: The members; None where they cannot be read.
        rows_of: What rows are counted in; where broken images are left out, no longer train.csv.
    """

    dataset: Dataset
    blend: StoredBlend
    labels: np.ndarray
    pool: Pool | None
    rows_of: str

    def picture(self, place: int, caption: str, more: dict[str, str]) -> Picture:
        """Return one of the judged rows.

        Args:
            place: Its place in the blend's rows.
            caption: What stands below it.
            more: What is told of it before its probabilities.
        """
        row, classes = int(self.blend.rows[place]), self.dataset.competition.classes
        true = classes[self.labels[place]]
        named = classes[int(self.blend.oof[place].argmax())]
        details = more | {f"row of {self.rows_of}": str(row)}
        details["probabilities"] = _probabilities(self.blend.oof[place], classes)
        votes = self._votes(row)
        if votes:
            details["votes"] = votes
        return Picture(
            png(self.dataset.images[row]),
            f"row {row}, labelled {in_words(true)}, predicted {in_words(named)}",
            caption,
            details,
            {_TRUE: true, _NAMED: named},
        )

    def _votes(self, row: int) -> str:
        if self.pool is None:
            return ""
        place = int(np.searchsorted(self.pool.rows, row))
        if place == len(self.pool.rows) or self.pool.rows[place] != row:
            return ""
        classes = self.dataset.competition.classes
        votes = self.pool.oof[:, place].argmax(axis=1).tolist()
        given = [in_words(classes[index]) for index in votes]
        return " ".join(given)


def _seen(subject: Subject) -> _Seen:
    dataset = subject.data()
    blend = subject.once(blend_of)
    try:
        pool = subject.once(pool_of)[0]
    except ArtefactError:  # the section about members says so
        pool = None
    known = read_provenance(subject.workspace)
    is_whole = known is None or not known.wanted.skip_broken
    rows_of = "train.csv" if is_whole else "the images read"
    return _Seen(dataset, blend, dataset.labels[blend.rows], pool, rows_of)


def errors(subject: Subject) -> Section:
    """Return which classes are confused, and the hardest images.

    Raises:
        ArtefactError: The blend is broken, or of other data.
        DataError: The data cannot be read.
    """
    if not has_blend(subject.workspace):
        return Section([subject.missing("Errors are those of a blend.", "blend")])
    seen = subject.once(_seen)
    classes, labels = seen.dataset.competition.classes, seen.labels
    named = seen.blend.oof.argmax(axis=1)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, named), 1)
    wrong = int((named != labels).sum())
    parts: list[Part] = [Facts({"wrong": f"{wrong:,} of {len(labels):,} images, out-of-fold"})]
    if len(classes) <= _MOST_CLASSES:
        parts.append(
            Matrix("Confusion matrix", classes, counts.tolist(), "hardest", (_TRUE, _NAMED))
        )
        parts.append(Text("A number shows its images below, as far as they are among them."))
    else:
        parts.append(_most_confused(classes, counts))
    if seen.pool is not None:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(seen.pool.names, 1))
        parts.append(Text(f"Votes of an image are those of the sets in this order: {names}."))
    losses = row_losses(seen.blend.oof, labels)
    places = _hardest(losses, labels, named, len(classes))
    pictures = []
    for place in places.tolist():
        true, guess = (in_words(classes[index]) for index in (labels[place], named[place]))
        sure = seen.blend.oof[place, named[place]]
        is_right = labels[place] == named[place]
        caption = f"{true} {sure:.2f}" if is_right else f"{true} → {guess} {sure:.2f}"
        pictures.append(seen.picture(place, caption, {}))
    parts.append(
        Gallery(
            f"The hardest images ({len(pictures)})",
            pictures,
            "hardest",
            {_TRUE: classes, _NAMED: classes},
        )
    )
    return Section(parts)


def _most_confused(classes: Sequence[str], counts: np.ndarray) -> Table:
    others = counts.copy()
    np.fill_diagonal(others, 0)
    order = np.argsort(-others, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for true, guess in zip(*np.unravel_index(order, others.shape), strict=True):
        if others[true, guess]:
            rows.append([classes[true], classes[guess], str(others[true, guess])])
    return Table("Classes confused most often", (_TRUE, _NAMED, "images"), rows)


def _hardest(losses: np.ndarray, labels: np.ndarray, named: np.ndarray, classes: int) -> np.ndarray:
    """Return the places to show, the highest loss first: of each pair of classes some."""
    order = np.argsort(-losses, kind="stable")
    pair = labels[order] * classes + named[order]
    # The rank of each place within its pair, so that every cell of the matrix opens something.
    by_pair = np.argsort(pair, kind="stable")
    sorted_pair = pair[by_pair]
    starts = np.r_[0, np.flatnonzero(np.diff(sorted_pair)) + 1]
    lengths = np.diff(np.r_[starts, len(pair)])
    rank = np.empty(len(pair), dtype=np.int64)
    rank[by_pair] = np.arange(len(pair)) - np.repeat(starts, lengths)
    is_wrong = labels[order] != named[order]
    chosen = []
    for which, most in ((is_wrong, _MOST_WRONG), (~is_wrong, _MOST_RIGHT)):
        own = np.flatnonzero(which)
        chosen.append(own[np.argsort(rank[own], kind="stable")[:most]])
    return order[np.sort(np.concatenate(chosen))]


def labels(subject: Subject) -> Section:
    """Return labels that look wrong, test images in doubt, and images that come twice.

    Raises:
        ArtefactError: The blend is broken, or of other data.
        DataError: The data cannot be read.
    """
    if not has_blend(subject.workspace):
        return Section([subject.missing("Labels are judged by a blend's predictions.", "blend")])
    seen = subject.once(_seen)
    found = suspects(seen.blend.oof, seen.labels)
    return Section([*_suspects(seen, found, _command(subject)), *_doubts(seen), *_twice(seen)])


def _suspects(seen: _Seen, found: Suspects, command: str) -> list[Part]:
    if not len(found.rows):
        return [Text("No label in train.csv looks wrong to the blend.")]
    classes = seen.dataset.competition.classes
    pictures = []
    for place, other, margin in zip(
        found.rows[:_MOST_SUSPECTS].tolist(), found.suggested, found.margins, strict=False
    ):
        true = in_words(classes[seen.labels[place]])
        caption = f"{true}, rather {in_words(classes[other])}?"
        pictures.append(seen.picture(place, caption, {"margin": f"{margin:.3f}"}))
    sure, count = int(found.confident.sum()), len(found.rows)
    shown = "" if count <= _MOST_SUSPECTS else f", the first {_MOST_SUSPECTS} shown"
    return [
        Text(
            f"Members that never saw the row name another class for {counted(count, 'label')} of "
            f"{len(seen.labels):,}. Of {sure or 'none'} of these they are as sure as of rows that "
            "have that class, which most probably makes the label wrong. The most suspicious come "
            "first. A hard image is no wrong label, so look at them."
        ),
        Gallery(f"Labels that look wrong ({len(found.rows)}{shown})", pictures, "suspects"),
        Download(f"All {len(found.rows)} as CSV", _LIST, _as_csv(seen, found)),
        Text(
            f"Its column row is the place in {seen.rows_of}, from 0. Its column take holds the "
            "label to take: another class, exclude to leave the row out, or nothing to leave it "
            "as it is; those that are most probably wrong are filled in. Corrected labels are "
            "other data, for a workspace of their own:",
            command,
        ),
    ]


def _command(subject: Subject) -> str:
    """Return how to train on the list: on these data, read and scored as they are here."""
    known, metric = read_provenance(subject.workspace), kept_metric(subject.workspace)
    words = ["run", *(() if known is None else known.words)]
    words += [] if metric is None else ["--metric", metric]
    return shlex.join(["kaggle-digits", *words, "--labels", _LIST, "--workspace", "corrected"])


def _as_csv(seen: _Seen, found: Suspects) -> bytes:
    """Return a file that --labels takes: labels that are most probably wrong are corrected.

    What is corrected already stays corrected, so that one list can follow another.
    """
    classes = seen.dataset.competition.classes
    given = seen.dataset.given_labels
    fixes = () if seen.dataset.fixes is None else seen.dataset.fixes.changes
    before = {one.row: EXCLUDE if one.take is None else harmless(one.take) for one in fixes}
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, "suggested", "margin", "confident"])
    columns = (found.rows, found.suggested, found.margins, found.confident)
    for place, other, margin, sure in zip(*columns, strict=True):
        row, suggested = int(seen.blend.rows[place]), harmless(classes[other])
        take = before.pop(row, "")
        cells = [row, harmless(classes[given[row]]), suggested if sure else take, suggested]
        writer.writerow([*cells, f"{margin:.4f}", "yes" if sure else "no"])
    for row, take in before.items():
        writer.writerow([row, harmless(classes[given[row]]), take, "", "", ""])
    return out.getvalue().encode()


def _doubts(seen: _Seen) -> list[Part]:
    classes, test = seen.dataset.competition.classes, seen.blend.test
    pictures = []
    for row in hesitations(test, _MOST_DOUBTS).tolist():
        second, first = np.argsort(test[row], kind="stable")[-2:]
        key = in_words(seen.dataset.test_ids[row])
        names = [in_words(classes[index]) for index in (first, second)]
        pictures.append(
            Picture(
                png(seen.dataset.test_images[row]),
                f"test image {key}, predicted {names[0]}",
                f"{names[0]} {test[row, first]:.2f} or {names[1]} {test[row, second]:.2f}",
                {"id": key, "probabilities": _probabilities(test[row], classes)},
            )
        )
    return [Gallery("Test images on which the blend hesitates", pictures, "doubts")]


def _twice(seen: _Seen) -> list[Part]:
    pairs = near_duplicates(seen.dataset.images, seen.dataset.test_images)
    if not pairs:
        return [
            Text(
                "No test image is nearly one of train.csv (pixels that differ by up to "
                f"{NEAR:.0f} of 255, root mean square)."
            )
        ]
    shown = f", the first {_MOST_TWICE} shown" if len(pairs) > _MOST_TWICE else ""
    title = f"Test images that are nearly one of train.csv ({len(pairs)}{shown})"
    return [Gallery(title, [_pair(seen, pair) for pair in pairs[:_MOST_TWICE]], "twice")]


def _pair(seen: _Seen, pair: Pair) -> Picture:
    dataset = seen.dataset
    label = in_words(dataset.competition.classes[dataset.labels[pair.train]])
    key = in_words(dataset.test_ids[pair.test])
    return Picture(
        png(np.hstack([dataset.images[pair.train], dataset.test_images[pair.test]])),
        f"row {pair.train} of {seen.rows_of}, a {label}, beside test image {key}",
        f"train row {pair.train} ({label}), test {key}: {pair.distance:.1f} apart",
    )


def _probabilities(row: np.ndarray, classes: Sequence[str]) -> str:
    order = np.argsort(-row, kind="stable")[:_SHOWN_CLASSES]
    return ", ".join(f"{in_words(classes[index])} {row[index]:.3f}" for index in order.tolist())
