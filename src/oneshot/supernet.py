"""SuperNet: the weights of every path of a space, and one path per forward call. A standalone is a plain Sequential.

The architecture is an argument, never a state of the model. A path that a step does not run gets no gradient at all
(`None`, not zero), so no optimizer moves its weights, and its batch-norm buffers are not touched.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from oneshot import layers
from oneshot.operations import (
    BatchNorm,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Operation,
    Relu,
    Step,
)
from oneshot.randomness import derive
from oneshot.space import Architecture, SearchSpace


def build_module(operation: Operation) -> nn.Module:
    match operation:
        case Conv(in_channels, out_channels, kernel, stride, bias):
            padding = (kernel[0] // 2, kernel[1] // 2)
            return layers.Convolution(in_channels, out_channels, kernel, stride, padding, bias=bias)
        case BatchNorm(channels):
            return nn.BatchNorm2d(channels)
        case Linear(in_features, out_features):
            return nn.Linear(in_features, out_features)
        case Relu(pooled):
            return nn.ReLU(inplace=not pooled)  # the gradient of oneDNN's max pooling reads what it gave
        case MaxPool(size):
            return nn.MaxPool2d(size)
        case GlobalAveragePool():
            return layers.GlobalAveragePool()
        case Flatten():
            return layers.Flatten()
    raise TypeError(operation)


def _initialised(step: Step, seed: int) -> nn.Module:
    """PyTorch's default initialisation, from a stream of the step's own, whatever else is in the space."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initialisation", step.name))
        return build_module(step.operation)


class SuperNet(nn.Module):
    def __init__(self, space: SearchSpace, seed: int):
        super().__init__()
        self.steps = nn.ModuleDict()
        self.paths: dict[Architecture, tuple[nn.Module, ...]] = {}
        biases: dict[str, nn.Parameter] = {}
        for architecture in space.architectures:
            path = space.path(architecture)
            for step in path:
                if step.name not in self.steps:
                    self._add(step, seed, biases)
            self.paths[architecture] = tuple(self.steps[step.name] for step in path)

    def _add(self, step: Step, seed: int, biases: dict[str, nn.Parameter]) -> None:
        module = _initialised(step, seed)
        if step.bias_name and module.bias is not None:
            # Initialised by the shared name, so that it is not the luck of the slice that comes first.
            if step.bias_name not in biases:
                biases[step.bias_name] = _initialised(replace(step, name=step.bias_name), seed).get_parameter("bias")
            module.bias = biases[step.bias_name]
        self.steps[step.name] = module

    def forward(self, images: Tensor, architecture: Architecture) -> Tensor:
        """images (batch, 1, height, width) -> logits (batch, classes) of one subnet."""
        for module in self.paths[architecture]:
            images = module(images)
        return images

    def extract(self, architecture: Architecture) -> nn.Sequential:
        """A plain network with copies of the subnet's weights and buffers; the same logits, bit for bit."""
        return nn.Sequential(*(copy.deepcopy(module) for module in self.paths[architecture]))


def build_standalone(path: Sequence[Step], seed: int) -> nn.Sequential:
    """A freshly initialised network of a canonical path (see space.canonical)."""
    return nn.Sequential(*(_initialised(step, seed) for step in path))
