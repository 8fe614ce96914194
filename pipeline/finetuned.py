"""The subnets, each after some steps of its own, for `compare` to hold against the supernet's and the standalones."""

import math
from typing import Any

import safetensors.torch
from torch import nn

from oneshot.data import Examples
from oneshot.finetuning import Subnet, finetune
from oneshot.jobs import Job, run_jobs
from oneshot.machine import Machine
from oneshot.space import Architecture, architecture_id
from oneshot.state import restore
from oneshot.supernet import SuperNet
from oneshot.training import steps_per_epoch
from pipeline.context import Context
from pipeline.dvcfile import file_md5
from pipeline.identity import stage_identity


def finetuned_subnets(
    context: Context, supernet: SuperNet, seed: int, training: Examples, machine: Machine
) -> dict[Architecture, tuple[nn.Module, ...]]:
    """By the standalones' recipe. A training each, kept and gone on with as those of other stages are."""
    recipe, steps = context.study.standalone, context.study.compare.finetune_steps
    shared = {
        "stage": stage_identity(context, machine),
        "supernet": file_md5(context.paths.supernet_weights / f"{seed}.safetensors"),
        "recipe": recipe.model_dump(mode="json"),
        "steps": steps,
        "seed": seed,
    }
    subnets = {
        each: Subnet(supernet.extract(each), recipe, steps, training, machine) for each in context.space.architectures
    }
    jobs = [_job(context, architecture_id(each), seed, shared, subnet) for each, subnet in subnets.items()]
    finished = run_jobs(finetune, jobs, 1, context.layout.store, context.listener)
    for subnet, each in zip(subnets.values(), finished, strict=True):
        restore(machine.place(subnet.network), safetensors.torch.load(each.weights))
    return {architecture: tuple(subnet.network) for architecture, subnet in subnets.items()}


def _job(context: Context, name: str, seed: int, shared: dict[str, Any], subnet: Subnet) -> Job:
    batch_size = subnet.recipe.batch_size
    epoch_steps = steps_per_epoch(len(subnet.examples), batch_size)
    epochs, images = math.ceil(subnet.steps / epoch_steps), min(subnet.steps, epoch_steps) * batch_size
    return Job(context.address, name, seed, epochs, images, 0, shared | {"architecture": name}, subnet)
