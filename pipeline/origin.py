"""Which stage of which copy of the project makes a run in MLflow, and whether it is still at it."""

import hashlib
import json
import os
import platform

from oneshot.writer import is_held
from pipeline.layout import Layout

ORIGIN = "oneshot.origin"
"""The tag."""


def origin(layout: Layout, address: str) -> str:
    """Says nothing readable of the machine: MLflow may be a server for many."""
    checkout = hashlib.sha256(f"{platform.node()}:{layout.home}".encode()).hexdigest()[:16]
    return json.dumps([checkout, os.path.relpath(layout.root, layout.home), address])


def has_died(layout: Layout, text: str) -> bool:
    """Nobody holds the lock of the stage any more. Of other checkouts nothing is known, so theirs count as alive."""
    try:
        checkout, root, address = json.loads(text)
    except (ValueError, TypeError):
        return False
    if checkout != json.loads(origin(layout, ""))[0]:
        return False
    return not is_held(Layout(layout.home / root, layout.home).lock(address))
