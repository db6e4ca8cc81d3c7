"""Execute the notebooks and keep their outputs: `make examples`, after a change of what they show.

Each runs in an empty temporary folder, so that no path of this machine is in what is committed.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
_SECONDS = 600


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook as its cells leave it.

    Args:
        path: The notebook.
        folder: Where its kernel works; what the cells write stays there.
    """
    notebook = nbformat.read(path, as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own event loop
        NotebookClient(
            notebook,
            timeout=_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Return outputs with what one stream was given in pieces put together."""
    found: list[Any] = []
    for output in outputs:
        last = found[-1] if found else None
        is_stream = last is not None and output.output_type == "stream" == last.output_type
        if is_stream and output.name == last.name:
            last.text += output.text
            continue
        found.append(output)
    return found


def main() -> None:
    """Execute all notebooks, or those that are named."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    main()
