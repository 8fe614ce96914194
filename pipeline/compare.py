"""Stage compare: one-shot against standalone on the test set, which is opened here, once, for both arms."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from oneshot.arms import Resampled
from oneshot.budget import best_epoch_gains, break_even, imbalances, standalone_macs, supernet_macs
from oneshot.comparison import COLUMNS, summarise, tabulate
from oneshot.cost import count_macs, count_params
from oneshot.documents import load_document
from oneshot.latency import measure_latency
from oneshot.machine import Machine
from oneshot.predictors import Row
from oneshot.report.figures import draw_figures, write_pngs
from oneshot.report.table import draw_table
from oneshot.space import architecture_id
from oneshot.statistics import Vector, plain
from oneshot.tables import of_one_run, read_csv, read_json, write_csv, write_json
from oneshot.training import steps_per_epoch
from pipeline.arms import measure_arms
from pipeline.context import Context
from pipeline.dvcfile import file_md5
from pipeline.layout import address
from pipeline.weights import load_standalone


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.supernet_threads)
    machine.claim()
    paths, section = context.paths, context.study.compare
    arms = measure_arms(context, machine)
    resampled = Resampled.draw(arms, section)
    rows = tabulate(context.names, *count_costs(context), arms, resampled)
    summary = summarise(rows, arms, resampled, section) | training_cost(context, rows)
    write_csv(paths.comparison_table, COLUMNS, rows)
    write_json(paths.comparison, summary)
    write_json(paths.timing, compare_cost(context, machine))
    curves = read_csv(paths.supernet_curves), read_csv(paths.standalone_curves)
    figures = draw_figures(context.key, context.space, rows, *curves, summary)
    write_pngs(paths.figures, {**figures, "table": draw_table(context.key, rows)})
    write_manifest(context)


def count_costs(context: Context) -> tuple[Vector, Vector]:
    """Params and MACs of every architecture."""
    networks = [context.space.path(architecture) for architecture in context.space.architectures]
    macs = [count_macs(path, context.space.input_shape) for path in networks]
    return numpy.array([count_params(path) for path in networks], float), numpy.array(macs, float)


def training_cost(context: Context, rows: Sequence[Row]) -> dict[str, Any]:
    """What both arms' training cost in MACs, how evenly the supernet's was dealt, and what best-of-epochs would add."""
    study, paths = context.study, context.paths
    macs = {row["architecture"]: row["macs"] for row in rows}
    steps = study.standalone.epochs * steps_per_epoch(context.training_size, study.standalone.batch_size)
    standalone = standalone_macs(steps, study.standalone.batch_size, macs, len(study.seeds))
    sampling, subnets, standalones = map(
        read_csv, (paths.supernet_sampling, paths.supernet_curves, paths.standalone_curves)
    )
    with of_one_run(address("train_supernet", context.key)):
        supernet = supernet_macs(sampling, study.supernet.batch_size, macs)
        dealt = imbalances(sampling)
        gains = {
            "oneshot": best_epoch_gains(subnets, "val_accuracy"),
            "inherited": best_epoch_gains(subnets, "val_accuracy_inherited"),
        }
    with of_one_run(address("train_standalones", context.key)):
        gains["standalone"] = best_epoch_gains(standalones, "val_accuracy")
    return {
        "supernet_training_macs": supernet,
        "standalone_training_macs": standalone,
        "supernet_cost_in_standalone_trainings_macs": plain(supernet / (standalone / len(rows))),
        "break_even_architectures_macs": break_even(supernet, standalone, len(rows)),
        **{f"sampling_imbalance_{name}": value for name, value in dealt.items()},
        **{f"best_epoch_gain_{arm}": plain(numpy.mean(points)) for arm, points in gains.items()},
        "best_epoch_gain_max": plain(max(max(points) for points in gains.values())),
        "finetune_steps": study.compare.finetune_steps,
    }


def compare_cost(context: Context, machine: Machine) -> dict[str, Any]:
    """Training time of both arms, in core-seconds where they are compared since the arms may use different threads; and
    the latency of every architecture."""
    architectures = len(context.space.architectures)
    supernet = _seconds_and_threads(context, "train_supernet", context.paths.supernet_timing)
    standalone = _seconds_and_threads(context, "train_standalones", context.paths.standalone_timing)
    core_seconds, standalone_core_seconds = math.prod(supernet), math.prod(standalone)
    return {
        "supernet_seconds": supernet[0],
        "supernet_threads": supernet[1],
        "standalone_seconds": standalone[0],
        "standalone_threads": standalone[1],
        "standalone_trainings": architectures * len(context.study.seeds),
        "supernet_cost_in_standalone_trainings": round(core_seconds / (standalone_core_seconds / architectures), 3),
        "break_even_architectures": break_even(core_seconds, standalone_core_seconds, architectures),
        **machine.describe(),
        "latency": _latencies(context, machine),
    }


def _seconds_and_threads(context: Context, stage: str, timing: Path) -> tuple[float, int]:
    content = read_json(timing)
    with of_one_run(address(stage, context.key)):
        return float(content["train_seconds"]), int(content["threads"])


def _latencies(context: Context, machine: Machine) -> dict[str, Any]:
    section, seed = context.study.compare, context.study.seeds[0]
    images = torch.zeros(section.latency_batch, *context.space.input_shape, device=machine.device)
    rows = []
    for architecture in context.space.architectures:
        network = load_standalone(context, architecture, seed, machine)
        measured = measure_latency(network, images, section.latency_repeats, machine)
        rows.append({"architecture": architecture_id(architecture)} | measured)
    return {
        "batch_size": section.latency_batch,
        "repeats": section.latency_repeats,
        "threads": torch.get_num_threads(),
        "architectures": rows,
    }


def write_manifest(context: Context) -> None:
    """What the report may read of this study, and what it was made under: DVC cannot list the studies of `run` among a
    stage's dependencies, so the report depends on the folder of these manifests."""
    paths, compute = context.paths, context.params.compute
    weights = [paths.supernet_weights, paths.standalone_weights]
    settings = {
        "dataset": context.dataset_name,
        **context.dataset.model_dump(exclude={"folder"}),
        **compute.model_dump(exclude={"workers"}),  # which changes no result
    }
    manifest = {
        # Lists, as the others: they are no metrics.
        "settings": list(settings.items()),
        "study": [load_document(context.layout.params)["studies"][context.key]],
        "inputs": _hashes(context, paths.reported()),
        "weights": _hashes(context, [file for folder in weights for file in sorted(folder.rglob("*.safetensors"))]),
    }
    write_json(context.layout.manifest(context.key), manifest)


def _hashes(context: Context, files: Iterable[Path]) -> list[dict[str, str]]:
    root = context.layout.root
    return [{"path": file.relative_to(root).as_posix(), "md5": file_md5(file)} for file in files]
