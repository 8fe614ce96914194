"""The usual recipe trains the networks that ours does, so that the benchmarks compare ways, not networks."""

import pytest
import torch
from project import ROOT

from benchmarks.machine import native_precisions
from benchmarks.usual import NETWORKS, Images, load
from oneshot import machine
from oneshot.params import load_params
from oneshot.space import architecture_id
from oneshot.supernet import SuperNet
from pipeline.layout import Layout

PARAMS = load_params(Layout(ROOT, ROOT).params)


def assert_equal_logits(study, names):
    """names: of the supernet's steps, in the order in which the usual network has their weights."""
    supernet = SuperNet(PARAMS.studies[study].search_space(), seed=0).eval()
    build, number = NETWORKS[study]
    network = build().eval()
    weights = [weight for name in names for weight in supernet.steps[name].parameters()]
    own = list(network.parameters())
    assert [tuple(weight.shape) for weight in own] == [tuple(weight.shape) for weight in weights]
    with torch.no_grad():
        for weight, other in zip(own, weights, strict=True):
            weight.copy_(other)
    images = torch.rand(5, 1, 28, 28)
    for architecture in supernet.paths:
        ours, theirs = supernet(images, architecture), network(images, tuple(map(number, architecture)))
        assert torch.allclose(ours, theirs, atol=1e-5), architecture_id(architecture)


def test_kernels_of_the_usual_recipe_are_ours():
    assert_equal_logits("kernels-sum", ("0-kernel3", "0-kernel5", "2-kernel3", "2-kernel5", "4-linear", "5-classifier"))


def test_depths_of_the_usual_recipe_are_ours():
    layers = [f"{block}-layer{number}" for block in (1, 3) for number in (1, 2, 3)]
    convolutions = [name for layer in ("0-conv", "2-conv", *layers) for name in (layer, f"{layer}-norm")]
    assert_equal_logits("depths", (*convolutions, "5-classifier"))


@pytest.mark.parametrize("training", [True, False])
def test_images_of_the_usual_recipe_are_ours(examples, training):
    seen = Images(examples)

    assert torch.allclose(torch.stack([image for image, _ in seen]), examples.pixels(), atol=1e-5)
    batches = load(examples, batch_size=7, workers=0, training=training)
    assert sum(len(labels) for _, labels in batches) == (21 if training else 24)


@pytest.mark.parametrize(("native", "measured"), [(True, ["bf16", "fp32"]), (False, ["fp32"])])
def test_only_what_the_processor_has_natively_is_measured(native, measured, monkeypatch):
    monkeypatch.setattr(machine, "_has_native_bf16", lambda device: native)

    assert native_precisions() == measured
