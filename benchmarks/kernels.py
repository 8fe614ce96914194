"""The most that a training can have of the matrix product: torch's kernels by themselves, forward and backward, with no
optimizer, data or loss around them."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.machine import FLOPS, product_side
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import Settings
from benchmarks.table import Row, share_row
from oneshot.cost import count_macs
from oneshot.machine import Machine
from oneshot.supernet import build_standalone

STUDIES = ("depths", "kernels-sum")
KINDS: dict[str, type[nn.Module]] = {"all layers": nn.Module, "convolutions": nn.Conv2d}


def make_kernels(settings: Settings, study: str, images: int, kind: type[nn.Module]) -> Work:
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


def kernel_rows(settings: Settings) -> list[Row]:
    """With the part of a batch that one thread has."""
    return list(itertools.chain.from_iterable(_rows(settings, study) for study in STUDIES))


def _rows(settings: Settings, study: str) -> list[Row]:
    section = settings.study(study)
    space, images = section.search_space(), section.supernet.batch_size // settings.threads
    flops = 2 * 3 * images * sum(count_macs(space.path(each), space.input_shape) for each in space.architectures)
    product = product_side(Machine.resolve("cpu", "auto", 1).precision, threads=1)
    sides = {name: Side(name, make_kernels, (settings, study, images, kind)) for name, kind in KINDS.items()}
    measured = alternate([*sides.values(), product], settings.amount(15, 5))
    rival = f"{product.name}: {FLOPS / measured[product.name].median / 1e9:.0f} GFLOP/s"
    rows = []
    for name in sides:
        mine, count = measured[name], len(space.architectures)
        share = Ratio.of(measured[product.name].seconds, mine.seconds, flops / FLOPS)
        work = f"kernels of a step of `{study}` by themselves, {images} images, 1 thread, {name}"
        rows.append(share_row(work, f"{1000 * mine.median / count:.1f} ms", rival, share))
    return rows
