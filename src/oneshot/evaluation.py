"""Accuracy of many paths at once, with batch-norm statistics that belong to each path.

Paths are merged into a tree of shared prefixes: what two paths have in common is computed once. A layer's statistics
depend only on the layers before it, so a node of the tree is also the right place for them. They are recomputed on
training images, pooled exactly over all of them (not averaged over batches), on copies: the model's own buffers,
which mix all paths that trained them, are read for the `inherited` accuracy and never written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from oneshot.data import Examples
from oneshot.machine import Machine
from oneshot.params import Evaluate
from oneshot.space import Architecture


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


@torch.no_grad()
def calibrate(tree: list[Node], examples: Examples, batch_size: int, machine: Machine) -> None:
    """Sets the statistics of every batch-norm node to those of `examples`, pooled over all batches."""
    if not _any_batch_norm(tree):
        return
    with machine.autocast():
        _calibrate(tree, [chunk.pixels() for chunk in examples.chunks(batch_size)])


def _any_batch_norm(nodes: list[Node]) -> bool:
    return any(isinstance(node.module, nn.BatchNorm2d) or _any_batch_norm(node.children) for node in nodes)


def _calibrate(nodes: list[Node], batches: list[Tensor]) -> None:
    for node in nodes:
        outputs = _calibrate_node(node, batches)
        # Down a chain without branches in a loop, so that only branching points keep their activations in memory.
        while len(node.children) == 1:
            node = node.children[0]
            outputs = _calibrate_node(node, outputs)
        _calibrate(node.children, outputs)


def _calibrate_node(node: Node, batches: list[Tensor]) -> list[Tensor]:
    if isinstance(node.module, nn.BatchNorm2d):
        node.mean, node.variance = pooled_moments(batches)
    return [node(batch) for batch in batches]


def pooled_moments(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel, float32 (channels,), of all batches (n, channels, height, width) together.

    Per batch in float32, combined in float64 by the exact rule for groups (Chan, Golub, LeVeque 1983):
    averaging batch variances alone would lose the variance of the batch means.
    """
    moments = [torch.var_mean(batch.float(), dim=(0, 2, 3), correction=0) for batch in batches]
    variances, means = (torch.stack(list(part)).cpu().double() for part in zip(*moments, strict=True))
    weights = torch.tensor([len(batch) for batch in batches], dtype=torch.float64).unsqueeze(1)
    weights /= weights.sum()
    mean = (weights * means).sum(0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(0)
    return mean.float().to(batches[0].device), variance.float().to(batches[0].device)


def predict(tree: list[Node], examples: Examples, batch_size: int, machine: Machine) -> dict[Architecture, Tensor]:
    """Predicted class of every image (count,) for every path of the tree, batch-norm layers in evaluation mode."""
    return _collect(lambda logits: logits.argmax(1), tree, examples, batch_size, machine)


def log_probabilities(
    tree: list[Node], examples: Examples, batch_size: int, machine: Machine
) -> dict[Architecture, Tensor]:
    """Log-softmax of every image, float32 (count, classes) for every path of the tree, as `predict` has it."""
    return _collect(lambda logits: logits.float().log_softmax(1), tree, examples, batch_size, machine)


@torch.no_grad()
def _collect(
    measure: Callable[[Tensor], Tensor], tree: list[Node], examples: Examples, batch_size: int, machine: Machine
) -> dict[Architecture, Tensor]:
    """`measure` of each batch's logits, put together over all images."""
    measured: dict[Architecture, list[Tensor]] = {}
    with machine.autocast():
        for chunk in examples.chunks(batch_size):
            for architecture, logits in _walk(tree, chunk.pixels()):
                measured.setdefault(architecture, []).append(measure(logits))
    return {architecture: torch.cat(parts) for architecture, parts in measured.items()}


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


def score_subnets(
    paths: Mapping[Architecture, Sequence[nn.Module]],
    calibrated: list[Node],
    validation: Examples,
    section: Evaluate,
    machine: Machine,
) -> dict[Architecture, tuple[float, float]]:
    """Validation accuracy of every path: (as calibrated, with inherited buffers)."""
    recalibrated = accuracies(predict(calibrated, validation, section.batch_size, machine), validation.labels)
    if not _any_batch_norm(calibrated):
        return {architecture: (accuracy, accuracy) for architecture, accuracy in recalibrated.items()}
    inherited = accuracies(predict(build_tree(paths), validation, section.batch_size, machine), validation.labels)
    return {architecture: (recalibrated[architecture], inherited[architecture]) for architecture in paths}


def accuracies(predictions: Mapping[Architecture, Tensor], labels: Tensor) -> dict[Architecture, float]:
    """Fractions in 0..1, in the predictions' order."""
    return {key: (predicted == labels).sum().item() / len(labels) for key, predicted in predictions.items()}


def symmetrised_kl(first: Tensor, second: Tensor) -> float:
    """KL(p|q) + KL(q|p) in nats, mean over images, of log-probabilities (count, classes)."""
    return float(((first.exp() - second.exp()) * (first - second)).sum(1).mean())
