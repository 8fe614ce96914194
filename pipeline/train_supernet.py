"""Stage train_supernet: one weight-sharing supernet per seed, with every subnet's curve and the sampling ledger."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from oneshot.checkpoint import write_whole
from oneshot.curves import follow, mean_loss
from oneshot.data import load_split
from oneshot.evaluation import calibrated_tree, score_subnets
from oneshot.jobs import Job, Reporter, Trained, run_jobs
from oneshot.machine import Machine
from oneshot.params import Dataset, Evaluate, SupernetRecipe
from oneshot.sampling import Sampler, build_sampler, sampling_ledger
from oneshot.space import Architecture, SearchSpace, architecture_id
from oneshot.supernet import SuperNet
from oneshot.tables import write_csv, write_json
from oneshot.training import Epoch, Forward, steps_per_epoch, train
from pipeline.context import Context
from pipeline.identity import stage_identity
from pipeline.timing import timing

CURVE_COLUMNS = ("architecture", "seed", "epoch", "train_loss", "val_accuracy", "val_accuracy_inherited")
SAMPLING_COLUMNS = ("seed", "epoch", "kind", "name", "trained")


@dataclass(frozen=True)
class Inputs:
    folder: Path
    dataset: Dataset
    training_size: int
    space: SearchSpace
    recipe: SupernetRecipe
    evaluate: Evaluate
    machine: Machine


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.supernet_threads)
    study, paths = context.study, context.paths
    inputs = Inputs(
        context.dataset_folder,
        context.dataset,
        context.training_size,
        context.space,
        study.supernet,
        study.evaluate,
        machine,
    )
    stage = stage_identity(context, machine)
    jobs = [_job(context, stage, inputs, seed) for seed in study.seeds]
    # One at a time: a supernet already uses the threads that it was given.
    results = run_jobs(train_supernet, jobs, 1, context.layout.store, context.listener)
    for finished in results:
        write_whole(paths.supernet_weights / f"{finished.job.seed}.safetensors", finished.weights)
    write_csv(paths.supernet_curves, CURVE_COLUMNS, (row for finished in results for row in finished.record["curve"]))
    ledger = (row for finished in results for row in finished.record["sampling"])
    write_csv(paths.supernet_sampling, SAMPLING_COLUMNS, ledger)
    write_json(paths.supernet_timing, timing(machine, results))


def _job(context: Context, stage: dict[str, Any], inputs: Inputs, seed: int) -> Job:
    identity = {
        "stage": stage,
        "space": [layer.model_dump(mode="json") for layer in context.study.space],
        "recipe": inputs.recipe.model_dump(mode="json"),
        "evaluate": inputs.evaluate.model_dump(mode="json"),
        "seed": seed,
    }
    return Job("supernet", seed, inputs.recipe.epochs, inputs.training_size, 0, identity, inputs)


def train_supernet(job: Job, reporter: Reporter) -> Trained:
    inputs: Inputs = job.inputs
    machine = inputs.machine
    machine.claim()
    training, validation = (
        part.to(machine.device) for part in load_split(inputs.folder, inputs.dataset, inputs.training_size)
    )
    supernet = machine.place(SuperNet(inputs.space, job.seed))
    sampler = build_sampler(inputs.recipe.sampler, inputs.space, job.seed)

    trained: defaultdict[int, Counter[Architecture]] = defaultdict(Counter)
    steps = steps_per_epoch(inputs.training_size, inputs.recipe.batch_size)

    def forward(images: Tensor, step: int, architecture: Architecture) -> Tensor:
        # Counted where it happens, not where it is planned.
        trained[step // steps + 1][architecture] += 1
        logits: Tensor = supernet(images, architecture)
        return logits

    def paths(step: int) -> list[Forward]:
        return [partial(forward, step=step, architecture=architecture) for architecture in sampler(step)]

    def score(epoch: Epoch, supernet: SuperNet) -> list[dict[str, Any]]:
        tree = calibrated_tree(supernet.paths, training, inputs.evaluate, machine)
        scores = score_subnets(supernet.paths, tree, validation, inputs.evaluate, machine)
        losses = mean_losses(epoch, sampler)
        return [
            {
                "architecture": architecture_id(architecture),
                "seed": job.seed,
                "epoch": epoch.number,
                "train_loss": losses.get(architecture),
                "val_accuracy": recalibrated,
                "val_accuracy_inherited": inherited,
            }
            for architecture, (recalibrated, inherited) in scores.items()
        ]

    distillation = inputs.recipe.distillation
    epochs = train(
        paths, supernet, inputs.recipe, training, job.seed, machine, reporter.tick, distillation=distillation
    )
    followed = follow(epochs, score, supernet, reporter)
    sampling = [
        dict(zip(SAMPLING_COLUMNS, (job.seed, epoch, *entry), strict=True))
        for epoch, counts in sorted(trained.items())
        for entry in sampling_ledger(counts, inputs.space)
    ]
    return Trained(followed.tensors, {**followed.record, "sampling": sampling})


def mean_losses(epoch: Epoch, sampler: Sampler) -> dict[Architecture, float]:
    """Mean loss over the epoch's steps that trained an architecture; absent if none did."""
    losses: dict[Architecture, list[float]] = defaultdict(list)
    for step, of_paths in enumerate(epoch.losses, epoch.first_step):
        for architecture, loss in zip(sampler(step), of_paths, strict=True):
            losses[architecture].append(loss)
    return {architecture: mean_loss(values) for architecture, values in losses.items()}
