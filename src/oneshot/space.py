"""SearchSpace: the architectures that a list of layers spans, their names, and the path of operations of each.

Pure Python: knows nothing of tensors, images or files.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from oneshot.blocks import ClassifierLayer, Flow, Layer, LayerError, Unfolding
from oneshot.operations import MaxPool, Relu, Shape, Step

Architecture = tuple[str, ...]
"""One choice per choice block, in the space's order."""

# Each architecture is trained standalone, so a longer list is a mistake before it is a study.
MAX_ARCHITECTURES = 1000


def architecture_id(architecture: Architecture) -> str:
    return "-".join(architecture)


@dataclass(frozen=True)
class SearchSpace:
    """A list of layers, some of them choice blocks, for images of `input_shape` (channels, height, width).

    Raises ValueError if the layers do not fit together; LayerError, which is one, where a single layer does not.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape

    def __post_init__(self) -> None:
        if not self.layers or not isinstance(self.layers[-1], ClassifierLayer):
            raise ValueError("the last layer must be the classifier")
        if not self.blocks:
            raise ValueError("a space needs at least one choice block (kernel_block or depth_block)")
        count = prod(len(block) for block in self.blocks)
        if count > MAX_ARCHITECTURES:
            raise ValueError(f"{count} architectures; at most {MAX_ARCHITECTURES}, since each is trained standalone")
        # Shapes do not depend on the choices, so one path shows whether the layers fit.
        self.path(tuple(block[0] for block in self.blocks))

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """The choices of every choice block."""
        return tuple(layer.choices() for layer in self.layers if layer.choices())

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """All architectures, the last block's choice changing fastest."""
        return tuple(itertools.product(*self.blocks))

    def path(self, architecture: Architecture) -> tuple[Step, ...]:
        """The steps from image to logits. Equal names in two paths mean shared weights."""
        choices = iter(architecture)
        flow, steps = Flow(self.input_shape), []
        for position, layer in enumerate(self.layers):
            into = Unfolding(position, flow, [])
            layer.unfold(into, next(choices) if layer.choices() else "")
            self._check(position, layer, flow.shape, into)
            flow = into.flow
            steps += into.steps
        return tuple(_pool_first(steps))

    def _check(self, position: int, layer: Layer, before: Shape, into: Unfolding) -> None:
        if isinstance(layer, ClassifierLayer) and position != len(self.layers) - 1:
            raise LayerError(position, "the classifier must be the last layer")
        if 0 in into.flow.shape:
            raise LayerError(position, f"nothing is left of an input of {before}; use a smaller stride or pool")


def _pool_first(steps: Sequence[Step]) -> list[Step]:
    """Max pooling before the ReLU that it follows. Both keep the order of values, so logits and gradients are the same,
    bit for bit, but the ReLU has a quarter of the values left to do."""
    steps = list(steps)
    for index, (first, second) in enumerate(pairwise(steps)):
        if isinstance(first.operation, Relu) and isinstance(second.operation, MaxPool):
            # By a name of its own: in another path the same layer may stand before no pooling.
            steps[index : index + 2] = second, Step(f"{first.name}-pooled", Relu(pooled=True))
    return steps


def canonical(path: Sequence[Step]) -> tuple[Step, ...]:
    """The path as a network of its own, its steps named by position: what a standalone is, whatever its space."""
    return tuple(Step(str(index), step.operation) for index, step in enumerate(path))
