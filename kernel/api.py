"""The kernel's way in Python: typed functions that return values and print nothing."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.core.place import Place
from kaggle_digits.ground import names
from kaggle_digits.ground.budgets import parse_budget
from kaggle_digits.ground.competition import DIGIT_RECOGNIZER, short_name
from kaggle_digits.ground.config import PRECISION_VARIABLE, Preset
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, naming
from kaggle_digits.ground.files import require_output, write_bytes, write_json
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.slugs import split_id
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.ranking import Ranked, ranking_path, read_ranking, write_ranking
from kernel import metadata
from kernel.bundle import code_digest, is_ours, read_script, read_sources, render
from kernel.plan import Plan

GATHERED = Path("kernel/weights")
"""Where networks are gathered, unless another folder is named."""

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.core.data.fixes import Fixes
    from kaggle_digits.kaggle_service.kernels import RunState
    from kernel.fetching import Fetched
    from kernel.verification import Verified
    from kernel.weights import Uploaded


@dataclass(frozen=True, slots=True)
class Built:
    """A script that is ready to be verified and pushed.

    Args:
        script: Where it is.
        size: Its bytes.
        metadata: Where its kernel-metadata.json is.
        id: `owner/slug`.
        title: The kernel's title.
        code: Digest of the source it carries.
        files: Source files it carries.
        plan: What it runs.
    """

    script: Path
    size: int
    metadata: Path
    id: str
    title: str
    code: str
    files: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version of a kernel that Kaggle has taken.

    Args:
        kernel: `owner/slug`.
        url: Its page.
        version: Its number, from 1.
        state: How its run is: `started`, or how it ended where it was waited for.
        code: Digest of the source it carries.
        competition: The short name of the competition it is for.
        predicts: Whether it trains nothing, so that this version is what is to be submitted.
    """

    kernel: str
    url: str
    version: int
    state: str
    code: str
    competition: str
    predicts: bool = False


def build(
    folder: Path,
    preset: Preset,
    seed: int,
    *,
    best: Path | None = None,
    gpu: bool = False,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    competition: str = DIGIT_RECOGNIZER,
    goes_on: str = "",
    budget: str | float | None = None,
    fixes: Fixes | None = None,
    reading: Sequence[str] = (),
    predict_only: bool = False,
    weights: Path | None = None,
    metric: str | None = None,
    rare: str | None = None,
    class_weights: str | None = None,
) -> Built:
    """Pack the tool into one script; the same input makes the same bytes.

    Networks compute there in the precision that was asked for here, by --precision or its variable.

    Args:
        folder: Gets the script and kernel-metadata.json.
        preset: How much the script searches and trains.
        seed: Of all that it does.
        best: A best.json whose configurations are trained without a search; None to search.
        gpu: Ask for GPUs, and refuse to run without one.
        owner: The account; None if it is not known yet.
        slug: The kernel's name in addresses; None to make it of the title.
        title: The kernel's title; None to make it of the slug.
        competition: The competition's short name, or its address.
        goes_on: `owner/slug` of a kernel whose output the run continues; empty for none.
        budget: Seconds, or a text such as `8h`, after which the run ends in good order; None for no
            limit.
        fixes: Corrections of the training labels; None for none.
        reading: Options by which the data are read, such as `--image-size` and its value.
        predict_only: Train nothing: predict with networks that `gather` has gathered.
        weights: The folder of these networks; None for the usual one.
        metric: What the competition is scored by; None where nobody said. A script that only
            predicts goes by what its networks were blended for.
        rare: What is done with classes of fewer rows than folds, one of `names.RARE`; None for
            nothing.
        class_weights: One of `names.CLASS_WEIGHTS`, for all that is trained; None for as the
            configurations say.

    Raises:
        ConfigurationError: Kaggle would refuse a name, or the script for its size, or what was
            given does not go together.
        ArtefactError: `best` is no ranking, there are no networks, or the folder cannot be written.
    """
    competition = short_name(competition)
    data_set, networks = "", None
    if not predict_only:
        names.require_beside("--predict-only", {"--weights": weights is not None})
    else:
        of_training = {
            "--best": best is not None,
            "--continue": bool(goes_on),
            "--time-budget": budget is not None,
            "--rare": rare is not None,
            "--class-weights": class_weights is not None,
        }
        names.require_apart("--predict-only", "trains nothing", of_training)
        from kernel.weights import read_gathered

        data_set, networks = read_gathered(weights or GATHERED)
        metric = networks.metric
        if owner is None and not data_set.startswith(f"{metadata.UNKNOWN_OWNER}/"):
            owner = data_set.partition("/")[0]
        size = f"{networks.competition.height}x{networks.competition.width}"
        if networks.competition.fitted and "--image-size" not in reading:
            reading = [*reading, "--image-size", size]
    training: list[str] = []
    if rare is not None:
        names.require_known("rare", rare, names.RARE)
        training += ["--rare", rare]
    if class_weights is not None:
        names.require_known("class_weights", class_weights, names.CLASS_WEIGHTS)
        training += ["--class-weights", class_weights]
    about = metadata.make_metadata(
        owner=owner,
        slug=slug,
        title=title,
        gpu=gpu,
        competition=competition,
        goes_on=goes_on,
        weights=data_set,
    )
    ranked = read_ranking(best, None) if best is not None else []
    plan = Plan(
        preset=preset.name,
        seed=seed,
        top_k=min(preset.top_k, len(ranked)) if ranked else preset.top_k,
        competition=competition,
        gpu=gpu,
        ranked=tuple(ranked[: preset.top_k]),
        goes_on=goes_on,
        budget=None if budget is None else parse_budget(budget),
        labels="" if fixes is None else fixes.to_csv().decode(),
        reading=shlex.join(reading),
        weights=data_set,
        weights_digest="" if networks is None else networks.digest,
        metric=metric or "",
        precision=os.environ.get(PRECISION_VARIABLE, names.AUTO),
        training=shlex.join(training),
    )
    sources = read_sources()
    script = render(plan, sources)
    for name in (about["code_file"], metadata.FILE_NAME):  # both or none
        require_output(folder, "--dir", name)
    path, beside = folder / about["code_file"], folder / metadata.FILE_NAME
    _require_own(folder, path)
    with naming("--dir"):
        write_bytes(path, script)
        write_json(beside, about)
    return Built(
        script=path,
        size=len(script),
        metadata=beside,
        id=about["id"],
        title=about["title"],
        code=code_digest(sources),
        files=len(sources),
        plan=plan,
    )


def _require_own(folder: Path, script: Path) -> None:
    """Refuse to replace files that `build` has not written, whole or broken.

    Raises:
        ConfigurationError: The file is named.
    """
    about = folder / metadata.FILE_NAME
    foreign = None
    if script.exists() and not is_ours(script):
        foreign = script
    elif about.exists() and not metadata.is_ours(about, script.name):
        foreign = about
    if foreign is not None:
        raise ConfigurationError(
            f"--dir was given as {folder}; {foreign} is there and was not made by `kernel build`.",
            mend="Give another --dir, or move the file away.",
        )


def verify(
    folder: Path,
    data: Path | None,
    workspace: Workspace,
    progress: Progress,
    *,
    full: bool = False,
    weights: Path | None = None,
) -> Verified:
    """Run a built script as Kaggle would, and compare its submission with the package's.

    Args:
        folder: What `build` has written.
        data: The competition's files, as --data takes them; None for the embedded digits, or for
            the workspace's own where those cannot stand for them.
        workspace: Whose data these are.
        progress: Told of the steps.
        full: All that the script will do, not a short form of it.
        weights: The folder of networks that `gather` has filled, for a script that only predicts;
            None for the usual one.

    Raises:
        ArtefactError: There is no script, or it is not whole.
        ConfigurationError: Networks were given for a script that trains its own, or the data that
            it needs are not known.
        VerificationError: It was not built from this source, or does not do what the package does.
    """
    from kernel import verification

    built = metadata.read_kernel(folder)
    script = read_script(built.script, str(built.path))
    verification.require_own_build(built, script)
    plan = script.plan if full else verification.lessen(script.plan)
    if plan.goes_on or plan.budget is not None:
        # Neither can be compared: an output that is not here, and an end by the clock.
        progress.say("verify: all of it in one run, without --continue and --time-budget")
        plan = dataclasses.replace(plan, goes_on="", budget=None)
    files, own = verification.files_for(plan, data, workspace)
    progress.say(f"verify: on {own or 'the embedded digits'}")
    if own is None:
        plan = dataclasses.replace(plan, labels="")
    networks = None
    if not plan.weights and weights is not None:
        raise ConfigurationError(
            f"--weights was given as {weights}; {built.path} trains its networks itself.",
            mend="Leave it out, or build with --predict-only.",
        )
    if plan.weights:
        from kernel.weights import read_gathered

        networks = weights or GATHERED
        found = read_gathered(networks)[1].digest
        if found != plan.weights_digest:
            raise ArtefactError(
                f"{built.path} was built for other networks (digest {plan.weights_digest}) than "
                f"those in {networks} ({found}).",
                mend="Call `kaggle-digits kernel build --predict-only` again.",
            )
    return verification.verify(built, plan, files, progress, networks)


def weights(
    folder: Path,
    place: Place,
    *,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
    private: bool = True,
    upload: bool = True,
) -> Uploaded:
    """Gather the networks of the workspace's blend, and make a data set of them at Kaggle.

    Args:
        folder: Gets them.
        place: Gives data and workspace.
        owner: Your account; None if it is not known yet.
        slug: The data set's name in addresses; None to make it of the title.
        title: The data set's title; None to make it of the slug.
        private: Whether your account alone sees it.
        upload: Whether it is uploaded, not only gathered.

    Raises:
        ArtefactError: There is no blend, it is not made of networks alone, or some were not kept.
        ConfigurationError: Kaggle would refuse a name, the folder holds other files, or the owner
            is not known.
        ServiceError: Kaggle refused it, or did not take it in.
    """
    from kernel import weights as networks

    workspace, progress = place.workspace, place.progress
    gathered = networks.gather(
        folder, place.data(), workspace, progress, owner=owner, slug=slug, title=title
    )
    if not upload:
        return networks.Uploaded(gathered, "", "not uploaded", ())
    return networks.upload(gathered, progress, private=private)


def push(folder: Path, progress: Progress, *, waiting: bool = False) -> Pushed:
    """Save a built script as a kernel's new version, which starts its run.

    Args:
        folder: What `build` has written.
        progress: Told of the version, and of how its run is.
        waiting: Wait until the run has ended.

    Raises:
        ArtefactError: There is no script, or it is not whole.
        ConfigurationError: It has no owner, or Kaggle would refuse its metadata.
        ServiceError: Kaggle refused it or one of its sources, or its run failed.
    """
    from kaggle_digits.kaggle_service.kernels import KaggleKernels
    from kernel import sending

    built = metadata.read_kernel(folder)
    script = read_script(built.script, str(built.path))
    kernels = KaggleKernels()
    saved = sending.push(kernels, built)
    name = f"{built.owner}/{built.slug}"
    progress.say(f"kernel {name}: version {saved.version} is saved, {saved.url}")
    state = "started"
    if waiting:
        state = sending.wait(kernels, built.owner, built.slug, saved.version, progress).state
    plan = script.plan
    return Pushed(
        kernel=name,
        url=saved.url,
        version=saved.version,
        state=state,
        code=script.code,
        competition=plan.competition,
        predicts=bool(plan.weights),
    )


def status(name: str) -> RunState:
    """Ask how a kernel's last run is.

    Args:
        name: `owner/slug`.

    Raises:
        ConfigurationError: It is no kernel's name.
        ServiceError: Kaggle did not tell, or the run failed or was cancelled.
    """
    from kaggle_digits.kaggle_service.kernels import KaggleKernels
    from kernel import sending

    owner, slug = split_id(name)
    sending.require_owner(owner)
    found = KaggleKernels().run_state(owner, slug)
    sending.require_complete(found, name)
    return found


def fetch(name: str, dataset: Dataset, workspace: Workspace, progress: Progress) -> Fetched:
    """Take the members and the submission of a kernel's last run into a workspace.

    Args:
        name: `owner/slug`.
        dataset: The data at home.
        workspace: Where all goes; locked meanwhile.
        progress: Told of the files.

    Raises:
        ConfigurationError: It is no kernel's name.
        ServiceError: The run goes on still, left nothing, or a file did not come down.
        ArtefactError: It was made by other code or from other data, a file is not what its run
            wrote, or the workspace is in use.
        DataError: Its submission is none for this competition.
    """
    from kaggle_digits.kaggle_service.kernels import KaggleKernels
    from kernel import fetching

    owner, slug = split_id(name)
    with workspace.lock(workspace.ensembles):
        return fetching.fetch(
            KaggleKernels(),
            owner,
            slug,
            code=code_digest(read_sources()),
            dataset=dataset,
            workspace=workspace,
            progress=progress,
        )


def adopt(ranked: Sequence[Ranked], dataset: Dataset, workspace: Workspace, seed: int) -> None:
    """Make given configurations the workspace's ranking, as if a search on this data had ended.

    Args:
        ranked: In the order of training, with the scores of the search they come from.
        dataset: The data they will be trained on.
        workspace: Its tuning folder gets `best.json`; locked meanwhile.
        seed: Recorded with them.

    Raises:
        ArtefactError: The workspace is in use, or cannot be written.
    """
    with workspace.lock(workspace.tuning):
        write_ranking(ranking_path(workspace), ranked, dataset.digest, seed)


def built_name(folder: Path) -> str:
    """Return `owner/slug` of what `build` has written.

    Raises:
        ArtefactError: There is no script.
        ConfigurationError: Its metadata are broken.
    """
    built = metadata.read_kernel(folder)
    return f"{built.owner}/{built.slug}"
