"""Stage compare: one-shot against standalone on the test set, which is opened here, once, for both arms."""

from collections.abc import Mapping
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneshot.cost import count_macs, count_params
from oneshot.data import Examples, load_split, load_test
from oneshot.evaluation import build_tree, calibrate, predict
from oneshot.machine import Machine
from oneshot.report.figures import draw_comparison
from oneshot.space import Architecture, architecture_id
from oneshot.statistics import (
    Statistic,
    bootstrap_tau,
    kendall_p_value,
    kendall_tau,
    mean_and_deviation,
    spearman_rho,
    verdict,
    winners,
)
from oneshot.tables import read_csv, read_json, write_csv, write_json
from pipeline.context import Context
from pipeline.weights import load_standalone, load_supernet

ACCURACIES = ("oneshot_val_accuracy", "oneshot_test_accuracy", "standalone_val_accuracy", "standalone_test_accuracy")
MEASURED = (*ACCURACIES, "gap")
COLUMNS = ("architecture", "params", "macs", *MEASURED, *(f"{name}_std" for name in MEASURED))

Row = dict[str, Any]
Correct = NDArray[numpy.bool_]
"""Whether a prediction is right: (seeds, architectures, images)."""


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.supernet_threads)
    machine.claim()
    training, _ = load_split(context.dataset_folder, context.dataset, context.training_size)
    test = load_test(context.dataset_folder, like=training)
    oneshot, standalone = test_both_arms(context, training.to(machine.device), test.to(machine.device), machine)
    rows = compare_architectures(context, oneshot, standalone)
    summary = summarise(context, rows, oneshot, standalone)
    write_csv(context.paths.comparison_table, COLUMNS, rows)
    write_json(context.paths.comparison, summary)
    write_json(context.paths.timing, compare_cost(context))
    curves = read_csv(context.paths.supernet_curves), read_csv(context.paths.standalone_curves)
    draw_comparison(context.paths.figures, context.key, context.space, rows, *curves, summary)


def test_both_arms(context: Context, training: Examples, test: Examples, machine: Machine) -> tuple[Correct, Correct]:
    """What each subnet, recalibrated on training images, and each standalone gets right: (one-shot, standalone)."""
    section = context.study.evaluate

    def correct(predictions: Mapping[Architecture, Tensor]) -> Correct:
        right = [predictions[architecture] == test.labels for architecture in context.space.architectures]
        return torch.stack(right).cpu().numpy()

    oneshot, standalone = [], []
    for seed in context.study.seeds:
        tree = build_tree(load_supernet(context, seed, machine).paths)
        calibrate(tree, training.take(slice(section.calibration_images)), section.batch_size, machine)
        oneshot.append(correct(predict(tree, test, section.batch_size, machine)))
        networks = {
            architecture: tuple(load_standalone(context, architecture, seed, machine))
            for architecture in context.space.architectures
        }
        standalone.append(correct(predict(build_tree(networks), test, section.batch_size, machine)))
    return numpy.stack(oneshot), numpy.stack(standalone)


def compare_architectures(context: Context, oneshot: Correct, standalone: Correct) -> list[Row]:
    """One row per architecture, in the space's order: means over seeds; standard deviations if several."""
    validation = {
        "oneshot_val_accuracy": _by_architecture(read_csv(context.paths.oneshot)),
        "standalone_val_accuracy": _by_architecture(_last_epochs(read_csv(context.paths.standalone_curves))),
    }
    rows = []
    for index, architecture in enumerate(context.space.architectures):
        name, path = architecture_id(architecture), context.space.path(architecture)
        values = {arm: accuracies[name] for arm, accuracies in validation.items()}
        values["oneshot_test_accuracy"] = oneshot[:, index].mean(1).tolist()
        values["standalone_test_accuracy"] = standalone[:, index].mean(1).tolist()
        pairs = zip(values["standalone_test_accuracy"], values["oneshot_test_accuracy"], strict=True)
        values["gap"] = [100 * (alone - inherited) for alone, inherited in pairs]
        row: Row = {
            "architecture": name,
            "params": count_params(path),
            "macs": count_macs(path, context.space.input_shape),
        }
        for key in MEASURED:
            mean, deviation = mean_and_deviation(values[key])
            row[key] = round(mean, 6)
            row[f"{key}_std"] = None if deviation is None else round(deviation, 6)
        rows.append(row)
    return rows


def _by_architecture(rows: list[dict[str, str]]) -> dict[str, list[float]]:
    accuracies: dict[str, list[float]] = {}
    for row in rows:
        accuracies.setdefault(row["architecture"], []).append(float(row["val_accuracy"]))
    return accuracies


def _last_epochs(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    last = max(int(row["epoch"]) for row in rows)
    return [row for row in rows if int(row["epoch"]) == last]


def summarise(context: Context, rows: list[Row], oneshot: Correct, standalone: Correct) -> dict[str, Any]:
    """The figures of comparison.json. Ranks compare both arms on the test images; the one-shot winner is the subnet
    that selection would pick, the best on validation."""
    column = {key: numpy.array([row[key] for row in rows]) for key in MEASURED}
    inherited, alone = column["oneshot_test_accuracy"], column["standalone_test_accuracy"]
    tau, section = kendall_tau(inherited, alone), context.study.compare
    low, high = bootstrap_tau(oneshot, standalone, section.bootstrap_samples, section.bootstrap_seed)
    p_value = kendall_p_value(inherited, alone)
    picked, best = int(column["oneshot_val_accuracy"].argmax()), winners(alone)
    statistics: dict[str, Statistic] = {
        "kendall_tau": tau,
        "kendall_tau_low": low,
        "kendall_tau_high": high,
        "spearman_rho": spearman_rho(inherited, alone),
        "kendall_tau_selection": kendall_tau(column["oneshot_val_accuracy"], alone),
        "kendall_tau_params": kendall_tau(numpy.array([row["params"] for row in rows], float), alone),
    }
    return {
        "architectures": len(rows),
        "seeds": len(context.study.seeds),
        **{key: value for name, statistic in statistics.items() for key, value in statistic.entries(name).items()},
        "kendall_p_value": round(p_value, 6),
        "precision_at_1": float(picked in best),
        "regret_at_1": round(100 * float(alone.max() - alone[picked]), 6),
        "mean_gap": round(float(column["gap"].mean()), 6),
        "max_gap": round(float(column["gap"].max()), 6),
        "best_oneshot": rows[picked]["architecture"],
        "best_standalone": rows[min(best)]["architecture"],
        "verdict": verdict(tau, low, p_value, len(rows)),
    }


def compare_cost(context: Context) -> dict[str, Any]:
    """Training time of both arms. Costs are compared in core-seconds, since the arms may use different threads."""
    supernet, standalone = read_json(context.paths.supernet_timing), read_json(context.paths.standalone_timing)
    seeds = len(context.study.seeds)
    trainings = len(context.space.architectures) * seeds
    supernet_core_seconds = supernet["train_seconds"] * supernet["threads"]
    standalone_core_seconds = standalone["train_seconds"] * standalone["threads"]
    return {
        "supernet_seconds": supernet["train_seconds"],
        "supernet_threads": supernet["threads"],
        "standalone_seconds": standalone["train_seconds"],
        "standalone_threads": standalone["threads"],
        "standalone_trainings": trainings,
        "supernet_cost_in_standalone_trainings": round(
            (supernet_core_seconds / seeds) / (standalone_core_seconds / trainings), 3
        ),
        "device": supernet["device"],
        "precision": supernet["precision"],
        "torch": supernet["torch"],
    }
