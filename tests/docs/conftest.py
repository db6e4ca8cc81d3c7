"""Lets the tests of this folder import what reads the pages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `docs_reading`
