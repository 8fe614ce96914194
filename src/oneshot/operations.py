"""The operations that networks are made of, as plain data: shapes, params and MACs without torch.

A shape is (channels, height, width) of one image, or (features,) after flattening.
One MAC is one multiply-accumulate (2 FLOPs); batch norm, bias, ReLU and pooling count none, as is usual.
"""

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """Without weights, and shape-preserving, unless a subclass says otherwise."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def params(self) -> int:
        return 0

    def macs(self, shape: Shape) -> int:
        return 0


@dataclass(frozen=True)
class Conv(Operation):
    """Convolution, zero-padded by half the kernel: height and width are kept at stride 1."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    bias: bool

    def output_shape(self, shape: Shape) -> Shape:
        _, height, width = shape
        return self.out_channels, -(-height // self.stride), -(-width // self.stride)

    def params(self) -> int:
        return self.out_channels * (self.in_channels * prod(self.kernel) + self.bias)

    def macs(self, shape: Shape) -> int:
        return prod(self.output_shape(shape)) * self.in_channels * prod(self.kernel)


@dataclass(frozen=True)
class Linear(Operation):
    in_features: int
    out_features: int

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_features,)

    def params(self) -> int:
        return self.out_features * (self.in_features + 1)

    def macs(self, shape: Shape) -> int:
        return self.out_features * self.in_features


@dataclass(frozen=True)
class BatchNorm(Operation):
    channels: int

    def params(self) -> int:
        return 2 * self.channels


@dataclass(frozen=True)
class Relu(Operation):
    """pooled: behind a max pooling."""

    pooled: bool = False


@dataclass(frozen=True)
class MaxPool(Operation):
    size: int

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        return channels, height // self.size, width // self.size


@dataclass(frozen=True)
class GlobalAveragePool(Operation):
    def output_shape(self, shape: Shape) -> Shape:
        return shape[0], 1, 1


@dataclass(frozen=True)
class Flatten(Operation):
    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


@dataclass(frozen=True)
class Step:
    """One operation of a path. Within a space, steps of equal `name` share all their weights, and steps of equal
    `bias_name` share the bias: this is the whole of weight sharing."""

    name: str
    operation: Operation
    bias_name: str = ""
