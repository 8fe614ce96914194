"""Made-up results of a study, in every file that the page is made of: numbers as a run would leave them."""

import csv
import hashlib
import json
import random
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy

from oneshot.arms import Arms, Resampled
from oneshot.blocks import ClassifierLayer, KernelBlock
from oneshot.comparison import summarise, tabulate
from oneshot.documents import load_document, write_document
from oneshot.machine import Machine
from oneshot.params import load_params
from oneshot.space import SearchSpace
from pipeline import compare
from pipeline.context import Context
from pipeline.layout import Layout

ROOT = Path(__file__).parents[1]
IMAGES = 1500
MACHINE = Machine("cpu", "fp32", 1)
SETTINGS = {
    "dataset": "mnist",
    "validation_size": 10000,
    "split_seed": 0,
    "supernet_threads": 1,
    "precision": "auto",
    "device": "auto",
}
WEIGHTS = [{"path": "results/study/supernet/weights/seed-0.pt", "md5": "0" * 32}]


def wide_space() -> SearchSpace:
    """81 architectures."""
    block = KernelBlock(layer="kernel_block", kernels=(3, (1, 9), (9, 1)), channels=4, sharing="sum", batch_norm=True)
    return SearchSpace((block,) * 4 + (ClassifierLayer(layer="classifier", classes=10),), (1, 28, 28))


def make_results(space: SearchSpace, seeds=(0,), epochs=(15, 5)) -> dict:
    """The content of each file, by its path below the study's folder: what is compared is made up, the functions that
    compare it are the real ones, so that the files have the shape of a run's."""
    with tempfile.TemporaryDirectory() as folder:
        context = _context(Path(folder), space, tuple(seeds))
        rng, section = random.Random(len(space.architectures)), context.study.compare  # noqa: S311
        train = {"train_seconds": 157.487, "evaluation_seconds": 55.4} | MACHINE.describe()
        files = {
            "oneshot.csv": [{"architecture": name, "seed": 0, "val_accuracy": 0.98} for name in context.names],
            "supernet/curves.csv": _curves(context.names, seeds, epochs[0], rng, "val_accuracy_inherited"),
            "standalone_curves.csv": _curves(context.names, seeds, epochs[1], rng),
            "supernet/sampling.csv": _sampling(space, context.names, seeds, epochs[0], rng),
            "supernet/timing.json": train | {"jobs": []},
            "standalone_timing.json": train | {"train_seconds": 726.515, "jobs": []},
        }
        _write(context.paths.folder, files)
        arms = _arms(compare.count_costs(context)[1], len(seeds))
        resampled = Resampled.draw(arms, section)
        rows = tabulate(context.names, *compare.count_costs(context), arms, resampled)
        latencies = mock.Mock(side_effect=lambda *_: {"p50_ms": rng.uniform(1, 2), "p95_ms": rng.uniform(2, 3)})
        with mock.patch.multiple(compare, load_standalone=mock.Mock(), measure_latency=latencies):
            timing = compare.compare_cost(context, MACHINE)
        summary = summarise(rows, arms, resampled, section) | compare.training_cost(context, rows)
    return files | {"comparison.csv": rows, "comparison.json": summary, "timing.json": timing}


def _context(folder: Path, space: SearchSpace, seeds: tuple[int, ...]) -> Context:
    params = load_params(ROOT / "params.yaml")
    study = params.studies["kernels-sum"]
    section = study.compare.model_copy(update={"bootstrap_samples": 60, "finetune_steps": 100})
    study = study.model_copy(update={"seeds": seeds, "compare": section})
    params = params.model_copy(update={"studies": params.studies | {"kernels-sum": study}})
    context = Context("compare", "kernels-sum", params, Layout(folder, folder), mock.Mock())
    vars(context)["space"] = space
    return context


def _arms(macs, seeds) -> Arms:
    """Standalones better the more MACs they have; subnets nearly as good; inherited batch norm ruins them."""
    generator = numpy.random.default_rng(len(macs))
    chances = 0.95 + 0.03 * (macs - macs.min()) / (numpy.ptp(macs) or 1) + generator.uniform(-0.06, 0.01, len(macs))

    def answers(chance):
        return generator.random((seeds, len(macs), IMAGES)) < numpy.asarray(chance)[None, :, None]

    def scores(chance):
        return numpy.repeat(numpy.asarray(chance)[None], seeds, 0) + generator.normal(0, 0.002, (seeds, len(macs)))

    return Arms(
        oneshot=answers(chances - 0.01),
        inherited=answers(chances - 0.3),
        finetuned=answers(chances - 0.005),
        standalone=answers(chances),
        oneshot_validation=scores(chances - 0.01),
        inherited_validation=scores(chances - 0.3),
        standalone_validation=scores(chances),
        first_epoch_validation=scores(chances - 0.1),
        divergence=scores(1 - chances),
    )


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
    paths = _write(layout.study(study).folder, files)
    manifest = layout.manifest(study)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {"path": str(path.relative_to(layout.root)), "md5": hashlib.md5(path.read_bytes()).hexdigest()}  # noqa: S324
        for path in paths
    ]
    section = load_document(layout.params)["studies"][study]
    content = {"inputs": entries, "settings": list(SETTINGS.items()), "weights": WEIGHTS, "study": [section]}
    manifest.write_text(json.dumps(content))


def _write(folder: Path, files: dict) -> list[Path]:
    paths = [folder / name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(content))
        else:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(content)
    return paths


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
        {
            "seed": seed,
            "epoch": epoch,
            "kind": kind,
            "name": name,
            "trained": 390 // len(choices) + rng.randint(-1, 1),
            "imbalance": 0.5,
        }
        for seed in seeds
        for epoch in range(1, epochs + 1)
        for kind, choices in kinds.items()
        for name in choices
    ]
