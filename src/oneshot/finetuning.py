"""Trains a subnet further, alone, to tell how much of its gap is training that it lacks."""

from torch import nn

from oneshot.data import Examples
from oneshot.machine import Machine
from oneshot.params import Recipe
from oneshot.training import train


def finetune(
    network: nn.Sequential, recipe: Recipe, steps: int, examples: Examples, seed: int, machine: Machine
) -> nn.Sequential:
    """An extracted subnet, trained in place for exactly `steps` steps by the standalone's recipe: its optimizer, anew,
    its schedule, squeezed into the steps, and the batches that a standalone of that seed begins with.

    Its batch-norm buffers begin as the supernet's, so recalibrate before scoring. Raises OneshotError as `train` does.
    """
    machine.place(network)
    for _ in train(lambda step: [network], network, recipe, examples, seed, machine, lambda images: None, steps=steps):
        pass
    return network
