"""What the cores are used for: parts of a batch, threads in every operation, or trainings side by side; and what a busy
neighbour takes from each."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.measure import Measured, Ratio, Side, Work, alternate
from benchmarks.settings import Settings
from benchmarks.table import Row
from benchmarks.training import Task, default_task, make_ours

# Ends with whoever started it, however that ended.
NEVER_RESTS = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextmanager
def busy_core() -> Iterator[None]:
    neighbour = subprocess.Popen([sys.executable, "-c", NEVER_RESTS])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def make_parts(task: Task, threads: int) -> Work:
    """Each batch in a part per thread, as a supernet is trained."""
    return make_ours(task, "auto", threads)


def make_operations(task: Task, threads: int) -> Work:
    """PyTorch's way: the whole batch at once, the threads share every operation."""
    train = make_ours(task, "auto", 1)
    torch.set_num_threads(threads)
    return train


def make_beside(make: Callable[[Task, int], Work], task: Task, threads: int) -> Work:
    train = make(task, threads)

    def train_beside() -> None:
        with busy_core():
            train()

    return train_beside


def core_rows(settings: Settings) -> list[Row]:
    task, threads = default_task(settings), settings.threads
    sides = [
        Side("parts", make_parts, (task, threads)),
        Side("operations", make_operations, (task, threads)),
        Side("trainings", make_parts, (task, 1), processes=threads),
        Side("busy parts", make_beside, (make_parts, task, threads)),
        Side("busy operations", make_beside, (make_operations, task, threads)),
    ]
    measured = alternate(sides, settings.amount(7, 2))
    parts, operations, trainings, busy_parts, busy_operations = (measured[side.name] for side in sides)
    step = f"step of an epoch of `depths`, batch {task.recipe.batch_size}"
    by_parts, by_operations = f"{threads} threads, a part each", f"{threads} threads in every operation"

    def row(
        work: str, mine: Measured, against: str, other: Measured, ratio: Ratio, at_most: float | None = None
    ) -> Row:
        figure, rival = (task.per_step(side.median) for side in (mine, other))
        return Row(work, figure, f"{against}: {rival}", ratio.value, "", ratio.spread, at_most=at_most)

    def beside(way: str, busy: Measured, alone: Measured, at_most: float | None = None) -> Row:
        ratio = Ratio.of(busy.seconds, alone.seconds)
        return row(f"{step}, {way}, beside a busy core", busy, "nothing else running", alone, ratio, at_most)

    faster = Ratio.of(operations.seconds, parts.seconds)
    together = Ratio.of(parts.seconds, trainings.seconds, threads)
    return [
        row(f"{step}, {by_parts}", parts, by_operations, operations, faster),
        beside(by_parts, busy_parts, parts, at_most=2),
        beside(by_operations, busy_operations, operations),
        Row(
            f"{threads} steps of an epoch of `depths`, batch {task.recipe.batch_size}, of trainings side by side",
            task.per_step(trainings.median),
            f"in turn, {by_parts}: {task.per_step(threads * parts.median)}",
            together.value,
            spread=together.spread,
        ),
    ]
