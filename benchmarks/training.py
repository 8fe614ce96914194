"""Training steps, ours and the usual recipe's, against each other and against the matrix product."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from torch import Tensor

from benchmarks import usual
from benchmarks.machine import FLOPS, cores, native_precisions, product_side
from benchmarks.measure import Measured, Ratio, Side, Work, alternate
from benchmarks.settings import BATCH, Settings
from benchmarks.table import Row, ratio_row, share_row
from oneshot.blocks import ConvLayer
from oneshot.cost import count_macs
from oneshot.machine import Machine
from oneshot.operations import Linear
from oneshot.params import Schedule, Sgd, SupernetRecipe
from oneshot.sampling import build_sampler
from oneshot.space import Architecture, SearchSpace, architecture_id
from oneshot.supernet import SuperNet
from oneshot.training import Trainer

WIDE = (64, 32)


@dataclass(frozen=True)
class Task:
    """So many steps of a study's supernet."""

    settings: Settings
    study: str
    recipe: SupernetRecipe
    steps: int
    channels: tuple[int, ...] = ()
    """Of the first and second half of `depths`, where they are not its own; and then its deepest subnet in every step,
    not what the sampler draws."""

    @property
    def space(self) -> SearchSpace:
        space = self.settings.study(self.study).search_space()
        if not self.channels:
            return space
        channels = iter(self.channels)
        wide = [
            layer.model_copy(update={"channels": next(channels)}) if isinstance(layer, ConvLayer) else layer
            for layer in space.layers
        ]
        return SearchSpace(tuple(wide), space.input_shape)

    def choose(self) -> Callable[[int], Architecture]:
        if self.channels:
            deepest = self.space.architectures[-1]
            return lambda step: deepest
        sampler = build_sampler(self.recipe.sampler, self.space, seed=0)
        return lambda step: sampler(step)[0]

    def per_step(self, seconds: float) -> str:
        """The seconds of all steps, told as those of one."""
        return f"{1000 * seconds / self.steps:.1f} ms"

    def flops(self, *, convolutions_alone: bool = False) -> int:
        """Of all steps. A backward pass takes twice the MACs of the forward pass, but that nothing asks for the
        gradient of the images."""
        choose, space = self.choose(), self.space
        paths = [space.path(choose(step)) for step in range(self.steps)]
        macs = sum(3 * count_macs(path, space.input_shape) - count_macs(path[:1], space.input_shape) for path in paths)
        if convolutions_alone:
            linear = (step.operation for path in paths for step in path if isinstance(step.operation, Linear))
            macs -= 3 * sum(operation.macs(()) for operation in linear)
        return 2 * macs * self.recipe.batch_size


def wide_task(settings: Settings) -> Task:
    """With the optimizer of the published table of `depths`."""
    optimizer = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=False, weight_decay=0)
    schedule = Schedule(name="constant", warmup=0)
    recipe = settings.study("depths").supernet.model_copy(
        update={"batch_size": BATCH, "optimizer": optimizer, "schedule": schedule}
    )
    return Task(settings, "depths", recipe, settings.amount(5, 1), WIDE)


def default_task(settings: Settings, batch_size: int | None = None, study: str = "depths") -> Task:
    """batch_size: the recipe's own unless given."""
    recipe = settings.study(study).supernet
    recipe = recipe.model_copy(update={"batch_size": batch_size or recipe.batch_size})
    return Task(settings, study, recipe, settings.amount(108, 18))  # each of nine subnets equally often


def make_ours(task: Task, precision: str, threads: int) -> Work:
    machine = Machine.resolve("cpu", precision, threads)
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
    # Without end: a round goes on where the last one stopped.
    batches: Iterator[tuple[Tensor, Tensor]] = chain.from_iterable(repeat(loader))
    build, number = usual.NETWORKS[task.study]

    def choice(step: int) -> usual.Choice:
        first, second = map(number, choose(step))
        return first, second

    training = usual.Training(build(*task.channels), choice, task.recipe, task.steps)
    return lambda: training.train(batches, task.steps)


def usual_sides(workers: Sequence[int], make: Callable[..., Work], *arguments: Any) -> list[Side]:
    """The usual recipe, with each number of workers of its DataLoader."""
    return [Side(f"usual recipe, {number} workers", make, (*arguments, number)) for number in workers]


def faster(sides: Sequence[Side], measured: Mapping[str, Measured]) -> tuple[str, Measured]:
    """Its name and figures. Told by the rounds that it is held against: in others the host may have been busier."""
    name = min((side.name for side in sides), key=lambda name: measured[name].median)
    return name, measured[name]


def step_rows(settings: Settings) -> list[Row]:
    work = f"step of `depths` 64/32, 3-3, batch {BATCH}"
    return _rows(wide_task(settings), work, cores(), native_precisions(), 2.7, {"bf16": 85, "fp32": 90})


def epoch_rows(settings: Settings) -> list[Row]:
    tasks = [default_task(settings, BATCH), default_task(settings)]
    return list(chain.from_iterable(map(_epoch_rows, tasks[: settings.amount(2, 1)])))


def _epoch_rows(task: Task) -> list[Row]:
    work = f"step of an epoch of `depths`, batch {task.recipe.batch_size}"
    return _rows(task, work, task.settings.threads, native_precisions()[:1], 3.5, {"bf16": 55})


def _rows(
    task: Task,
    work: str,
    threads: int,
    precisions: Sequence[str],
    speed_floor: float,
    rate_floors: Mapping[str, float],
) -> list[Row]:
    """The first precision is held to the floor against the usual recipe.

    rate_floors: by precision, percent of its matrix product.
    """
    usual_recipe = usual_sides(task.settings.loader_workers, make_usual, task)
    ours = {precision: Side(f"ours, {precision}", make_ours, (task, precision, threads)) for precision in precisions}
    products = {precision: product_side(precision, threads) for precision in precisions}
    measured = alternate([*ours.values(), *usual_recipe, *products.values()], task.settings.amount(7, 2))
    (usual_name, against), rows = faster(usual_recipe, measured), list[Row]()
    recipe = f"{usual_name}: {task.per_step(against.median)}"
    for precision, side in ours.items():
        mine, product = measured[side.name], measured[products[precision].name]
        name = f"{work}, {precision}, {threads} thread{'s' * (threads > 1)}"
        floor = None if rows else speed_floor
        rows.append(ratio_row(name, task.per_step(mine.median), recipe, Ratio.of(against.seconds, mine.seconds), floor))
        rate = f"{task.flops() / mine.median / 1e9:.0f} GFLOP/s"
        rival = f"{products[precision].name}: {FLOPS / product.median / 1e9:.0f} GFLOP/s"
        products_needed = task.flops() / FLOPS
        share = Ratio.of(product.seconds, mine.seconds, products_needed)
        rows.append(share_row(name, rate, rival, share, rate_floors.get(precision)))
        if floor:
            at_best = Ratio.of(against.seconds, product.seconds, 1 / products_needed)
            best = task.per_step(products_needed * product.median)
            rows.append(ratio_row(f"{name}, if it were all product", best, recipe, at_best))
    return rows
