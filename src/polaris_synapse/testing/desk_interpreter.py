"""The interpreter as a running desk sets it, for benchmarks that measure its parts without a desk."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from polaris_synapse.desk.desk import quieten_interpreter


@contextmanager
def as_a_desk_runs() -> Iterator[None]:
    """Set what a desk sets when it starts, and put back what was set before."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    quieten_interpreter()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
