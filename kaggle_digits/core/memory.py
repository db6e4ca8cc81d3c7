"""Memory that TensorFlow keeps for every model that was ever trained, given back.

Keras' optimizer adds gradients up over replicas, also where there is but one. TensorFlow registers
a gradient function for that in each model's graph, by a name of its own and for ever, and with it
the graph: some 6 MB a model, which over a hundred trials is more than all else.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PREFIX = "CustomGradient-"


@contextmanager
def forgetting() -> Iterator[None]:
    """Drop the gradient functions that were registered within the block, when it ends.

    Also a decorator: `@forgetting()`. No model that was made within the block can be trained on
    after it. Where TensorFlow is not loaded, or keeps them in another place, nothing is dropped.
    """
    before = _names()
    try:
        yield
    finally:
        registry = _registry()
        for name in _names() - before:
            del registry[name]
        # Graphs, tensors and operations refer to one another.
        gc.collect()


def _names() -> set[str]:
    return {name for name in _registry() if str(name).startswith(_PREFIX)}


def _registry() -> dict[str, Any]:
    """Return TensorFlow's own dictionary of gradient functions; an empty one if there is none."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    # Private: there is no public way to take one out.
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", None)
    return registry if isinstance(registry, dict) else {}
