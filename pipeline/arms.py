"""What both arms get right on the test images, and what the stages before found on validation, as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from oneshot.finetuning import finetune
from torch import Tensor, nn

from oneshot.comparison import Arms
from oneshot.data import Examples, load_split, load_test
from oneshot.evaluation import build_tree, calibrate, predict
from oneshot.machine import Machine
from oneshot.resampling import Correct
from oneshot.space import Architecture
from oneshot.statistics import Vector
from oneshot.supernet import SuperNet
from oneshot.tables import read_csv
from pipeline.context import Context
from pipeline.weights import load_standalone, load_supernet

Rows = Sequence[Mapping[str, Any]]
Networks = Mapping[Architecture, Sequence[nn.Module]]


def measure_arms(context: Context, machine: Machine) -> Arms:
    training, _ = load_split(context.dataset_folder, context.dataset, context.training_size)
    test = load_test(context.dataset_folder, like=training).to(machine.device)
    by_seed = [_predict_arms(context, seed, training.to(machine.device), test, machine) for seed in context.study.seeds]
    correct = {arm: numpy.stack([each[arm] for each in by_seed]) for arm in by_seed[0]}
    oneshot, standalone = read_csv(context.paths.oneshot), read_csv(context.paths.standalone_curves)
    last = max(int(row["epoch"]) for row in standalone)
    return Arms(
        oneshot=correct["oneshot"],
        inherited=correct["inherited"],
        finetuned=correct.get("finetuned"),
        standalone=correct["standalone"],
        oneshot_validation=_column(context, oneshot, "val_accuracy"),
        inherited_validation=_column(context, oneshot, "val_accuracy_inherited"),
        standalone_validation=_column(context, _of_epoch(standalone, last), "val_accuracy"),
        first_epoch_validation=_column(context, _of_epoch(standalone, 1), "val_accuracy"),
        divergence=_column(context, oneshot, "kl_to_reference"),
    )


def _predict_arms(
    context: Context, seed: int, training: Examples, test: Examples, machine: Machine
) -> dict[str, Correct]:
    """What each network of one seed gets right: (architectures, images) by arm."""
    section = context.study.evaluate

    def correct(predictions: Mapping[Architecture, Tensor]) -> Correct:
        right = [predictions[architecture] == test.labels for architecture in context.space.architectures]
        return torch.stack(right).cpu().numpy()

    supernet = load_supernet(context, seed, machine)
    tree = build_tree(supernet.paths)
    inherited = correct(predict(tree, test, section.batch_size, machine))
    calibrate(tree, training.take(slice(section.calibration_images)), section.batch_size, machine)
    oneshot = correct(predict(tree, test, section.batch_size, machine))
    networks: dict[str, Networks] = {
        "standalone": {
            architecture: tuple(load_standalone(context, architecture, seed, machine))
            for architecture in context.space.architectures
        }
    }
    if context.study.compare.finetune_steps:
        networks["finetuned"] = _finetune_all(context, supernet, seed, training, machine)
    others = {
        arm: correct(predict(build_tree(each), test, section.batch_size, machine)) for arm, each in networks.items()
    }
    return {"inherited": inherited, "oneshot": oneshot} | others


def _finetune_all(context: Context, supernet: SuperNet, seed: int, training: Examples, machine: Machine) -> Networks:
    """Every subnet after some steps of its own, with the standalones' recipe; its buffers have seen its path alone."""
    recipe, steps = context.study.standalone, context.study.compare.finetune_steps
    tuned = {}
    for architecture in context.space.architectures:
        network = machine.place(supernet.extract(architecture))
        finetune(network, recipe, steps, training, seed, machine)
        tuned[architecture] = tuple(network)
    return tuned


def _column(context: Context, rows: Rows, key: str) -> Vector:
    """(seeds, architectures), in the orders of the study."""
    cells = {(int(row["seed"]), row["architecture"]): float(row[key]) for row in rows}
    return numpy.array([[cells[seed, name] for name in context.names] for seed in context.study.seeds])


def _of_epoch(rows: Rows, epoch: int) -> Rows:
    return [row for row in rows if int(row["epoch"]) == epoch]
