"""Seconds of a stage's jobs, as its timing file holds them. A reused job reports what it took when it ran."""

from collections.abc import Sequence
from typing import Any

from oneshot.jobs import Finished
from oneshot.machine import Machine


def timing(machine: Machine, results: Sequence[Finished]) -> dict[str, Any]:
    """`jobs`: by name and seed; seconds are wall-clock on `machine`'s threads, evaluation apart from training."""
    jobs: dict[str, dict[str, dict[str, float]]] = {}
    for result in results:
        seconds = {key: result.record[key] for key in ("train_seconds", "evaluation_seconds")}
        jobs.setdefault(result.job.name, {})[str(result.job.seed)] = seconds
    total = sum(result.record["train_seconds"] for result in results)
    return {"machine": machine.describe(), "train_seconds": round(total, 3), "jobs": jobs}
