"""Follows a training epoch by epoch: scores it, keeps the curve, and times training and evaluation apart.

An epoch is scored on a copy of the model beside the training of the next one, which no score can change: so a supernet
on one thread keeps two cores busy.
"""

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from torch import nn

from oneshot.jobs import Reporter, Trained
from oneshot.supernet import tensors
from oneshot.training import Epoch

Row = Mapping[str, Any]
Model = TypeVar("Model", bound=nn.Module)
Score = Callable[[Epoch, Model], Sequence[Row]]


def follow(epochs: Iterable[Epoch], score: Score[Model], model: Model, reporter: Reporter) -> Trained:
    """The model after the last epoch, with the rows of all epochs. `score` is given a copy that is its own."""
    curve: list[Row] = []
    train_seconds = evaluation_seconds = 0.0

    def keep(scored: Future[tuple[Sequence[Row], float]]) -> None:
        nonlocal evaluation_seconds
        rows, seconds = scored.result()
        evaluation_seconds += seconds
        curve.extend(rows)
        reporter.epoch(rows)

    with ThreadPoolExecutor(1) as beside:
        scored = None
        for epoch in epochs:
            train_seconds += epoch.seconds
            if scored:
                keep(scored)
            scored = beside.submit(_score, score, epoch, copy.deepcopy(model))
        if scored:
            keep(scored)
    seconds = {"train_seconds": round(train_seconds, 3), "evaluation_seconds": round(evaluation_seconds, 3)}
    return Trained(tensors(model), {"curve": curve} | seconds)


def _score(score: Score[Model], epoch: Epoch, model: Model) -> tuple[Sequence[Row], float]:
    started = time.perf_counter()
    rows = score(epoch, model)
    return rows, time.perf_counter() - started


def mean_loss(losses: Sequence[float]) -> float:
    return round(sum(losses) / len(losses), 6)
