"""Test images labelled by networks that were carried from elsewhere, as the blend would.

The data may have other test images than those that the blend was made with, as a code competition's
second run has; classes, size and colour must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.neighbours import Asked, asked_again
from ensembles.rules import rule_of
from kaggle_digits.core.keras_settings import require_backend
from kaggle_digits.core.metrics import named_by
from kaggle_digits.core.place import Place
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.competition import Competition
from kaggle_digits.ground.errors import ConfigurationError, DataError, ReadOnlyError
from kaggle_digits.ground.files import require_output, write_bytes, write_json
from kaggle_digits.ground.names import AUTO, require_apart
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.sums import Sums
from kaggle_digits.records.blend import is_account
from kaggle_digits.records.metric import adopt_metric, scored
from kaggle_digits.records.weights import Weights, checked_networks, read_weights
from kaggle_digits.shell.display import Shown

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Carried(Shown):
    """A submission that carried networks wrote.

    Args:
        path: Its file.
        rows: Test images.
        probabilities: float64 [rows, classes].
        members: Networks that were used.
        digest: Of the weights.
        account: That of the blend they are of.
    """

    path: Path
    rows: int
    probabilities: np.ndarray
    members: int
    digest: str
    account: Mapping[str, Any]

    def facts(self) -> Mapping[str, str]:
        """Return what predicted, and how many images."""
        return {
            "predicted": f"{self.rows:,} test images by {self.members} networks, joined by "
            f"{self.account['method']}",
            "weights": f"digest {self.digest}",
        }


def require_one_source(
    images: Sequence[object], weights: object, model: object = None, invert: str = AUTO
) -> None:
    """Refuse to predict without images or gathered networks, and with both.

    Args:
        images: New images.
        weights: A folder of networks, which label the test images.
        model: One network, for new images.
        invert: Whether these are inverted, one of `names.INVERT`.

    Raises:
        ConfigurationError: Neither was given, both were, or the folder and what is for new images.
    """
    if (weights is None) == (not images):
        what = "Neither --images nor --weights was" if weights is None else "Both were"
        raise ConfigurationError(
            f"{what} given; expected --images or --weights.",
            mend="Give --images PATH for new images, or --weights FOLDER for the test images.",
        )
    if weights is not None:
        for_images = {"--model": model is not None, "--invert": invert != AUTO}
        require_apart("--weights", "labels the test images by the blend's networks", for_images)


def predict_test(place: Place, folder: Path, output: Path) -> Carried:
    """Label the data's test images, and write a submission, in the form that the blend's has.

    Args:
        place: Gives the data; its workspace learns what the competition is scored by.
        folder: What `kernel weights` has gathered.
        output: The submission; an account goes beside it, as `blend` writes one.

    Raises:
        ArtefactError: Weights are missing or broken, or the output cannot be written.
        DataError: The data are not of the kind that the networks are for.
    """
    require_backend()
    require_output(output, "--output")
    _require_account(output)
    weights = read_weights(folder)
    networks = checked_networks(folder, weights)
    dataset = scored(place.data(), weights.metric)
    _require_fit(weights.competition, dataset)
    probabilities = _join(weights, networks, dataset, place.progress)
    answers = named_by(weights.account.get("thresholds"), probabilities)
    competition = dataset.competition
    fields = competition.fields(probabilities.tolist(), answers.tolist())
    content = competition.form.render_fields(dataset.test_ids, fields)
    write_bytes(output, content)
    beside = {"file": output.name, "sha256": Sums.of(content).sha256, **weights.account}
    write_json(output.with_suffix(".json"), beside)
    with suppress(ReadOnlyError):  # a workspace that can only be read is read all the same
        adopt_metric(place.workspace, weights.metric)
    return Carried(
        output, len(dataset.test_ids), probabilities, len(networks), weights.digest, weights.account
    )


def _require_account(output: Path) -> None:
    """Refuse an output beside which a file of the user's own would give way to the account.

    Raises:
        ConfigurationError: There is one, or the output would be the account itself.
    """
    beside = output.with_suffix(".json")
    if beside == output:
        raise ConfigurationError(
            f"--output was given as {output}; expected a name that does not end in .json, where "
            "its account goes.",
            mend=f"Give --output {output.with_suffix('.csv')}.",
        )
    if beside.exists() and not is_account(beside):
        raise ConfigurationError(
            f"--output was given as {output}, but {beside}, where its account goes, is another "
            "file.",
            mend="Move it away, or give another --output.",
        )


def _join(
    weights: Weights, networks: Mapping[str, Path], dataset: Dataset, progress: Progress
) -> np.ndarray:
    from kaggle_digits.core import inference

    classes = len(dataset.competition.classes)
    shape = len(dataset.test_images), classes
    # A set without weight is not carried; what stands in its place is not looked at.
    said = np.full((len(weights.sets), *shape), 1 / classes)
    with progress.task("predict", len(networks), "members") as task:
        for place, members in enumerate(weights.sets.values()):
            if not members:
                continue
            total = np.zeros(shape)
            for name in members:
                model = inference.load(networks[name])
                config = weights.members[name].config
                found = inference.predict(model, dataset.test_images, config)
                require_softmax(found, shape, str(networks[name]))
                total += found
                task.advance()
            said[place] = total / len(members)
    joined = rule_of(weights.account).apply(said)
    asked = Asked.of(weights.account)
    return joined if asked is None else asked_again(joined, asked, dataset, progress)


def _require_fit(known: Competition, dataset: Dataset) -> None:
    here = dataset.competition
    for what, theirs, ours in (
        ("classes", known.classes, here.classes),
        ("image size", (known.height, known.width), (here.height, here.width)),
        ("colour planes", known.planes, here.planes),
    ):
        if theirs != ours:
            raise DataError(
                f"The weights are for other data than {dataset.name}: their {what} are {theirs}, "
                f"those of the data {ours}.",
                mend="Give --data the competition that the networks were trained on.",
            )
