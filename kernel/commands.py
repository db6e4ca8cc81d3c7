"""The command `kernel` and what belongs to it: build, verify, push, status, fetch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import click

from kaggle_digits.ground.artefacts import FormError, read_artefact
from kaggle_digits.ground.budgets import SHORTEST
from kaggle_digits.ground.competition import DIGIT_RECOGNIZER, competition_option
from kaggle_digits.ground.config import load_presets
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.records.metric import kept_metric
from kaggle_digits.records.ranking import Ranked
from kaggle_digits.shell.cli import load_command
from kaggle_digits.shell.command import (
    Command,
    Session,
    class_weights_option,
    command,
    rare_option,
)
from kaggle_digits.shell.console import Outcome
from kernel import api, machine
from kernel.plan import to_ranked

_FOLDER = Path("kernel/dist")
_SHOWN = 15
_PATH = click.Path(path_type=Path)
_dir = click.option(
    "--dir",
    "folder",
    type=_PATH,
    default=_FOLDER,
    show_default=True,
    help="Folder of the script and kernel-metadata.json.",
)
_weights = click.option(
    "--weights",
    type=_PATH,
    help=f"Folder of the networks for --predict-only.  [default: {api.GATHERED}]",
)
_name = click.option(
    "--kernel", "name", help="OWNER/SLUG, in place of the one in kernel-metadata.json."
)


class _InOrderOfUse(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    "kernel",
    cls=_InOrderOfUse,
    short_help="The tool as one script for Kaggle's machines.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def kernel() -> None:
    """Pack the tool into one script that runs as a Kaggle kernel, and bring its results home."""


@command("build", short_help="Write the script and kernel-metadata.json.")
@click.option("--best", type=_PATH, help="A best.json: train its configurations, do not search.")
@click.option("--gpu", is_flag=True, help="Ask for GPUs, and refuse to run without one.")
@click.option("--owner", envvar="KAGGLE_USERNAME", help="Your name at Kaggle.")
@click.option("--slug", help="The kernel's name in addresses.  [default: made of the title]")
@click.option("--title", help="The kernel's title.  [default: Kaggle Digits]")
@click.option(
    "--competition",
    default=DIGIT_RECOGNIZER,
    show_default=True,
    help="The competition's short name, or its address.",
)
@click.option(
    "--continue", "goes_on", metavar="OWNER/SLUG", help="Go on from that kernel's output."
)
@click.option(
    "--time-budget",
    help=f"End in good order after this time, as 8h or 90m; {SHORTEST:.0f}s or more.",
)
@rare_option
@class_weights_option
@click.option("--predict-only", is_flag=True, help="Train nothing: predict with `kernel weights`.")
@_weights
@_dir
def build(
    session: Session,
    *,
    best: Path | None = None,
    gpu: bool = False,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    competition: str = DIGIT_RECOGNIZER,
    goes_on: str | None = None,
    time_budget: str | None = None,
    rare: str | None = None,
    class_weights: str | None = None,
    predict_only: bool = False,
    weights: Path | None = None,
    folder: Path = _FOLDER,
) -> Outcome:
    """Pack the tool into one script for Kaggle, ready for `kernel push`.

    The script carries the source of this package, no data and no credentials; the same input makes
    the same bytes. It runs without internet: a search, the members, a blend after each fold set.
    With --predict-only it trains nothing: the networks of the blend at home, a data set made by
    `kernel weights`, label the test images that are there, as code competitions want it.
    """
    made = api.build(
        folder,
        session.preset,
        session.seed,
        best=best,
        gpu=gpu,
        owner=owner,
        slug=slug,
        title=title,
        competition=competition,
        goes_on=goes_on or "",
        budget=time_budget,
        reading=session.reading(),
        metric=kept_metric(session.workspace),
        fixes=session.fixes(),
        predict_only=predict_only,
        weights=weights,
        rare=rare,
        class_weights=class_weights,
    )
    facts = dict(zip(("runs", "on"), made.plan.describe(session.preset), strict=False))
    return Outcome(
        values={
            "script": str(made.script),
            "bytes": made.size,
            "code": made.code,
            "id": made.id,
            "title": made.title,
            "files": made.files,
        },
        facts=facts | {"kernel": made.id, "source": f"digest {made.code}, {made.files} files"},
        written={
            "script": f"{made.script} ({made.size:,} bytes)",
            "metadata": str(made.metadata),
        },
        next_command=_next(session, "verify", folder) + _beside(weights),
    )


@command("verify", short_help="Run the script here, and compare it with the package.")
@click.option("--full", is_flag=True, help="All that the script will do, not a short form of it.")
@_weights
@_dir
def verify(
    session: Session,
    *,
    full: bool = False,
    weights: Path | None = None,
    folder: Path = _FOLDER,
) -> Outcome:
    """Run the built script on a mock of Kaggle's machine, and compare its submission's bytes.

    An isolated interpreter, an empty folder, read-only inputs, no internet. The package then does
    the same with the same seed. Preset, seed, precision, labels and how the data are read are those
    of the build. Without --data it is the embedded digits; where these cannot stand for the data,
    as for image files, groups, or a script that only predicts, those that the workspace was made
    from.
    """
    found = api.verify(
        folder,
        session.data,
        session.workspace,
        session.console,
        full=full,
        weights=weights,
    )
    return Outcome(
        values={
            "same": True,
            "sha256": found.sha256,
            "rows": found.rows,
            "outputs": dict(found.outputs),
            "code": found.code,
            "seconds": round(session.seconds, 1),
        },
        facts={
            "submission": f"the same bytes from the script and the package ({found.rows} rows, "
            f"sha256 {found.sha256[:16]}…)",
            "time": duration(session.seconds),
        },
        drawing=_few([f"  {size:>10,}  {name}" for name, size in found.outputs.items()]),
        next_command=_next(session, "push", folder),
    )


@command("weights", short_help="The blend's networks as a data set at Kaggle.")
@click.option("--owner", envvar="KAGGLE_USERNAME", help="Your name at Kaggle.")
@click.option("--slug", help="The data set's name in addresses.  [default: made of the title]")
@click.option("--title", help="The data set's title.  [default: Kaggle Digits Weights]")
@click.option("--public", is_flag=True, help="Let everybody see it, when it is made.")
@click.option("--dry-run", is_flag=True, help="Gather the networks, upload nothing.")
@click.option(
    "--dir",
    "folder",
    type=_PATH,
    default=api.GATHERED,
    show_default=True,
    help="Folder that the networks are gathered in.",
)
def weights(
    session: Session,
    *,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    folder: Path = api.GATHERED,
) -> Outcome:
    """Gather the networks that the blend is made of, and upload them as a data set, or a version.

    Only the members that have weight in the workspace's blend; their networks are there if they
    were trained with `cv-train --keep-weights`. A data set that is made is private. Called again
    after a broken connection, it goes on; what is there already is not sent again.
    """
    made = api.weights(
        folder,
        session.place,
        owner=owner,
        slug=slug,
        title=title,
        private=not public,
        upload=not dry_run,
    )
    gathered = made.gathered
    sizes = gathered.weights.sizes
    return Outcome(
        values={
            "dataset": gathered.id,
            "digest": gathered.weights.digest,
            "files": sizes,
            "bytes": sum(sizes.values()),
            "state": made.state,
            "url": made.url,
            "sent": list(made.sent),
        },
        facts={
            "networks": f"{len(gathered.weights.files)}, digest {gathered.weights.digest}",
            "data set": f"{gathered.id}: {made.state}",
        }
        | ({"page": made.url} if made.url else {}),
        drawing=_few([f"  {size:>10,}  {name}" for name, size in sizes.items()]),
        written={"networks": f"{folder} ({sum(sizes.values()):,} bytes)"},
        next_command=_next(session, "build --predict-only", _FOLDER) + _beside(folder),
    )


@command("push", short_help="Save the script at Kaggle, which starts its run.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until the run has ended.")
@_dir
def push(session: Session, *, waiting: bool = False, folder: Path = _FOLDER) -> Outcome:
    """Save the built script as a kernel's new version, which starts its run.

    An error inside Kaggle's answer, an unknown source or an unfit title is an error.
    """
    made = api.push(folder, session.console, waiting=waiting)
    return Outcome(
        values=asdict(made),
        facts={
            "kernel": f"{made.kernel} version {made.version}",
            "page": made.url,
            "run": made.state,
        },
        next_command=session.hint(
            f"submit --kernel {made.kernel}{competition_option(made.competition)}"
        )
        if waiting and made.predicts
        else _next(session, "fetch" if waiting else "status", folder),
    )


@command("status", short_help="How the kernel's last run is.")
@_name
@_dir
def status(session: Session, *, name: str | None = None, folder: Path = _FOLDER) -> Outcome:
    """Tell how the kernel's last run is; a run that failed or was cancelled is an error."""
    which = name or api.built_name(folder)
    found = api.status(which)
    return Outcome(
        values={"kernel": which, "state": found.state},
        facts={"kernel": which, "run": found.state},
        next_command=_next(session, "fetch" if found.is_over else "status", folder, name),
    )


@command("fetch", short_help="Take the kernel's members and submission home.")
@_name
@click.option("--submit", "submitting", is_flag=True, help="Go on to `submit` its submission.")
@_dir
def fetch(
    session: Session,
    *,
    name: str | None = None,
    submitting: bool = False,
    folder: Path = _FOLDER,
) -> Outcome:
    """Take the members and the submission of the kernel's last run into the workspace.

    Every file is checked against the checksum its run wrote. What was made by other code or on
    other data is refused; the rest joins the plan of members, and `blend` mixes it with those
    trained here, whatever the folds of either.
    """
    which = name or api.built_name(folder)
    found = api.fetch(which, session.dataset(), session.workspace, session.console)
    if submitting:
        if found.submission is None:
            raise ArtefactError(f"{which} left no submission to submit.")
        session.console.say(f"fetch: {len(found.added)} members are new; submitting")
        submitted: Outcome = cast(Command, load_command("submit")).body(
            session, file=found.submission, competition=found.competition
        )
        return submitted
    written = {"members in": str(session.workspace.ensembles / "members")} if found.added else {}
    if found.submission is not None:
        written["submission"] = str(found.submission)
    return Outcome(
        values={
            "kernel": which,
            "competition": found.competition,
            "finished": found.finished,
            "added": list(found.added),
            "known": list(found.known),
            "submission": str(found.submission) if found.submission else None,
        },
        facts={
            "kernel": f"{which}, {'finished' if found.finished else 'ended early'}",
            "members": f"{len(found.added)} new, {len(found.known)} known",
        },
        written=written,
        next_command=session.hint("blend" if found.planned else "cv-train"),
    )


@command("examine", short_help="What this machine offers for training.")
@click.option("--gpu", is_flag=True, help="Refuse a machine without a GPU.")
def examine(session: Session, *, gpu: bool = False) -> Outcome:
    """Use albumentations as the policies do, start the backend, and name the devices."""
    found = machine.examine(gpu=gpu)
    return Outcome(
        values={
            "devices": list(found.devices),
            "precision": found.precision,
            "threads": found.threads,
        },
        facts={
            "devices": "; ".join(found.devices),
            "precision": found.precision,
            "threads": str(found.threads),
        },
    )


@command("adopt", short_help="Make given configurations the ranking for this data.")
@click.argument("file", type=_PATH)
def adopt(session: Session, *, file: Path) -> Outcome:
    """Make the ranked configurations in FILE the workspace's best.json for this data."""
    ranked = read_artefact(
        file, _ranked, "a list of ranked configurations", "Build and push the kernel again."
    )
    api.adopt(ranked, session.dataset(), session.workspace, session.seed)
    return Outcome(
        values={"configurations": len(ranked)},
        facts={"configurations": str(len(ranked))},
        next_command=session.hint("cv-train"),
    )


def _ranked(given: object) -> list[Ranked]:
    if not isinstance(given, list) or not given:
        raise FormError("its content is no list, or an empty one")
    return [to_ranked(entry) for entry in given]


def _few(lines: Sequence[str]) -> list[str]:
    """Return the first lines of many, and how many are left out."""
    left = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"… and {left} more"] if left > 0 else [])]


def _beside(weights: Path | None) -> str:
    return "" if weights in (None, api.GATHERED) else f" --weights {shlex.quote(str(weights))}"


def _next(session: Session, words: str, folder: Path, name: str | None = None) -> str:
    line = f"kernel {words}"
    if name is not None:
        return session.hint(f"{line} --kernel {name}")
    return session.hint(line if folder == _FOLDER else f"{line} --dir {shlex.quote(str(folder))}")


for _made in (weights, build, verify, push, status, fetch, examine, adopt):
    kernel.add_command(_made)
examine.hidden = adopt.hidden = True
for _parameter in build.params:
    if _parameter.name == "preset":  # a kernel has hours, not a minute
        _parameter.default = list(load_presets())[-1]
