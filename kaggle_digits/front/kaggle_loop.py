"""The steps with Kaggle: check, submit, leaderboard, and the tool as a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.front.loading import Loaded, path_of, working
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.shell.display import Rows, Shown
from kernel import api as kernel
from kernel.api import Built
from submissions import api as submissions
from submissions import tables
from submissions.api import SHARE, Ahead, Checked
from submissions.leaderboard import Summary
from submissions.sending import Submitted

if TYPE_CHECKING:
    import pandas as pd

    from kernel.weights import Uploaded

_WIDTH = 160
_COMPETITION = "digit-recognizer"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Submission(Shown):
    """A submission, what it could bring, and what came of it.

    Args:
        ahead: What it holds, and its forecast.
        submitted: Its row in the ledger, and whether this call sent it; None where it was only to
            be told what would happen.
        would_send: Whether it was sent, or would be.
    """

    ahead: Ahead
    submitted: Submitted | None
    would_send: bool

    @property
    def sent(self) -> bool:
        """Whether this call sent it."""
        return self.submitted is not None and self.submitted.sent

    @property
    def public_score(self) -> float | None:
        """The public score; None before there is one."""
        score = self.submitted.record.public_score if self.submitted else None
        return None if score is None else float(score)

    def facts(self) -> Mapping[str, str]:
        """Return its forecast, and what came of it."""
        kernel = self.ahead.submission.kernel
        facts = {} if kernel is None else {"kernel": tables.kernel_text(kernel)}
        facts |= tables.forecast_facts(self.ahead.forecast)
        if self.submitted is None:
            return facts | {"dry run": f"would {'' if self.would_send else 'not '}be sent"}
        record = self.submitted.record
        facts["submission"] = f"#{record.ref} " + ("sent" if self.sent else "was there already")
        facts["state"] = record.state + (f": {record.error}" if record.error else "")
        if record.public_score is not None:
            facts["public score"] = tables.score_text(record, self.ahead.forecast)
        return facts

    def table(self) -> Rows:
        """Return how it differs from what was submitted before."""
        return tables.forecast_rows(self.ahead.forecast)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Leaderboard(Shown):
    """Our submissions on the public board.

    Args:
        summary: Each by date, with its gap to cross-validation; the best; how well CV orders them.
    """

    summary: Summary

    @property
    def frame(self) -> pd.DataFrame:
        """Our submissions as a table, a row each."""
        import pandas as pd

        return pd.DataFrame(self.summary.to_json()["submissions"])

    def facts(self) -> Mapping[str, str]:
        """Return place and agreement of cross-validation and public score."""
        return tables.board_facts(self.summary) or {"submissions": "none yet"}

    def table(self) -> Rows:
        """Return the submissions."""
        return tables.board_rows(self.summary, _WIDTH) if self.summary.standings else ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Kernel(Shown):
    """A script that runs as a Kaggle kernel, ready to be pushed.

    Args:
        built: The script, its metadata, and what it runs.
    """

    built: Built

    @property
    def script(self) -> Path:
        """The script's file."""
        return self.built.script

    @property
    def metadata(self) -> Path:
        """kernel-metadata.json."""
        return self.built.metadata

    def facts(self) -> Mapping[str, str]:
        """Return its name, its size, and the source it carries."""
        made = self.built
        return {
            "kernel": made.id,
            "script": f"{made.script} ({made.size:,} bytes)",
            "metadata": str(made.metadata),
            "source": f"digest {made.code}, {made.files} files",
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KernelWeights(Shown):
    """The networks of a blend, gathered for a kernel that only predicts.

    Args:
        uploaded: What lies here, and what came of its upload.
    """

    uploaded: Uploaded

    @property
    def files(self) -> int:
        """Files that make the data set."""
        return len(self.uploaded.gathered.weights.sizes)

    def facts(self) -> Mapping[str, str]:
        """Return where they lie, their size, and how the data set is."""
        made = self.uploaded.gathered
        sizes = made.weights.sizes
        return {
            "networks": f"{len(made.weights.files)} ({sum(sizes.values()):,} bytes)",
            "folder": str(made.folder),
            "digest": made.weights.digest,
            "data set": f"{made.id}: {self.uploaded.state}",
        }


def check(
    competition: Loaded,
    file: str | Path | None = None,
    *,
    truth: str | Path | None = None,
) -> Checked:
    """Check a submission against the competition, and score it where the truth is known.

    Args:
        competition: From `load`.
        file: The submission; None for the one that `blend` wrote.
        truth: A CSV with the true label of each test id; None for the data's own.

    Raises:
        ArtefactError: `blend` has not written one.
        DataError: The first rule it breaks, with the line.

    Example:
        >>> kd.check(competition).local.rows
        599
    """
    with working(competition) as place:
        return submissions.check(place, path_of(file), path_of(truth))


def submit(
    competition: Loaded,
    file: str | Path | None = None,
    *,
    message: str = "",
    wait: bool = False,
    dry_run: bool = False,
    force: bool = False,
    kernel: str | None = None,
    kernel_version: int | None = None,
    local: bool = False,
    truth: str | Path | None = None,
    name: str = _COMPETITION,
    public_share: float = SHARE,
) -> Submission:
    """Forecast what a submission can bring, and send it, once.

    Args:
        competition: From `load`.
        file: The submission; None for the one that `blend` wrote.
        message: Words of your own beside it.
        wait: Wait for the score.
        dry_run: Do all but the sending.
        force: Send even what was, or may have been, sent before.
        kernel: `owner/slug` of a kernel that is submitted in place of a file, as code competitions
            want it; its run must have ended. `file` then is what an earlier version wrote.
        kernel_version: Which of its versions; None for the last.
        local: The local scoreboard in Kaggle's place.
        truth: A CSV with the true label of each test id, for the local scoreboard.
        name: The competition's short name at Kaggle, or its address.
        public_share: Part of the test rows that the public score is taken on, above 0 to 1.

    Raises:
        ConfigurationError: Values do not go together.
        DataError: The submission breaks a rule.
        ArtefactError: There is none, or the ledger cannot be used.
        ServiceError: Kaggle refused it, or did not answer; the message says whether it arrived.

    Example:
        >>> kd.submit(competition, local=True).sent
        True
    """
    submissions.require_share(public_share)
    submissions.require_version(kernel, kernel_version)
    with working(competition) as place:
        service = submissions.open_service(
            place,
            local=local,
            truth=path_of(truth),
            competition=name,
            share=public_share,
            kernel=kernel,
        )
        ahead = submissions.look_ahead(
            place, service, path_of(file), share=public_share, version=kernel_version
        )
        if dry_run:
            planned = submissions.plan(place, service, ahead, message=message, force=force)
            return Submission(ahead=ahead, submitted=None, would_send=planned.would_send)
        done = submissions.submit(place, service, ahead, message=message, force=force, wait=wait)
        return Submission(ahead=ahead, submitted=done, would_send=done.sent)


def leaderboard(
    competition: Loaded,
    *,
    offline: bool = False,
    local: bool = False,
    name: str = _COMPETITION,
    public_share: float = SHARE,
) -> Leaderboard:
    """Read the public board, and compare cross-validation with public scores.

    Args:
        competition: From `load`.
        offline: What was last seen, without asking.
        local: The local scoreboard in Kaggle's place.
        name: The competition's short name at Kaggle, or its address.
        public_share: Part of the test rows that the public score is taken on, above 0 to 1.

    Raises:
        ServiceError: Kaggle cannot be asked.
        ArtefactError: The ledger cannot be used.

    Example:
        >>> len(kd.leaderboard(competition, local=True).frame)
        1
    """
    submissions.require_share(public_share)
    with working(competition) as place:
        service = submissions.open_service(
            place, local=local, competition=name, share=public_share, scoring=False
        )
        return Leaderboard(
            summary=submissions.leaderboard(place, service, share=public_share, ask=not offline)
        )


def kernel_build(
    competition: Loaded,
    folder: str | Path = "kernel/dist",
    *,
    best: str | Path | None = None,
    gpu: bool = False,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    name: str = _COMPETITION,
    goes_on: str = "",
    time_budget: str | float | None = None,
    predict_only: bool = False,
    weights: str | Path | None = None,
    rare: str | None = None,
    class_weights: str | None = None,
) -> Kernel:
    """Pack the tool into one script that does the competition's plan as a Kaggle kernel.

    Args:
        competition: From `load`; its preset and seed are the script's, its corrected labels go with
            it, and the files are read there as they are here: size or shape, groups or folds.
        folder: Gets the script and kernel-metadata.json.
        best: A best.json whose configurations are trained without a search; None to search.
        gpu: Ask for GPUs, and refuse to run without one.
        owner: Your name at Kaggle; None if it is not known yet.
        slug: The kernel's name in addresses; None to make it of the title.
        title: The kernel's title; None to make it of the slug.
        name: The competition's short name at Kaggle, or its address.
        goes_on: `owner/slug` of a kernel whose output the run continues; empty for none.
        time_budget: Seconds, or a text such as `8h`, after which the run ends in good order;
            40 s or more.
        predict_only: Train nothing there: predict with the networks of `kernel_weights`.
        weights: The folder that these were gathered in; None for the usual one.
        rare: As in `tune` and `cross_validate`, for both.
        class_weights: Likewise.

    Raises:
        ConfigurationError: Kaggle would refuse a name, or the script for its size, or what was
            given does not go together.
        ArtefactError: `best` is no ranking, there are no networks, or the folder cannot be written.

    Example:
        >>> kd.kernel_build(competition, "dist", owner="someone").script.is_file()
        True
    """
    with working(competition):
        return Kernel(
            built=kernel.build(
                Path(folder),
                competition.preset,
                competition.seed,
                best=path_of(best),
                gpu=gpu,
                owner=owner,
                slug=slug,
                title=title,
                competition=name,
                goes_on=goes_on,
                budget=time_budget,
                fixes=competition.dataset.fixes,
                reading=competition.wanted.words,
                metric=kept_metric(competition.workspace),
                predict_only=predict_only,
                weights=path_of(weights),
                rare=rare,
                class_weights=class_weights,
            )
        )


def kernel_weights(
    competition: Loaded,
    folder: str | Path = kernel.GATHERED,
    *,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    public: bool = False,
    dry_run: bool = False,
) -> KernelWeights:
    """Gather the networks that the blend is made of, and make a data set of them at Kaggle.

    Args:
        competition: From `load`; its members were trained with `keep_weights`, and blended.
        folder: Gets the networks.
        owner: Your name at Kaggle; None if it is not known yet.
        slug: The data set's name in addresses; None to make it of the title.
        title: The data set's title; None to make it of the slug.
        public: Let everybody see it, when it is made.
        dry_run: Gather them, upload nothing.

    Raises:
        ArtefactError: There is no blend, it is not made of networks alone, or some were not kept.
        ConfigurationError: Kaggle would refuse a name, or the folder holds other files.
        ServiceError: Kaggle refused it, or did not answer.

    Example:
        >>> kept = kd.cross_validate(competition, keep_weights=True)  # doctest: +SKIP
        >>> blended = kd.blend(competition)  # doctest: +SKIP
        >>> kd.kernel_weights(competition, owner="someone", dry_run=True).files  # doctest: +SKIP
        6
    """
    with working(competition) as place:
        return KernelWeights(
            uploaded=kernel.weights(
                Path(folder),
                place,
                owner=owner,
                slug=slug,
                title=title,
                private=not public,
                upload=not dry_run,
            )
        )
