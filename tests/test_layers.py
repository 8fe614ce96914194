"""Layers with memory layouts of their own compute what PyTorch's do."""

from functools import partial

import pytest
import torch
from conftest import needs_bf16
from torch import nn

from oneshot import layers, machine

FLAT = {layers.GlobalAveragePool: partial(nn.AdaptiveAvgPool2d, 1), layers.Flatten: nn.Flatten}
"""Beside each module of ours the one of PyTorch that it stands for."""


@pytest.mark.parametrize("module", FLAT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(32, 16, 14, 14), (250, 32, 14, 14), (3, 5, 9, 4)])
def test_a_flat_layer_is_pytorchs_bit_for_bit(module, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, dtype=dtype, generator=generator).to(memory_format=torch.channels_last)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    outputs = module()(ours), FLAT[module]()(theirs)
    for output in outputs:
        output.backward(torch.randn(output.shape, dtype=dtype, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(*outputs)
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("module", FLAT)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_before_a_flat_layer_are_channels_last(module, layout):
    gradients = []
    # As it reaches the operation before; what a leaf keeps is brought into the leaf's own layout.
    before = torch.randn(8, 16, 7, 7).to(memory_format=layout).requires_grad_()
    before.register_hook(gradients.append)
    module()(before.neg()).sum().backward()
    assert gradients[0].is_contiguous(memory_format=torch.channels_last)


def networks(middle, flat, channels=16, kernel=(3, 3), stride=1, side=28, batch=6, bias=True):
    """Images, and networks of ours and of PyTorch's with the same weights: two convolutions, each followed by
    `middle`, and `flat`."""
    built = []
    for convolution, flatten in ((layers.Convolution, flat), (nn.Conv2d, FLAT[flat])):
        torch.manual_seed(0)
        padding = kernel[0] // 2, kernel[1] // 2
        convolutions = [convolution(inputs, channels, kernel, stride, padding, bias=bias) for inputs in (1, channels)]
        parts = [part for each in convolutions for part in (each, *middle(channels))]
        built.append(nn.Sequential(*parts, flatten()).to(memory_format=torch.channels_last))
    return torch.randn(batch, 1, side, side, generator=torch.Generator().manual_seed(1)), *built


def run(network, images, dtype=torch.bfloat16):
    """Outputs, and the gradients of the images and of every weight, of a sum that weighs each output by another
    number."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs = network(images).flatten(1)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2)).to(outputs.dtype))
    return outputs.detach(), [images.grad, *(weight.grad for weight in network.parameters())]


MIDDLES = {
    "relu": lambda channels: (nn.ReLU(),),
    "pool": lambda channels: (nn.MaxPool2d(2), nn.ReLU()),
    "relu first": lambda channels: (nn.ReLU(), nn.MaxPool2d(3)),
}
SHAPES = [
    {},
    {"kernel": (5, 5)},
    {"kernel": (1, 9)},
    {"kernel": (9, 1)},
    {"kernel": (1, 1), "batch": 1},
    {"channels": 3, "side": 27},
    {"stride": 2, "side": 55},
    {"stride": 3, "side": 84, "channels": 33},
    {"bias": False},
]


@pytest.mark.parametrize(
    ("flat", "dtype"),
    [
        (layers.Flatten, torch.float32),
        (layers.Flatten, torch.bfloat16),
        (layers.GlobalAveragePool, torch.float32),  # the average of opaque images rounds otherwise
    ],
)
@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_pooling_and_relu_are_pytorchs_bit_for_bit(shape, middle, flat, dtype):
    images, *both = networks(MIDDLES[middle], flat, **shape)
    (outputs, gradients), (expected, expected_gradients) = (run(network, images, dtype) for network in both)
    assert outputs.dtype == expected.dtype == dtype
    assert torch.equal(outputs, expected)
    assert all(torch.equal(*pair) for pair in zip(gradients, expected_gradients, strict=True))


def test_a_pool_as_large_as_the_image_is_pytorchs_bit_for_bit():
    images, *both = networks(lambda channels: (nn.ReLU(),), layers.Flatten)
    (outputs, gradients), (expected, expected_gradients) = (
        run(nn.Sequential(*network[:-1], nn.MaxPool2d(28), network[-1]), images) for network in both
    )
    assert torch.equal(outputs, expected)
    assert all(torch.equal(*pair) for pair in zip(gradients, expected_gradients, strict=True))


@needs_bf16
@pytest.mark.parametrize("spread", [0, 3])
def test_the_average_of_opaque_images_is_pytorchs_within_a_rounding(spread):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 16, 14, 14, generator=generator)
    images *= (spread * torch.randn(images.shape, generator=generator)).exp()
    images = images.relu().bfloat16()
    expected = nn.AdaptiveAvgPool2d(1)(images)
    assert (layers.GlobalAveragePool()(images.to_mkldnn()).to_dense() - expected).abs().le(expected / 128).all()


def test_batch_norm_behind_a_convolution_is_pytorchs_within_its_rounding():
    images, *both = networks(lambda channels: (nn.BatchNorm2d(channels), nn.ReLU()), layers.Flatten, bias=False)
    (_, gradients), (_, expected) = (run(network.train(), images) for network in both)
    for mine, other in zip(gradients, expected, strict=True):
        assert (mine - other).norm() <= 0.02 * other.norm()
    for mine, other in zip(*(network.buffers() for network in both), strict=True):
        assert torch.allclose(mine, other, rtol=1e-3, atol=1e-5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(*(network.eval()(images) for network in both), atol=0.05)


@needs_bf16
def test_the_variance_of_opaque_images_is_the_more_exact_one():
    images = torch.randn(128, 16, 28, 28, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = images.double().var((0, 2, 3))
    errors = []
    for laid_out in (images.to_mkldnn(), images.to(memory_format=torch.channels_last)):
        norm = nn.BatchNorm2d(16, momentum=1.0)
        norm(laid_out)
        errors.append((norm.running_var - exact).abs().max())
    assert errors[0] < 0.2 * errors[1]


@needs_bf16
@pytest.mark.parametrize("pool", [(), (layers.GlobalAveragePool(),)])
def test_images_are_opaque_from_the_first_convolution_to_the_flattening(pool):
    images, ours, _ = networks(lambda channels: (nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()), layers.Flatten)
    *before, last = *ours[:-1], *pool, ours[-1]
    with torch.autocast("cpu", torch.bfloat16):
        for layer in before:
            images = layer(images)
            assert images.is_mkldnn
        assert not last(images).is_mkldnn


def test_in_float32_nothing_is_opaque():
    images, ours, _ = networks(MIDDLES["relu"], layers.Flatten)
    assert not ours[0](images).is_mkldnn


def test_without_bfloat16_of_its_own_a_processor_has_nothing_opaque(monkeypatch):
    monkeypatch.setattr(machine, "_has_native_bf16", lambda device: False)
    images, ours, _ = networks(MIDDLES["relu"], layers.Flatten)
    with torch.autocast("cpu", torch.bfloat16):
        assert not ours[0](images).is_mkldnn


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_channels_last_unless_images_become_opaque(precision):
    place = machine.Machine("cpu", precision, 1)
    convolution = place.place(layers.Convolution(16, 16, 3))
    with place.autocast():
        images = convolution(torch.randn(2, 16, 8, 8))
    assert images.is_mkldnn == place.opaque
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last) == (not place.opaque)
