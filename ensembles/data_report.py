"""The report's section about the data: classes, statistics, augmented images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ensembles.duplicates import across_folds
from ensembles.pool import planned_folds
from ensembles.stored import blend_of
from kaggle_digits.core.augmentation import augment, find_policy
from kaggle_digits.ground import seeds
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.records.blend import has_blend
from kaggle_digits.records.members import MemberStore
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.images import png
from kaggle_digits.shell.report.parts import (
    Facts,
    Gallery,
    Part,
    Picture,
    Section,
    Subject,
    Table,
    Text,
    in_words,
)

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_SHEET_ROWS, _SHEET_COPIES = 6, 3
_STATISTICS_ROWS = 5000


def data(subject: Subject) -> Section:
    """Return what the images are, how classes are spread, and what augmentation makes of them.

    Raises:
        DataError: The data cannot be read.
    """
    dataset = subject.data()
    competition = dataset.competition
    parts: list[Part] = [
        Facts(
            {
                "data": dataset.name,
                "images": f"{len(dataset.images):,} to train on, {len(dataset.test_images):,} to "
                f"predict, {competition.height}×{competition.width}",
                "classes": str(len(competition.classes)),
            }
            | ({} if dataset.fixes is None else {"labels": dataset.fixes.counts()})
        ),
        *_class_counts(subject, dataset),
        *_across_folds(subject, dataset),
        _statistics(dataset),
        *_sheet(subject, dataset),
    ]
    return Section(parts)


def _class_counts(subject: Subject, dataset: Dataset) -> list[Part]:
    classes = dataset.competition.classes
    counts = np.bincount(dataset.labels[dataset.kept], minlength=len(classes))
    series = [("train.csv", (counts / counts.sum()).tolist())]
    said: list[Part] = []
    try:
        stored = subject.once(blend_of) if has_blend(subject.workspace) else None
    except ArtefactError as error:
        stored, said = None, [Text(error.message, is_warning=True)]
    if stored is not None:
        predicted = np.bincount(stored.test.argmax(axis=1), minlength=len(classes))
        series.append(("predicted in test.csv", (predicted / predicted.sum()).tolist()))
        said = [_shift(classes, counts, predicted)]
    elif not said:
        said = [subject.missing("What is predicted in test.csv is not known yet.", "blend")]
    return [charts.bars("Classes", "share of the images", classes, series), *said]


def _across_folds(subject: Subject, dataset: Dataset) -> list[Part]:
    store = MemberStore(subject.workspace)
    try:
        if not store.has_plan():
            return []
        folds = planned_folds(store.read_plan()[0], dataset, subject.workspace)
    except ArtefactError:
        return []  # told where members are shown
    found = across_folds(dataset.images, folds.of_row)
    doubt = found.doubt(grouped=dataset.together is not None)
    if doubt:
        return [Text(f"Among the training images, {doubt}.", is_warning=True)]
    return [Text("Next to no training image is nearly the same as one of another fold.")]


def _shift(classes: Sequence[str], known: np.ndarray, predicted: np.ndarray) -> Text:
    from scipy.stats import chi2_contingency

    table = np.stack([known, predicted])
    table, names = table[:, table.sum(axis=0) > 0], np.array(classes)[known + predicted > 0]
    result = chi2_contingency(table)
    if result.pvalue >= 0.01:
        return Text(
            "Classes are spread alike in both, as far as these numbers tell "
            f"(χ² test, p = {result.pvalue:.2g})."
        )
    apart = (table[1] - result.expected_freq[1]) / np.sqrt(result.expected_freq[1])
    most = int(np.abs(apart).argmax())
    return Text(
        f"Classes are spread otherwise in test.csv than in train.csv (χ² test, p = "
        f"{result.pvalue:.2g}), most of all {in_words(names[most])}: {table[1, most]:,} predicted, "
        f"{result.expected_freq[1, most]:,.0f} expected.",
        is_warning=True,
    )


def _statistics(dataset: Dataset) -> Table:
    rows = []
    for name, images in (("train.csv", dataset.images), ("test.csv", dataset.test_images)):
        some = np.asarray(images[:: -(-len(images) // _STATISTICS_ROWS)])
        sides = tuple(range(1, images.ndim))
        blank = int((images.max(axis=sides) == images.min(axis=sides)).sum())
        rows.append(
            [
                name,
                f"{len(images):,}",
                f"{some.mean():.1f}",
                f"{some.std():.1f}",
                f"{(some > 0).mean():.1%}",
                str(blank),
            ]
        )
    header = ("file", "images", "mean of the pixels", "their deviation", "above 0", "blank images")
    return Table("Image statistics", header, rows)


def _sheet(subject: Subject, dataset: Dataset) -> list[Part]:
    store = MemberStore(subject.workspace)
    try:
        keys = store.read_plan()[1] if store.has_plan() else []
    except ArtefactError as error:
        return [Text(error.message, is_warning=True)]
    names = list(dict.fromkeys(key.config.augmentation for key in keys))
    if not names:
        return [subject.missing("Which augmentation is used is not known yet.", "cv-train")]
    first = np.sort(np.unique(dataset.labels, return_index=True)[1][:_SHEET_ROWS])
    originals = np.asarray(dataset.images[first])
    parts: list[Part] = []
    for name in names[:3]:
        policy = find_policy(name)
        if policy is None:
            parts.append(Text(f"The policy {name} leaves images as they are."))
            continue
        copies = [
            augment(originals, policy, (seeds.FIXED, number)) for number in range(_SHEET_COPIES)
        ]
        pictures = []
        for place, row in enumerate(first.tolist()):
            label = in_words(dataset.competition.classes[dataset.labels[row]])
            pictures.append(
                Picture(png(originals[place]), f"row {row}, a {label}", f"row {row}: original")
            )
            pictures += [
                Picture(png(copy[place]), f"row {row} augmented, copy {number + 1}", f"{name}")
                for number, copy in enumerate(copies)
            ]
        parts.append(
            Gallery(
                f"Augmented images: {name}", pictures, f"sheet-{name}", columns=_SHEET_COPIES + 1
            )
        )
    return parts
