"""What both arms get right on the test images, and what the stages before found on validation, as arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import safetensors.torch
import torch
from torch import nn

from oneshot.arms import Arms
from oneshot.data import Examples, load_split, load_test
from oneshot.evaluation import build_tree, calibrated_tree, predict
from oneshot.finetuning import Subnet, finetune
from oneshot.jobs import Job, run_jobs
from oneshot.machine import Machine
from oneshot.resampling import Correct
from oneshot.space import Architecture, architecture_id
from oneshot.state import restore
from oneshot.statistics import Vector
from oneshot.supernet import SuperNet
from oneshot.tables import of_one_run, read_csv
from oneshot.training import steps_per_epoch
from pipeline.context import Context
from pipeline.dvcfile import file_md5
from pipeline.identity import stage_identity
from pipeline.layout import address
from pipeline.weights import load_standalone, load_supernet

Rows = Sequence[Mapping[str, Any]]


def measure_arms(context: Context, machine: Machine) -> Arms:
    on_validation = found_on_validation(context)
    training, _ = load_split(context.dataset_folder, context.dataset, context.training_size, machine.device)
    test = load_test(context.dataset_folder, like=training).to(machine.device)
    by_seed = [_predict_arms(context, seed, training, test, machine) for seed in context.study.seeds]
    correct = {arm: numpy.stack([each[arm] for each in by_seed]) for arm in by_seed[0]}
    return Arms(
        oneshot=correct["oneshot"],
        inherited=correct["inherited"],
        finetuned=correct.get("finetuned"),
        standalone=correct["standalone"],
        **on_validation,
    )


def found_on_validation(context: Context) -> dict[str, Vector]:
    """What the stages before found, by field of Arms. Raises OneshotError: 66 if a table is missing, 65 if it is not
    of this study."""
    oneshot, standalone = read_csv(context.paths.oneshot), read_csv(context.paths.standalone_curves)
    with of_one_run(address("evaluate_subnets", context.key)):
        found = {
            "oneshot_validation": _column(context, oneshot, "val_accuracy"),
            "inherited_validation": _column(context, oneshot, "val_accuracy_inherited"),
            "divergence": _column(context, oneshot, "kl_to_reference"),
        }
    with of_one_run(address("train_standalones", context.key)):
        last = max(int(row["epoch"]) for row in standalone)
        return found | {
            "standalone_validation": _column(context, _of_epoch(standalone, last), "val_accuracy"),
            "first_epoch_validation": _column(context, _of_epoch(standalone, 1), "val_accuracy"),
        }


def _predict_arms(
    context: Context, seed: int, training: Examples, test: Examples, machine: Machine
) -> dict[str, Correct]:
    """What each network of one seed gets right: (architectures, images) by arm."""
    section = context.study.evaluate
    supernet = load_supernet(context, seed, machine)
    architectures = context.space.architectures
    standalones = {each: tuple(load_standalone(context, each, seed, machine)) for each in architectures}
    trees = {
        "oneshot": calibrated_tree(supernet.paths, training, section, machine),
        "inherited": build_tree(supernet.paths),
        "standalone": build_tree(standalones),
    }
    if context.study.compare.finetune_steps:
        tuned = _finetuned(context, supernet, seed, training, machine)
        trees["finetuned"] = calibrated_tree(tuned, training, section, machine)
    predictions = {arm: predict(tree, test, section.batch_size, machine) for arm, tree in trees.items()}
    return {
        arm: torch.stack([predicted[each] == test.labels for each in architectures]).cpu().numpy()
        for arm, predicted in predictions.items()
    }


def _finetuned(
    context: Context, supernet: SuperNet, seed: int, training: Examples, machine: Machine
) -> dict[Architecture, tuple[nn.Module, ...]]:
    """The subnets, each after some steps of its own with the standalones' recipe."""
    recipe, steps = context.study.standalone, context.study.compare.finetune_steps
    shared = {
        "stage": stage_identity(context, machine),
        "supernet": file_md5(context.paths.supernet_weights / f"{seed}.safetensors"),
        "recipe": recipe.model_dump(mode="json"),
        "steps": steps,
        "seed": seed,
    }
    epoch_steps = steps_per_epoch(len(training), recipe.batch_size)
    epochs, images = math.ceil(steps / epoch_steps), min(steps, epoch_steps) * recipe.batch_size
    networks = {each: supernet.extract(each) for each in context.space.architectures}
    jobs = [
        Job(context.address, name, seed, epochs, images, 0, shared | {"architecture": name}, subnet)
        for architecture, network in networks.items()
        for name, subnet in [(architecture_id(architecture), Subnet(network, recipe, steps, training, machine))]
    ]
    finished = run_jobs(finetune, jobs, 1, context.layout.store, context.listener)
    for network, each in zip(networks.values(), finished, strict=True):
        restore(machine.place(network), safetensors.torch.load(each.weights))
    return {architecture: tuple(network) for architecture, network in networks.items()}


def _column(context: Context, rows: Rows, key: str) -> Vector:
    """(seeds, architectures), in the orders of the study."""
    cells = {(int(row["seed"]), row["architecture"]): float(row[key]) for row in rows}
    return numpy.array([[cells[seed, name] for name in context.names] for seed in context.study.seeds])


def _of_epoch(rows: Rows, epoch: int) -> Rows:
    return [row for row in rows if int(row["epoch"]) == epoch]
