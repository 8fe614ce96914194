"""Scoring all paths as a tree equals scoring each network alone."""

import math

import pytest
import torch
from conftest import CLASSES, SPACES, needs_bf16
from torch import nn
from torch.nn.functional import kl_div

from oneshot.evaluation import (
    _moments,
    accuracies,
    build_tree,
    calibrate,
    calibrated_tree,
    log_probabilities,
    pool_moments,
    predict,
    score_inherited,
    score_paths,
    symmetrised_kl,
)
from oneshot.machine import Machine
from oneshot.params import Evaluate
from oneshot.state import tensors
from oneshot.supernet import SuperNet

NORM_SPACES = [name for name in SPACES if name.endswith("-norm")]
PLAIN_SPACES = [name for name in SPACES if not name.endswith("-norm")]
BATCH = 7
"""Does not divide the number of images."""


def trained_supernet(space, examples, machine):
    """With batch-norm buffers that mix all paths."""
    supernet = machine.place(SuperNet(space, seed=0)).train()
    for architecture in space.architectures:
        supernet(examples.take(slice(12)).pixels(), architecture)
    return supernet


def score(supernet, training, validation, section, machine):
    tree = calibrated_tree(supernet.paths, training, section, machine)
    recalibrated = score_paths(tree, validation, section, machine)
    inherited = score_inherited(supernet.paths, recalibrated, validation, section, machine)
    return {key: (recalibrated[key], inherited[key]) for key in recalibrated}


def nodes_of(nodes, architecture, path=()):
    """The tree's nodes from a root to where the architecture ends."""
    for node in nodes:
        here = (*path, node)
        if node.architecture == architecture:
            return here
        if found := nodes_of(node.children, architecture, here):
            return found
    return ()


def test_tree_holds_every_path_and_each_shared_prefix_once(space):
    paths = SuperNet(space, seed=0).paths
    tree = build_tree(paths)
    for architecture, path in paths.items():
        assert tuple(node.module for node in nodes_of(tree, architecture)) == path
    nodes, pending = 0, list(tree)
    while pending:
        node = pending.pop()
        nodes += 1
        pending += node.children
    prefixes = {tuple(map(id, path[: end + 1])) for path in paths.values() for end in range(len(path))}
    assert nodes == len(prefixes)


@torch.no_grad()
def test_predictions_of_the_tree_equal_each_network_alone(space, examples, machine):
    supernet = trained_supernet(space, examples, machine)
    predictions = predict(build_tree(supernet.paths), examples, BATCH, machine)
    assert tuple(predictions) == space.architectures
    for architecture, predicted in predictions.items():
        network = supernet.extract(architecture).eval()
        alone = torch.cat([network(chunk.pixels()).argmax(1) for chunk in examples.chunks(BATCH)])
        assert torch.equal(predicted, alone)


@torch.no_grad()
def test_recalibrated_predictions_of_the_tree_equal_each_network_alone(space, examples, machine):
    supernet = trained_supernet(space, examples, machine)
    tree = build_tree(supernet.paths)
    calibrate(tree, examples, BATCH, machine)
    together = predict(tree, examples, BATCH, machine)
    for architecture, predicted in together.items():
        alone = build_tree({architecture: tuple(supernet.extract(architecture))})
        calibrate(alone, examples, BATCH, machine)
        assert torch.equal(predicted, predict(alone, examples, BATCH, machine)[architecture])


@pytest.mark.parametrize("name", NORM_SPACES)
@torch.no_grad()
def test_recalibrated_statistics_equal_those_of_one_batch_through_one_path(name, examples, machine):
    supernet = trained_supernet(SPACES[name], examples, machine)
    tree = build_tree(supernet.paths)
    calibrate(tree, examples, BATCH, machine)
    for architecture in SPACES[name].architectures:
        outputs = examples.pixels()
        for module, node in zip(supernet.extract(architecture), nodes_of(tree, architecture), strict=True):
            if isinstance(module, nn.BatchNorm2d):
                variance, mean = torch.var_mean(outputs, dim=(0, 2, 3), correction=0)
                torch.testing.assert_close((node.mean, node.variance), (mean, variance), rtol=1e-4, atol=1e-5)
            outputs = module.train()(outputs)


@pytest.mark.parametrize("name", NORM_SPACES)
def test_recalibration_writes_no_tensor_of_the_model(name, examples, machine):
    supernet = trained_supernet(SPACES[name], examples, machine)
    before = {key: tensor.detach().clone() for key, tensor in tensors(supernet).items()}
    section = Evaluate(batch_size=BATCH, calibration_images=20)
    score(supernet, examples, examples, section, machine)
    assert all(torch.equal(tensor, before[key]) for key, tensor in tensors(supernet).items())


@pytest.mark.parametrize("name", NORM_SPACES)
def test_recalibration_changes_statistics(name, examples, machine):
    tree = build_tree(trained_supernet(SPACES[name], examples, machine).paths)
    calibrate(tree, examples, BATCH, machine)
    norms = [node for node in nodes_of(tree, SPACES[name].architectures[0]) if isinstance(node.module, nn.BatchNorm2d)]
    assert norms
    assert not any(torch.allclose(node.mean, node.module.running_mean, rtol=0.01) for node in norms)


@pytest.mark.parametrize("name", PLAIN_SPACES)
def test_recalibration_changes_nothing_without_batch_norm(name, examples, machine):
    supernet = SuperNet(SPACES[name], seed=0)
    tree = build_tree(supernet.paths)
    before = predict(tree, examples, BATCH, machine)
    calibrate(tree, examples, BATCH, machine)
    after = predict(tree, examples, BATCH, machine)
    assert all(torch.equal(after[architecture], before[architecture]) for architecture in before)
    section = Evaluate(batch_size=BATCH, calibration_images=20)
    scores = score(supernet, examples, examples, section, machine)
    assert scores == {key: (value, value) for key, value in accuracies(before, examples.labels).items()}


def test_scores_are_recalibrated_on_training_images_and_inherited(examples, machine):
    supernet = trained_supernet(SPACES["prefix-norm"], examples, machine)
    training, validation = examples.take(slice(16)), examples.take(slice(16, None))
    section = Evaluate(batch_size=BATCH, calibration_images=10)
    scores = score(supernet, training, validation, section, machine)
    tree = build_tree(supernet.paths)
    inherited = accuracies(predict(tree, validation, BATCH, machine), validation.labels)
    calibrate(tree, training.take(slice(10)), BATCH, machine)
    recalibrated = accuracies(predict(tree, validation, BATCH, machine), validation.labels)
    assert scores == {key: (recalibrated[key], inherited[key]) for key in inherited}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", NORM_SPACES)
def test_scores_do_not_depend_on_threads(name, threads, examples, machine):
    supernet = trained_supernet(SPACES[name], examples, machine)
    found = []
    for parts in (machine, Machine("cpu", "fp32", threads)):
        tree = build_tree(supernet.paths)
        calibrate(tree, examples, BATCH, parts)
        found.append(log_probabilities(tree, examples, BATCH, parts))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def uneven_batches():
    """Of different sizes and different means."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 4, 4, generator=generator) + shift for size, shift in ((5, 0.0), (3, 2.0), (1, -4.0))]


def pooled(batches):
    """(mean, variance)"""
    moments = [torch.var_mean(batch, dim=(0, 2, 3), correction=0) for batch in batches]
    return pool_moments(moments, [len(batch) for batch in batches])


def test_pooled_moments_equal_those_of_all_batches_together():
    variance, mean = torch.var_mean(torch.cat(uneven_batches()), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(pooled(uneven_batches()), (mean, variance))


def test_pooled_variance_is_not_the_mean_of_batch_variances():
    batches = uneven_batches()
    averaged = torch.stack([batch.var((0, 2, 3), correction=0) for batch in batches]).mean(0)
    assert (pooled(batches)[1] > 1.5 * averaged).all()


@needs_bf16
@pytest.mark.parametrize("shape", [(7, 16, 5, 5), (1, 3, 1, 1)])
def test_moments_of_opaque_images_are_those_of_the_images(shape):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = torch.var_mean(images.double(), (0, 2, 3), correction=0)
    for moment, expected in zip(_moments(images.to_mkldnn()), exact, strict=True):
        torch.testing.assert_close(moment.double(), expected, rtol=1e-5, atol=1e-6)


def test_accuracy_is_the_fraction_of_right_predictions():
    labels = torch.tensor([0, 1, 2, 3])
    assert accuracies({"a": labels, "b": torch.tensor([0, 1, 0, 0])}, labels) == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.no_grad()
def test_log_probabilities_are_those_of_each_network_alone(space, precision, examples):
    machine = Machine("cpu", precision, 1)
    supernet = trained_supernet(space, examples, machine)
    found = log_probabilities(build_tree(supernet.paths), examples, BATCH, machine)
    assert tuple(found) == space.architectures
    for architecture, scores in found.items():
        network = supernet.extract(architecture).eval()
        with machine.autocast():
            alone = torch.cat([network(chunk.pixels()).float() for chunk in examples.chunks(BATCH)])
        assert (scores.dtype, scores.shape) == (torch.float32, (len(examples), CLASSES))
        assert torch.equal(scores, alone.log_softmax(1))
        torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(examples)))


@torch.no_grad()
def test_log_probabilities_are_highest_where_the_tree_predicts(space, examples, machine):
    tree = build_tree(trained_supernet(space, examples, machine).paths)
    calibrate(tree, examples, BATCH, machine)
    predictions = predict(tree, examples, BATCH, machine)
    for architecture, scores in log_probabilities(tree, examples, BATCH, machine).items():
        assert torch.equal(scores.argmax(1), predictions[architecture])


def random_scores(seed, count=50, scale=5.0):
    return torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(seed)).mul(scale).log_softmax(1)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 5.0, 300.0])
def test_divergence_is_zero_of_the_same_symmetric_and_never_negative(scale):
    first, second = random_scores(0, scale=scale), random_scores(1, scale=scale)
    assert symmetrised_kl(first, first) == 0
    assert symmetrised_kl(first, second) == symmetrised_kl(second, first)
    assert 0 <= symmetrised_kl(first, second) < float("inf")
    assert (symmetrised_kl(first, second) > 0) == (scale > 0)


def test_divergence_equals_the_formula():
    first, second = random_scores(0), random_scores(1)
    both = kl_div(first, second, reduction="batchmean", log_target=True)
    both += kl_div(second, first, reduction="batchmean", log_target=True)
    assert symmetrised_kl(first, second) == pytest.approx(both.item(), rel=1e-5)
    halves = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert symmetrised_kl(*halves) == pytest.approx(0.25 * math.log(3), rel=1e-6)
