"""The one training loop, for supernet and standalone alike. Knows nothing of spaces, files or curves."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oneshot.data import Examples
from oneshot.errors import TRAINING, OneshotError
from oneshot.machine import Machine
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.randomness import generator
from oneshot.state import restore, tensors

Model = TypeVar("Model", bound=nn.Module)
Paths = Callable[[int], Sequence[str]]
"""Step, counted from 0, to the names of the paths that it trains; equally many in every step."""
Forward = Callable[[Model, Tensor, str], Tensor]
"""A model, images (batch, 1, 28, 28) and a path's name to that path's logits (batch, classes)."""


@dataclass(frozen=True)
class Epoch:
    """number: counted from 1; losses: by path, what it lost on each batch that trained it."""

    number: int
    losses: Mapping[str, Sequence[float]]
    seconds: float


class Trainer(Generic[Model]):
    """Trains `model` in place, each batch cut into a part per thread that is computed side by side.

    Each part is normalised by its own batch-norm statistics, as on several GPUs (ghost batch norm, arXiv 1705.08741),
    so a result depends on the number of threads, but never on their timing: gradients are added in a fixed order.

    distillation: a step's first path learns from the labels, the others from its softmax (arXiv 1903.05134).
    steps: exactly so many instead of recipe.epochs, the schedule squeezed into them; the last epoch may be cut short.
    """

    def __init__(
        self,
        model: Model,
        forward: Forward[Model],
        paths: Paths,
        recipe: Recipe,
        examples: Examples,
        seed: int,
        machine: Machine,
        *,
        distillation: bool = False,
        steps: int | None = None,
    ):
        self.model, self.forward, self.paths = model, forward, paths
        self.recipe, self.examples, self.seed, self.machine = recipe, examples, seed, machine
        self.distillation = distillation
        self.epoch_steps = steps_per_epoch(len(examples), recipe.batch_size)
        self.steps = recipe.epochs * self.epoch_steps if steps is None else steps
        self.optimizer = build_optimizer(recipe.optimizer, model.parameters())
        # The first keeps the batch-norm buffers; those of the others are never read.
        self._replicas = [model, *(_replica(model) for _ in range(machine.parts - 1))]
        # Listed once: a walk through the modules of a supernet takes longer than adding their gradients.
        self._weights = [list(replica.parameters()) for replica in self._replicas]

    def epochs(self, tick: Callable[[int], None], after: int = 0) -> Iterator[Epoch]:
        """Yields after each epoch but the first `after`; `tick` hears of every step's number of images.

        Raises OneshotError (exit 1) when a loss or a gradient is not finite; on a CPU before the step has changed a
        weight.
        """
        for number in range(after + 1, math.ceil(self.steps / self.epoch_steps) + 1):
            for replica in self._replicas:
                replica.train()
            started = time.perf_counter()
            first_step = (number - 1) * self.epoch_steps
            steps = range(first_step, min(first_step + self.epoch_steps, self.steps))
            order = torch.randperm(len(self.examples), generator=generator(self.seed, "order", number))
            batches = torch.split(order.to(self.machine.device), self.recipe.batch_size)
            losses = _Losses(self.machine)
            for step, rows in zip(steps, batches, strict=False):
                self._step(step, rows, losses)
                tick(len(rows))
            yield Epoch(number, losses.by_path(), time.perf_counter() - started)

    def _step(self, step: int, rows: Tensor, losses: "_Losses") -> None:
        paths, learning_rate = self.paths(step), self.learning_rate(step)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        values = self.add_gradients(paths, rows)
        gradients = torch.stack([weight.grad.sum() for weight in self._weights[0] if weight.grad is not None]).sum()
        losses.add(values, gradients, paths, f"step {step}, learning rate {learning_rate:.4g}")
        self.optimizer.step()
        # To None, not to zero: a zero gradient would still move an unchosen path by momentum and weight decay.
        for weight in chain.from_iterable(self._weights):
            weight.grad = None

    def learning_rate(self, step: int) -> float:
        return self.recipe.optimizer.lr * schedule_factor(self.recipe.schedule, step, self.steps)

    def add_gradients(self, paths: Sequence[str], rows: Tensor) -> Tensor:
        """Adds to `grad` the gradient of the mean of the paths' losses on these examples; the losses, (paths,).

        The mean, where FairNAS sums: what all paths share then sees the learning rate that it would see with one path.
        """

        def compute(replica: Model, part: Tensor) -> Tensor:
            return self._add_part(replica, paths, part, len(part) / len(rows))

        losses = self.machine.map(compute, self._replicas, rows.chunk(self.machine.parts))
        own, *others = self._weights
        for weights in others:
            for mine, other in zip(own, weights, strict=True):
                if mine.grad is not None and other.grad is not None:
                    mine.grad.add_(other.grad)
        return torch.stack(losses).sum(0)

    def _add_part(self, model: Model, paths: Sequence[str], rows: Tensor, share: float) -> Tensor:
        batch = self.examples.take(rows)
        images, targets, losses = batch.pixels(), batch.labels, []
        for path in paths:
            with self.machine.autocast():
                logits = self.forward(model, images, path)
                loss = cross_entropy(logits, targets) * share
            # At once, so that only one path's graph is in memory.
            (loss / len(paths)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            if self.distillation and targets is batch.labels:
                targets = logits.detach().float().softmax(1)
        return torch.stack(losses)

    def tensors(self) -> dict[str, Tensor]:
        """What the next epoch starts from: weights, buffers, and the optimizer's state of each weight."""
        state = {
            f"{name}/{key}": value
            for name, weight in self.model.named_parameters()
            for key, value in self.optimizer.state.get(weight, {}).items()
        }
        return tensors(self.model) | state

    @torch.no_grad()
    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Goes back to where `tensors` were taken, of the same model and recipe."""
        restore(self.model, {name: tensor for name, tensor in stored.items() if "/" not in name})
        weights = dict(self.model.named_parameters())
        for name, tensor in stored.items():
            owner, _, key = name.partition("/")
            if key:
                like = weights[owner]
                # In the weight's own memory layout, which decides how fast a step is.
                state = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor.clone()
                self.optimizer.state[like][key] = state


def run_whole(model: nn.Module, images: Tensor, _: str) -> Tensor:
    """The Forward of a model that is one path."""
    logits: Tensor = model(images)
    return logits


def steps_per_epoch(images: int, batch_size: int) -> int:
    return max(1, images // batch_size)


def _replica(model: Model) -> Model:
    """The same weights, in the same memory; gradients and batch-norm buffers of its own."""
    shared = {id(weight): nn.Parameter(weight.detach()) for weight in model.parameters()}
    return copy.deepcopy(model, shared)


class _Losses:
    """An epoch's losses, refused where one or its gradient is not finite."""

    def __init__(self, machine: Machine):
        self._machine = machine
        self._unread: list[tuple[Tensor, Sequence[str], str]] = []
        self._read: dict[str, list[float]] = {}

    def add(self, losses: Tensor, gradients: Tensor, paths: Sequence[str], where: str) -> None:
        """losses: (paths,); gradients: the sum of all, which is finite only if they are."""
        self._unread.append((torch.cat([losses, gradients.view(1)]), paths, where))
        # Elsewhere than on a CPU a step would have to wait for what it reads.
        if self._machine.device == "cpu":
            self._take()

    def by_path(self) -> Mapping[str, Sequence[float]]:
        self._take()
        return self._read

    def _take(self) -> None:
        if not self._unread:
            return
        values = torch.stack([values for values, _, _ in self._unread]).tolist()  # one copy, however many steps
        for (_, paths, where), (*losses, gradients) in zip(self._unread, values, strict=True):
            for path, loss in zip(paths, losses, strict=True):
                _refuse_unless_finite(loss, f"architecture {path}, {where}: the loss")
                self._read.setdefault(path, []).append(loss)
            # A layer may hide from the loss what is not a number (see layers); by such a gradient a weight becomes so.
            _refuse_unless_finite(gradients, f"architecture {', '.join(paths)}, {where}: the sum of the gradients")
        self._unread.clear()


def _refuse_unless_finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise OneshotError(
            f"{what} is {value}; it must be finite; lower optimizer.lr or lengthen schedule.warmup in params.yaml",
            TRAINING,
        )


def build_optimizer(section: Sgd | Adadelta, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    # foreach: one call for all tensors of a kind. `fused` fails while a path not yet sampled has no momentum.
    settings = section.model_dump(exclude={"name"}) | {"foreach": True}
    kinds: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adadelta": torch.optim.Adadelta}
    return kinds[section.name](parameters, **settings)


def schedule_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What step `step` of `steps` multiplies the learning rate by: a function of the step, so nothing to save."""
    warmup = schedule.warmup * steps
    if step + 1 < warmup:
        return (step + 1) / warmup
    done = max(0.0, step - warmup) / max(1.0, steps - warmup)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[schedule.name]
