"""Params and MACs of a path (1 MAC = 1 multiply-accumulate = 2 FLOPs), for one image."""

from collections.abc import Sequence

from oneshot.operations import Shape, Step


def count_params(path: Sequence[Step]) -> int:
    return sum(step.operation.params() for step in path)


def count_macs(path: Sequence[Step], input_shape: Shape) -> int:
    shape, macs = input_shape, 0
    for step in path:
        macs += step.operation.macs(shape)
        shape = step.operation.output_shape(shape)
    return macs
