"""The one training loop, for supernet and standalone alike. Knows nothing of spaces, files or curves."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oneshot.data import Examples
from oneshot.errors import TRAINING, OneshotError
from oneshot.machine import Machine
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.randomness import generator

Forward = Callable[[Tensor, int], Tensor]
"""(images (batch, 1, 28, 28), step counted from 0) -> logits (batch, classes)."""


@dataclass(frozen=True)
class Epoch:
    """number: counted from 1; first_step and losses (steps,): the mean cross-entropy of each step's batch."""

    number: int
    first_step: int
    losses: list[float]
    seconds: float


def train(
    forward: Forward,
    model: nn.Module,
    recipe: Recipe,
    examples: Examples,
    seed: int,
    machine: Machine,
    tick: Callable[[int], None],
) -> Iterator[Epoch]:
    """Trains `model` in place and yields after each epoch; `tick` hears of every step's number of images.

    Raises OneshotError (exit 1) when a loss is not finite.
    """
    optimizer = build_optimizer(recipe.optimizer, model.parameters())
    steps_per_epoch = max(1, len(examples) // recipe.batch_size)
    for number in range(1, recipe.epochs + 1):
        model.train()
        started, losses = time.perf_counter(), []
        first_step = (number - 1) * steps_per_epoch
        order = torch.randperm(len(examples), generator=generator(seed, "order", number)).to(machine.device)
        for index in range(steps_per_epoch):
            step = first_step + index
            batch = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            set_learning_rate(optimizer, recipe, step, recipe.epochs * steps_per_epoch)
            with machine.autocast():
                loss = cross_entropy(forward(examples.pixels(batch), step), examples.labels[batch])
            # To None, not to zero: a zero gradient would still move an unchosen path by momentum and weight decay.
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
            tick(len(batch))
        epoch = Epoch(number, first_step, torch.stack(losses).tolist(), time.perf_counter() - started)
        _refuse_bad_losses(epoch, optimizer)
        yield epoch


def build_optimizer(section: Sgd | Adadelta, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    # foreach: one call for all tensors of a kind. `fused` fails while a path not yet sampled has no momentum.
    settings = section.model_dump(exclude={"name"}) | {"foreach": True}
    kinds: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adadelta": torch.optim.Adadelta}
    return kinds[section.name](parameters, **settings)


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = recipe.optimizer.lr * schedule_factor(recipe.schedule, step, steps)


def schedule_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What step `step` of `steps` multiplies the learning rate by: a function of the step, so nothing to save."""
    warmup = schedule.warmup * steps
    if step + 1 < warmup:
        return (step + 1) / warmup
    done = max(0.0, step - warmup) / max(1.0, steps - warmup)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[schedule.name]


def _refuse_bad_losses(epoch: Epoch, optimizer: torch.optim.Optimizer) -> None:
    for index, loss in enumerate(epoch.losses):
        if not math.isfinite(loss):
            raise OneshotError(
                f"step {epoch.first_step + index} of epoch {epoch.number}: the loss is {loss}; it must be finite; "
                "lower optimizer.lr or lengthen schedule.warmup in params.yaml",
                TRAINING,
            )
