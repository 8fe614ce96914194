"""The one training loop, for supernet and standalone alike. Knows nothing of spaces, files or curves."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oneshot.data import Examples
from oneshot.errors import TRAINING, OneshotError
from oneshot.machine import Machine
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.randomness import generator

Forward = Callable[[Tensor], Tensor]
"""Images (batch, 1, 28, 28) -> logits (batch, classes) of one path."""
Paths = Callable[[int], Sequence[Forward]]
"""Step, counted from 0, to the paths that it trains; equally many in every step."""


@dataclass(frozen=True)
class Epoch:
    """number: counted from 1; first_step and losses (steps, paths): what each path lost on its step's batch."""

    number: int
    first_step: int
    losses: list[list[float]]
    seconds: float


def train(
    paths: Paths,
    model: nn.Module,
    recipe: Recipe,
    examples: Examples,
    seed: int,
    machine: Machine,
    tick: Callable[[int], None],
    *,
    distillation: bool = False,
    steps: int | None = None,
) -> Iterator[Epoch]:
    """Trains `model` in place and yields after each epoch; `tick` hears of every step's number of images.

    distillation: a step's first path learns from the labels, the others from its softmax (arXiv 1903.05134).
    steps: exactly so many instead of recipe.epochs, the schedule squeezed into them; the last epoch may be cut short.

    Raises OneshotError (exit 1) when a loss is not finite.
    """
    optimizer = build_optimizer(recipe.optimizer, model.parameters())
    epoch_steps = steps_per_epoch(len(examples), recipe.batch_size)
    steps = recipe.epochs * epoch_steps if steps is None else steps
    for number, first_step in enumerate(range(0, steps, epoch_steps), 1):
        model.train()
        started, losses = time.perf_counter(), []
        order = torch.randperm(len(examples), generator=generator(seed, "order", number)).to(machine.device)
        these_steps = range(first_step, min(first_step + epoch_steps, steps))
        for step, batch in zip(these_steps, torch.split(order, recipe.batch_size), strict=False):
            set_learning_rate(optimizer, recipe, step, steps)
            # To None, not to zero: a zero gradient would still move an unchosen path by momentum and weight decay.
            optimizer.zero_grad(set_to_none=True)
            losses.append(add_gradients(paths(step), examples.take(batch), distillation, machine))
            optimizer.step()
            tick(len(batch))
        epoch = Epoch(number, first_step, torch.stack(losses).tolist(), time.perf_counter() - started)
        _refuse_bad_losses(epoch)
        yield epoch


def steps_per_epoch(images: int, batch_size: int) -> int:
    return max(1, images // batch_size)


def add_gradients(paths: Sequence[Forward], batch: Examples, distillation: bool, machine: Machine) -> Tensor:
    """Adds to `grad` the gradient of the mean of the paths' losses, and returns these, (paths,).

    The mean, where FairNAS sums: what all paths share then sees the learning rate that it would see with one path.
    """
    images, targets, losses = batch.pixels(), batch.labels, []
    for forward in paths:
        with machine.autocast():
            logits = forward(images)
            loss = cross_entropy(logits, targets)
        # At once, so that only one path's graph is in memory.
        (loss / len(paths)).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        if distillation and targets is batch.labels:
            targets = logits.detach().float().softmax(1)
    return torch.stack(losses)


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


def _refuse_bad_losses(epoch: Epoch) -> None:
    for index, losses in enumerate(epoch.losses):
        if not math.isfinite(loss := sum(losses)):
            raise OneshotError(
                f"step {epoch.first_step + index} of epoch {epoch.number}: the loss is {loss}; it must be finite; "
                "lower optimizer.lr or lengthen schedule.warmup in params.yaml",
                TRAINING,
            )
