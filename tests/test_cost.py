"""Counted params and MACs equal what PyTorch has and does."""

from pathlib import Path

import torch
from conftest import INPUT_SHAPE, SPACES, kernel_space
from torch.utils.flop_counter import FlopCounterMode

from oneshot.cost import count_macs, count_params
from oneshot.params import load_params
from oneshot.supernet import SuperNet


def test_macs_are_half_of_the_flops_that_torch_counts(space):
    supernet = SuperNet(space, seed=0).eval()
    for architecture in space.architectures:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            supernet.extract(architecture)(torch.zeros(1, *INPUT_SHAPE))
        assert 2 * count_macs(space.path(architecture), INPUT_SHAPE) == counter.get_total_flops() > 0


def test_params_are_the_elements_of_the_extracted_parameters(space):
    supernet = SuperNet(space, seed=0)
    for architecture in space.architectures:
        elements = sum(parameter.numel() for parameter in supernet.extract(architecture).parameters())
        assert count_params(space.path(architecture)) == elements > 0


def test_kernels_of_one_area_cost_the_same():
    space = kernel_space("sum", kernels=(3, (1, 9), (9, 1)))
    costs = {(count_params(path), count_macs(path, INPUT_SHAPE)) for path in map(space.path, space.architectures)}
    assert len(costs) == 1


def test_architectures_of_the_study_shapes_have_one_size():
    space = load_params(Path(__file__).parents[1] / "params.yaml").studies["shapes"].search_space()
    costs = {(count_params(path), count_macs(path, space.input_shape)) for path in map(space.path, space.architectures)}
    assert (len(space.architectures), len(costs)) == (9, 1)


def test_a_deeper_choice_costs_more():
    space = SPACES["prefix-norm"]
    costs = [count_macs(space.path((depth, "1")), INPUT_SHAPE) for depth in "123"]
    assert costs == sorted(set(costs))
