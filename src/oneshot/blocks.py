"""The layers of a search space as `params.yaml` declares them, and how each unfolds into operations for one choice.

Weight sharing is naming: two paths share a tensor where their steps carry the same name (see operations.Step).
The choice blocks are `kernel_block` (three ways of sharing) and `depth_block` (a variable number of layers).
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_validator

from oneshot.operations import (
    BatchNorm,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Relu,
    Shape,
    Step,
)
from oneshot.schema import Section, as_tuple


def _kernel(value: Any) -> tuple[int, int]:
    pair = value if isinstance(value, list | tuple) else [value, value]
    if len(pair) != 2 or not all(type(side) is int and side % 2 == 1 and 1 <= side <= 27 for side in pair):
        raise ValueError("a kernel must be an odd size from 1 to 27, or a pair [height, width] of them")
    return pair[0], pair[1]


Kernel = Annotated[tuple[int, int], BeforeValidator(_kernel)]
Choices = TypeVar("Choices", bound=tuple[Any, ...])
Channels = Annotated[int, Field(ge=1, le=1024)]


class LayerError(ValueError):
    """A layer that does not fit into its space; `index` is its place there."""

    def __init__(self, index: int, text: str):
        super().__init__(f"layer {index}: {text}")
        self.index, self.text = index, text


@dataclass(frozen=True)
class Flow:
    """What reaches a layer: the shape of one image, and, behind a `wide` block, which choice filled the channels."""

    shape: Shape
    after: str = ""


@dataclass
class Unfolding:
    """Collects the steps of one layer; `position` is the layer's place in the space and starts every name."""

    position: int
    flow: Flow
    steps: list[Step]

    def name(self, part: str) -> str:
        return f"{self.position}-{part}"

    def add(self, step: Step) -> None:
        if isinstance(step.operation, Conv | MaxPool | GlobalAveragePool) and len(self.flow.shape) != 3:
            raise LayerError(self.position, "it needs an image, but a layer before it has flattened it")
        self.steps.append(step)
        self.flow = Flow(step.operation.output_shape(self.flow.shape), self.flow.after)

    def conv(self, part: str, channels: int, kernel: tuple[int, int], stride: int, batch_norm: bool) -> None:
        """Convolution, then batch norm or a bias. Reads the block before it as `linear` does."""
        operation = Conv(self.flow.shape[0], channels, kernel, stride, bias=not batch_norm)
        self._weighted(part, operation)
        if batch_norm:
            self.add(Step(self.name(part + "-norm"), BatchNorm(channels)))

    def linear(self, part: str, features: int) -> None:
        if len(self.flow.shape) == 3:
            self.add(Step(self.name(part + "-flatten"), Flatten()))
        self._weighted(part, Linear(self.flow.shape[0], features))

    def relu(self, part: str = "relu") -> None:
        self.add(Step(self.name(part), Relu()))

    def _weighted(self, part: str, operation: Conv | Linear) -> None:
        # Behind a `wide` block the layer sees all branches side by side, all but the chosen one zero. Only the slice
        # of its weights that reads the chosen branch matters, so each slice is a tensor of its own, with one bias.
        self.add(Step(self.name(part) + self.flow.after, operation, bias_name=self.name(part)))
        self.flow = Flow(self.flow.shape)


class Layer(Section):
    """One entry of a space. A fixed layer has no choices and unfolds with the choice `""`."""

    def choices(self) -> tuple[str, ...]:
        return ()

    def unfold(self, into: Unfolding, choice: str) -> None:
        raise NotImplementedError


class ConvLayer(Layer):
    layer: Literal["conv"]
    channels: Channels
    kernel: Kernel
    """Odd size, or [height, width]."""
    stride: int = Field(ge=1, le=4)
    batch_norm: bool

    def unfold(self, into: Unfolding, choice: str) -> None:
        into.conv("conv", self.channels, self.kernel, self.stride, self.batch_norm)
        into.relu()


class MaxPoolLayer(Layer):
    layer: Literal["max_pool"]
    size: int = Field(ge=2, le=28)

    def unfold(self, into: Unfolding, choice: str) -> None:
        into.add(Step(into.name("pool"), MaxPool(self.size)))


class GlobalAveragePoolLayer(Layer):
    layer: Literal["global_average_pool"]

    def unfold(self, into: Unfolding, choice: str) -> None:
        into.add(Step(into.name("pool"), GlobalAveragePool()))


class LinearLayer(Layer):
    """A hidden layer: flatten, linear, ReLU."""

    layer: Literal["linear"]
    features: int = Field(ge=1, le=65536)

    def unfold(self, into: Unfolding, choice: str) -> None:
        into.linear("linear", self.features)
        into.relu()


class ClassifierLayer(Layer):
    """The last layer: flatten, linear to the dataset's classes."""

    layer: Literal["classifier"]
    classes: int = Field(ge=2, le=1000)

    def unfold(self, into: Unfolding, choice: str) -> None:
        into.linear("classifier", self.classes)


class KernelBlock(Layer):
    """A choice of kernel: one convolution of the chosen size that keeps height and width, then ReLU.

    `sum`: the branches' outputs are added. `concat`: they are concatenated, then a 1x1 convolution goes back to
    `channels`. `wide`: they are concatenated and passed on. An unchosen branch counts as zero, so it is not computed.
    """

    layer: Literal["kernel_block"]
    kernels: Annotated[tuple[Kernel, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=16)]
    """The choices: odd sizes or [height, width] pairs."""
    channels: Channels
    sharing: Literal["sum", "concat", "wide"]
    batch_norm: bool

    @field_validator("kernels")
    @classmethod
    def _distinct(cls, kernels: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return _without_repeats(kernels, "kernels")

    def choices(self) -> tuple[str, ...]:
        return tuple(_kernel_name(kernel) for kernel in self.kernels)

    def unfold(self, into: Unfolding, choice: str) -> None:
        kernel = self.kernels[self.choices().index(choice)]
        concat = self.sharing == "concat"
        into.conv(f"kernel{choice}", self.channels, kernel, 1, self.batch_norm and not concat)
        if concat:
            # The 1x1 convolution reads the concatenated branches just as any layer reads a wide block.
            into.flow = Flow(into.flow.shape, after=f"-after{choice}")
            into.conv("reduce", self.channels, (1, 1), 1, self.batch_norm)
        into.relu()
        if self.sharing == "wide":
            into.flow = Flow(into.flow.shape, after=f"-after{choice}")


class DepthBlock(Layer):
    """A choice of depth: so many convolution, batch norm, ReLU layers that keep the shape.

    `prefix`: a deeper choice runs the same first layers. `block`: each depth has layers of its own.
    """

    layer: Literal["depth_block"]
    depths: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1, max_length=16),
    ]
    """The choices: numbers of layers."""
    kernel: Kernel
    sharing: Literal["prefix", "block"]
    batch_norm: bool

    @field_validator("depths")
    @classmethod
    def _distinct(cls, depths: tuple[int, ...]) -> tuple[int, ...]:
        return _without_repeats(depths, "depths")

    def choices(self) -> tuple[str, ...]:
        return tuple(str(depth) for depth in self.depths)

    def unfold(self, into: Unfolding, choice: str) -> None:
        owner = "" if self.sharing == "prefix" else f"depth{choice}-"
        for number in range(1, int(choice) + 1):
            into.conv(f"{owner}layer{number}", into.flow.shape[0], self.kernel, 1, self.batch_norm)
            into.relu(f"{owner}layer{number}-relu")


AnyLayer = Annotated[
    ConvLayer | MaxPoolLayer | GlobalAveragePoolLayer | LinearLayer | ClassifierLayer | KernelBlock | DepthBlock,
    Field(discriminator="layer"),
]


def _kernel_name(kernel: tuple[int, int]) -> str:
    height, width = kernel
    return str(height) if height == width else f"{height}x{width}"


def _without_repeats(choices: Choices, what: str) -> Choices:
    if len(set(choices)) != len(choices):
        raise ValueError(f"{what} must differ from each other")
    return choices
