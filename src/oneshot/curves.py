"""Follows a training epoch by epoch: scores it, keeps the curve and a checkpoint, and times training and scoring."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from oneshot.checkpoint import Checkpoints
from oneshot.jobs import Reporter, Trained
from oneshot.state import tensors
from oneshot.training import Epoch, Trainer

Rows = list[Mapping[str, Any]]
Score = Callable[[Epoch], Mapping[str, Sequence[Mapping[str, Any]]]]
"""An epoch, of the model as it is then, to rows by the name of their table. `curve` is one of the tables."""


def follow(trainer: Trainer[Any], score: Score, reporter: Reporter, checkpoints: Checkpoints) -> Trained:
    """The model after the last epoch, with the rows of all epochs. Goes on from the newest checkpoint, if there is one:
    the result is the same, byte for byte."""
    epochs, seconds, tables = 0, {"train_seconds": 0.0, "evaluation_seconds": 0.0}, dict[str, Rows]()
    if kept := checkpoints.newest(reporter.note):
        trainer.restore(kept.tensors)
        epochs, seconds, tables = kept.epoch, kept.record["seconds"], kept.record["tables"]
        for _, of_epoch in groupby(tables["curve"], lambda row: row["epoch"]):
            reporter.epoch(list(of_epoch))
    for epoch in trainer.epochs(reporter.tick, after=epochs):
        started = time.perf_counter()
        for table, rows in score(epoch).items():
            tables.setdefault(table, []).extend(rows)
        seconds["train_seconds"] += epoch.seconds
        seconds["evaluation_seconds"] += time.perf_counter() - started
        checkpoints.keep(epoch.number, trainer.tensors(), {"seconds": seconds, "tables": tables})
        reporter.epoch([row for row in tables["curve"] if row["epoch"] == epoch.number])
    return Trained(tensors(trainer.model), tables | {key: round(value, 3) for key, value in seconds.items()})


def mean_loss(losses: Sequence[float]) -> float | None:
    """None if an epoch trained it not once."""
    return round(sum(losses) / len(losses), 6) if losses else None
