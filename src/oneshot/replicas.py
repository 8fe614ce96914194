"""A batch's gradient in parts: one computed here, each other by a replica of the model in a process of its own.

Processes, since threads wait for each other's Python: a step of a small network takes two threads an eighth longer.
The replicas read the model's weights where they are, in shared memory.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oneshot.data import Examples
from oneshot.errors import PROCESS, OneshotError
from oneshot.machine import Machine
from oneshot.processes import prepare_processes

LINE = 16  # float32 numbers in a line of the processor's cache, at which each tensor begins
Model = TypeVar("Model", bound=nn.Module)
Forward = Callable[[Model, Tensor, str], Tensor]
"""A model, images (batch, 1, 28, 28) and a path's name to that path's logits (batch, classes). With more than one part,
importable by name, as replicas call it too."""


@dataclass(frozen=True)
class Objective(Generic[Model]):
    """What a step's paths learn.

    distillation: the first path learns from the labels, the others from its softmax (arXiv 1903.05134).
    """

    forward: Forward[Model]
    machine: Machine
    distillation: bool

    def add_gradients(self, model: Model, paths: Sequence[str], part: Examples, share: float) -> Tensor:
        """Adds to `grad` the gradient of the mean of the paths' losses on a part of a batch, which is this share of
        it; these losses, times the share, (paths,)."""
        images, targets, losses = part.pixels(), part.labels, []
        for path in paths:
            with self.machine.autocast():
                logits = self.forward(model, images, path)
                loss = cross_entropy(logits, targets) * share
            # At once, so that only one path's graph is in memory.
            (loss / len(paths)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            if self.distillation and targets is part.labels:
                targets = logits.detach().float().softmax(1)
        return torch.stack(losses)


class Replica(Generic[Model]):
    """Of a model whose weights are in `shared` (see share_weights). Its batch-norm buffers are its own, never read.

    part: examples, as many as its part of a batch has at most; they are overwritten by those of each step.
    """

    def __init__(self, objective: Objective[Model], model: Model, shared: Tensor, part: Examples):
        context = prepare_processes(__name__)
        self._connection, theirs = context.Pipe()
        self._part = replace(part, images=_shared(part.images), labels=_shared(part.labels))
        self._weights, gradients = list(model.parameters()), _shared(torch.zeros_like(shared))
        self._gradients = list(_views(self._weights, gradients))
        # Without its tensors, each of which would be shared by a file of its own.
        plan = _with(model, (weight.detach().to("meta") for weight in self._weights), "meta")
        arguments = theirs, objective, plan, shared, gradients, self._part
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        # Before multiprocessing, as this process ends, waits for its children.
        Finalize(self, self.process.kill, exitpriority=0)

    def begin(self, paths: Sequence[str], examples: Examples, rows: Tensor, share: float) -> None:
        """Raises OneshotError (exit 71), as `end` does, if the process died."""
        images, labels = (tensor[: len(rows)] for tensor in (self._part.images, self._part.labels))
        torch.index_select(examples.images, 0, rows, out=images)
        torch.index_select(examples.labels, 0, rows, out=labels)
        with _death_told():
            self._connection.send((paths, len(rows), share))

    def end(self) -> Tensor:
        """The replica's losses. Its gradients are added to those that the model has, by the same paths."""
        with _death_told():
            losses = torch.tensor(self._connection.recv())
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            if weight.grad is not None:
                weight.grad.add_(gradient)
        return losses


def share_weights(model: nn.Module) -> Tensor:
    """Moves the weights into one block of shared memory, which is returned."""
    block = _shared(torch.zeros(sum(_room(weight) for weight in model.parameters())))
    weights = list(model.parameters())
    for weight, view in zip(weights, _views(weights, block), strict=True):
        weight.data = view.copy_(weight.data)
    return block


def _shared(tensor: Tensor) -> Tensor:
    moved: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return moved


def _with(model: Model, weights: Iterable[Tensor], device: str) -> Model:
    """A copy with these weights, each shared by whatever shares it in the model, and buffers of zeros."""
    replaced = dict[int, Tensor]()
    for weight, other in zip(model.parameters(), weights, strict=True):
        replaced[id(weight)] = nn.Parameter(other)
    for buffer in model.buffers():
        replaced[id(buffer)] = torch.zeros_like(buffer, device=device)
    return copy.deepcopy(model, replaced)


def _views(weights: Iterable[Tensor], block: Tensor) -> Iterator[Tensor]:
    """A piece of the block for each weight, laid out as it is."""
    start = 0
    for weight in weights:
        yield block[start:].as_strided(weight.shape, weight.stride())
        start += _room(weight)


def _room(weight: Tensor) -> int:
    return -(-weight.numel() // LINE) * LINE


@contextmanager
def _death_told() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise OneshotError(
            "a process that computes a part of each batch died (out of memory, or killed); "
            "what is finished is kept; lower compute.supernet_threads in params.yaml or run `dvc repro` again",
            PROCESS,
        ) from None


def _serve(
    connection: Connection,
    objective: Objective[Model],
    plan: Model,
    shared: Tensor,
    gradients: Tensor,
    part: Examples,
) -> None:
    objective.machine.claim()
    model = _with(plan, _views(plan.parameters(), shared), "cpu").train()
    pairs = list(zip(model.parameters(), _views(model.parameters(), gradients), strict=True))
    with suppress(EOFError, OSError):  # the parent died
        while True:
            paths, count, share = connection.recv()
            losses = objective.add_gradients(model, paths, part.take(slice(count)), share)
            for weight, gradient in pairs:
                if weight.grad is not None:
                    gradient.copy_(weight.grad)
                    weight.grad = None
            connection.send(losses.tolist())
