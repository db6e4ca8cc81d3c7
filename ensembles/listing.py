"""The list of members: what is planned, what is there, and how good each one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.results import Members
from kaggle_digits.core.place import Place
from kaggle_digits.ground.figures import Figure, accuracy_text
from kaggle_digits.ground.names import RANKING
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.plan import MemberKey, going_on

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

JudgeOfMember = Callable[[MemberKey], Figure | None]

TRAINED, RESUMABLE, MISSING = "trained", "resumable", "missing"

_HEADER = (
    ("configuration", "family", "fold", "repeat", "seed", "round", "epochs", "accuracy",
     "log-loss"),
    ("seconds", "weights", "state"),
)  # fmt: skip


def header(metric: str | None) -> list[str]:
    """Return what stands above the members.

    Args:
        metric: What they are judged by beside accuracy and log-loss; None for nothing.
    """
    first, last = _HEADER
    return [*first, *([] if metric is None else [metric]), *last]


@dataclass(frozen=True, slots=True)
class Listed:
    """One member of the list.

    Args:
        key: Which one.
        state: `trained`, `resumable` (a checkpoint is there) or `missing`.
        planned: Whether it is in the plan.
        record: Its record; empty unless it is trained.
        weights: Bytes of its network; 0 where it is not kept.
        metric: Its figure by what the competition is scored by, on its fold; None where accuracy
            and log-loss say it, or it is not known.
    """

    key: MemberKey
    state: str
    planned: bool
    record: dict[str, Any]
    weights: int
    metric: Figure | None = None

    @property
    def labels(self) -> dict[str, Any] | None:
        """What is known of corrected labels; None where it was trained on those of train.csv."""
        found: dict[str, Any] | None = self.record.get("labels")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a dictionary that JSON can hold."""
        key, score = self.key, self.record.get("score", {})
        return {
            "name": key.name,
            "fold_set": key.set_name,
            "configuration": key.config.digest,
            "family": key.config.family,
            "fold": key.fold,
            "folds": key.folds,
            "repeat": key.repeat,
            "seed": key.seed,
            "round": key.round,
            "epochs": key.epochs,
            "accuracy": score.get("accuracy"),
            "accuracy_se": score.get("accuracy_se"),
            "log_loss": score.get("log_loss"),
            "log_loss_se": score.get("log_loss_se"),
            "metric": None if self.metric is None else self.metric.to_json(),
            "seconds": self.record.get("seconds"),
            "state": self.state,
            "planned": self.planned,
            "weights_bytes": self.weights,
            **({} if self.labels is None else {"labels": self.labels}),
        }

    def row(self, metric: str | None) -> list[str]:
        """Return the cells under `header`."""
        key, score, found = self.key, self.record.get("score"), self.metric
        by_metric = "" if found is None else f"{found.value:.4f} ± {found.se:.4f}"
        seconds = self.record.get("seconds")
        judged = ["", "", by_metric, "" if seconds is None else f"{seconds:.0f}"]
        if score is not None:
            judged[:2] = [
                accuracy_text(score["accuracy"], score["accuracy_se"], score.get("rows")),
                f"{score['log_loss']:.4f} ± {score['log_loss_se']:.4f}",
            ]
        if metric is None:
            del judged[2]
        return [
            key.config.digest[:8],
            key.config.family,
            "all rows" if key.fold is None else str(key.fold),
            *(str(value) for value in (key.repeat, key.seed, key.round, key.epochs)),
            *judged,
            f"{self.weights / 1e6:.1f} MB" if self.weights else "",
            self.state if self.planned else f"{self.state}, not planned",
        ]


def list_members(place: Place, *, everything: bool) -> Members:
    """Return the members of the plan, and after them those that are only on disk.

    Args:
        place: Gives the workspace, and the data where a metric needs them.
        everything: Whether members that are not in the plan are listed as well.

    Raises:
        ArtefactError: A member is broken, or is another than its name says.
        DataError: The data that they are to be judged on cannot be read.
    """
    workspace = place.workspace
    store = MemberStore(workspace)
    # Without a plan there may still be members on disk.
    settings: dict[str, Any] = {}
    planned: list[MemberKey] = []
    if store.has_plan() or not everything:
        settings, planned = store.read_plan()
    metric, judge = kept_metric(workspace), None
    if metric is not None and metric in RANKING:
        judge = _judge_of(metric, store, place.data(), workspace)
    listed = [_look(store, key, judge, planned=True) for key in planned]
    if everything:
        names = {key.name for key in planned}
        listed += [
            _look(store, key, judge, planned=False)
            for key in store.on_disk()
            if key.name not in names
        ]
    told = metric if judge is not None else None
    on = going_on(settings) if settings else "cv-train"
    return Members(listed=tuple(listed), planned=len(planned), metric=told, going_on=on)


def _judge_of(
    metric: str, store: MemberStore, dataset: Dataset, workspace: Workspace
) -> JudgeOfMember:
    """Return what tells a trained member's figure by a metric, on the rows of its fold.

    Args:
        metric: One of `names.RANKING`.
        store: Where the members are.
        dataset: The data.
        workspace: Has the folds that they were trained on.

    Raises:
        ArtefactError: Stored folds do not fit the data.
    """
    from kaggle_digits.core.folds import fold_count, make_folds, stored_folds
    from kaggle_digits.core.metrics import dealt, judged

    known = {one.digest: one for one in stored_folds(dataset, workspace)}
    if dataset.given_folds is not None:
        given = make_folds(dataset, fold_count(dataset, None, 0), 0, workspace)
        known[given.digest] = given
    classes = len(dataset.competition.classes)

    def judge(key: MemberKey) -> Figure | None:
        folds = known.get(key.folds)
        if folds is None or key.fold is None or key.data != dataset.digest:
            return None
        rows = folds.held_out_rows(key.fold)
        found = store.held_out(key, len(rows), classes)
        # A member's rows are of one fold, so that thresholds are judged on parts of it.
        return judged(
            metric, found, dataset.labels[rows], dealt(len(rows)), dataset.groups_of(rows)
        )

    return judge


def _look(
    store: MemberStore, key: MemberKey, judge: JudgeOfMember | None, *, planned: bool
) -> Listed:
    if store.has(key):
        model = store.model_path(key)
        size = model.stat().st_size if model.exists() else 0
        metric = None if judge is None else judge(key)
        return Listed(key, TRAINED, planned, store.record(key), size, metric)
    state = RESUMABLE if store.is_resumable(key) else MISSING
    return Listed(key, state, planned, {}, 0)
