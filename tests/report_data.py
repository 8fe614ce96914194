"""Made-up results of a study, in every file that the page is made of: numbers as a run would leave them."""

import csv
import hashlib
import json
import random
import shutil
from pathlib import Path

from oneshot.blocks import ClassifierLayer, KernelBlock
from oneshot.cost import count_macs, count_params
from oneshot.documents import load_document, write_document
from oneshot.params import load_params
from oneshot.space import SearchSpace, architecture_id
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
SUMMARY = {
    **dict.fromkeys(("kendall_tau", "spearman_rho", "precision_at_3"), 0.65),
    **{"precision_at_1": 1.0, "regret_at_1": 0.0, "kendall_tau_selection": 0.83, "kendall_tau_params": 0.93},
    **{"kendall_tau_macs": 0.87, "kendall_p_value": 0.016, "kl_kendall_tau": 0.4, "kl_spearman_rho": 0.5},
    "noise_ceiling": None,
    "noise_ceiling_reason": "one seed; it takes at least two",
    **{"supernet_training_macs": 41_000_000_000_000, "standalone_training_macs": 68_000_000_000_000},
    "break_even_architectures_macs": 5.4,
    **{"best_epoch_gain_oneshot": 0.04, "best_epoch_gain_inherited": 4.1, "best_epoch_gain_standalone": 0.03},
    **{"best_epoch_gain_max": 7.9, "finetune_steps": 100},
    **{"sampling_imbalance_architectures": 0.3, "sampling_imbalance_choices": 0.1},
    "verdict": "Supported: the one-shot ranking agrees with the standalone ranking (Kendall tau-b 0.65, p = 0.016).",
}
PREDICTORS = ("oneshot_test", "oneshot_val", "oneshot_val_inherited", "kl_to_reference", "first_epoch", "params")
PREDICTORS += ("macs", "random")


def wide_space() -> SearchSpace:
    """81 architectures."""
    block = KernelBlock(layer="kernel_block", kernels=(3, (1, 9), (9, 1)), channels=4, sharing="sum", batch_norm=True)
    return SearchSpace((block,) * 4 + (ClassifierLayer(layer="classifier", classes=10),), (1, 28, 28))


def make_results(space: SearchSpace, seeds=(0,), epochs=(15, 5)) -> dict:
    """The content of each file, by its path below the study's folder."""
    rng = random.Random(len(space.architectures))  # noqa: S311
    rows = [_architecture(space, architecture, rng, len(seeds) > 1) for architecture in space.architectures]
    names = [row["architecture"] for row in rows]
    best = max(rows, key=lambda row: row["standalone_test_accuracy"])["architecture"]
    summary = {"architectures": len(rows), "seeds": len(seeds), "best_oneshot": best, "best_standalone": best} | SUMMARY
    summary |= {"mean_gap": sum(row["gap"] for row in rows) / len(rows), "max_gap": max(row["gap"] for row in rows)}
    for key in ("kendall_tau", "spearman_rho", "precision_at_1", "precision_at_3", "regret_at_1", "mean_gap"):
        summary |= {f"{key}_low": summary[key] - 0.25, f"{key}_high": min(1.0, summary[key] + 0.2)}
    summary["rankings"] = [_ranking(predictor, rng) for predictor in PREDICTORS]
    train = {"train_seconds": 157.5, "evaluation_seconds": 55.4}
    machine = {"device": "cpu", "precision": "bf16", "torch": "2.14.1+cu130"}
    return {
        "oneshot.csv": [{"architecture": name, "seed": 0, "val_accuracy": 0.98} for name in names],
        "supernet/curves.csv": _curves(names, seeds, epochs[0], rng, "val_accuracy_inherited"),
        "standalone_curves.csv": _curves(names, seeds, epochs[1], rng),
        "supernet/sampling.csv": _sampling(space, names, seeds, epochs[0], rng),
        "comparison.csv": rows,
        "comparison.json": summary,
        "timing.json": _timing(names, rng) | machine,
        "supernet/timing.json": train | machine | {"threads": 2, "jobs": []},
        "standalone_timing.json": train | machine | {"threads": 1, "jobs": []},
    }


def make_project(folder: Path, studies=("kernels-sum", "depths")) -> Layout:
    """The committed params for these studies, with their results and manifests."""
    params = load_document(ROOT / "params.yaml")
    params["run"] = dict.fromkeys(studies, "mnist")
    folder.mkdir(parents=True, exist_ok=True)
    write_document(folder / "params.yaml", params)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    layout = Layout(folder, folder)
    for study in studies:
        space = load_params(layout.params).studies[study].search_space()
        write_results(layout, study, make_results(space, params["studies"][study]["seeds"]))
    return layout


def write_results(layout: Layout, study: str, files: dict) -> None:
    paths = {name: layout.study(study).folder / name for name in files}
    for name, content in files.items():
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            paths[name].write_text(json.dumps(content))
        else:
            with paths[name].open("w", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(content)
    manifest = layout.manifest(study)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {"path": str(path.relative_to(layout.root)), "md5": hashlib.md5(path.read_bytes()).hexdigest()}  # noqa: S324
        for path in paths.values()
    ]
    manifest.write_text(json.dumps({"inputs": entries}))


def _architecture(space, architecture, rng, several_seeds):
    path = space.path(architecture)
    macs = count_macs(path, space.input_shape)
    row = {"architecture": architecture_id(architecture), "params": count_params(path), "macs": macs}
    alone = 0.9935 - 0.02 / (macs / 1e6) + rng.gauss(0, 0.0008)
    shot = alone - 0.002 + rng.gauss(0, 0.0007)
    row |= {"oneshot_val_accuracy": shot - 0.001, "oneshot_test_accuracy": shot}
    row |= {"standalone_val_accuracy": alone - 0.001, "standalone_test_accuracy": alone, "gap": 100 * (alone - shot)}
    row |= {f"{key}_std": 0.0004 if several_seeds else None for key in list(row)[3:]}
    for key, width in (("oneshot_test_accuracy", 0.0015), ("standalone_test_accuracy", 0.0014), ("gap", 0.15)):
        row |= {f"{key}_low": row[key] - width, f"{key}_high": row[key] + width}
    inherited, under = shot - abs(rng.gauss(0.3, 0.1)), rng.uniform(0.0, 0.15)
    row |= {"oneshot_test_accuracy_inherited": inherited, "oneshot_test_accuracy_finetuned": shot + under / 100}
    row |= {"gap_batch_norm": 100 * (shot - inherited), "gap_under_training": under, "gap_rest": row["gap"] - under}
    tier = 1 + round((0.9935 - alone) * 800)
    row |= {"oneshot_tier": max(1, tier), "standalone_tier": max(1, tier), "kl_to_reference": rng.uniform(0, 0.05)}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def _ranking(predictor, rng):
    ranking = {"predictor": predictor}
    for key in ("kendall_tau", "spearman_rho", "precision_at_1", "precision_at_3", "regret_at_1"):
        value = round(rng.uniform(0.1, 0.9), 2)
        ranking |= {key: value, f"{key}_low": round(value - 0.3, 2), f"{key}_high": round(min(1, value + 0.1), 2)}
    return ranking


def _curves(names, seeds, epochs, rng, *further):
    return [
        {"architecture": name, "seed": seed, "epoch": epoch, "train_loss": 1 / epoch}
        | {column: round(0.99 - 0.12 / epoch**1.5 - rng.random() / 300, 4) for column in ("val_accuracy", *further)}
        for seed in seeds
        for epoch in range(1, epochs + 1)
        for name in names
    ]


def _sampling(space, names, seeds, epochs, rng):
    kinds = {"architecture": names} | {f"block {number}": block for number, block in enumerate(space.blocks, start=1)}
    return [
        {"seed": seed, "epoch": epoch, "kind": kind, "name": name, "trained": 390 // len(choices) + rng.randint(-1, 1)}
        for seed in seeds
        for epoch in range(1, epochs + 1)
        for kind, choices in kinds.items()
        for name in choices
    ]


def _timing(names, rng):
    latency = [{"architecture": name, "p50_ms": rng.uniform(1, 2), "p95_ms": rng.uniform(2, 3)} for name in names]
    seconds = {"supernet_seconds": 157.487, "supernet_threads": 2, "standalone_seconds": 726.515}
    seconds |= {"standalone_threads": 1, "standalone_trainings": len(names)}
    return seconds | {
        "supernet_cost_in_standalone_trainings": 3.902,
        "processor": "AMD EPYC 9R14",
        "cores": 2,
        "break_even_architectures": 3.9,
        "latency": {"batch_size": 1, "repeats": 200, "threads": 1, "device": "cpu", "precision": "bf16"}
        | {"architectures": latency},
    }
