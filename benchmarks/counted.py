"""A stage's tracking that counts the seconds of a core that it takes once MLflow is imported.

Counted, since the seconds of a training vary by some per cent, among which less than one cannot be seen. Imports no
torch, which tracking does not either.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.layout import Layout
from pipeline.publish import StageRuns
from pipeline.units import Record

SECONDS_FILE = "BENCH_TRACKING_SECONDS"
"""The variable that names the file where they go."""


class CountedRuns(StageRuns):
    """Writes no file where tracking fails."""

    def __init__(self, layout: Layout, record: Record):
        super().__init__(layout, record)
        self._begun = time.process_time()

    def publish(self) -> Iterator[None]:
        """The last thing that a stage tells."""
        yield from super().publish()
        if self.failure is None:
            Path(os.environ[SECONDS_FILE]).write_text(str(time.process_time() - self._begun))
