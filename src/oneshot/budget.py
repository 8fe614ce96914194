"""What training costs and how it was dealt: MACs of both arms, break-even, balance of the samples, best-of-epochs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from oneshot.sampling import imbalance

BACKWARD = 2  # the backward pass costs two forward passes: gradients of the inputs and of the weights
Rows = Sequence[Mapping[str, Any]]


def supernet_macs(sampling: Rows, batch_size: int, macs: Mapping[str, int]) -> int:
    """Forward and backward MACs of training the supernets of all seeds. sampling: rows of the sampling ledger."""
    return sum(
        (1 + BACKWARD) * int(row["trained"]) * batch_size * macs[row["name"]]
        for row in sampling
        if row["kind"] == "architecture"
    )


def standalone_macs(steps: int, batch_size: int, macs: Mapping[str, int], seeds: int) -> int:
    """Forward and backward MACs of `steps` steps for every architecture and seed."""
    return (1 + BACKWARD) * steps * batch_size * sum(macs.values()) * seeds


def break_even(supernet: float, standalones: float, architectures: int) -> int:
    """From how many architectures on the supernet is cheaper than training all of them, at their mean cost."""
    return int(supernet / (standalones / architectures)) + 1


def imbalances(sampling: Rows) -> dict[str, float]:
    """How unevenly the architectures, and the choices of a block, were trained: over the whole training, and in an
    epoch (`..._epoch`); the largest over blocks and seeds. sampling: rows of the sampling ledger."""
    found = {}
    for name in ("architectures", "choices"):
        rows = [row for row in sampling if (row["kind"] == "architecture") == (name == "architectures")]
        totals: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for row in rows:
            totals[row["seed"], row["kind"]][row["name"]] += int(row["trained"])
        found[name] = max(imbalance(counts.values()) for counts in totals.values())
        found[f"{name}_epoch"] = max(float(row["imbalance"]) for row in rows)
    return found


def best_epoch_gains(curves: Rows, column: str) -> list[float]:
    """Points that each network would gain on validation if its best epoch were reported instead of its last. Raises
    ValueError for an empty table."""
    accuracies: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in curves:
        accuracies[row["architecture"], row["seed"]].append(float(row[column]))
    if not accuracies:
        raise ValueError("no rows")
    return [100 * (max(values) - values[-1]) for values in accuracies.values()]
