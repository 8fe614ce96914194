"""About the most that a training can have of the matrix product: torch's layers by themselves, forward and backward,
without optimizer, data or loss."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from benchmarks.machine import FLOPS, product_side
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.settings import BATCH, Settings
from benchmarks.table import Row, share_row
from oneshot.cost import count_macs
from oneshot.machine import Machine
from oneshot.operations import Linear
from oneshot.space import SearchSpace
from oneshot.supernet import build_standalone

STUDIES = ("depths", "kernels-sum")
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
    """With the part of a batch that one thread has."""
    return list(chain.from_iterable(_rows(settings, study) for study in STUDIES[: settings.amount(2, 1)]))


def _rows(settings: Settings, study: str) -> list[Row]:
    section = settings.study(study)
    space, images = section.search_space(), BATCH // settings.threads
    product = product_side(Machine.resolve("cpu", "auto", 1).precision, threads=1)
    sides = {name: Side(name, make_layers, (settings, study, images, kind)) for name, kind in KINDS.items()}
    measured = alternate([*sides.values(), product], settings.amount(15, 5))
    rival = f"{product.name}: {FLOPS / measured[product.name].median / 1e9:.0f} GFLOP/s"
    rows = []
    for name, macs in zip(KINDS, _macs(space), strict=True):
        mine = measured[name]
        share = Ratio.of(measured[product.name].seconds, mine.seconds, 2 * 3 * images * macs / FLOPS)
        work = f"layers of a step of `{study}` by themselves, {images} images, 1 thread, {name}"
        rows.append(share_row(work, f"{1000 * mine.median / len(space.architectures):.1f} ms", rival, share))
    return rows


def _macs(space: SearchSpace) -> tuple[int, int]:
    """Of all architectures, for one image: of all layers, and of the convolutions."""
    paths = [space.path(architecture) for architecture in space.architectures]
    linear = (step.operation for path in paths for step in path if isinstance(step.operation, Linear))
    whole = sum(count_macs(path, space.input_shape) for path in paths)
    return whole, whole - sum(operation.macs(()) for operation in linear)
