"""Seconds of a stage's jobs, as its timing file holds them. A reused job reports what it took when it ran."""

from collections.abc import Sequence
from typing import Any

from oneshot.jobs import Finished
from oneshot.machine import Machine


def timing(machine: Machine, results: Sequence[Finished]) -> dict[str, Any]:
    """Seconds of each job and their sum, on `threads` threads, evaluation apart from training. `jobs` is a list, which
    `dvc metrics show` leaves out of its table."""
    jobs: list[dict[str, Any]] = [
        {"name": result.job.name, "seed": result.job.seed}
        | {key: result.record[key] for key in ("train_seconds", "evaluation_seconds")}
        for result in results
    ]
    return {
        "train_seconds": round(sum(job["train_seconds"] for job in jobs), 3),
        "evaluation_seconds": round(sum(job["evaluation_seconds"] for job in jobs), 3),
        **machine.describe(),
        "jobs": jobs,
    }
