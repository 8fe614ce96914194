"""One training loop: the same seed gives the same bytes, and nothing but the seed decides the order."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from conftest import SPACES, depth_space
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

from oneshot.checkpoint import serialise
from oneshot.errors import TRAINING, OneshotError
from oneshot.finetuning import finetune
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.sampling import build_sampler
from oneshot.supernet import SuperNet, tensors
from oneshot.training import add_gradients, schedule_factor, set_learning_rate, train

SGD = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)
SCHEDULES = ["constant", "linear", "cosine"]


def recipe(epochs=2, batch_size=8, optimizer=SGD, schedule="cosine", warmup=0.25):
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=Schedule(name=schedule, warmup=warmup),
    )


def supernet_paths(supernet, choose):
    return lambda step: [partial(supernet, architecture=architecture) for architecture in choose(step)]


def flat(model):
    """The paths of a training of one model that reads pixels in a row."""
    return lambda step: [lambda images: model(images.flatten(1))]


def trained_bytes(seed, space, examples, machine, section):
    supernet = machine.place(SuperNet(space, seed))
    paths = supernet_paths(supernet, build_sampler("cycle", space, seed))
    list(train(paths, supernet, section, examples, seed, machine, lambda _: None))
    return serialise(tensors(supernet))


@pytest.mark.parametrize("optimizer", [SGD, Adadelta(name="adadelta", lr=1.0, rho=0.9, weight_decay=0.0)])
def test_same_seed_same_bytes_and_another_seed_others(optimizer, examples, machine):
    arguments = SPACES["wide-norm"], examples, machine, recipe(optimizer=optimizer)
    torch.manual_seed(1)
    first = trained_bytes(0, *arguments)
    torch.manual_seed(2)
    assert trained_bytes(0, *arguments) == first
    assert trained_bytes(1, *arguments) != first


def orders(seed, examples, machine, batch_size=8, optimizer=SGD):
    """The first pixels of the images, in the order of training, by epoch."""
    model, seen = nn.Linear(64, 4), []

    def forward(images):
        seen.append(images[:, 0, 0, :4])
        return model(images.flatten(1))

    section, epochs = recipe(batch_size=batch_size, optimizer=optimizer), []
    for _ in train(lambda step: [forward], model, section, examples, seed, machine, lambda images: None):
        epochs.append([tuple(row) for row in torch.cat(seen).tolist()])
        seen.clear()
    return epochs


def test_epoch_order_depends_on_the_seed_and_the_epoch_only(examples, machine):
    first = orders(0, examples, machine)
    adadelta = Adadelta(name="adadelta", lr=1.0, rho=0.9, weight_decay=0.0)
    assert orders(0, examples, machine, batch_size=4, optimizer=adadelta) == first
    assert first[0] != first[1]
    assert orders(1, examples, machine)[0] != first[0]


def test_an_epoch_trains_every_image_once(examples, machine):
    everything = {tuple(row) for row in examples.pixels()[:, 0, 0, :4].tolist()}
    for order in orders(0, examples, machine):
        assert len(order) == len(everything) == len(examples)
        assert set(order) == everything


def test_epochs_count_from_one_and_steps_go_on(examples, machine):
    model, ticks = nn.Linear(64, 4), []
    epochs = list(train(flat(model), model, recipe(3, 7), examples, 0, machine, ticks.append))
    assert [(epoch.number, epoch.first_step, len(epoch.losses)) for epoch in epochs] == [
        (1, 0, 3),
        (2, 3, 3),
        (3, 6, 3),
    ]
    assert ticks == [7] * 9


def test_training_lowers_the_loss(examples, machine):
    model = nn.Linear(64, 4)
    epochs = list(train(flat(model), model, recipe(20), examples, 0, machine, lambda _: None))
    first, last = (sum(loss for (loss,) in epochs[index].losses) for index in (0, -1))
    assert last < 0.5 * first


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
def test_a_budget_of_steps_is_kept_and_the_schedule_squeezed_into_it(steps, examples, machine):
    model, ticks, rates = nn.Linear(64, 4), [], []
    hook = register_optimizer_step_post_hook(lambda this, *_: rates.append(this.param_groups[0]["lr"]))
    try:
        epochs = list(train(flat(model), model, recipe(), examples, 0, machine, ticks.append, steps=steps))
    finally:
        hook.remove()
    assert sum(len(epoch.losses) for epoch in epochs) == len(ticks) == steps
    assert [epoch.first_step for epoch in epochs] == list(range(0, steps, 3))  # 24 images in batches of 8
    assert rates == [0.1 * schedule_factor(recipe().schedule, step, steps) for step in range(steps)]


def test_a_budget_of_all_steps_is_the_whole_training(examples, machine):
    weights = []
    for steps in (None, 6):
        torch.manual_seed(0)
        model = nn.Linear(64, 4)
        list(train(flat(model), model, recipe(), examples, 0, machine, lambda _: None, steps=steps))
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)


def gradients(supernet, architectures, batch, machine, distillation=False):
    """(losses, gradients by name) of one step."""
    supernet.zero_grad(set_to_none=True)
    paths = supernet_paths(supernet, lambda step: architectures)(0)
    losses = add_gradients(paths, batch, distillation, machine)
    return losses, {name: weight.grad for name, weight in supernet.named_parameters() if weight.grad is not None}


def test_the_step_s_gradient_is_that_of_the_mean_loss_of_its_paths(space, examples, machine):
    supernet, chosen = machine.place(SuperNet(space, 0)), space.architectures[:3]
    losses, found = gradients(supernet, chosen, examples, machine)
    supernet.zero_grad(set_to_none=True)
    expected = [cross_entropy(supernet(examples.pixels(), path), examples.labels) for path in chosen]
    torch.stack(expected).mean().backward()
    torch.testing.assert_close(losses, torch.stack(expected))
    for name, weight in supernet.named_parameters():
        assert (weight.grad is None) == (name not in found)
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_one_path_among_its_equals_gives_the_gradient_of_one(examples, machine):
    supernet = machine.place(SuperNet(SPACES["sum"], 0))
    (path, *_) = SPACES["sum"].architectures
    _, alone = gradients(supernet, [path], examples, machine)
    _, thrice = gradients(supernet, [path] * 3, examples, machine)
    assert alone.keys() == thrice.keys()
    for name in alone:
        torch.testing.assert_close(thrice[name], alone[name])


def test_distillation_teaches_the_first_by_labels_and_the_others_by_its_softmax(space, examples, machine):
    supernet, (first, *others) = machine.place(SuperNet(space, 0)), space.architectures[-1::-1][:3]
    losses, _ = gradients(supernet, [first, *others], examples, machine, distillation=True)
    taught = supernet(examples.pixels(), first)
    torch.testing.assert_close(losses[0], cross_entropy(taught, examples.labels).detach())
    targets = taught.detach().softmax(1)
    for loss, architecture in zip(losses[1:], others, strict=True):
        scores = supernet(examples.pixels(), architecture).log_softmax(1)
        torch.testing.assert_close(loss, -(targets * scores).sum(1).mean().detach())


def test_a_student_moves_nothing_of_its_teacher(examples, machine):
    """Two paths that share no weight but the classifier's bias: the teacher's softmax is a constant to the student."""
    space = depth_space("block", depths=(1, 2))
    supernet, (student, *_, teacher) = machine.place(SuperNet(space, 0)), space.architectures
    own = {step.name for step in space.path(teacher)} - {step.name for step in space.path(student)}
    _, alone = gradients(supernet, [teacher], examples, machine)
    _, both = gradients(supernet, [teacher, student], examples, machine, distillation=True)
    of_teacher = [name for name in alone if name.split(".")[1] in own]
    assert of_teacher
    for name in of_teacher:
        torch.testing.assert_close(both[name], alone[name] / 2)


def test_finetuning_trains_for_exactly_so_many_steps_of_the_recipe(examples, machine):
    space = SPACES["prefix-norm"]
    supernet, section = machine.place(SuperNet(space, 0)), recipe(epochs=9)
    before = serialise(tensors(supernet))
    for steps in (0, 1, 5):
        network = supernet.extract(space.architectures[0])
        twin = supernet.extract(space.architectures[0])
        assert finetune(network, section, steps, examples, 0, machine) is network
        list(train(lambda step: [twin], twin, section, examples, 0, machine, lambda _: None, steps=steps))  # noqa: B023
        assert serialise(tensors(network)) == serialise(tensors(twin))
        untouched = serialise(tensors(supernet.extract(space.architectures[0])))
        assert (serialise(tensors(network)) == untouched) == (steps == 0)
    assert serialise(tensors(supernet)) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training_by_step_and_epoch(value, examples, machine):
    model = nn.Linear(64, 4)

    def paths(step):
        return [lambda images: model(images.flatten(1)), lambda images: model(images.flatten(1)) * (step != 4 or value)]

    epochs = train(paths, model, recipe(), examples, 0, machine, lambda images: None)
    assert next(epochs).number == 1
    with pytest.raises(OneshotError, match="step 4 of epoch 2: the loss is nan") as error:
        next(epochs)
    assert error.value.exit_code == TRAINING == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_rises_during_warm_up_up_to_its_full_value(name):
    factors = [schedule_factor(Schedule(name=name, warmup=0.2), step, 100) for step in range(21)]
    assert all(0 < first < second for first, second in pairwise(factors[:20]))
    assert factors[20] == pytest.approx(1)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.999])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 100])
def test_learning_rate_stays_between_zero_and_its_full_value(name, warmup, steps):
    factors = [schedule_factor(Schedule(name=name, warmup=warmup), step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_learning_rate_falls_to_almost_zero(name):
    factors = [schedule_factor(Schedule(name=name, warmup=0.1), step, 1000) for step in range(100, 1000)]
    assert all(first > second for first, second in pairwise(factors))
    assert factors[-1] < 0.002


def test_constant_learning_rate_is_constant():
    assert {schedule_factor(Schedule(name="constant", warmup=0.0), step, 9) for step in range(9)} == {1.0}


def test_rate_of_the_recipe_times_the_factor_is_the_learning_rate():
    optimizer, section = torch.optim.SGD([torch.zeros(1)], lr=9.0), recipe()
    set_learning_rate(optimizer, section, 7, 10)
    assert optimizer.param_groups[0]["lr"] == 0.1 * schedule_factor(section.schedule, 7, 10)
