"""Kill `cv-train` with SIGKILL at random moments and see that nothing is lost or done twice.

    python benchmarks/cv_train_kills.py [--kills 20] [--data PATH] [--seed 0] [--workers 1]
        [-- OPTIONS]

`cv-train` and `blend` run undisturbed once. In another workspace `cv-train` is killed, with all its
processes, again and again, each time at a random moment, and called again until it ends; after that
the next kills go on in a new workspace. Shown are: that each member that was there stays as it was
(the same files by inode, time of writing and content), that none is trained to its end twice, and
that all submissions are the same, byte for byte. Options behind `--` are handed to `cv-train` in
the place of the usual ones. cv_train_kills.md holds what a run has shown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
from pathlib import Path

from kill_and_resume import call

CONFIGS = ({"filters": 8, "depth": 1}, {"family": "pooled", "filters": 8, "depth": 1})
OPTIONS = ["--folds", "3", "--seeds", "2", "--epochs", "12", "--keep-weights"]
EARLY = 0.15
"""Share of the kills at any moment from the start on; the others come while members are made."""

PART = 0.4
"""Each kill comes within this part of the work that is still to be done."""

Files = dict[str, tuple[int, int, str]]


def finished(workspace: Path) -> Files:
    """Return inode, time of writing and digest of each file of the members that are there."""
    found = {}
    for about in sorted((workspace / "ensembles" / "members").glob("*/member.json")):
        for path in sorted(about.parent.iterdir()):
            status = path.stat()
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[f"{about.parent.name}/{path.name}"] = (
                status.st_ino,
                status.st_mtime_ns,
                content,
            )
    return found


def training_seconds(workspace: Path) -> float:
    """Return what all members took together."""
    records = (workspace / "ensembles" / "members").glob("*/member.json")
    return sum(json.loads(path.read_text())["record"]["seconds"] for path in records)


def members(files: Files) -> int:
    """Count the members among files."""
    return sum(name.endswith("/member.json") for name in files)


class Way:
    """One workspace on its way to the end, by way of kills."""

    def __init__(self, place: Path, words: list[str], total: int) -> None:
        self.place = place
        self.files = finished(place)
        self.faults: list[str] = []
        self._words = [*words, "--workspace", str(place)]
        self._total = total

    def call(self, kill_after: float | None = None) -> bool:
        """Call `cv-train` and look what became of what was there; return whether it was killed."""
        took, was_killed, out = call("cv-train", self._words, kill_after)
        now = finished(self.place)
        wrong = [name for name, as_it_was in self.files.items() if now.get(name) != as_it_was]
        if not was_killed and json.loads(out)["known"] != members(self.files):
            wrong.append("a member that was there was trained again")
        self.faults += wrong
        self.files = now
        print(f"  {'killed' if was_killed else 'ended'} after {took:.1f} s, {members(now)} of "
              f"{self._total} members, {len(wrong)} files of finished members changed")  # fmt: skip
        return was_killed


def main() -> None:
    """Run both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workers", type=int, default=1, help="members trained at a time")
    parser.add_argument("options", nargs="*", help="of cv-train, in the place of the usual ones")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    data = ["--data", str(given.data.resolve())] if given.data else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [*(given.options or OPTIONS), "--workers", str(given.workers), *data]
        for number, config in enumerate(CONFIGS):
            (folder / f"{number}.json").write_text(json.dumps(config))
            words += ["--config", str(folder / f"{number}.json")]
        quiet = folder / "quiet"
        seconds, _, out = call("cv-train", [*words, "--workspace", str(quiet)])
        wanted = submission(quiet, data)
        total, work = json.loads(out)["members"], training_seconds(quiet)
        # Members that are trained side by side share the wall time.
        start_up = max(2.0, seconds - work / given.workers)
        print(f"undisturbed: {total} members in {seconds:.0f} s, {start_up:.0f} s of it to begin")
        kills, ways = 0, []
        while kills < given.kills:
            way = Way(folder / f"killed-{len(ways)}", words, total)
            ways.append(way)
            print(f"workspace {len(ways)}:")
            was_killed = True
            while was_killed and kills < given.kills:
                left = work * (1 - members(way.files) / total)
                after = start_up + moments.uniform(0, PART) * left / given.workers
                if moments.random() < EARLY:
                    after = moments.uniform(0.1, start_up)
                was_killed = way.call(after)
                kills += was_killed
            if was_killed:
                way.call()
        same = all(submission(way.place, data) == wanted for way in ways)
        faults = sum(len(way.faults) for way in ways)
        leftovers = sum(len(list(way.place.rglob("*.part-*"))) for way in ways)
        print(f"{kills} kills; {faults} files of finished members changed, lost or made twice; "
              f"{leftovers} temporary files left")  # fmt: skip
        print("the submissions are the same, byte for byte" if same else "THE SUBMISSIONS DIFFER")
        raise SystemExit(0 if same and not faults and not leftovers else 1)


def submission(place: Path, data: list[str]) -> bytes:
    """Blend a workspace's members; return the submission."""
    call("blend", [*data, "--workspace", str(place)])
    return (place / "submissions" / "submission.csv").read_bytes()


if __name__ == "__main__":
    main()
