"""Params and MACs of a path (1 MAC = 1 multiply-accumulate = 2 FLOPs), for one image."""

from collections.abc import Sequence

from oneshot.operations import Shape, Step
from oneshot.space import Architecture, SearchSpace


def count_params(path: Sequence[Step]) -> int:
    return sum(step.operation.params() for step in path)


def count_macs(path: Sequence[Step], input_shape: Shape) -> int:
    shape, macs = input_shape, 0
    for step in path:
        macs += step.operation.macs(shape)
        shape = step.operation.output_shape(shape)
    return macs


def by_size(space: SearchSpace) -> tuple[Architecture, ...]:
    """Smallest first: by MACs, then params, then place in the space's order."""

    def size(architecture: Architecture) -> tuple[int, int]:
        path = space.path(architecture)
        return count_macs(path, space.input_shape), count_params(path)

    return tuple(sorted(space.architectures, key=size))
