"""What tracking costs a stage: the seconds of the processor that its process takes once MLflow is imported.

Counted, since the seconds of a training vary by some per cent, among which less than one cannot be seen.
"""

import os
import time
from pathlib import Path
from typing import Any

from pipeline.publish import StageRuns

SECONDS_FILE = "BENCH_TRACKING_SECONDS"
"""The variable that names where the seconds go."""


class CountedRuns(StageRuns):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._begun = time.process_time()

    @property
    def failure(self) -> str | None:
        """Asked for once, at the end."""
        Path(os.environ[SECONDS_FILE]).write_text(str(time.process_time() - self._begun))
        return super().failure
