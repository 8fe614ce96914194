"""Stage train_supernet: one weight-sharing supernet per seed, with every subnet's curve and the sampling ledger."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from oneshot.checkpoint import Checkpoints, write_whole
from oneshot.curves import follow, mean_loss
from oneshot.evaluation import calibrated_tree, score_inherited, score_paths
from oneshot.jobs import Job, Reporter, Trained, run_jobs
from oneshot.params import SupernetRecipe
from oneshot.sampling import build_sampler, sampling_ledger
from oneshot.space import Architecture, SearchSpace, architecture_id
from oneshot.supernet import SuperNet
from oneshot.tables import write_csv, write_json
from oneshot.training import Epoch, Trainer
from pipeline.context import Context
from pipeline.identity import stage_identity
from pipeline.inputs import Inputs
from pipeline.timing import timing

CURVE_COLUMNS = ("architecture", "seed", "epoch", "train_loss", "val_accuracy", "val_accuracy_inherited")
SAMPLING_COLUMNS = ("seed", "epoch", "kind", "name", "trained", "imbalance")
SupernetInputs = Inputs[SearchSpace, SupernetRecipe]


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.supernet_threads)
    study, paths = context.study, context.paths
    inputs = Inputs.of(context, context.space, study.supernet, machine)
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


def _job(context: Context, stage: dict[str, Any], inputs: SupernetInputs, seed: int) -> Job:
    identity = {
        "stage": stage,
        "space": [layer.model_dump(mode="json") for layer in context.study.space],
        "recipe": inputs.recipe.model_dump(mode="json"),
        "evaluate": inputs.evaluate.model_dump(mode="json"),
        "seed": seed,
    }
    return Job(context.address, "supernet", seed, inputs.recipe.epochs, inputs.training_size, 0, identity, inputs)


def train_supernet(job: Job, reporter: Reporter, checkpoints: Checkpoints) -> Trained:
    inputs: SupernetInputs = job.inputs
    space, recipe, machine = inputs.network, inputs.recipe, inputs.machine
    machine.claim()
    training, validation = inputs.load()
    supernet = machine.place(SuperNet(space, job.seed))
    sampler = build_sampler(recipe.sampler, space, job.seed)
    named = {architecture_id(architecture): architecture for architecture in space.architectures}

    def forward(supernet: SuperNet, images: Tensor, name: str) -> Tensor:
        logits: Tensor = supernet(images, named[name])
        return logits

    def paths(step: int) -> list[str]:
        return [architecture_id(architecture) for architecture in sampler(step)]

    def score(epoch: Epoch) -> dict[str, list[dict[str, Any]]]:
        tree = calibrated_tree(supernet.paths, training, inputs.evaluate, machine)
        recalibrated = score_paths(tree, validation, inputs.evaluate, machine)
        inherited = score_inherited(supernet.paths, recalibrated, validation, inputs.evaluate, machine)
        curve = [
            {
                "architecture": name,
                "seed": job.seed,
                "epoch": epoch.number,
                "train_loss": mean_loss(epoch.losses.get(name, ())),
                "val_accuracy": recalibrated[architecture],
                "val_accuracy_inherited": inherited[architecture],
            }
            for name, architecture in named.items()
        ]
        return {"curve": curve, "sampling": _sampling(job.seed, epoch, named, space)}

    trainer = Trainer(supernet, forward, paths, recipe, training, job.seed, machine, distillation=recipe.distillation)
    return follow(trainer, score, reporter, checkpoints)


def _sampling(seed: int, epoch: Epoch, named: Mapping[str, Architecture], space: SearchSpace) -> list[dict[str, Any]]:
    # Counted by the losses, so where it happened, not where it was planned.
    counts = {architecture: len(epoch.losses.get(name, ())) for name, architecture in named.items()}
    return [
        dict(zip(SAMPLING_COLUMNS, (seed, epoch.number, *entry), strict=True))
        for entry in sampling_ledger(counts, space)
    ]
