"""Accuracy of many paths at once, with batch-norm statistics that belong to each path.

Paths are merged into a tree of shared prefixes: what two paths have in common is computed once. A layer's statistics
depend only on the layers before it, so a node of the tree is also the right place for them. They are recomputed on
training images, pooled exactly over all of them (not averaged over batches), on copies: the model's own buffers,
which mix all paths that trained them, are read for the `inherited` accuracy and never written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from oneshot.data import Examples
from oneshot.machine import Machine
from oneshot.params import Evaluate
from oneshot.space import Architecture

Result = TypeVar("Result")


@dataclass
class Node:
    """A module of one or more paths; `architecture` where a path ends. mean, variance: (channels,), if calibrated."""

    module: nn.Module
    children: list["Node"] = field(default_factory=list)
    architecture: Architecture | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        if isinstance(self.module, nn.BatchNorm2d):
            norm = self.module
            mean, variance = (norm.running_mean, norm.running_var) if self.mean is None else (self.mean, self.variance)
            return batch_norm(inputs, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)
        if isinstance(self.module, nn.ReLU):
            return inputs.relu()  # not in place: another node may read the same inputs
        outputs: Tensor = self.module(inputs)
        return outputs


def build_tree(paths: Mapping[Architecture, Sequence[nn.Module]]) -> list[Node]:
    roots: list[Node] = []
    for architecture, path in paths.items():
        siblings = roots
        for module in path:
            if not any(node.module is module for node in siblings):
                siblings.append(Node(module))
            node = next(node for node in siblings if node.module is module)
            siblings = node.children
        node.architecture = architecture
    return roots


def calibrate(tree: list[Node], examples: Examples, batch_size: int, machine: Machine) -> None:
    """Sets the statistics of every batch-norm node to those of `examples`, pooled over all batches."""
    if has_batch_norm(tree):
        _calibrate(tree, [chunk.pixels() for chunk in examples.chunks(batch_size)], machine)


def has_batch_norm(nodes: list[Node]) -> bool:
    return any(isinstance(node.module, nn.BatchNorm2d) or has_batch_norm(node.children) for node in nodes)


def _each(function: Callable[[Any], Result], items: Iterable[Any], machine: Machine) -> list[Result]:
    """`function` of each, without gradients, in the machine's precision: both are settings of a thread."""

    def infer(item: Any) -> Result:
        with torch.no_grad(), machine.autocast():
            return function(item)

    return machine.map(infer, items)


def _calibrate(nodes: list[Node], batches: list[Tensor], machine: Machine) -> None:
    for node in nodes:
        outputs = _calibrate_node(node, batches, machine)
        # Down a chain without branches in a loop, so that only branching points keep their activations in memory.
        while len(node.children) == 1:
            node = node.children[0]
            outputs = _calibrate_node(node, outputs, machine)
        _calibrate(node.children, outputs, machine)


def _calibrate_node(node: Node, batches: list[Tensor], machine: Machine) -> list[Tensor]:
    if isinstance(node.module, nn.BatchNorm2d):
        moments = _each(_moments, batches, machine)
        node.mean, node.variance = pool_moments(moments, [len(batch) for batch in batches])
    return _each(node, batches, machine)


def _moments(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Biased variance and mean per channel, float32 (channels,)."""
    channels, count = batch.shape[1], batch.numel() // batch.shape[1]
    if count == 1:  # which batch norm refuses
        return torch.zeros(channels, device=batch.device), batch.to_dense().float().flatten()
    mean, variance, bias = torch.zeros(3, channels, device=batch.device)
    # What batch norm does in training, with a momentum that keeps nothing of before: a pass that is fast in bfloat16,
    # eight times as fast as var_mean. It estimates the variance of a population.
    # Opaque images (see layers) need a weight and a bias.
    batch_norm(batch, mean, variance, torch.ones_like(mean), bias, training=True, momentum=1.0)
    return variance * ((count - 1) / count), mean


def pool_moments(moments: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel, float32 (channels,), of all batches together, from each one's variance
    and mean and its number of images.

    Combined in float64 by the exact rule for groups (Chan, Golub, LeVeque 1983):
    averaging batch variances alone would lose the variance of the batch means.
    """
    variances, means = (torch.stack(list(part)).cpu().double() for part in zip(*moments, strict=True))
    weights = torch.tensor(counts, dtype=torch.float64).unsqueeze(1)
    weights /= weights.sum()
    mean = (weights * means).sum(0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(0)
    device = moments[0][0].device
    return mean.float().to(device), variance.float().to(device)


def predict(tree: list[Node], examples: Examples, batch_size: int, machine: Machine) -> dict[Architecture, Tensor]:
    """Predicted class of every image (count,) for every path of the tree, batch-norm layers in evaluation mode."""
    return _collect(lambda logits: logits.argmax(1), tree, examples, batch_size, machine)


def log_probabilities(
    tree: list[Node], examples: Examples, batch_size: int, machine: Machine
) -> dict[Architecture, Tensor]:
    """Log-softmax of every image, float32 (count, classes) for every path of the tree, as `predict` has it."""
    return _collect(lambda logits: logits.float().log_softmax(1), tree, examples, batch_size, machine)


def _collect(
    measure: Callable[[Tensor], Tensor], tree: list[Node], examples: Examples, batch_size: int, machine: Machine
) -> dict[Architecture, Tensor]:
    """`measure` of each batch's logits, put together over all images."""

    def measure_chunk(chunk: Examples) -> dict[Architecture, Tensor]:
        return {architecture: measure(logits) for architecture, logits in _walk(tree, chunk.pixels())}

    chunks = _each(measure_chunk, examples.chunks(batch_size), machine)
    return {architecture: torch.cat([chunk[architecture] for chunk in chunks]) for architecture in chunks[0]}


def _walk(nodes: list[Node], inputs: Tensor) -> Iterator[tuple[Architecture, Tensor]]:
    for node in nodes:
        outputs = node(inputs)
        if node.architecture is not None:
            yield node.architecture, outputs
        yield from _walk(node.children, outputs)


def calibrated_tree(
    paths: Mapping[Architecture, Sequence[nn.Module]], training: Examples, section: Evaluate, machine: Machine
) -> list[Node]:
    """The paths as a tree, with statistics of the first `calibration_images` training images."""
    tree = build_tree(paths)
    calibrate(tree, training.take(slice(section.calibration_images)), section.batch_size, machine)
    return tree


def score_paths(tree: list[Node], examples: Examples, section: Evaluate, machine: Machine) -> dict[Architecture, float]:
    """Accuracy of every path of the tree."""
    return accuracies(predict(tree, examples, section.batch_size, machine), examples.labels)


def score_inherited(
    paths: Mapping[Architecture, Sequence[nn.Module]],
    recalibrated: Mapping[Architecture, float],
    examples: Examples,
    section: Evaluate,
    machine: Machine,
) -> Mapping[Architecture, float]:
    """Accuracy of every path with the buffers that all paths share; without batch norm, what it is recalibrated."""
    tree = build_tree(paths)
    return score_paths(tree, examples, section, machine) if has_batch_norm(tree) else recalibrated


def accuracies(predictions: Mapping[Architecture, Tensor], labels: Tensor) -> dict[Architecture, float]:
    """Fractions in 0..1, in the predictions' order."""
    return {key: (predicted == labels).sum().item() / len(labels) for key, predicted in predictions.items()}


def symmetrised_kl(first: Tensor, second: Tensor) -> float:
    """KL(p|q) + KL(q|p) in nats, mean over images, of log-probabilities (count, classes)."""
    return float(((first.exp() - second.exp()) * (first - second)).sum(1).mean())
