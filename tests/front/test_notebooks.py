"""The example notebooks, executed in a real Jupyter kernel, and one that is interrupted."""

from __future__ import annotations

import importlib.util
import json
import queue
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
SHORTEST = "competition"

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def executing() -> Any:
    """Return the module that executes the notebooks for what is committed."""
    spec = importlib.util.spec_from_file_location("execute", ROOT / "examples/execute.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_three() -> None:
    assert [path.stem for path in EXAMPLES] == ["competition", "five_minutes", "your_own_model"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem == SHORTEST else pytest.mark.slow, id=path.stem)
     for path in EXAMPLES],
)  # fmt: skip
def test_a_notebook_runs_from_first_to_last(path: Path, tmp_path: Path) -> None:
    notebook = executing().executed(path, tmp_path)
    shown = json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "<table>" in shown and "Traceback" not in shown and str(tmp_path) not in shown
    assert "\\u001b" not in shown  # no terminal's colours or bars


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_committed_is_executed_and_names_no_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    cells = json.loads(text)["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert "Traceback" not in text and '"output_type": "error"' not in text
    for word in ("/home/", "/root", "/tmp/", "/work/", "/Users/"):
        assert word not in text
    assert len(text) < 400_000


CALL = (
    "trained = kd.cross_validate(competition, config=kd.TrainingConfig(filters=8, depth=1,"
    " augmentation='none'), folds=3, epochs={epochs}, workers={workers})\n"
    "print('known', trained.known, 'of', len(trained.keys))"
)


class Kernel:
    """A kernel that is talked to as a notebook's page does."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def call(self, code: str, interrupted_at: str = "") -> tuple[str, str]:
        """Execute a cell; return its text and the name of its error, empty for none.

        Args:
            code: The cell.
            interrupted_at: Text at which the kernel is interrupted; empty for never.
        """
        sent = self.client.execute(code)
        text, error, ends = "", "", time.monotonic() + 120
        while time.monotonic() < ends:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
                if interrupted_at and interrupted_at in text:
                    interrupted_at = ""
                    self.manager.interrupt_kernel()
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return text, error
        raise AssertionError(f"the cell did not end: {text}")

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    made = Kernel(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interrupted_cell_is_gone_on_with_when_it_is_called_again(
    kernel: Kernel, workers: int
) -> None:
    text, error = kernel.call("import kaggle_digits as kd\ncompetition = kd.load(workspace='w')")
    assert error == ""
    # So long that the next member is under way when a busy machine shows the line of the first.
    call = CALL.format(epochs=60, workers=workers)
    text, error = kernel.call(call, interrupted_at="accuracy")
    assert error == "KeyboardInterrupt" and "known" not in text, text
    # Not for want of what had been done, and with no worker or lock left behind.
    text, error = kernel.call(call)
    assert error == "" and ("known 1 of 3" in text or "known 2 of 3" in text), text
    text, error = kernel.call("kd.blend(competition).oof.shape")
    assert error == ""
