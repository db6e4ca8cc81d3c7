"""`python -m kaggle_digits` is the command `kaggle-digits`."""

import os
import sys
from pathlib import Path

if sys.path and not sys.flags.safe_path:
    # Python looks into the current folder first: a `tuning.py` there would be taken for ours. It
    # stays where this package itself is found by it.
    here = Path(sys.path[0] or os.curdir).resolve()
    if here == Path.cwd() and here != Path(__file__).resolve().parents[1]:
        del sys.path[0]
        os.environ["PYTHONSAFEPATH"] = "1"  # for the processes that this one starts

from kaggle_digits.shell.cli import main  # noqa: E402  the path comes first

if __name__ == "__main__":
    main()
