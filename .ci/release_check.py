"""Check a release: what sdist and wheel hold, and that the wheel works on all allowed versions.

The wheel is installed twice into an empty environment, with the lowest and with the highest
versions of its dependencies that pyproject.toml allows, those of the extras onnx and mlflow
included, and does a quick job there: a run that is tracked, and a network distilled from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv", "--quiet"]
PACKAGES = {"kaggle_digits", "tuning", "ensembles", "submissions", "kernel"}
BESIDE = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
KINDS = {".py", ".toml", ".json", ".txt", ".typed", ".html", ".css", ".js"}
EXTRAS = ["--extra", "mlflow", "--extra", "onnx"]
SHORT = ["--folds", "2", "--epochs", "4"]
JOBS = [
    ["run", "--json", "--quiet", "--trials", "1", *SHORT, "--track", "mlflow"],
    ["cv-train", "--json", "--quiet", "--top-k", "1", *SHORT, "--keep-weights"],
    ["blend", "--json", "--quiet"],
    ["distil", "--json", "--quiet", "--epochs", "1", "--output", "network.onnx"],
]
LEAST_ACCURACY = 0.9


def main() -> None:
    """Build, look inside, install, run; the exit code is not 0 if anything is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--only", choices=("lowest-direct", "highest"), help="one end alone")
    given = parser.parse_args()
    ends = [given.only] if given.only else ["lowest-direct", "highest"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sdist = build(folder)
        with zipfile.ZipFile(wheel) as archive:
            require_clean(wheel.name, archive.namelist(), top=0)
        with tarfile.open(sdist) as archive:
            require_clean(sdist.name, (m.name for m in archive.getmembers() if m.isfile()), top=1)
        for end in ends:
            try_out(wheel, end, given.python, folder / end)


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, of what git tracks; return wheel and sdist."""
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for path in filter(None, listed.split("\0")):
        place = source / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((ROOT / path).read_bytes())
    out = folder / "dist"
    subprocess.run(
        [sys.executable, "-m", "build", "--installer", "uv", "--outdir", out, source],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def require_clean(archive: str, names: Iterable[str], top: int) -> None:
    """Refuse an archive that holds anything but the packages and what describes them.

    Args:
        archive: How messages name it.
        names: Of its files.
        top: How many leading folders its content is in.
    """
    count = 0
    for name in names:
        parts = Path(name).parts[top:]
        described = parts[0].endswith((".dist-info", ".egg-info")) or (
            len(parts) == 1 and parts[0] in BESIDE
        )
        shipped = parts[0] in PACKAGES and Path(name).suffix in KINDS
        if not (described or shipped):
            raise SystemExit(f"{archive} holds {name}, which is no part of a release.")
        count += shipped
    print(f"{archive}: {count} files of the packages, nothing else", flush=True)


def try_out(wheel: Path, end: str, python: str, folder: Path) -> None:
    """Install the wheel into an empty environment and do a quick job there.

    Args:
        wheel: The wheel.
        end: uv's `--resolution`.
        python: Which Python.
        folder: Where; made here.
    """
    folder.mkdir()
    place = folder / "env" / "bin" / "python"
    subprocess.run([*UV, "venv", "--python", python, folder / "env"], check=True)
    # A wheel's dependencies are none of uv's direct ones; those of pyproject.toml are.
    wanted = ["--resolution", end, "--requirements", ROOT / "pyproject.toml", *EXTRAS, wheel]
    subprocess.run([*UV, "pip", "install", "--python", place, *wanted], check=True)
    frozen = subprocess.run(
        [*UV, "pip", "freeze", "--python", place], check=True, capture_output=True, text=True
    ).stdout
    versions = [line for line in frozen.splitlines() if "==" in line]
    print(f"{end}, Python {python}: {', '.join(versions)}", flush=True)
    told = {}
    for job in JOBS:
        done = subprocess.run(
            [place.with_name("kaggle-digits"), *job],
            cwd=folder,
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise SystemExit(f"{end}: {job[0]} ended with {done.returncode}.\n{said}")
        told[job[0]] = json.loads(done.stdout)
    accuracy = told["run"]["local_accuracy"]
    if accuracy < LEAST_ACCURACY:
        raise SystemExit(f"{end}: accuracy {accuracy}; expected {LEAST_ACCURACY} or more.")
    for made in ("network.onnx", "workspace/mlflow.db"):
        if not (folder / made).is_file():
            raise SystemExit(f"{end}: there is no {made}.")
    apart = told["distil"]["onnx_apart"]
    print(f"{end}: done; accuracy {accuracy:.4f}, ONNX and Keras {apart:.1e} apart", flush=True)


if __name__ == "__main__":
    main()
