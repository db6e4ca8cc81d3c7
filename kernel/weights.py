"""The networks of the workspace's blend as a data set at Kaggle, for a kernel that only predicts.

They are gathered in a folder first; what is uploaded is what lies there. An upload that was broken
off is gone on from: files that have arrived are not sent again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import (
    ArtefactError,
    ConfigurationError,
    ServiceError,
    naming,
    shorten,
)
from kaggle_digits.ground.files import (
    make_folder,
    require_output,
    require_room,
    write_bytes,
    write_json,
)
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.slugs import split_id
from kaggle_digits.ground.sums import Sums
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.kaggle_service.datasets import READY, KaggleDatasets
from kaggle_digits.kaggle_service.transport import CallError, outages_bridged
from kaggle_digits.records.blend import MEND, read_account, require_known_distances
from kaggle_digits.records.plan import MemberKey
from kaggle_digits.records.weights import PATTERN, SUFFIX, Weights, read_weights, write_weights
from kernel.metadata import UNKNOWN_OWNER, names_of

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset
    from kaggle_digits.records.members import MemberStore

METADATA = "dataset-metadata.json"
_ARRIVED = ".arrived.json"
_TITLE = "Kaggle Digits Weights"
_LICENSE = "other"
_SHORTEST = 6
_LASTING = 6 * 3600
"""Seconds for which what has arrived is taken to be there still."""

_LARGEST = 20_000_000_000
_POLL, _LONGEST_WAIT = 5.0, 900.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """Weights that lie in a folder, ready for a kernel to be built on.

    Args:
        folder: Where they lie.
        weights: What they are.
        id: `owner/slug` of their data set.
        title: Its title.
    """

    folder: Path
    weights: Weights
    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What came of an upload.

    Args:
        gathered: What lies here.
        url: The data set's page; empty where nothing was uploaded.
        state: `made`, `new version`, `there already`, or `not uploaded`.
        sent: Files that were sent now.
    """

    gathered: Gathered
    url: str
    state: str
    sent: tuple[str, ...]


def gather(
    folder: Path,
    dataset: Dataset,
    workspace: Workspace,
    progress: Progress,
    *,
    owner: str | None = None,
    slug: str | None = None,
    title: str | None = None,
) -> Gathered:
    """Copy the networks of the workspace's blend into a folder, those that have weight in it alone.

    Args:
        folder: Gets them, the file that tells of them, and the data set's metadata.
        dataset: The data that the blend was made from.
        workspace: Where members and blend are.
        progress: Told of the sizes before anything is copied.
        owner: Your account; None if it is not known yet.
        slug: The data set's name in addresses; None to make it of the title.
        title: The data set's title; None for the usual one, or one made of the slug.

    Raises:
        ArtefactError: There is no blend, it is not made of networks alone, or some were not kept.
        ConfigurationError: Kaggle would refuse a name, or the folder holds other files.
    """
    from kaggle_digits.records.members import MemberStore

    name, title = names_of(owner, slug, title, _TITLE, _SHORTEST)
    require_output(folder, "--dir", METADATA)
    account = read_account(workspace, dataset.digest)
    require_known_distances(account)
    store = MemberStore(workspace)
    keys = _chosen(account, store)
    networks = {member: store.checked_model(key).read_bytes() for member, key in keys.items()}
    weights = Weights(
        competition=dataset.competition,
        account=account,
        members=keys,
        files={member: Sums.of(content) for member, content in networks.items()},
    )
    total = sum(weights.sizes.values())
    if total > _LARGEST:
        raise ConfigurationError(f"The networks have {total / 1e9:.0f} GB; Kaggle takes 20 GB.")
    progress.say(f"weights: {len(keys)} networks, {total / 1e6:.1f} MB in all, into {folder}")
    about = {"id": name, "title": title, "licenses": [{"name": _LICENSE}]}
    with naming("--dir"):
        make_folder(folder)
        _require_own(folder)
        require_room(folder, total, "the networks")
        for path in folder.glob(f"*{SUFFIX}"):
            if path.stem not in networks:
                path.unlink()
        for member, content in networks.items():
            write_bytes(folder / f"{member}{SUFFIX}", content)
        write_weights(folder, weights)
        write_json(folder / METADATA, about)
    return Gathered(folder, weights, name, title)


def upload(gathered: Gathered, progress: Progress, *, private: bool = True) -> Uploaded:
    """Make the data set, or a new version of it; nothing where it is there already.

    Args:
        gathered: What lies here.
        progress: Told of every file.
        private: Whether your account alone sees it; a data set that is there stays as it is.

    Raises:
        ConfigurationError: The owner is not known.
        ServiceError: Kaggle refused it, or did not take it in.
    """
    owner, slug = split_id(gathered.id, "data set")
    if owner == UNKNOWN_OWNER:
        raise ConfigurationError(
            "The data set's owner is not known.",
            mend="Call `kaggle-digits kernel weights --owner USER` with your name at Kaggle.",
        )
    datasets = KaggleDatasets()
    before = datasets.state(owner, slug)
    url = f"https://www.kaggle.com/datasets/{gathered.id}"
    if before is not None and _is_there(datasets.files_of(owner, slug), gathered.weights):
        return Uploaded(gathered, url, "there already", ())
    blobs, sent = _send_all(datasets, gathered, progress)
    notes = f"weights {gathered.weights.digest}"
    try:
        if before is None:
            about = {"id": gathered.id, "title": gathered.title, "licenses": [{"name": _LICENSE}]}
            made = datasets.make(about, blobs, private=private)
        else:
            made = datasets.add_version(owner, slug, notes, blobs)
    except CallError as error:
        if error.acted:
            error.mend = "Call the command again: it looks whether the data set is there."
        elif not error.transient and error.status not in (None, 401, 403, 407):
            # Kaggle has answered, and refused: perhaps what had arrived is not there any more.
            (gathered.folder / _ARRIVED).unlink(missing_ok=True)
        raise
    _wait(datasets, gathered, progress)
    (gathered.folder / _ARRIVED).unlink(missing_ok=True)
    state = "made" if before is None else "new version"
    return Uploaded(gathered, made.url or url, state, tuple(sent))


def read_gathered(folder: Path) -> tuple[str, Weights]:
    """Return the data set's `owner/slug` and what lies in a folder that `gather` has filled.

    Raises:
        ArtefactError: It is none, or is broken.
    """
    weights = read_weights(folder)
    mend = "Call `kaggle-digits kernel weights` again."
    about = read_artefact(folder / METADATA, _metadata, "a data set's metadata", mend)
    return about, weights


def _metadata(values: object) -> str:
    name = Fields(values).text("id")
    split_id(name, "data set")
    return name


def _chosen(account: Mapping[str, Any], store: MemberStore) -> dict[str, MemberKey]:
    """Return the members that the blend's submission hangs on."""
    if account.get("extras"):
        names = shorten([extra["name"] for extra in account["extras"]])
        raise ArtefactError(
            f"The blend has predictions in it that were made elsewhere, {names}; there is no "
            "network that would make them of other images.",
            mend="Call `kaggle-digits blend` without --extra.",
        )
    if not isinstance(account.get("sets"), dict):
        raise ArtefactError("The blend was made by an earlier version.", mend=MEND)
    weights = account["weights"] or {}
    wanted = {
        member
        for name, members in account["sets"].items()
        if weights.get(name, 1)
        for member in members
    }
    keys = {key.name: key for key in store.read_plan()[1] if key.name in wanted}
    kept = {name: key for name, key in keys.items() if store.has_weights(key)}
    if len(kept) < len(wanted):
        raise ArtefactError(
            f"{len(wanted) - len(kept)} of the blend's {len(wanted)} members have no network: they "
            "were not kept.",
            mend="Call `kaggle-digits cv-train --add --keep-weights`, then `kaggle-digits blend`.",
        )
    return kept


def _require_own(folder: Path) -> None:
    """Refuse a folder with other files: what lies in it is what is uploaded."""
    own = (METADATA, _ARRIVED)
    foreign = [
        path.name
        for path in sorted(folder.iterdir())
        if path.name not in own and not path.match(f"*{SUFFIX}") and not path.match(PATTERN)
    ]
    if foreign:
        raise ConfigurationError(
            f"--dir was given as {folder}, where other files are: {shorten(foreign)}.",
            mend="Give another --dir, or move them away.",
        )


def _is_there(listed: Mapping[str, int], weights: Weights) -> bool:
    """Say whether a data set holds these very weights: their digest is in a file's name."""
    return weights.name in listed and set(weights.sizes) <= set(listed)


def _send_all(
    datasets: KaggleDatasets, gathered: Gathered, progress: Progress
) -> tuple[list[str], list[str]]:
    """Upload what has not arrived yet; return all blobs, and the names of what was sent now."""
    arrived = _read_arrived(gathered.folder / _ARRIVED)
    blobs, sent = [], []
    sizes = gathered.weights.sizes
    with progress.task("upload", max(1, sum(sizes.values()) // 1000), "kB") as task:
        for name, size in sizes.items():
            content = (gathered.folder / name).read_bytes()
            sha256 = Sums.of(content).sha256
            token = arrived.get(sha256)
            if token is None:
                token = datasets.upload_blob(content, name)
                arrived[sha256] = token
                _write_arrived(gathered.folder / _ARRIVED, arrived)
                sent.append(name)
                progress.say(f"  {size:>12,}  {name}")
            blobs.append(token)
            task.advance(size // 1000)
    return blobs, sent


def _read_arrived(path: Path) -> dict[str, str]:
    """Return the blobs by the checksums of what they hold; none where they may be gone."""
    try:
        fields = Fields(json.loads(path.read_bytes()))
        if time.time() - fields.number("since") > _LASTING:
            return {}
        return {name: str(token) for name, token in fields.mapping("blobs").items()}
    except (OSError, ValueError):
        return {}


def _write_arrived(path: Path, blobs: Mapping[str, str]) -> None:
    write_json(path, {"since": time.time(), "blobs": dict(blobs)})


def _wait(datasets: KaggleDatasets, gathered: Gathered, progress: Progress) -> None:
    """Wait until Kaggle has taken a version in, so that a kernel finds it.

    A short outage meanwhile is waited for.
    """
    owner, slug = split_id(gathered.id, "data set")
    sent = f"The data set {gathered.id} is sent: its page shows whether Kaggle has taken it in."
    state: str | None = None
    waited = 0.0
    while True:
        with outages_bridged(progress.say, sent):
            state = datasets.state(owner, slug)
            if state == READY and _is_there(datasets.files_of(owner, slug), gathered.weights):
                return
        if state == "failed" or waited >= _LONGEST_WAIT:
            why = "failed to take it in" if state == "failed" else "has not taken it in yet"
            raise ServiceError(
                f"Kaggle {why}: the data set {gathered.id} is {state or 'not there'}.",
                mend="Look at its page; call `kaggle-digits kernel weights` again.",
            )
        if not waited:
            progress.say(f"weights: Kaggle takes the data set {gathered.id} in")
        datasets.patience.pause(_POLL * datasets.patience.wait)
        waited += _POLL
