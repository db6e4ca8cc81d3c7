"""The proof that a built script does what the package does: both run, and their bytes are compared.

The script runs as on Kaggle's machine: by an isolated interpreter, in a folder of its own, with
read-only inputs, without a way to the internet.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import kaggle_digits
from kaggle_digits.ground.errors import ConfigurationError, KaggleDigitsError
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kernel.bundle import Script, code_digest, read_sources
from kernel.metadata import Kernel
from kernel.plan import LABELS, RANKING, SUBMISSION, WEIGHTS, Plan

_FEW = 2
_NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: whatever asks the internet fails at once."""

_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES", "KERAS_BACKEND", "LANG")
_LOCAL_PACKAGES = str(Path(kaggle_digits.__file__).resolve().parents[1])
_RUN = "from kaggle_digits.shell.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found.

    Args:
        sha256: Of the submission, the same from both.
        rows: Its predictions.
        outputs: Files the script left in its working folder, and their bytes.
        code: Digest of the source that both are made of.
    """

    sha256: str
    rows: int
    outputs: Mapping[str, int]
    code: str


class VerificationError(KaggleDigitsError):
    """The script does not do what the package does (exit code 1)."""


def lessen(plan: Plan) -> Plan:
    """Return a plan of the same kind that takes a minute: few trials, folds, members and epochs."""
    return dataclasses.replace(
        plan,
        trials=_FEW,
        max_epochs=_FEW,
        folds=_FEW,
        epochs=_FEW,
        top_k=min(plan.top_k, _FEW),
        gpu=False,
        goes_on="",
        budget=None,
    )


def require_own_build(kernel: Kernel, script: Script) -> None:
    """Refuse a script that this package would not build: of other source, or changed by hand.

    Args:
        kernel: The built script.
        script: What it says of itself; that it carries this source it checks when it runs.

    Raises:
        VerificationError: Its source digest or its command lines are others.
    """
    mend = "Call `kaggle-digits kernel build` again."
    here = code_digest(read_sources())
    if script.code != here:
        raise VerificationError(
            f"{kernel.path} carries other source (digest {script.code}) than this package "
            f"({here}).",
            mend=mend,
        )
    if script.given != script.plan.for_script():
        raise VerificationError(f"{kernel.path} has other command lines than its plan.", mend=mend)


def files_for(plan: Plan, data: Path | None, workspace: Workspace) -> tuple[Path, str | None]:
    """Return the files that a plan is verified on, and their name where they are its own.

    The embedded digits are small and always there. They cannot stand for image files, for data with
    groups or folds or a size of their own, or for those that networks were trained on.

    Args:
        plan: What is verified.
        data: What the user gives; None for nothing.
        workspace: Made from the data that stand in, where something is needed.

    Raises:
        ConfigurationError: They are needed, and not known.
        DataError: They are not there any more.
    """
    from kaggle_digits.core import demo, drawn_shapes
    from kaggle_digits.core.data.image_source import find_images
    from kaggle_digits.core.data.provenance import DRAWN, read_provenance

    own = data
    if data is None:
        known = read_provenance(workspace)
        if known is not None and known.path == DRAWN:
            own = Path(drawn_shapes.NAME)
        elif known is not None and known.path is not None:
            path = Path(known.path)
            if plan.reading or plan.weights or (path.exists() and find_images(path)):
                own = known.where()
        elif known is None and plan.reading:
            raise ConfigurationError(
                f"The script reads its data with {plan.reading}; for the embedded digits, that "
                "says nothing.",
                mend="Give --data the competition's files.",
            )
    if own is None:
        return demo.embedded(workspace.cache / "embedded")[0], None
    if drawn_shapes.are_meant(own):
        return drawn_shapes.embedded(workspace.cache / drawn_shapes.NAME)[0], DRAWN
    return own, str(own)


def verify(
    kernel: Kernel, plan: Plan, data: Path, progress: Progress, weights: Path | None = None
) -> Verified:
    """Run a built script and the package on the same data, and compare their submissions.

    Args:
        kernel: The built script.
        plan: What both shall do; the script's own, or a lesser one.
        data: The competition's files, as --data takes them.
        progress: Told of the steps, and of the script's own lines.
        weights: The folder of the networks, where the script only predicts.

    Raises:
        DataError: The competition's files are not there.
        VerificationError: The script fails, writes where it must not, or its submission differs.
        KaggleDigitsError: The package itself fails.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as place:
        folder = Path(place)
        root = folder / "kaggle"
        inputs = root / "input" / "competitions" / plan.competition
        _lay_out(root, inputs, data, kernel)
        if weights is not None:
            shutil.copytree(weights, root / "input" / plan.weights.partition("/")[2])
        with _read_only(root / "input", root / "src"):
            before = _fingerprint(root / "input"), _fingerprint(root / "src")
            progress.say("verify: the script, by an isolated interpreter on a mock of Kaggle")
            _run_script(root, kernel, plan, folder, progress)
            if (_fingerprint(root / "input"), _fingerprint(root / "src")) != before:
                raise VerificationError("The script changed its inputs or its own folder.")
            theirs = _read(root / "working" / "submission.csv")
            outputs = _sizes(root / "working")
            _refuse_large_output(outputs)
            progress.say("verify: the package, on the same data with the same seed")
            ours = _run_package(folder / "own", plan, inputs, weights)
    if theirs != ours:
        raise VerificationError(
            f"The script's submission ({hashlib.sha256(theirs).hexdigest()[:16]}) differs from the "
            f"package's ({hashlib.sha256(ours).hexdigest()[:16]}).",
            mend="Was the script built from this source? Call `kaggle-digits kernel build`.",
        )
    rows = len(theirs.splitlines()) - 1
    code = code_digest(read_sources())
    return Verified(hashlib.sha256(theirs).hexdigest(), rows, outputs, code)


def _lay_out(root: Path, inputs: Path, data: Path, kernel: Kernel) -> None:
    from kaggle_digits.core.data.image_source import find_images
    from kaggle_digits.core.data.source import find

    for folder in (inputs, root / "src", root / "working"):
        folder.mkdir(parents=True)
    (root / "src" / "script.py").write_bytes(kernel.script)
    images = find_images(data)
    if images is not None:
        # Whole, as Kaggle shows it: a zip, unpacked.
        if data.is_dir():
            shutil.copytree(data, inputs, dirs_exist_ok=True)
        else:
            with zipfile.ZipFile(data) as archive:
                archive.extractall(inputs)
        return
    source = find(data)
    for role in source.members:
        # Under their own names, since those are what the script must know them by; unpacked, as
        # Kaggle shows them.
        name = re.sub(r"\.(gz|zip)$", "", source.name(role), flags=re.IGNORECASE)
        name = re.sub(r"\.parquet$", ".csv", name, flags=re.IGNORECASE)
        if not name.lower().endswith((".csv", ".tsv")):
            name += ".csv"
        with source.open(role) as stream, open(inputs / name, "wb") as copy:
            shutil.copyfileobj(stream, copy)


def _run_script(root: Path, kernel: Kernel, plan: Plan, folder: Path, progress: Progress) -> None:
    empty, home = folder / "empty", folder / "home"
    empty.mkdir()
    home.mkdir()
    given = plan.for_script()
    variables = _environment(home) | {
        "KAGGLE_DIGITS_KERNEL_ROOT": str(root),
        "KAGGLE_DIGITS_KERNEL_PLAN": json.dumps(given),
    }
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-I", str(root / "src" / "script.py")],
        cwd=empty,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what the script has started ends with it
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                progress.say(f"  | {line.rstrip()}")
            code = process.wait()
        finally:
            _end_group(process)
    if code != 0:
        # The script tells last why it failed.
        last = next((line for line in reversed(lines) if line.strip()), "nothing was printed")
        raise VerificationError(f"The script {kernel.path} ended with exit code {code}: {last}")
    if any(empty.iterdir()):
        raise VerificationError("The script wrote into the folder it was started in.")


def _end_group(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _run_package(folder: Path, plan: Plan, data: Path, weights: Path | None) -> bytes:
    folder.mkdir()
    (folder / "home").mkdir()
    ranking = folder / "ranking.json"
    ranking.write_text(json.dumps(plan.to_json()["ranked"]))
    labels = folder / "labels.csv"
    labels.write_text(plan.labels, encoding="utf-8")
    submission = str(folder / "submission.csv")
    places = {SUBMISSION: submission, RANKING: str(ranking), LABELS: str(labels)}
    if weights is not None:
        places[WEIGHTS] = str(weights.resolve())
    for words in plan.commands(staged=False):
        filled = [places.get(word, word) for word in words]
        shared = ["--data", str(data), "--workspace", str(folder / "workspace"), "--quiet"]
        ended = subprocess.run(
            [sys.executable, "-c", _RUN, *filled, *shared],
            cwd=folder,
            env=_environment(folder / "home") | {"PYTHONPATH": _LOCAL_PACKAGES},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise VerificationError(
                f"The package's own `{' '.join(words)}` ended with exit code {ended.returncode}: "
                + " ".join(ended.stderr.split())
            )
    return _read(folder / "submission.csv")


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    proxies = {
        name: _NOWHERE for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    }
    return kept | proxies | {"HOME": str(home), "TMPDIR": str(home)}


@contextmanager
def _read_only(*folders: Path) -> Iterator[None]:
    """Take away the rights to write, as Kaggle's mounts do; given back to be removed."""
    entries = [entry for folder in folders for entry in (folder, *folder.rglob("*"))]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        yield
    finally:
        for entry in entries:
            entry.chmod(0o755 if entry.is_dir() else 0o644)


def _fingerprint(folder: Path) -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _refuse_large_output(outputs: Mapping[str, int]) -> None:
    astray = [name for name in outputs if "/cache/" in name or name.endswith((".npz", ".zip"))]
    if astray:
        raise VerificationError(f"The script left {astray[0]} in its output.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(f"There is no {path.name}: {error.strerror}.") from error
