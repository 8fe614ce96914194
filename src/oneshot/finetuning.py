"""Trains a subnet further, alone, to tell how much of its gap is training that it lacks."""

from torch import nn

from oneshot.data import Examples
from oneshot.machine import Machine
from oneshot.params import Recipe
from oneshot.training import Trainer, run_whole


def finetune(
    network: nn.Sequential, recipe: Recipe, steps: int, examples: Examples, seed: int, machine: Machine
) -> nn.Sequential:
    """An extracted subnet, trained in place for exactly `steps` steps by the standalone's recipe: its optimizer, anew,
    its schedule, squeezed into the steps, and the batches that a standalone of that seed begins with.

    Its batch-norm buffers begin as the supernet's, so recalibrate before scoring. Raises OneshotError as Trainer does.
    """
    machine.place(network)
    trainer = Trainer(network, run_whole, lambda step: ["subnet"], recipe, examples, seed, machine, steps=steps)
    for _ in trainer.epochs(lambda images: None):
        pass
    return network
