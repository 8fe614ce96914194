"""A supernet touches the chosen path alone, and computes what the sharing's formula says."""

import itertools
from itertools import pairwise

import pytest
import torch
from conftest import SPACES, depth_space, kernel_space
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, linear, max_pool2d, relu
from torch.optim.optimizer import register_optimizer_step_post_hook

from oneshot.machine import Machine
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.sampling import build_sampler
from oneshot.space import architecture_id, canonical
from oneshot.state import restore, tensors
from oneshot.supernet import SuperNet, build_standalone
from oneshot.training import Trainer

OPTIMIZERS = {
    "sgd": Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adadelta": Adadelta(name="adadelta", lr=1.0, rho=0.9, weight_decay=0.01),
}
KERNELS = {"3": 0.0, "5": 1.0}
"""The value of `choice` that leaves each branch alone."""


def snapshot(model, optimizer_state):
    """The bytes of every weight, buffer and optimizer tensor, by (name, kind)."""
    content = {}
    for name, tensor in tensors(model).items():
        parts = {"value": tensor} | optimizer_state.get(tensor, {})
        content |= {(name, kind): part.detach().numpy().tobytes() for kind, part in parts.items()}
    return content


def train_and_record(space, choose, optimizer, examples, machine, distillation=False):
    """A supernet trained for 8 steps, and its snapshots before the first and after every step."""
    supernet = machine.place(SuperNet(space, seed=0))
    states = [snapshot(supernet, {})]
    hook = register_optimizer_step_post_hook(lambda this, *_: states.append(snapshot(supernet, this.state)))
    schedule = Schedule(name="constant", warmup=0.0)
    recipe = Recipe(epochs=2, batch_size=6, optimizer=OPTIMIZERS[optimizer], schedule=schedule)

    named = {architecture_id(architecture): architecture for architecture in space.architectures}
    trainer = Trainer(
        supernet,
        lambda model, images, name: model(images, named[name]),
        lambda step: [architecture_id(architecture) for architecture in choose(step)],
        recipe,
        examples,
        0,
        machine,
        distillation=distillation,
    )
    try:
        list(trainer.epochs(lambda images: None))
    finally:
        hook.remove()
    assert len(states) == 1 + 8
    return supernet, states


def names_on_path(supernet, space, architecture):
    modules = [supernet.steps[step.name] for step in space.path(architecture)]
    used = {id(tensor) for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return {name for name, tensor in tensors(supernet).items() if id(tensor) in used}


@pytest.mark.parametrize(
    ("sampler", "distillation"),
    [("uniform", False), ("cycle", False), ("strict_fair", False), ("sandwich", False), ("sandwich", True)],
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_unchosen_path_keeps_every_bit(space, optimizer, sampler, distillation, examples, machine):
    choose = build_sampler(sampler, space, seed=0)
    supernet, states = train_and_record(space, choose, optimizer, examples, machine, distillation)
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        changed = {key for key in after if before.get(key) != after[key]}
        on_path = set().union(*(names_on_path(supernet, space, architecture) for architecture in choose(step)))
        assert {name for name, _ in changed} == on_path
        assert {name for name, kind in changed if kind == "value"} == on_path


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("sharing", "block", "layer"),
    [("concat", 0, "0-reduce"), ("concat", 1, "2-reduce"), ("wide", 0, "2-kernel3"), ("wide", 1, "4-linear")],
)
def test_slice_that_reads_an_unchosen_branch_keeps_every_bit(sharing, block, layer, optimizer, examples, machine):
    architectures = [("3", "3"), ("3", "5") if block else ("5", "3")]
    space = kernel_space(sharing)
    _, states = train_and_record(space, lambda step: architectures[step % 2 :][:1], optimizer, examples, machine)
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        for kernel in KERNELS:
            moved = any(
                before.get(key) != after[key] for key in after if key[0] == f"steps.{layer}-after{kernel}.weight"
            )
            assert moved == (kernel == architectures[step % 2][block])


def test_unchosen_batch_norm_buffers_keep_every_bit(examples):
    supernet = SuperNet(kernel_space("wide", batch_norm=True), seed=0).train()
    norms = supernet.steps["0-kernel3-norm"], supernet.steps["0-kernel5-norm"]
    before = [norm.running_mean.clone() for norm in norms]
    supernet(examples.pixels(), ("5", "3"))
    assert torch.equal(norms[0].running_mean, before[0])
    assert not torch.equal(norms[1].running_mean, before[1])
    assert [norm.num_batches_tracked.item() for norm in norms] == [0, 1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_extracted_subnet_gives_the_same_bits(space, precision, examples):
    machine = Machine("cpu", precision, 1)
    supernet, images = machine.place(SuperNet(space, seed=0)).train(), examples.pixels()
    for architecture in space.architectures:
        supernet(images, architecture)  # so that no batch-norm buffer is as it began
    supernet.eval()
    with torch.no_grad(), machine.autocast():
        logits = [supernet(images, architecture) for architecture in space.architectures]
        alone = [supernet.extract(architecture)(images) for architecture in space.architectures]
    assert all(torch.equal(*pair) for pair in zip(logits, alone, strict=True))
    assert not any(torch.equal(*pair) for pair in itertools.pairwise(logits))


def test_extracted_subnet_is_a_copy(space):
    supernet = SuperNet(space, seed=0)
    before = snapshot(supernet, {})
    for tensor in tensors(supernet.extract(space.architectures[-1])).values():
        tensor.detach().zero_()
    assert snapshot(supernet, {}) == before


def whole_weight(steps, name):
    """The weight of the layer that reads both branches side by side: its slices, concatenated."""
    return torch.cat([steps[f"{name}-after{kernel}"].weight for kernel in KERNELS], 1)


def branches(x, position, choice, convolve):
    """Both outputs, the unchosen one multiplied by zero."""
    weights = (1 - KERNELS[choice], KERNELS[choice])
    return [convolve(x, f"{position}-kernel{kernel}") * w for kernel, w in zip(KERNELS, weights, strict=True)]


def formula_sum(steps, x, architecture):
    for position, choice in zip((0, 2), architecture, strict=True):
        first, second = branches(x, position, choice, lambda x, name: steps[name](x))
        x = max_pool2d(relu(first + second), 2)
    return steps["5-classifier"](relu(steps["4-linear"](x.flatten(1))))


def formula_concat(steps, x, architecture):
    for position, choice in zip((0, 2), architecture, strict=True):
        both = torch.cat(branches(x, position, choice, lambda x, name: steps[name](x)), 1)
        name = f"{position}-reduce"
        x = max_pool2d(relu(conv2d(both, whole_weight(steps, name), steps[f"{name}-after3"].bias)), 2)
    return steps["5-classifier"](relu(steps["4-linear"](x.flatten(1))))


def formula_wide(steps, x, architecture):
    def convolve_both(x, name):
        return conv2d(x, whole_weight(steps, name), steps[f"{name}-after5"].bias, padding="same")

    first, second = architecture
    x = max_pool2d(relu(torch.cat(branches(x, 0, first, lambda x, name: steps[name](x)), 1)), 2)
    x = max_pool2d(relu(torch.cat(branches(x, 2, second, convolve_both), 1)), 2)
    x = linear(x.flatten(1), whole_weight(steps, "4-linear"), steps["4-linear-after3"].bias)
    return steps["5-classifier"](relu(x))


@pytest.mark.parametrize("formula", [formula_sum, formula_concat, formula_wide])
def test_logits_equal_the_formula_with_both_branches(formula, examples):
    space = kernel_space(formula.__name__.removeprefix("formula_"))
    supernet, images = SuperNet(space, seed=0), examples.pixels()
    for architecture in space.architectures:
        expected = formula(supernet.steps, images, architecture)
        torch.testing.assert_close(supernet(images, architecture), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["2-kernel3", "2-kernel5", "4-linear"])
def test_slices_of_one_layer_share_its_bias(name):
    steps = SuperNet(kernel_space("wide"), seed=0).steps
    assert steps[f"{name}-after3"].bias is steps[f"{name}-after5"].bias
    assert steps[f"{name}-after3"].weight is not steps[f"{name}-after5"].weight


def block_weights(space, architecture, position):
    supernet = SuperNet(space, seed=0)
    return {
        depth: [
            id(module.weight)
            for step, module in zip(space.path(path), supernet.paths[path], strict=True)
            if step.name.startswith(f"{position}-") and isinstance(module, nn.Conv2d)
        ]
        for depth, path in architecture.items()
    }


BLOCKS = {1: {d: (str(d), "2") for d in (1, 2, 3)}, 3: {d: ("2", str(d)) for d in (1, 2, 3)}}
"""Paths that differ in the depth of one block, by the block's position in the space."""


@pytest.mark.parametrize("position", BLOCKS)
def test_prefix_sharing_runs_the_first_layers_of_the_deeper_choice(position):
    weights = block_weights(depth_space("prefix"), BLOCKS[position], position)
    assert len(set(weights[3])) == 3
    assert weights[2] == weights[3][:2]
    assert weights[1] == weights[3][:1]


@pytest.mark.parametrize("position", BLOCKS)
def test_block_sharing_shares_no_layer_between_depths(position):
    weights = block_weights(depth_space("block"), BLOCKS[position], position)
    assert len(set().union(*weights.values())) == 1 + 2 + 3


@pytest.mark.parametrize("kernels", [(3, 5, 7), (7, 3, 5), (5, 3)])
@pytest.mark.parametrize("sharing", ["sum", "concat", "wide"])
def test_initialisation_of_a_step_ignores_the_other_choices(sharing, kernels):
    small = SuperNet(kernel_space(sharing), seed=0).steps
    large = SuperNet(kernel_space(sharing, kernels=kernels), seed=0).steps
    for name, module in small.items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, large[name].state_dict()[key]), f"{name}.{key}"


def test_initialisation_depends_on_the_seed_and_on_no_global_stream(space):
    torch.manual_seed(1)
    first = snapshot(SuperNet(space, seed=0), {})
    torch.manual_seed(2)
    assert snapshot(SuperNet(space, seed=0), {}) == first
    assert snapshot(SuperNet(space, seed=1), {}) != first


def test_building_draws_nothing_from_the_global_stream():
    before = torch.random.get_rng_state()
    SuperNet(SPACES["prefix-norm"], seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_standalone_is_the_subnet_with_weights_of_its_own(space, examples):
    architecture = space.architectures[-1]
    standalone = build_standalone(canonical(space.path(architecture)), seed=0)
    subnet = SuperNet(space, seed=0).extract(architecture)
    assert [str(module) for module in standalone] == [str(module) for module in subnet]
    assert not torch.equal(standalone(examples.pixels()), subnet(examples.pixels()))


def test_restored_supernet_is_the_stored_one(space):
    stored, other = SuperNet(space, seed=0), SuperNet(space, seed=1)
    restore(other, tensors(stored))
    assert snapshot(other, {}) == snapshot(stored, {})


@pytest.mark.parametrize("other", ["sum-norm", "concat", "wide", "prefix"])
def test_weights_of_another_space_are_refused(other):
    with pytest.raises(ValueError, match="belong to another network"):
        restore(SuperNet(SPACES["sum"], seed=0), tensors(SuperNet(SPACES[other], seed=0)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_relu_in_place_changes_no_gradient(space, precision, examples):
    machine, gradients = Machine("cpu", precision, 1), []
    for in_place in (True, False):
        supernet = machine.place(SuperNet(space, seed=0)).train()
        relus = [module for module in supernet.modules() if isinstance(module, nn.ReLU)]
        assert any(relu.inplace for relu in relus)
        for module in relus:
            module.inplace &= in_place
        for architecture in space.architectures:
            with machine.autocast():
                cross_entropy(supernet(examples.pixels(), architecture), examples.labels).backward()
        gradients.append([weight.grad for weight in supernet.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["sum-norm", "concat", "wide"])
def test_pooling_before_the_relu_gives_the_same_logits_and_gradients(name, examples, machine):
    space = SPACES[name]
    path = canonical(space.path(space.architectures[1]))
    kinds = [type(step.operation).__name__ for step in path]
    assert ("MaxPool", "Relu") in pairwise(kinds) and ("Relu", "MaxPool") not in pairwise(kinds)
    network = machine.place(build_standalone(path, seed=0))
    modules = list(network)
    for index, pair in enumerate(pairwise(kinds)):
        if pair == ("MaxPool", "Relu"):
            modules[index], modules[index + 1] = modules[index + 1], modules[index]
    results = []
    for net in (network, nn.Sequential(*modules)):
        net.zero_grad(set_to_none=True)
        logits = net(examples.pixels())
        cross_entropy(logits, examples.labels).backward()
        results.append([logits, *(weight.grad for weight in network.parameters())])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("damage", "told"),
    [(lambda weight: weight.fill_(float("nan")), "not finite"), (lambda weight: weight.double(), "another network")],
)
def test_stored_weights_of_another_type_or_without_a_value_are_refused(damage, told):
    supernet = SuperNet(SPACES["sum"], seed=0)
    stored = {name: tensor.detach().clone() for name, tensor in tensors(supernet).items()}
    name = next(iter(stored))
    stored[name] = damage(stored[name])
    with pytest.raises(ValueError, match=told):
        restore(supernet, stored)
