"""What the functions of `ensembles.api` return: values that can be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.figures import Figure, accuracy_text, corrections_text
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.shell.display import Picture, Rows, Shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ensembles.blending import Blend
    from ensembles.likeness import Fitted
    from ensembles.listing import Listed
    from ensembles.pool import Pool
    from ensembles.tables import Compared
    from kaggle_digits.core.data import Dataset

_SHOWN = 20
_PICTURES = 10


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CrossValidated(Shown):
    """Members that are all there.

    Args:
        keys: All members of the plan, in order.
        trained: How many members were trained by this call.
        known: How many were there already.
        folds: Folds of what was asked for.
        augmenting: Seconds that augmented copies took.
        weights_bytes: Size of the networks that were kept.
        path: The folder of the members.
    """

    keys: tuple[MemberKey, ...]
    trained: int
    known: int
    folds: int
    augmenting: float
    weights_bytes: int
    path: Path

    @property
    def fold_sets(self) -> int:
        """Configurations times their trainings."""
        return len({(key.fold_set, key.folds) for key in self.keys})

    @property
    def configurations(self) -> int:
        """Distinct configurations among the members."""
        return len({key.config for key in self.keys})

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(key.name for key in self.keys)

    def facts(self) -> Mapping[str, str]:
        """Return how many members there are, and what this call had to do for them."""
        equal = len({key.folds for key in self.keys}) == 1
        of_all = sum(key.fold is None for key in self.keys)
        facts = {
            "members": f"{len(self.keys)} ({counted(self.fold_sets, 'fold set')}"
            + (f" × {self.folds} folds" if equal else "")
            + (f", {of_all} of all rows)" if of_all else ")"),
            "trained": f"{self.trained} now, {self.known} were there already",
        }
        if self.augmenting >= 1:
            facts["augmented copies"] = duration(self.augmenting)
        if self.weights_bytes:
            facts["weights"] = f"{self.weights_bytes / 1e6:.1f} MB"
        return facts


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Members(Shown):
    """The members of a workspace.

    Args:
        listed: Those of the plan, in order, and those that are only on disk if they were asked for.
        planned: How many are in the plan.
        metric: What they are judged by beside accuracy and log-loss; None for nothing.
        going_on: The command that trains those that are missing, in words.
    """

    listed: tuple[Listed, ...]
    planned: int
    metric: str | None = None
    going_on: str = "cv-train"

    @property
    def trained(self) -> tuple[Listed, ...]:
        """Those that are there."""
        from ensembles.listing import TRAINED

        return tuple(one for one in self.listed if one.state == TRAINED)

    @property
    def training_seconds(self) -> float:
        """What training them took, one after the other."""
        return sum(float(one.record["seconds"]) for one in self.trained)

    @property
    def weights_bytes(self) -> int:
        """Size of the networks that were kept."""
        return sum(one.weights for one in self.listed)

    @property
    def frame(self) -> pd.DataFrame:
        """The members as a table, a row each."""
        import pandas as pd

        return pd.DataFrame([_flat(one.to_json(), self.metric) for one in self.listed])

    def facts(self) -> Mapping[str, str]:
        """Return how many are trained, and the networks' size."""
        given = next((one.labels for one in self.trained if one.labels is not None), None)
        labels = {} if given is None else {"labels": self._on_given_labels(given)}
        return labels | {
            "trained": f"{len(self.trained)} of {len(self.listed)}, in "
            f"{duration(self.training_seconds)}",
            "weights": f"{sum(one.weights > 0 for one in self.listed)} networks, "
            f"{self.weights_bytes / 1e6:.1f} MB",
        }

    def _on_given_labels(self, account: Mapping[str, Any]) -> str:
        """Say what was corrected, and the members' accuracy by the labels of train.csv."""
        own, given = (
            sum(score["accuracy"] * score["rows"] for score in scores)
            / sum(score["rows"] for score in scores)
            for scores in zip(
                *((one.record["score"], one.labels["score"]) for one in self.trained if one.labels),
                strict=True,
            )
        )
        return (
            f"{corrections_text(account['corrected'], account['left_out'])}; "
            f"mean accuracy {own:.5f} by them, {given:.5f} by those of train.csv"
        )

    def table(self) -> Rows:
        """Return the members."""
        from ensembles.listing import header

        return [header(self.metric), *(one.row(self.metric) for one in self.listed)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Blended(Shown):
    """A blend and its submission.

    Args:
        blend: The joined probabilities, and how good they are.
        pool: What was joined.
        about: Its account, as `blend.json` has it.
        submission: The file of the submission.
        predictions: The folder with the probabilities, in the form that `extras` takes.
        doubts: What speaks against predictions made elsewhere.
        compared: The comparison of all methods; None where it was not asked for.
        neighbours: What asking nearest neighbours brought; empty where they were not asked.
        dataset: The data.
    """

    blend: Blend
    pool: Pool
    about: Mapping[str, Any]
    submission: Path
    predictions: Path
    doubts: tuple[str, ...]
    compared: Compared | None
    neighbours: str
    dataset: Dataset

    @property
    def method(self) -> str:
        """How the members were joined."""
        return self.blend.method

    @property
    def members(self) -> tuple[str, ...]:
        """The members in it, by name."""
        return self.pool.members

    @property
    def weights(self) -> Mapping[str, float] | None:
        """Each member set's weight; None where the method has none."""
        weights: Mapping[str, float] | None = self.about["weights"]
        return weights

    @property
    def oof_accuracy(self) -> float:
        """Accuracy on the training rows, each judged by members that never saw it."""
        return self.blend.honest.accuracy

    @property
    def oof_accuracy_se(self) -> float:
        """Its standard error."""
        return self.blend.honest.accuracy_se

    @property
    def given_oof_accuracy(self) -> float:
        """Accuracy on the labels as train.csv has them, where they were corrected; else the same.

        Rows that are left out are in neither.
        """
        labels = self.about.get("labels")
        return self.oof_accuracy if labels is None else float(labels["oof_accuracy"])

    @property
    def oof_log_loss(self) -> float:
        """Log-loss on the same rows, in nats."""
        return self.blend.honest.log_loss

    @property
    def oof_log_loss_se(self) -> float:
        """Its standard error."""
        return self.blend.honest.log_loss_se

    @property
    def oof(self) -> np.ndarray:
        """Out-of-fold probabilities, float64 [rows, classes]; `rows` says which rows."""
        return self.blend.oof

    @property
    def rows(self) -> np.ndarray:
        """Places of the rows of `oof` in the training data, ascending, int64 [rows]."""
        return self.pool.rows

    @property
    def test(self) -> np.ndarray:
        """Probabilities of the test images, float64 [test rows, classes]."""
        return self.blend.test

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of `oof` and `test`."""
        return self.dataset.competition.classes

    @property
    def frame(self) -> pd.DataFrame:
        """The submission as a table: its columns, a row for each test image."""
        import pandas as pd

        competition = self.dataset.competition
        form = competition.form
        found: dict[str, Any] = {form.id_column: self.dataset.test_ids}
        if form.values:
            places = {name: competition.classes.index(label) for name, label in form.values}
            found |= {name: self.test[:, place] for name, place in places.items()}
        else:
            found[form.label_column] = [competition.classes[index] for index in self.blend.answers]
        return pd.DataFrame(found)

    def facts(self) -> Mapping[str, str]:
        """Return the blend's figures with their standard errors."""
        from ensembles.tables import blend_facts, on_given_labels

        doubts = {"doubt": "; ".join(self.doubts)} if self.doubts else {}
        near = {"neighbours": self.neighbours} if self.neighbours else {}
        return blend_facts(self.blend, self.pool) | on_given_labels(self.about) | near | doubts

    def table(self) -> Rows:
        """Return the comparison of methods, where it was asked for."""
        return self.compared.rows if self.compared else ()

    def pictures(self) -> Sequence[Picture]:
        """Return the training images that it is wrong about with the most confidence."""
        labels = self.dataset.labels[self.rows]
        answers, sure = self.oof.argmax(axis=1), self.oof.max(axis=1)
        wrong = [row for row in (-sure).argsort(kind="stable") if answers[row] != labels[row]]
        return [
            Picture(
                self.dataset.images[self.rows[row]],
                f"{self.classes[labels[row]]}, taken for {self.classes[answers[row]]} "
                f"({sure[row]:.0%})",
            )
            for row in wrong[:_PICTURES]
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Predicted(Shown):
    """New images and their labels.

    Args:
        names: The images' names, n of them.
        probabilities: float64 [n, classes], the mean over members, or those of one network.
        classes: Names of the columns.
        images: As the networks saw them, uint8 [n, height, width] or [n, height, width, 3].
        members: How many members predicted; 0 where a network of `model` did.
        planned: How many are in the plan.
        looks: What was done to the images, and which are not like the training images.
        path: The CSV file.
        model: The network that predicted in place of the members; None where they did.
    """

    names: tuple[str, ...]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    images: np.ndarray
    members: int
    planned: int
    looks: Fitted
    path: Path
    model: Path | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each image."""
        return tuple(self.classes[index] for index in self.probabilities.argmax(axis=1))

    @property
    def frame(self) -> pd.DataFrame:
        """The CSV file as a table: image, label, and the probability of each class."""
        import pandas as pd

        from ensembles.prediction import IMAGE, LABEL, PROBABILITY

        columns = [f"{PROBABILITY}{name}" for name in self.classes]
        table = pd.DataFrame(self.probabilities, columns=columns)
        table.insert(0, IMAGE, list(self.names))
        table.insert(1, LABEL, list(self.labels))
        return table

    def facts(self) -> Mapping[str, str]:
        """Return who predicted, and what was done to the images."""
        total = len(self.names)
        who = (
            {"members": f"{self.members} of {self.planned}"}
            if self.model is None
            else {"network": str(self.model)}
        )
        return who | {
            name: f"{len(found)} of {total} images"
            for name, found in (
                ("inverted", self.looks.inverted),
                ("scaled", self.looks.scaled),
                ("unlike training", self.looks.odd),
            )
            if found
        }

    def table(self) -> Rows:
        """Return the labels, where they are few."""
        if len(self.names) > _SHOWN:
            return ()
        best = self.probabilities.max(axis=1)
        return [
            ("image", "label", "probability"),
            *(
                (name, label, f"{value:.4f}")
                for name, label, value in zip(self.names, self.labels, best, strict=True)
            ),
        ]

    def pictures(self) -> Sequence[Picture]:
        """Return the first images with their labels."""
        found = zip(self.images, self.labels, self.names, strict=True)
        return [
            Picture(image, f"{label} ({name})") for image, label, name in list(found)[:_PICTURES]
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Distilled(Shown):
    """One small network that has learned what the blend says.

    Args:
        path: Its Keras file, which Keras alone can load: from uint8 images [n, height, width, 1]
            to probabilities, float32 [n, classes].
        onnx: The same network as ONNX; None where what writes it is not installed.
        oof: Probabilities of the judged training rows, each row's by a student that learned without
            it, float32 [rows, classes].
        test: Its probabilities of the test images, float32 [test rows, classes].
        about: Its account, as `student.json` has it.
        trained: Whether this call trained it.
        classes: Names of the columns.
    """

    path: Path
    onnx: Path | None
    oof: np.ndarray
    test: np.ndarray
    about: Mapping[str, Any]
    trained: bool
    classes: tuple[str, ...]

    @property
    def oof_accuracy(self) -> float:
        """Accuracy on the training rows, each judged by a student that learned without it."""
        return float(self.about["oof_accuracy"])

    @property
    def oof_accuracy_se(self) -> float:
        """Its standard error."""
        return float(self.about["oof_accuracy_se"])

    @property
    def oof_log_loss(self) -> float:
        """Log-loss on the same rows, in nats."""
        return float(self.about["oof_log_loss"])

    @property
    def oof_log_loss_se(self) -> float:
        """Its standard error."""
        return float(self.about["oof_log_loss_se"])

    def facts(self) -> Mapping[str, str]:
        """Return its errors beside the blend's, and in how many test images they agree."""
        apart, told = self.about["against_blend"], self.about.get("metric")
        by_metric = {}
        if told is not None:
            from ensembles.by_metric import MetricDifference

            found = MetricDifference(**told["against_blend"])
            by_metric = {f"{told['oof']['name']} against it": str(found)}
        return {
            "learned from": f"{counted(len(self.about['members']), 'member')}, "
            f"{self.about['learned']}",
            "against the blend": f"{apart['images']:+d} images of {self.about['rows']} "
            f"(95 % {apart['images_low']:+.0f} to {apart['images_high']:+.0f})",
            **by_metric,
            "as the blend": f"{self.about['test_agreement']:.2%} of the test images",
        }

    def table(self) -> Rows:
        """Return student and ensemble side by side: figures, size, images per second."""
        about, told = self.about, self.about.get("metric")

        def row(name: str, who: str, size: str, pace: str) -> tuple[str, ...]:
            accuracy = about[f"{who}_accuracy"]
            return (
                name,
                accuracy_text(accuracy, about[f"{who}_accuracy_se"], about["rows"]),
                str(round(about["rows"] * (1 - accuracy))),
                *(() if told is None else (str(Figure(**told[who])),)),
                f"{about[f'{who}_log_loss']:.5f}",
                _kilobytes(about[size]),
                _pace(about[pace]),
            )

        by_metric = () if told is None else (f"OOF {told['oof']['name']}",)
        rows: list[tuple[str, ...]] = [
            ("", "OOF accuracy", "errors", *by_metric, "OOF log-loss", "kB", "images/s"),
            row("student", "oof", "keras_bytes", "images_per_second"),
            row("blend", "blend", "ensemble_bytes", "ensemble_images_per_second"),
        ]
        if self.onnx is not None:
            files = _kilobytes(about["onnx_bytes"]), _pace(about["onnx_images_per_second"])
            rows.insert(2, ("student, ONNX", *[""] * (len(rows[0]) - 3), *files))
        return rows


def _flat(values: dict[str, Any], metric: str | None) -> dict[str, Any]:
    """Return a row of a table, with a column each for a metric's figure and its error."""
    found = values.pop("metric") or {"value": None, "se": None}
    if metric is None:
        return values
    return values | {metric: found["value"], f"{metric}_se": found["se"]}


def _kilobytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1000:,.0f}"


def _pace(images_per_second: float | None) -> str:
    return "" if images_per_second is None else f"{images_per_second:,.0f}"
