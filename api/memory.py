"""How Python's memory is kept in processes that handle many documents."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """A push of 1,000 documents makes some 100,000 objects, none of them in a circle: Python's collector would walk the heap 150 times."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
