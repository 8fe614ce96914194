"""Follows a training epoch by epoch: scores it, keeps the curve, and times training and evaluation apart."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from oneshot.jobs import Reporter, Trained
from oneshot.supernet import tensors
from oneshot.training import Epoch

Row = Mapping[str, Any]


def follow(
    epochs: Iterable[Epoch], score: Callable[[Epoch], Sequence[Row]], model: nn.Module, reporter: Reporter
) -> Trained:
    """The model after the last epoch, with the rows of all epochs."""
    curve: list[Row] = []
    train_seconds = evaluation_seconds = 0.0
    for epoch in epochs:
        started = time.perf_counter()
        rows = score(epoch)
        evaluation_seconds += time.perf_counter() - started
        train_seconds += epoch.seconds
        curve += rows
        reporter.epoch(rows)
    seconds = {"train_seconds": round(train_seconds, 3), "evaluation_seconds": round(evaluation_seconds, 3)}
    return Trained(tensors(model), {"curve": curve} | seconds)


def mean_loss(losses: Sequence[float]) -> float:
    return round(sum(losses) / len(losses), 6)
