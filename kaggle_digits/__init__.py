"""Kaggle Digits: search, train, blend and submit for image-classification competitions.

Floors, imports run down only: `shell` (command line) → `records` (what the wings leave to one
another) → `core` (data, networks, training) → `ground` (values, files, errors; standard library
only). The wings `tuning`, `ensembles`, `submissions` and `kernel` stand on all of them and never
import one another.
"""

__version__ = "0.1.0"
