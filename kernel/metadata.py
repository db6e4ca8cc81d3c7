"""kernel-metadata.json by Kaggle's rules: made for a build, and checked before a push.

Kaggle's client checks a part of them, prints the rest, and ignores unknown names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from kaggle_digits.ground.artefacts import Fields, read_artefact
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, did_you_mean
from kaggle_digits.ground.slugs import OWNER, SLUG, slugify, split_id
from kernel.bundle import MOST_BYTES

FILE_NAME = "kernel-metadata.json"
UNKNOWN_OWNER = "INSERT-OWNER"
"""Stands for the owner until one is given; a push refuses it."""

GPU_SHAPE = "NvidiaTeslaT4"
_BUILD = "Call `kaggle-digits kernel build`."
_LONGEST = 50
_SHORTEST = 5
_TRAINING, _PREDICTING = "Kaggle Digits", "Kaggle Digits Predict"
_TYPES: dict[str, type] = {
    "id": str,
    "title": str,
    "code_file": str,
    "language": str,
    "kernel_type": str,
    "machine_shape": str,
    "is_private": bool,
    "enable_gpu": bool,
    "enable_tpu": bool,
    "enable_internet": bool,
    "competition_sources": list,
    "dataset_sources": list,
    "kernel_sources": list,
    "model_sources": list,
    "keywords": list,
}
_OPTIONAL = {"machine_shape"}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A folder that is ready to be pushed.

    Args:
        owner: The account.
        slug: The kernel's name in addresses.
        metadata: All of kernel-metadata.json.
        script: The script's bytes.
        path: Where the script is.
    """

    owner: str
    slug: str
    metadata: dict[str, Any]
    script: bytes
    path: Path


def make_metadata(
    *,
    owner: str | None,
    slug: str | None,
    title: str | None,
    gpu: bool,
    competition: str,
    goes_on: str = "",
    weights: str = "",
) -> dict[str, Any]:
    """Return the content of kernel-metadata.json.

    Args:
        owner: The account; None if it is not known yet.
        slug: The kernel's name in addresses; None to make it of the title.
        title: The kernel's title; None to make it of the slug.
        gpu: Ask for a machine with GPUs.
        competition: The short name of the competition whose files are mounted.
        goes_on: `owner/slug` of a kernel whose output is mounted; empty for none.
        weights: `owner/slug` of a data set that is mounted, for a kernel that only predicts; empty
            for none.

    Raises:
        ConfigurationError: Kaggle would refuse a name.
    """
    name, title = names_of(owner, slug, title, _PREDICTING if weights else _TRAINING, _SHORTEST)
    if goes_on:
        split_id(goes_on)
    if weights:
        split_id(weights, "data set")
    text = resources.files("kernel").joinpath(FILE_NAME).read_text("utf-8")
    made: dict[str, Any] = json.loads(text) | {
        "id": name,
        "title": title,
        "enable_gpu": gpu,
        "competition_sources": [competition],
        "dataset_sources": [weights] if weights else [],
        "kernel_sources": [goes_on] if goes_on else [],
    }
    if gpu:
        made["machine_shape"] = GPU_SHAPE
    check(made)
    return made


def names_of(
    owner: str | None, slug: str | None, title: str | None, usual: str, shortest: int
) -> tuple[str, str]:
    """Return `owner/slug` and title of what is made at Kaggle, each made of the other if not given.

    Args:
        owner: The account; None if it is not known yet.
        slug: The name in addresses; None to make it of the title.
        title: The title; None to make it of the slug.
        usual: The title where neither is given.
        shortest: Characters that Kaggle wants of either.

    Raises:
        ConfigurationError: Kaggle would refuse a name.
    """
    if owner is not None and not OWNER.fullmatch(owner):
        raise ConfigurationError(
            f"--owner was given as {owner!r}; expected your name at Kaggle, as it stands in "
            "addresses: letters, digits and hyphens."
        )
    if slug is not None:
        _check_slug(slug, shortest)
        if title is not None:
            _check_length("title", title, shortest)
    elif title is not None:
        _check_title(title, shortest)
    if title is None:
        title = slug.replace("-", " ").title() if slug else usual
    return f"{owner or UNKNOWN_OWNER}/{slug or slugify(title)}", title


def read_kernel(folder: Path) -> Kernel:
    """Read what `kernel build` wrote, and check it by Kaggle's rules.

    Raises:
        ArtefactError: Files are missing, or the script is too large.
        ConfigurationError: Kaggle would refuse the metadata, or read it otherwise than meant.
    """
    metadata = check(_read(folder / FILE_NAME))
    path = folder / metadata["code_file"]
    try:
        script = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.", mend=_BUILD) from error
    if len(script) >= MOST_BYTES:
        raise ArtefactError(
            f"{path} has {len(script):,} bytes; Kaggle takes less than {MOST_BYTES:,}."
        )
    owner, slug = split_id(metadata["id"])
    return Kernel(owner, slug, metadata, script, path)


def is_ours(path: Path, script: str) -> bool:
    """Say whether a metadata file names our script; one that is no JSON object does not."""
    try:
        stored = read_artefact(path, lambda values: Fields(values).all(), "metadata", _BUILD)
    except ArtefactError:
        return False
    return stored.get("code_file") == script


def check(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse metadata that Kaggle would refuse, or take otherwise than meant.

    Raises:
        ConfigurationError: The field is named.
    """
    for name in metadata:
        if name not in _TYPES:
            raise ConfigurationError(
                f"{FILE_NAME} has the field {name!r}, which Kaggle would ignore.",
                mend=did_you_mean(name, _TYPES),
            )
    for name, kind in _TYPES.items():
        if name not in metadata:
            if name in _OPTIONAL:
                continue
            raise ConfigurationError(f"{FILE_NAME} has no {name}.", mend=_BUILD)
        value = metadata[name]
        if type(value) is not kind:
            raise ConfigurationError(
                f"{name} in {FILE_NAME} is {value!r}; expected a {kind.__name__}."
            )
        if isinstance(value, list) and not all(isinstance(entry, str) for entry in value):
            raise ConfigurationError(f"{name} in {FILE_NAME} is {value!r}; expected texts in it.")
    if metadata["language"] != "python" or metadata["kernel_type"] != "script":
        raise ConfigurationError(f"{FILE_NAME} is not that of a Python script.")
    if Path(metadata["code_file"]).name != metadata["code_file"]:
        raise ConfigurationError(f"code_file is {metadata['code_file']!r}; expected a file's name.")
    _check_names(metadata["id"], metadata["title"])
    return metadata


def _check_names(name: str, title: str) -> None:
    _, slug = split_id(name)
    _check_length("slug", slug, _SHORTEST)
    _check_length("title", title, _SHORTEST)
    if slugify(title) != slug:
        raise ConfigurationError(
            f"The title {title!r} does not go with the slug {slug!r}: Kaggle would make it "
            f"{slugify(title)!r}.",
            mend="Give --title or --slug alone, and the other is made to fit.",
        )


def _check_slug(slug: str, shortest: int) -> None:
    """Refuse a slug that Kaggle would not make of any title."""
    if not SLUG.fullmatch(slug):
        near = slugify(slug)
        fits = shortest <= len(near) <= _LONGEST
        raise ConfigurationError(
            f"The slug {slug!r} cannot be one; expected small letters and digits (a to z, 0 to 9) "
            "with single hyphens between.",
            mend=f"Give --slug {near}, or --title alone." if fits else "Give --title alone.",
        )
    _check_length("slug", slug, shortest)


def _check_title(title: str, shortest: int) -> None:
    """Refuse a title of which Kaggle could make no slug."""
    _check_length("title", title, shortest)
    made = slugify(title)
    if len(made) < shortest:
        raise ConfigurationError(
            f"Of the title {title!r} Kaggle would make the slug {made!r}; expected {shortest} "
            "letters and digits (a to z, 0 to 9) or more.",
            mend="Give another --title.",
        )


def _check_length(what: str, text: str, shortest: int) -> None:
    if not shortest <= len(text) <= _LONGEST:
        raise ConfigurationError(
            f"The {what} {text!r} has {len(text)} characters; Kaggle takes {shortest} to "
            f"{_LONGEST}."
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ArtefactError(f"{path} is not there.", mend=_BUILD)
    return read_artefact(path, lambda values: Fields(values).all(), "a kernel's metadata", _BUILD)
