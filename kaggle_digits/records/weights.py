"""The networks of a blend in one folder, with all that joins them: what predicts elsewhere.

A folder holds `NAME.keras` for each member and one `weights-DIGEST.json`, whose digest stands for
all of it: which networks, byte for byte, and how they are joined. `kernel weights` writes it, and
`predict --weights` reads it, at home and on Kaggle's machines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields, FormError, read_artefact
from kaggle_digits.ground.competition import Competition
from kaggle_digits.ground.errors import ArtefactError, shorten
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.stamps import digest as digest_of
from kaggle_digits.ground.sums import Sums
from kaggle_digits.records.blend import build_account, require_known_distances
from kaggle_digits.records.plan import MemberKey

PATTERN = "weights-*.json"
SUFFIX = ".keras"
_MEND = "Call `kaggle-digits kernel weights` again, or download the data set anew."


@dataclass(frozen=True, slots=True)
class Weights:
    """What is in such a folder.

    Args:
        competition: What the networks are for.
        account: That of the blend: its sets of members, and how they are joined.
        members: Each member's key by its name.
        files: The sums of each member's network by the member's name.
    """

    competition: Competition
    account: Mapping[str, Any]
    members: Mapping[str, MemberKey]
    files: Mapping[str, Sums]

    @property
    def digest(self) -> str:
        """16 hex digits over all of it."""
        return digest_of(self.to_json())

    @property
    def name(self) -> str:
        """The name of the file that tells of the others."""
        return f"weights-{self.digest}.json"

    @property
    def sizes(self) -> dict[str, int]:
        """All files and their bytes, that which tells of the others first."""
        return {self.name: len(self.to_bytes())} | {
            f"{name}{SUFFIX}": sums.size for name, sums in self.files.items()
        }

    @property
    def sets(self) -> dict[str, list[str]]:
        """The names of the blend's sets, and those of the members whose networks are here."""
        named: Mapping[str, list[str]] = self.account["sets"]
        return {
            name: [member for member in members if member in self.files]
            for name, members in named.items()
        }

    @property
    def metric(self) -> str | None:
        """What the blend was made for, one of `names.METRICS`; None where nobody said."""
        told: Mapping[str, Any] | None = self.account.get("metric")
        return None if told is None else str(told["name"])

    def to_json(self) -> dict[str, Any]:
        """Return the value as a dictionary that JSON can hold."""
        return {
            "competition": self.competition.to_json(),
            "blend": dict(self.account),
            "members": {
                name: {"key": key.to_json()} | self.files[name].to_json()
                for name, key in self.members.items()
            },
        }

    def to_bytes(self) -> bytes:
        """Return the content of the file that tells of the others."""
        return (json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Make the value from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
        """
        fields = Fields(values)
        account = build_account(fields.mapping("blend"))
        if not isinstance(account.get("sets"), dict):
            raise FormError("its blend has no sets")
        if account.get("metric") is not None:
            Figure.from_json(Fields(account["metric"], "metric"))
        members, files = {}, {}
        for name, entry in fields.mapping("members").items():
            one = Fields(entry, name)
            members[name] = MemberKey.from_json(one.mapping("key"))
            try:
                files[name] = Sums.from_json({"bytes": one.whole("bytes"),
                                              "sha256": one.text("sha256")})  # fmt: skip
            except ValueError as error:
                raise FormError(str(error)) from error
            if members[name].name != name:
                raise FormError(f"{name} is another member than its name says")
        return cls(Competition.from_json(fields.mapping("competition")), account, members, files)


def write_weights(folder: Path, weights: Weights) -> None:
    """Write the file that tells of the others, the last of a folder to be there."""
    for other in folder.glob(PATTERN):
        if other.name != weights.name:
            other.unlink()
    write_bytes(folder / weights.name, weights.to_bytes())


def read_weights(folder: Path) -> Weights:
    """Read what is in a folder, the networks themselves not yet.

    Raises:
        ArtefactError: There is no such folder, or its account is broken or not the one its name
            says; or what its blend asked neighbours is not what this version asks.
    """
    found = sorted(folder.glob(PATTERN))
    if len(found) != 1:
        shown = shorten([path.name for path in found]) or "none"
        raise ArtefactError(
            f"{folder} holds no weights: of the one file {PATTERN} it has {shown}.",
            mend="Give the folder that `kaggle-digits kernel weights` wrote.",
        )
    weights = read_artefact(found[0], Weights.from_json, "an account of weights", _MEND)
    if weights.name != found[0].name:
        raise ArtefactError(
            f"{found[0]} is not what its name says (digest {weights.digest}).", mend=_MEND
        )
    require_known_distances(weights.account)
    return weights


def checked_networks(folder: Path, weights: Weights) -> dict[str, Path]:
    """Return the file of each member's network, after holding all of them against the account.

    Raises:
        ArtefactError: Some are missing or are not what they were; they are named.
    """
    paths = {name: folder / f"{name}{SUFFIX}" for name in weights.files}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise ArtefactError(
            f"{folder} lacks {len(missing)} of {len(paths)} networks: {shorten(missing)}.",
            mend=_MEND,
        )
    other = [
        path.name for name, path in paths.items()
        if Sums.of(path.read_bytes()) != weights.files[name]
    ]  # fmt: skip
    if other:
        raise ArtefactError(
            f"{len(other)} of {len(paths)} networks in {folder} are not what they were (another "
            f"checksum): {shorten(other)}.",
            mend=_MEND,
        )
    return paths
