"""The usual recipe trains the networks that ours does, so that the benchmarks compare ways, not networks."""

import pytest
import torch
from project import ROOT

from benchmarks.usual import DepthsNet, Images, KernelsNet, load
from oneshot.params import load_params
from oneshot.space import architecture_id
from oneshot.supernet import SuperNet
from pipeline.layout import Layout

PARAMS = load_params(Layout(ROOT, ROOT).params)


def filled(network, weights):
    """The network with these weights, by the order in which both name them."""
    own = list(network.parameters())
    assert [tuple(weight.shape) for weight in own] == [tuple(weight.shape) for weight in weights]
    with torch.no_grad():
        for weight, other in zip(own, weights, strict=True):
            weight.copy_(other)
    return network.eval()


def weights_of(supernet, *names):
    return [weight for name in names for weight in supernet.steps[name].parameters()]


def assert_equal_logits(supernet, network, choice_of):
    supernet.eval()
    images = torch.rand(5, 1, 28, 28)
    for architecture in supernet.paths:
        ours, theirs = supernet(images, architecture), network(images, choice_of(architecture))
        assert torch.allclose(ours, theirs, atol=1e-5), architecture_id(architecture)


def test_kernels_of_the_usual_recipe_are_ours():
    supernet = SuperNet(PARAMS.studies["kernels-sum"].search_space(), seed=0)
    names = ("0-kernel3", "0-kernel5", "2-kernel3", "2-kernel5", "4-linear", "5-classifier")
    network = filled(KernelsNet(), weights_of(supernet, *names))

    assert_equal_logits(supernet, network, lambda architecture: [("3", "5").index(choice) for choice in architecture])


def test_depths_of_the_usual_recipe_are_ours():
    supernet = SuperNet(PARAMS.studies["depths"].search_space(), seed=0)
    layers = [f"{block}-layer{number}" for block in (1, 3) for number in (1, 2, 3)]
    convolutions = [name for layer in ("0-conv", "2-conv", *layers) for name in (layer, f"{layer}-norm")]
    network = filled(DepthsNet(), weights_of(supernet, *convolutions, "5-classifier"))

    assert_equal_logits(supernet, network, lambda architecture: [int(choice) for choice in architecture])


@pytest.mark.parametrize("training", [True, False])
def test_images_of_the_usual_recipe_are_ours(examples, training):
    seen = Images(examples)

    assert torch.allclose(torch.stack([image for image, _ in seen]), examples.pixels(), atol=1e-5)
    batches = load(examples, batch_size=7, workers=0, training=training)
    assert sum(len(labels) for _, labels in batches) == (21 if training else 24)
