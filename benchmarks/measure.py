"""Measures several ways of doing a work in turn, A B A B, each in a process of its own that is ready and warm."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import Any

Work = Callable[[], Any]
PAUSE = 0.1
"""Seconds before each, in which the side before it ends what it still does, as a DataLoader's workers do."""


@dataclass(frozen=True)
class Side:
    """`make`: importable by name; run in the side's process with `arguments`, gives the work that is timed.

    processes: that do the work at the same time, until the last is done; results are the first one's.
    """

    name: str
    make: Callable[..., Work]
    arguments: tuple[Any, ...] = ()
    processes: int = 1


@dataclass
class Measured:
    """Of each round."""

    seconds: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' own ratios, and their range: what slows a whole round cancels."""

    value: float
    spread: tuple[float, float]

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float], scale: float = 1.0) -> "Ratio":
        ratios = [scale * first / second for first, second in zip(above, below, strict=True)]
        return cls(median(ratios), (min(ratios), max(ratios)))


def alternate(sides: Sequence[Side], rounds: int, warmups: int = 1) -> dict[str, Measured]:
    """Seconds and results of each side's work by its name; those of the warm-up rounds are dropped."""
    measured = {side.name: Measured() for side in sides}
    with ExitStack() as stack:
        processes = {side.name: [stack.enter_context(_process(side)) for _ in range(side.processes)] for side in sides}
        for ready in [process.submit(_is_ready) for process in chain.from_iterable(processes.values())]:
            ready.result()
        for number in range(warmups + rounds):
            for name, workers in processes.items():
                time.sleep(PAUSE)
                done = [future.result() for future in [worker.submit(_run) for worker in workers]]
                if number >= warmups:
                    measured[name].seconds.append(max(seconds for seconds, _ in done))
                    measured[name].results.append(done[0][1])
    return measured


def _process(side: Side) -> ProcessPoolExecutor:
    # Spawned: memory settings and threads of one side must not reach another.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare, (side.make, side.arguments))


_work: Work | None = None


def _prepare(make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    global _work
    _work = make(*arguments)


def _is_ready() -> bool:
    return _work is not None


def _run() -> tuple[float, Any]:
    assert _work  # noqa: S101 - the executor runs the initializer first
    started = time.perf_counter()
    result = _work()
    return time.perf_counter() - started, result
