"""Trains a subnet further, alone, to tell how much of its gap is training that it lacks."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from oneshot.checkpoint import Checkpoints
from oneshot.curves import follow, mean_loss
from oneshot.data import Examples
from oneshot.jobs import Job, Reporter, Trained
from oneshot.machine import Machine
from oneshot.params import Recipe
from oneshot.training import Epoch, Trainer, run_whole


@dataclass(frozen=True)
class Subnet:
    """An extracted one, to be trained for exactly `steps` steps by the standalone's recipe: its optimizer, anew, its
    schedule, squeezed into the steps, and the batches that a standalone of that seed begins with."""

    network: nn.Sequential
    recipe: Recipe
    steps: int
    examples: Examples
    machine: Machine


def finetune(job: Job, reporter: Reporter, checkpoints: Checkpoints) -> Trained:
    """Trains the Subnet that is the job's inputs, in place. Its batch-norm buffers begin as the supernet's, so
    recalibrate before scoring. Raises OneshotError as Trainer does."""
    subnet: Subnet = job.inputs
    network = subnet.machine.place(subnet.network)
    trainer = Trainer(
        network,
        run_whole,
        lambda step: [job.name],
        subnet.recipe,
        subnet.examples,
        job.seed,
        subnet.machine,
        steps=subnet.steps,
    )

    def score(epoch: Epoch) -> dict[str, list[dict[str, Any]]]:
        return {"curve": [{"epoch": epoch.number, "train_loss": mean_loss(epoch.losses[job.name])}]}

    return follow(trainer, score, reporter, checkpoints)
