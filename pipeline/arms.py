"""What both arms get right on the test images, and what the stages before found on validation, as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch

from oneshot.arms import Arms
from oneshot.data import Examples, load_test
from oneshot.evaluation import build_tree, calibrated_tree, predict
from oneshot.machine import Machine
from oneshot.resampling import Correct
from oneshot.statistics import Vector
from oneshot.tables import of_one_run, read_csv
from pipeline.context import Context
from pipeline.finetuned import finetuned_subnets
from pipeline.layout import address
from pipeline.weights import load_standalone, load_supernet

Rows = Sequence[Mapping[str, Any]]


def measure_arms(context: Context, machine: Machine) -> Arms:
    on_validation = found_on_validation(context)
    training, _ = context.load_split(machine)
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
        tuned = finetuned_subnets(context, supernet, seed, training, machine)
        trees["finetuned"] = calibrated_tree(tuned, training, section, machine)
    predictions = {arm: predict(tree, test, section.batch_size, machine) for arm, tree in trees.items()}
    return {
        arm: torch.stack([predicted[each] == test.labels for each in architectures]).cpu().numpy()
        for arm, predicted in predictions.items()
    }


def _column(context: Context, rows: Rows, key: str) -> Vector:
    """(seeds, architectures), in the orders of the study."""
    cells = {(int(row["seed"]), row["architecture"]): float(row[key]) for row in rows}
    return numpy.array([[cells[seed, name] for name in context.names] for seed in context.study.seeds])


def _of_epoch(rows: Rows, epoch: int) -> Rows:
    return [row for row in rows if int(row["epoch"]) == epoch]
