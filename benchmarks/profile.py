"""What a training step's time goes to, by torch's profiler: what stands in the way of a floor that is missed."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import median

from torch.autograd.profiler import profile

from benchmarks.machine import FLOPS, native_precisions, product_side
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import BATCH, STUDY, Settings
from benchmarks.table import Row, ratio_row, share_row
from benchmarks.training import Task, default_task, make_ours, make_usual, wide_task

FEW = 8  # images, which the layers take next to no time for
CONVOLUTIONS = "convolutions"
LAYERS: dict[str, tuple[str, ...]] = {
    CONVOLUTIONS: ("convolution",),
    "batch norm": ("batch_norm",),
    "ReLU": ("relu", "clamp_min", "threshold_backward"),
    "pooling": ("pool2d", "aten::mean", "aten::fill_"),
    "linear layers": ("addmm", "aten::mm"),
}
"""By what the names of their operations, forward and backward, contain. In float32 max pooling's gradient is
filled with zeros first."""
OTHERS, OPTIMIZER, AUTOGRAD = "other operations", "the optimizer's Python", "autograd"
KINDS = (*LAYERS, OTHERS, OPTIMIZER, AUTOGRAD)


def make_profile(task: Task, precision: str) -> Work:
    """The work gives the seconds of each of KINDS, and of the whole."""
    os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler says on stderr that it began, ended, and saw no GPU
    train = make_ours(task, precision, 1)

    def run() -> dict[str, float]:
        started = time.perf_counter()
        with profile(use_kineto=False) as events:
            train()
            whole = time.perf_counter() - started
        seconds = dict.fromkeys(KINDS, 0.0)
        for event in events.key_averages():
            seconds[_kind(event.key)] += event.self_cpu_time_total / 1e6
        return seconds | {"whole": whole}

    return run


def _kind(event: str) -> str:
    if event.startswith("aten::"):
        return next((layer for layer, parts in LAYERS.items() if any(part in event for part in parts)), OTHERS)
    # The autograd engine's own entries are named after the operations that they call.
    return OPTIMIZER if event.startswith("Optimizer.") else AUTOGRAD


def profile_rows(settings: Settings) -> list[Row]:
    """A process per core of the machine, as standalones are trained; of a supernet, each with its part of the batch."""
    threads, depths = settings.threads, settings.study("depths").supernet.batch_size
    fastest, *slower = native_precisions()
    wide = ("`depths` 64/32, 3-3", wide_task(settings), BATCH // threads)
    profiled = [
        (fastest, "`depths`", default_task(settings, BATCH), BATCH // threads),
        (fastest, *wide),
        *((precision, *wide) for precision in slower),
        (fastest, "`depths`", default_task(settings), depths // threads),
        *(
            (fastest, f"`{STUDY}`", default_task(settings, BATCH, STUDY), images)
            for images in (BATCH, BATCH // threads)
        ),
    ]
    rows = chain.from_iterable(_rows(*which) for which in profiled[: settings.amount(len(profiled), 1)])
    return [*rows, _calls_row(settings)]


def _calls_row(settings: Settings) -> Row:
    """What a step's calls take, however little they compute."""
    tasks = [default_task(settings, images, STUDY) for images in (FEW, BATCH)]
    precision = native_precisions()[0]
    sides = [
        Side(f"{task.recipe.batch_size} images each", make_ours, (task, precision, 1), settings.threads)
        for task in tasks
    ]
    few, full = alternate(sides, settings.amount(7, 2)).values()
    few_figure, figure = (task.per_step(side.median) for task, side in zip(tasks, (few, full), strict=True))
    work = f"step of an epoch of `{STUDY}`, {precision}, {settings.threads} processes with {sides[0].name}"
    return share_row(work, few_figure, f"{sides[1].name}: {figure}", Ratio.of(few.seconds, full.seconds))


def _rows(precision: str, network: str, task: Task, images: int) -> list[Row]:
    """images: of a step in each process. The usual recipe takes the whole batch at once."""
    settings, batch_size = task.settings, task.recipe.batch_size
    part = replace(task, recipe=task.recipe.model_copy(update={"batch_size": images}))
    product = product_side(precision, settings.threads)
    sides = [
        Side("profile", make_profile, (part, precision), processes=settings.threads),
        Side("usual recipe, 0 workers", make_usual, (task, 0)),
        product,
        Side("no profile", make_ours, (part, precision, 1), processes=settings.threads),
    ]
    mine, usual, multiplied, unprofiled = alternate(sides, settings.amount(7, 1)).values()
    work = f"profile of a step of {network}, {precision}, {settings.threads} processes with {images} images each"

    def spent_on(kinds: Collection[str]) -> list[float]:
        return [sum(result[kind] for kind in kinds) for result in mine.results]

    def beside_recipe(what: str, seconds: Sequence[float]) -> Row:
        against = f"{sides[1].name}: {task.per_step(usual.median)} for {batch_size} images"
        ratio = Ratio.of(usual.seconds, seconds, settings.threads * images / batch_size)
        return ratio_row(f"{work}, {what}", task.per_step(median(seconds)), against, ratio)

    def beside_product(what: str, seconds: Sequence[float], flops: int) -> Row:
        against = f"{product.name}: {FLOPS / multiplied.median / 1e9:.0f} GFLOP/s"
        ratio = Ratio.of(multiplied.seconds, seconds, settings.threads * flops / FLOPS)
        return share_row(f"{work}, {what}", task.per_step(median(seconds)), against, ratio)

    whole, spent = _spent(mine.results)
    return [
        Row(work, task.per_step(whole), ", ".join(f"{name} {task.per_step(seconds)}" for name, seconds in spent), None),
        beside_product("were it its convolutions alone", spent_on([CONVOLUTIONS]), part.flops(convolutions_alone=True)),
        beside_product("were it its layers alone", spent_on(LAYERS), part.flops()),
        beside_recipe("were it its layers alone", spent_on(LAYERS)),
        beside_recipe("without the profiler, none waiting for another", unprofiled.seconds),
    ]


def _spent(results: Sequence[Mapping[str, float]]) -> tuple[float, list[tuple[str, float]]]:
    """Median seconds of the whole, and by what they went to; kinds of less than a hundredth are part of all else."""
    whole, *kinds = (median(result[name] for result in results) for name in ("whole", *KINDS))
    named = [(name, seconds) for name, seconds in zip(KINDS, kinds, strict=True) if seconds >= 0.01 * whole]
    return whole, [*named, ("all else", whole - sum(seconds for _, seconds in named))]
