"""The networks that earlier stages trained, read back from their files."""

from pathlib import Path

from torch import nn

from oneshot.checkpoint import read_weights
from oneshot.errors import BAD_DATA, OneshotError
from oneshot.machine import Machine
from oneshot.space import Architecture, architecture_id, canonical
from oneshot.state import restore
from oneshot.supernet import SuperNet, build_standalone
from pipeline.context import Context


def load_supernet(context: Context, seed: int, machine: Machine) -> SuperNet:
    supernet = SuperNet(context.space, seed)
    _fill(supernet, context.paths.supernet_weights / f"{seed}.safetensors", machine)
    return supernet


def load_standalone(context: Context, architecture: Architecture, seed: int, machine: Machine) -> nn.Sequential:
    network = build_standalone(canonical(context.space.path(architecture)), seed)
    _fill(network, context.paths.standalone_weights / architecture_id(architecture) / f"{seed}.safetensors", machine)
    return network


def _fill(model: nn.Module, path: Path, machine: Machine) -> None:
    """Raises OneshotError: 66 if the file is missing, 65 if it is damaged or belongs to another network."""
    try:
        restore(model, read_weights(path))
    except ValueError as error:
        raise OneshotError(f"{path}: {error}; they must be of this space; run `dvc repro`", BAD_DATA) from None
    machine.place(model)
