"""What all jobs of a training stage depend on beyond their own recipe: the part of a fingerprint that they share."""

from typing import Any

from oneshot.data import verify_training_files
from oneshot.machine import Machine
from pipeline.context import Context
from pipeline.dvcfile import code_hashes, read_stage


def stage_identity(context: Context, machine: Machine) -> dict[str, Any]:
    """The data, which it verifies, its split, the stage's code, and the machine's settings and versions."""
    stage = read_stage(context.layout.root, context.stage, context.key, context.dataset_name)
    return {
        "data": verify_training_files(context.dataset_folder),
        "split": context.dataset.model_dump(exclude={"folder"}) | {"training_size": context.training_size},
        "code": code_hashes(context.layout.root, stage),
        "machine": machine.settings(),
    }
