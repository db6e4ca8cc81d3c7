"""What `blend` says of a submission, in a JSON file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.figures import Figure, accuracy_text
from kaggle_digits.records.blend import is_account
from submissions.ledger import Record
from submissions.validation import SubmissionFile


@dataclass(frozen=True, slots=True)
class About:
    """What `blend` left beside a submission.

    Args:
        method: How the members were averaged.
        members: Their names.
        cv_accuracy: Out-of-fold accuracy by train.csv's own labels, 0 to 1; with standard error.
        cv_accuracy_se: As above.
        cv_log_loss: Out-of-fold log-loss; with standard error.
        cv_log_loss_se: As above.
        cv_rows: Training rows behind these figures.
        data_digest: Of the data the blend was made from.
        metric: What the competition is scored by, where it was said.
        cv_metric: Its out-of-fold figure; with standard error.
        cv_metric_se: As above.
    """

    method: str | None = None
    members: tuple[str, ...] = ()
    cv_accuracy: float | None = None
    cv_accuracy_se: float | None = None
    cv_log_loss: float | None = None
    cv_log_loss_se: float | None = None
    cv_rows: int | None = None
    data_digest: str | None = None
    metric: str | None = None
    cv_metric: float | None = None
    cv_metric_se: float | None = None

    def __str__(self) -> str:
        """Return it as a submission's message shows it."""
        parts = []
        if self.method is not None:
            parts.append(f"{self.method} of {len(self.members)}")
        if self.cv_accuracy is not None:
            figure = accuracy_text(self.cv_accuracy, self.cv_accuracy_se, self.cv_rows, 5)
            parts.append(f"CV {figure}")
        if self.cv_metric is not None and self.metric != "accuracy":
            parts.append(f"{self.metric} {self.cv_metric:.5f}")
        return ", ".join(parts)


def cv_of(one: About | Record, metric: str | None) -> tuple[float, float | None] | None:
    """Return the out-of-fold value of a metric with its standard error; None if not known.

    Args:
        one: A submission, or what `blend` says of it.
        metric: One of `names.METRICS`; None for the usual one, accuracy.
    """
    if metric in (None, "accuracy"):
        value, se = one.cv_accuracy, one.cv_accuracy_se
    elif metric == "log-loss":
        value, se = one.cv_log_loss, one.cv_log_loss_se
    else:
        value, se = one.cv_metric, one.cv_metric_se
        if one.metric != metric:  # of a blend that was made before this was said
            return None
    return None if value is None else (value, se)


def read_about(path: Path, submission: SubmissionFile, *, ours: bool = True) -> About:
    """Read what `blend` left for a submission.

    Args:
        path: The submission's file; the same name with `.json` tells of it.
        submission: The file, read; an account of other bytes does not count.
        ours: Whether it is where `blend` writes: what lies beside another file may be anything.

    Raises:
        ArtefactError: The account is there but broken.
    """
    account = path.with_suffix(".json")
    if not account.is_file() or not (ours or is_account(account)):
        return About()

    def build(values: object) -> About:
        fields = Fields(values)
        if fields.text("sha256") != submission.sha256:
            return About()
        # The service's labels are not corrected, so that figures on train.csv's own are compared.
        figures = fields.within("labels") if "labels" in fields else fields
        # Blends of corrected labels from before this was told have it in one place alone.
        held = figures if "metric" in figures else fields
        metric = Figure.from_json(held.within("metric")) if "metric" in held else None
        return About(
            method=fields.text("method"),
            members=tuple(fields.texts("members")),
            cv_accuracy=figures.number("oof_accuracy"),
            cv_accuracy_se=figures.number("oof_accuracy_se"),
            cv_log_loss=figures.number("oof_log_loss"),
            cv_log_loss_se=figures.number("oof_log_loss_se"),
            cv_rows=figures.whole("rows"),
            data_digest=fields.text("data_digest"),
            metric=None if metric is None else metric.name,
            cv_metric=None if metric is None else metric.value,
            cv_metric_se=None if metric is None else metric.se,
        )

    return read_artefact(account, build, "what `blend` writes", "Call `kaggle-digits blend` again.")
