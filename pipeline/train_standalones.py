"""Stage train_standalones: every architecture from scratch, each a plain network of its own, several side by side."""

import itertools
from dataclasses import asdict
from typing import Any

from oneshot.checkpoint import Checkpoints, write_whole
from oneshot.cost import count_macs
from oneshot.curves import follow, mean_loss
from oneshot.evaluation import build_tree, score_paths
from oneshot.jobs import Job, Reporter, Trained, run_jobs
from oneshot.machine import Machine
from oneshot.operations import Step
from oneshot.params import Recipe
from oneshot.space import Architecture, architecture_id, canonical
from oneshot.supernet import build_standalone
from oneshot.tables import write_csv, write_json
from oneshot.training import Epoch, Trainer, run_whole
from pipeline.context import Context
from pipeline.identity import stage_identity
from pipeline.inputs import Inputs
from pipeline.timing import timing

CURVE_COLUMNS = ("architecture", "seed", "epoch", "train_loss", "val_accuracy")
StandaloneInputs = Inputs[tuple[Step, ...], Recipe]


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.standalone_threads)
    study, paths = context.study, context.paths
    stage = stage_identity(context, machine)
    pairs = itertools.product(context.space.architectures, study.seeds)
    jobs = [_job(context, stage, machine, architecture, seed) for architecture, seed in pairs]
    workers = context.params.compute.workers
    results = run_jobs(train_standalone, jobs, workers, context.layout.store, context.listener)
    rows = []
    for finished in results:
        job = finished.job
        write_whole(paths.standalone_weights / job.name / f"{job.seed}.safetensors", finished.weights)
        rows += [{"architecture": job.name, "seed": job.seed} | row for row in finished.record["curve"]]
    write_csv(paths.standalone_curves, CURVE_COLUMNS, rows)
    write_json(paths.standalone_timing, timing(machine, results))


def _job(context: Context, stage: dict[str, Any], machine: Machine, architecture: Architecture, seed: int) -> Job:
    # By its own operations, not by its place in a space: two spaces that share an architecture share its training.
    path = canonical(context.space.path(architecture))
    inputs = Inputs.of(context, path, context.study.standalone, machine)
    identity = {
        "stage": stage,
        "network": [[type(step.operation).__name__, asdict(step.operation)] for step in path],
        "recipe": inputs.recipe.model_dump(mode="json"),
        "batch_size": inputs.evaluate.batch_size,
        "seed": seed,
    }
    images, macs = inputs.training_size, count_macs(path, context.space.input_shape)
    name = architecture_id(architecture)
    return Job(context.address, name, seed, inputs.recipe.epochs, images, macs, identity, inputs)


def train_standalone(job: Job, reporter: Reporter, checkpoints: Checkpoints) -> Trained:
    inputs: StandaloneInputs = job.inputs
    machine = inputs.machine
    machine.claim()
    training, validation = inputs.load()
    network = machine.place(build_standalone(inputs.network, job.seed))

    def score(epoch: Epoch) -> dict[str, list[dict[str, Any]]]:
        # Its batch-norm buffers saw this path alone, so they are its own and need no recalibration.
        (accuracy,) = score_paths(build_tree({(): tuple(network)}), validation, inputs.evaluate, machine).values()
        loss = mean_loss(epoch.losses[job.name])
        return {"curve": [{"epoch": epoch.number, "train_loss": loss, "val_accuracy": accuracy}]}

    trainer = Trainer(network, run_whole, lambda step: [job.name], inputs.recipe, training, job.seed, machine)
    return follow(trainer, score, reporter, checkpoints)
