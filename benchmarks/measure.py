"""Measures several ways of doing a work in turn, A B A B, each in a process of its own that is ready and warm."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True)
class Side:
    """`make`: importable by name; run in the side's process with `arguments`, gives the work that is timed."""

    name: str
    make: Callable[..., Work]
    arguments: tuple[Any, ...] = ()


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
        processes = {side.name: stack.enter_context(_process(side)) for side in sides}
        for ready in [process.submit(_is_ready) for process in processes.values()]:
            ready.result()
        for number in range(warmups + rounds):
            for name, process in processes.items():
                seconds, result = process.submit(_run).result()
                if number >= warmups:
                    measured[name].seconds.append(seconds)
                    measured[name].results.append(result)
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
