"""About the most that a training can have of the matrix product: torch's layers by themselves, forward and backward,
without optimizer, data or loss."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from benchmarks.machine import FLOPS, product_side
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import BATCH, Settings
from benchmarks.table import Row, ratio_row, share_row
from benchmarks.training import default_task, make_usual
from oneshot.cost import count_macs
from oneshot.machine import Machine
from oneshot.operations import Linear
from oneshot.space import SearchSpace
from oneshot.supernet import build_standalone

KINDS: dict[str, type[nn.Module]] = {"all layers": nn.Module, "convolutions": nn.Conv2d}


def make_layers(settings: Settings, study: str, images: int, kind: type[nn.Module]) -> Work:
    """Every layer of this kind in every architecture, once forward and once backward."""
    space = settings.study(study).search_space()
    machine = Machine.resolve("cpu", "auto", 1)
    machine.claim()
    calls: list[Callable[[], object]] = []
    for architecture in space.architectures:
        features = torch.rand(images, *space.input_shape).contiguous(memory_format=torch.channels_last)
        for layer in machine.place(build_standalone(space.path(architecture), seed=0)):
            with torch.no_grad(), machine.autocast():
                output = layer(features)
            if isinstance(layer, kind):
                calls.append(_both_ways(layer, features, output, machine))
            features = output

    def run() -> None:
        for call in calls:
            call()

    return run


def _both_ways(layer: nn.Module, features: Tensor, output: Tensor, machine: Machine) -> Callable[[], object]:
    # Nothing asks for the gradient of the images, the one input of a single channel.
    inputs = [features.detach().requires_grad_()] if features.shape[1] > 1 else []
    wanted, gradient = [*inputs, *layer.parameters()], torch.rand_like(output)

    def call() -> object:
        with machine.autocast():
            result = layer(*(inputs or [features]))
        return torch.autograd.grad(result, wanted, gradient) if wanted else result

    return call


def layer_rows(settings: Settings) -> list[Row]:
    batches = [("depths", BATCH), ("depths", settings.study("depths").supernet.batch_size), ("kernels-sum", BATCH)]
    return list(chain.from_iterable(_rows(settings, *which) for which in batches[: settings.amount(3, 1)]))


def _rows(settings: Settings, study: str, batch_size: int) -> list[Row]:
    """A process per thread of a supernet, each with its part of the batch; `depths` beside the usual recipe's step."""
    space, threads = settings.study(study).search_space(), settings.threads
    images = batch_size // threads
    product = product_side(Machine.resolve("cpu", "auto", 1).precision, threads)
    sides = [Side(name, make_layers, (settings, study, images, kind), threads) for name, kind in KINDS.items()]
    task = default_task(settings, batch_size)
    rivals = [Side("usual recipe, 0 workers", make_usual, (task, 0))] if study == "depths" else []
    measured = alternate([*sides, product, *rivals], settings.amount(7, 2))
    against = f"{product.name}: {FLOPS / measured[product.name].median / 1e9:.0f} GFLOP/s"
    work, rows = f"layers of a step of `{study}` by themselves, batch {batch_size}, {threads} processes", list[Row]()
    count = len(space.architectures)
    for side, macs in zip(sides, _macs(space), strict=True):
        mine = measured[side.name]
        share = Ratio.of(measured[product.name].seconds, mine.seconds, threads * 2 * 3 * images * macs / FLOPS)
        rows.append(share_row(f"{work}, {side.name}", f"{1000 * mine.median / count:.1f} ms", against, share))
    for rival in rivals:
        usual, mine = measured[rival.name], measured[sides[0].name]
        ratio = Ratio.of(usual.seconds, mine.seconds, count / task.steps)
        figures = f"{1000 * mine.median / count:.1f} ms", f"{rival.name}: {1000 * usual.median / task.steps:.1f} ms"
        rows.append(ratio_row(f"{work}, {sides[0].name}", *figures, ratio))
    return rows


def _macs(space: SearchSpace) -> tuple[int, int]:
    """Of all architectures, for one image: of all layers, and of the convolutions."""
    paths = [space.path(architecture) for architecture in space.architectures]
    linear = (step.operation for path in paths for step in path if isinstance(step.operation, Linear))
    whole = sum(count_macs(path, space.input_shape) for path in paths)
    return whole, whole - sum(operation.macs(()) for operation in linear)
