"""Kaggle Digits: search, train, blend and submit for image-classification competitions.

Three floors, imports run down only: `shell` (command line) → `core` (data, networks,
training) → `ground` (values, files, errors; standard library only). The wings `tuning`,
`ensembles`, `submissions` and `kernel` stand on all three and never import one another.
"""

__version__ = "0.1.0"
