"""The machine that a table was measured on, and how fast it multiplies matrices."""

import itertools
import os
import subprocess
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import Side, Work
from oneshot.machine import Machine

SIZE, PRODUCTS = 2048, 10
"""Rows and columns of each matrix; products in one unit of work. The size is among the fastest of either precision, and
a single product, with caches that others have filled, is up to a quarter slower than one of many."""
FLOPS = PRODUCTS * 2 * SIZE**3
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def native_precisions() -> list[str]:
    """What the processor multiplies natively, the fastest first: emulated, one product takes a minute."""
    return list(dict.fromkeys((Machine.resolve("cpu", "auto", 1).precision, "fp32")))


def make_product(precision: str, threads: int) -> Work:
    torch.set_num_threads(threads)
    first, second, product = (torch.rand(SIZE, SIZE).to(TYPES[precision]) for _ in range(3))

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(first, second, out=product)

    return multiply


def product_side(precision: str, threads: int) -> Side:
    return Side(f"{precision} product, {threads} thread{'s' * (threads > 1)}", make_product, (precision, threads))


def describe(root: Path, rounds: int) -> list[str]:
    """Lines of markdown: hardware, software, commit, and what else the machine did when this began.

    rounds: of the matrix products.
    """
    machine = Machine.resolve("cpu", "auto", cores())
    about = machine.describe()
    vectors = [
        name
        for name, there in torch.cpu.get_capabilities().items()
        if there is True and name.startswith(("avx", "amx", "neon", "sve", "bf16"))
    ]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return [
        f"- {about['processor']}, {machine.threads} cores: {', '.join(sorted(vectors))}; "
        f"torch computes with {torch.backends.cpu.get_cpu_capability()}",
        f"- torch {about['torch']}, Python {about['python']}; `auto` is {machine.precision}",
        f"- commit {_commit(root)}; load average before the run {load}",
        *_rates(rounds),
    ]


def _rates(rounds: int) -> list[str]:
    threads, seconds = sorted({1, cores()}), dict[tuple[str, int], list[float]]()
    for precision, count in list(itertools.product(native_precisions(), threads)) * rounds:
        work = make_product(precision, count)
        work()
        started = time.perf_counter()
        work()
        seconds.setdefault((precision, count), []).append(time.perf_counter() - started)
    counts = " and ".join(map(str, threads))
    return [
        f"- matrix product in {precision} on {counts} threads: "
        f"{' and '.join(f'{FLOPS / median(seconds[precision, count]) / 1e9:.0f}' for count in threads)} GFLOP/s"
        for precision in native_precisions()
    ]


def _commit(root: Path) -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True).stdout.strip()

    changed = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
