"""A space lists its architectures, names them, and refuses layers that do not fit."""

import itertools
import re

import pytest
from conftest import CLASSES, INPUT_SHAPE, depth_space, kernel_space

from oneshot.blocks import ClassifierLayer, ConvLayer, DepthBlock, KernelBlock, LayerError, LinearLayer, MaxPoolLayer
from oneshot.operations import Conv
from oneshot.space import MAX_ARCHITECTURES, SearchSpace, architecture_id, canonical

CLASSIFIER = ClassifierLayer(layer="classifier", classes=CLASSES)
LINEAR = LinearLayer(layer="linear", features=6)
POOL = MaxPoolLayer(layer="max_pool", size=4)
BLOCK = DepthBlock(layer="depth_block", depths=[1, 2], kernel=3, sharing="prefix", batch_norm=False)
LONG_BLOCK = DepthBlock(layer="depth_block", depths=[*range(1, 17)], kernel=3, sharing="prefix", batch_norm=False)


def test_architectures_are_all_combinations_with_the_last_block_fastest():
    assert depth_space("prefix").architectures == tuple(itertools.product("123", repeat=2))


def test_architecture_ids_name_values_and_are_unique():
    space = kernel_space("sum", kernels=(3, (1, 9), (9, 1)))
    names = [architecture_id(architecture) for architecture in space.architectures]
    assert names[:4] == ["3-3", "3-1x9", "3-9x1", "1x9-3"]
    assert len(set(names)) == 9
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


def test_every_path_leads_from_image_to_classes_through_fitting_shapes(space):
    for architecture in space.architectures:
        shape = INPUT_SHAPE
        for step in space.path(architecture):
            if isinstance(step.operation, Conv):
                assert shape[0] == step.operation.in_channels
            shape = step.operation.output_shape(shape)
        assert shape == (CLASSES,)


def test_equal_names_within_a_space_mean_equal_operations(space):
    operations = {}
    for step in itertools.chain.from_iterable(map(space.path, space.architectures)):
        assert operations.setdefault(step.name, step.operation) == step.operation


@pytest.mark.parametrize("sharing", ["sum", "concat", "wide"])
def test_an_architecture_is_the_same_network_in_a_larger_space(sharing):
    small, large = kernel_space(sharing), kernel_space(sharing, kernels=(7, 3, 5))
    for architecture in small.architectures:
        assert canonical(small.path(architecture)) == canonical(large.path(architecture))


def test_sharing_of_depths_does_not_change_the_networks():
    prefix, block = depth_space("prefix"), depth_space("block")
    for architecture in prefix.architectures:
        assert canonical(prefix.path(architecture)) == canonical(block.path(architecture))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "last layer must be the classifier"),
        ((BLOCK, LINEAR), "last layer must be the classifier"),
        ((BLOCK, CLASSIFIER, LINEAR, CLASSIFIER), "layer 1: the classifier must be the last layer"),
        ((LINEAR, CLASSIFIER), "at least one choice block"),
        ((LINEAR, BLOCK, CLASSIFIER), "layer 1: it needs an image"),
        ((POOL, POOL, BLOCK, CLASSIFIER), "layer 1: nothing is left"),
        ((LONG_BLOCK, LONG_BLOCK, LONG_BLOCK, CLASSIFIER), f"4096 architectures; at most {MAX_ARCHITECTURES}"),
    ],
)
def test_layers_that_do_not_fit_are_refused_by_place(layers, message):
    with pytest.raises(ValueError, match=message) as refusal:
        SearchSpace(layers, INPUT_SHAPE)
    place = re.match(r"layer (\d+)", message)
    assert getattr(refusal.value, "index", None) == (int(place[1]) if place else None)
    assert isinstance(refusal.value, LayerError) == bool(place)


@pytest.mark.parametrize("kernel", [2, 0, -3, 29, True, 3.0, "3", [3], [3, 4], [1, 3, 5]])
def test_kernels_that_do_not_keep_the_shape_are_refused(kernel):
    with pytest.raises(ValueError, match="a kernel must be an odd size"):
        ConvLayer(layer="conv", channels=1, kernel=kernel, stride=1, batch_norm=False)


@pytest.mark.parametrize("kernels", [[3, 3], [3, [3, 3]], [[1, 9], [1, 9]]])
def test_repeated_kernels_are_refused(kernels):
    with pytest.raises(ValueError, match="kernels must differ"):
        KernelBlock(layer="kernel_block", kernels=kernels, channels=1, sharing="sum", batch_norm=False)


def test_repeated_depths_are_refused():
    with pytest.raises(ValueError, match="depths must differ"):
        depth_space("prefix", depths=(1, 2, 1))
