"""The distilled network beside the ensemble it learned from: errors, size, images per second.

    python benchmarks/distil.py --data digit-recognizer.zip [--folder DIR] [--folds 3] [--epochs 5]
        [--student-epochs 4] [--config my.toml ...] [--student small.toml ...]

Trains members whose networks are kept, blends them, and distils into each student; called again, it
goes on. Figures are of out-of-fold rows: of members that never saw them, and of students that
learned from such members alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kill_and_resume import call


def main() -> None:
    """Train, blend, distil; print a row for each student."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("build/distil"))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5, help="of each member")
    parser.add_argument("--student-epochs", type=int, default=4)
    parser.add_argument("--config", type=Path, action="append", default=[], help="members")
    parser.add_argument("--student", type=Path, action="append", default=[])
    given = parser.parse_args()
    common = ["--workspace", str(given.folder), "--data", str(given.data)]
    if not given.config:
        given.folder.mkdir(parents=True, exist_ok=True)
        given.config = [given.folder / "default.json"]
        given.config[0].write_text("{}\n")
    members = ["--folds", str(given.folds), "--epochs", str(given.epochs), "--keep-weights"]
    members += [word for path in given.config for word in ("--config", str(path))]
    seconds = call("cv-train", [*common, *members])[0]
    call("blend", common)
    print(f"members: {seconds:.0f} s", flush=True)
    for student in given.student or [None]:
        words = [*common, "--epochs", str(given.student_epochs)]
        words += [] if student is None else ["--config", str(student)]
        seconds, _, out = call("distil", words)
        show(student.stem if student else "default", json.loads(out), seconds)


def show(name: str, about: dict[str, Any], seconds: float) -> None:
    """Print a student beside the blend."""
    rows = about["rows"]
    apart = about["against_blend"]
    for who, prefix, size, pace in (
        ("blend", "blend", "ensemble_bytes", "ensemble_images_per_second"),
        (name, "oof", "keras_bytes", "images_per_second"),
        (f"{name}, ONNX", "oof", "onnx_bytes", "onnx_images_per_second"),
    ):
        print(
            f"| {who} | {rows * (1 - about[f'{prefix}_accuracy']):.0f} "
            f"| {about[f'{prefix}_accuracy']:.5f} ± {about[f'{prefix}_accuracy_se']:.5f} "
            f"| {about[f'{prefix}_log_loss']:.5f} | {about[size] / 1000:,.0f} "
            f"| {about[pace]:,.0f} |"
        )
    print(
        f"{name}: {apart['images']:+d} images against the blend (95 % {apart['images_low']:+.0f} "
        f"to {apart['images_high']:+.0f}), the blend's label for {about['test_agreement']:.2%} of "
        f"the test images, ONNX {about['onnx_apart']:.1g} apart, {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
