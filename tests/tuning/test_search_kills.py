"""SIGKILL at random moments of a real search; benchmarks/search_kills.py has 30 of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "search_kills.py"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["hyperband", "bayesian"])
def test_kills_lose_and_repeat_no_completed_trial(tmp_path, strategy):
    words = ["--kills", "4", "--trials", "12", "--strategy", strategy, "--workspace", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *words, "--", "--race", "3", "--max-epochs", "9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills, 12 trials completed, 0 faults; best.json is the same" in done.stdout
