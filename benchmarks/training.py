"""Training steps of `depths`, ours and the usual recipe's, against each other and against the matrix product."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from torch import Tensor

from benchmarks import usual
from benchmarks.machine import FLOPS, cores, product_side
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import BATCH, Settings
from benchmarks.table import Row, ratio_row, share_row
from oneshot.blocks import ConvLayer
from oneshot.cost import count_macs
from oneshot.machine import Machine
from oneshot.params import Schedule, Sgd, SupernetRecipe
from oneshot.sampling import build_sampler
from oneshot.space import Architecture, SearchSpace, architecture_id
from oneshot.supernet import SuperNet
from oneshot.training import Trainer

WIDE = (64, 32)
WORKERS = (0, 2)
"""Of the DataLoader: the faster number is what ours is held against."""


@dataclass(frozen=True)
class Task:
    """So many steps of a supernet of `depths`, with `channels` in its first and second half."""

    settings: Settings
    channels: tuple[int, int]
    recipe: SupernetRecipe
    deepest: bool
    """The deepest subnet in every step, not what the sampler draws."""
    steps: int

    @property
    def space(self) -> SearchSpace:
        channels = iter(self.channels)
        layers = self.settings.study("depths").search_space().layers
        wide = [
            layer.model_copy(update={"channels": next(channels)}) if isinstance(layer, ConvLayer) else layer
            for layer in layers
        ]
        return SearchSpace(tuple(wide), (1, 28, 28))

    def choose(self) -> Callable[[int], Architecture]:
        if self.deepest:
            deepest = self.space.architectures[-1]
            return lambda step: deepest
        sampler = build_sampler(self.recipe.sampler, self.space, seed=0)
        return lambda step: sampler(step)[0]

    @property
    def flops(self) -> int:
        """Of the convolutions and the classifier: a backward pass takes twice the MACs of the forward pass."""
        choose, space = self.choose(), self.space
        macs = sum(count_macs(space.path(choose(step)), space.input_shape) for step in range(self.steps))
        return 2 * 3 * macs * self.recipe.batch_size


def wide_task(settings: Settings) -> Task:
    """With the optimizer of the published table of `depths`."""
    optimizer = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=False, weight_decay=0)
    schedule = Schedule(name="constant", warmup=0)
    recipe = settings.study("depths").supernet.model_copy(
        update={"batch_size": BATCH, "optimizer": optimizer, "schedule": schedule}
    )
    return Task(settings, WIDE, recipe, deepest=True, steps=settings.amount(5, 2))


def default_task(settings: Settings, batch_size: int | None = None) -> Task:
    """batch_size: the recipe's own unless given."""
    study = settings.study("depths")
    first, second = (layer.channels for layer in study.space if isinstance(layer, ConvLayer))
    recipe = study.supernet.model_copy(update={"batch_size": batch_size or study.supernet.batch_size})
    return Task(settings, (first, second), recipe, deepest=False, steps=settings.amount(100, 40))


def make_ours(task: Task, precision: str, threads: int) -> Work:
    machine = Machine.resolve("auto", precision, threads)
    machine.claim()
    training = task.settings.examples()[0].to(machine.device)
    choose = task.choose()
    named = {architecture_id(architecture): architecture for architecture in task.space.architectures}

    def forward(supernet: SuperNet, images: Tensor, name: str) -> Tensor:
        logits: Tensor = supernet(images, named[name])
        return logits

    supernet = machine.place(SuperNet(task.space, seed=0))
    paths = lambda step: [architecture_id(choose(step))]  # noqa: E731
    trainer = Trainer(supernet, forward, paths, task.recipe, training, 0, machine, steps=task.steps)

    def train() -> None:
        for _ in trainer.epochs(lambda images: None):
            pass

    return train


def make_usual(task: Task, workers: int) -> Work:
    choose = task.choose()
    loader = usual.load(task.settings.examples()[0], task.recipe.batch_size, workers)
    # Without end, so that its workers are started once.
    batches: Iterator[tuple[Tensor, Tensor]] = chain.from_iterable(repeat(loader))

    def depths(step: int) -> usual.Choice:
        first, second = choose(step)
        return int(first), int(second)

    training = usual.Training(usual.DepthsNet(*task.channels), depths, task.recipe, task.steps)
    return lambda: training.train(batches, task.steps)


def faster_workers(make: Callable[..., Work], arguments: tuple[Any, ...], settings: Settings) -> int:
    """Of the DataLoader; the quick mode takes none for granted."""
    if settings.quick:
        return 0
    measured = alternate([Side(str(workers), make, (*arguments, workers)) for workers in WORKERS], rounds=3)
    return min(WORKERS, key=lambda workers: measured[str(workers)].median)


def step_rows(settings: Settings) -> list[Row]:
    task, shares = wide_task(settings), {"auto": 0.85, "fp32": 0.90}
    return _rows(task, f"step of `depths` 64/32, 3-3, batch {BATCH}", cores(), 2.7, shares)


def epoch_rows(settings: Settings) -> list[Row]:
    tasks = [default_task(settings, BATCH), default_task(settings)]
    return list(chain.from_iterable(map(_epoch_rows, tasks[: settings.amount(2, 1)])))


def _epoch_rows(task: Task) -> list[Row]:
    work = f"step of an epoch of `depths`, batch {task.recipe.batch_size}"
    return _rows(task, work, task.settings.threads, 3.5, {"auto": 0.55})


def _rows(task: Task, work: str, threads: int, speed_floor: float, rate_floors: dict[str, float]) -> list[Row]:
    """rate_floors: of each precision to be measured, the share of its matrix product; the first is held to the floor
    against the usual recipe."""
    workers = faster_workers(make_usual, (task,), task.settings)
    usual_side = Side("usual", make_usual, (task, workers))
    machines = {precision: Machine.resolve("auto", precision, threads) for precision in rate_floors}
    ours = {precision: Side(f"ours, {precision}", make_ours, (task, precision, threads)) for precision in rate_floors}
    products = {precision: product_side(machine.precision, threads) for precision, machine in machines.items()}
    measured = alternate([*ours.values(), usual_side, *products.values()], task.settings.amount(7, 2))
    against, rows = measured[usual_side.name], list[Row]()
    recipe = f"usual recipe, {workers} workers: {1000 * against.median / task.steps:.1f} ms"
    for precision, side in ours.items():
        mine, product = measured[side.name], measured[products[precision].name]
        name = f"{work}, {machines[precision].precision}, {threads} thread{'s' * (threads > 1)}"
        figure = f"{1000 * mine.median / task.steps:.1f} ms"
        floor = None if rows else speed_floor
        rows.append(ratio_row(name, figure, recipe, Ratio.of(against.seconds, mine.seconds), floor))
        rate = f"{task.flops / mine.median / 1e9:.0f} GFLOP/s"
        rival = f"{products[precision].name}: {FLOPS / product.median / 1e9:.0f} GFLOP/s"
        products_needed = task.flops / FLOPS
        share = Ratio.of(product.seconds, mine.seconds, products_needed)
        rows.append(share_row(name, rate, rival, share, 100 * rate_floors[precision]))
        if floor:
            at_best = Ratio.of(against.seconds, product.seconds, 1 / products_needed)
            best = f"{1000 * products_needed * product.median / task.steps:.1f} ms"
            rows.append(ratio_row(f"{name}, if it were all product", best, recipe, at_best))
    return rows
