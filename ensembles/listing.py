"""The list of members: what is planned, what is there, and how good each one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_digits.ground.figures import accuracy_text
from kaggle_digits.records.members import MemberStore
from kaggle_digits.records.plan import MemberKey

TRAINED, RESUMABLE, MISSING = "trained", "resumable", "missing"

HEADER = (
    "configuration", "family", "fold", "repeat", "seed", "round", "epochs", "accuracy", "log-loss",
    "seconds", "weights", "state",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listed:
    """One member of the list.

    Args:
        key: Which one.
        state: `trained`, `resumable` (a checkpoint is there) or `missing`.
        planned: Whether it is in the plan.
        record: Its record; empty unless it is trained.
        weights: Bytes of its network; 0 where it is not kept.
    """

    key: MemberKey
    state: str
    planned: bool
    record: dict[str, Any]
    weights: int

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
            "seconds": self.record.get("seconds"),
            "state": self.state,
            "planned": self.planned,
            "weights_bytes": self.weights,
            **({} if self.labels is None else {"labels": self.labels}),
        }

    def row(self) -> list[str]:
        """Return the cells under `HEADER`."""
        key, score = self.key, self.record.get("score")
        judged = ["", "", ""]
        if score is not None:
            judged = [
                accuracy_text(score["accuracy"], score["accuracy_se"], score.get("rows")),
                f"{score['log_loss']:.4f} ± {score['log_loss_se']:.4f}",
                f"{self.record['seconds']:.0f}",
            ]
        return [
            key.config.digest[:8],
            key.config.family,
            *(str(value) for value in (key.fold, key.repeat, key.seed, key.round, key.epochs)),
            *judged,
            f"{self.weights / 1e6:.1f} MB" if self.weights else "",
            self.state if self.planned else f"{self.state}, not planned",
        ]


def list_members(
    store: MemberStore, planned: Sequence[MemberKey], *, everything: bool
) -> list[Listed]:
    """Return the members of the plan, and after them those that are only on disk.

    Args:
        store: Where they are.
        planned: The plan's members, in order.
        everything: Whether members that are not in the plan are listed as well.

    Raises:
        ArtefactError: A member is broken, or is another than its name says.
    """
    listed = [_look(store, key, planned=True) for key in planned]
    if everything:
        names = {key.name for key in planned}
        listed += [
            _look(store, key, planned=False) for key in store.on_disk() if key.name not in names
        ]
    return listed


def _look(store: MemberStore, key: MemberKey, *, planned: bool) -> Listed:
    if store.has(key):
        model = store.model_path(key)
        size = model.stat().st_size if model.exists() else 0
        return Listed(key, TRAINED, planned, store.record(key), size)
    state = RESUMABLE if store.is_resumable(key) else MISSING
    return Listed(key, state, planned, {}, 0)
