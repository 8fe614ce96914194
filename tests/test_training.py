"""One training loop: the same seed gives the same bytes, and nothing but the seed decides the order."""

from itertools import pairwise

import pytest
import torch
from conftest import SPACES
from torch import nn

from oneshot.checkpoint import serialise
from oneshot.errors import TRAINING, OneshotError
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.sampling import build_sampler
from oneshot.supernet import SuperNet, tensors
from oneshot.training import schedule_factor, set_learning_rate, train

SGD = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)
SCHEDULES = ["constant", "linear", "cosine"]


def recipe(epochs=2, batch_size=8, optimizer=SGD, schedule="cosine", warmup=0.25):
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=Schedule(name=schedule, warmup=warmup),
    )


def trained_bytes(seed, space, examples, machine, section):
    supernet, sampler = machine.place(SuperNet(space, seed)), build_sampler("cycle", space, seed)
    list(train(lambda x, step: supernet(x, sampler(step)), supernet, section, examples, seed, machine, lambda _: None))
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

    def forward(images, step):
        seen.append(images[:, 0, 0, :4])
        return model(images.flatten(1))

    section, epochs = recipe(batch_size=batch_size, optimizer=optimizer), []
    for _ in train(forward, model, section, examples, seed, machine, lambda images: None):
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
    epochs = list(train(lambda x, _: model(x.flatten(1)), model, recipe(3, 7), examples, 0, machine, ticks.append))
    assert [(epoch.number, epoch.first_step, len(epoch.losses)) for epoch in epochs] == [
        (1, 0, 3),
        (2, 3, 3),
        (3, 6, 3),
    ]
    assert ticks == [7] * 9


def test_training_lowers_the_loss(examples, machine):
    model = nn.Linear(64, 4)
    epochs = list(train(lambda x, _: model(x.flatten(1)), model, recipe(20), examples, 0, machine, lambda _: None))
    assert sum(epochs[-1].losses) < 0.5 * sum(epochs[0].losses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training_by_step_and_epoch(value, examples, machine):
    model = nn.Linear(64, 4)

    def forward(images, step):
        return model(images.flatten(1)) * (value if step == 4 else 1)

    epochs = train(forward, model, recipe(), examples, 0, machine, lambda images: None)
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
