"""One training loop: the same seed gives the same bytes, and nothing but the seed decides the order."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from conftest import SPACES, depth_space
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

from oneshot.checkpoint import Checkpoints, serialise
from oneshot.errors import TRAINING, OneshotError
from oneshot.finetuning import Subnet, finetune
from oneshot.jobs import Job, Reporter
from oneshot.machine import Machine
from oneshot.params import Adadelta, Recipe, Schedule, Sgd
from oneshot.sampling import build_sampler
from oneshot.space import architecture_id
from oneshot.state import tensors
from oneshot.supernet import SuperNet
from oneshot.training import Trainer, _Losses, run_whole, schedule_factor, steps_per_epoch

ADADELTA = Adadelta(name="adadelta", lr=1.0, rho=0.9, weight_decay=0.0)
SGD = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)
SCHEDULES = ["constant", "linear", "cosine"]


def recipe(epochs=2, batch_size=8, optimizer=SGD, schedule="cosine", warmup=0.25):
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=Schedule(name=schedule, warmup=warmup),
    )


def quietly(trainer, after=0):
    return list(trainer.epochs(lambda images: None, after))


def supernet_trainer(supernet, choose, examples, machine, section=None, seed=0, **options):
    named = {architecture_id(architecture): architecture for architecture in supernet.paths}
    return Trainer(
        supernet,
        lambda model, images, name: model(images, named[name]),
        lambda step: [architecture_id(architecture) for architecture in choose(step)],
        section or recipe(),
        examples,
        seed,
        machine,
        **options,
    )


def flat_trainer(examples, machine, section=None, seed=0, model=None, **options):
    """Of a model that reads pixels in a row."""
    model = model or nn.Linear(64, 4)
    section = section or recipe()
    return Trainer(
        model,
        lambda model, images, _: model(images.flatten(1)),
        lambda step: ["flat"],
        section,
        examples,
        seed,
        machine,
        **options,
    )


def cycle_trainer(seed, space, examples, machine, section):
    supernet = machine.place(SuperNet(space, seed))
    return supernet_trainer(supernet, build_sampler("cycle", space, seed), examples, machine, section, seed)


def trained_bytes(*arguments):
    trainer = cycle_trainer(*arguments)
    quietly(trainer)
    return serialise(tensors(trainer.model))


@pytest.mark.parametrize("optimizer", [SGD, ADADELTA])
def test_same_seed_same_bytes_and_another_seed_others(optimizer, examples, machine):
    arguments = SPACES["wide-norm"], examples, machine, recipe(optimizer=optimizer)
    torch.manual_seed(1)
    first = trained_bytes(0, *arguments)
    torch.manual_seed(2)
    assert trained_bytes(0, *arguments) == first
    assert trained_bytes(1, *arguments) != first


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_side_by_side_give_the_same_bytes_each_time(threads, examples, machine):
    arguments = SPACES["prefix-norm"], examples, Machine("cpu", "fp32", threads), recipe(batch_size=12)
    assert len({trained_bytes(0, *arguments) for _ in range(4)}) == 1


@pytest.mark.parametrize("optimizer", [SGD, ADADELTA])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("after", [1, 2])
def test_training_that_goes_on_from_its_tensors_ends_with_the_same_bytes(after, threads, optimizer, examples, machine):
    section = recipe(epochs=3, optimizer=optimizer)
    arguments = 0, SPACES["prefix-norm"], examples, Machine("cpu", "bf16", threads), section
    trainer, kept = cycle_trainer(*arguments), {}
    for epoch in trainer.epochs(lambda images: None):
        kept[epoch.number] = {name: tensor.clone() for name, tensor in trainer.tensors().items()}
    resumed = cycle_trainer(*arguments)
    resumed.restore(kept[after])
    assert [epoch.number for epoch in quietly(resumed, after)] == list(range(after + 1, 4))
    assert serialise(resumed.tensors()) == serialise(trainer.tensors())


@pytest.mark.parametrize("left_out", ["weight", "running_var", "/momentum_buffer"])
def test_each_tensor_of_a_checkpoint_matters(left_out, examples, machine):
    arguments = 0, SPACES["prefix-norm"], examples, machine, recipe(epochs=2)
    trainer = cycle_trainer(*arguments)
    next(epochs := trainer.epochs(lambda images: None))
    kept = {name: tensor.clone() for name, tensor in trainer.tensors().items()}
    list(epochs)
    resumed = cycle_trainer(*arguments)
    fresh = {name: tensor.clone() for name, tensor in resumed.tensors().items()}
    incomplete = {name: fresh.get(name) if name.endswith(left_out) else tensor for name, tensor in kept.items()}
    resumed.restore({name: tensor for name, tensor in incomplete.items() if tensor is not None})
    quietly(resumed, after=1)
    assert serialise(resumed.tensors()) != serialise(trainer.tensors())


def orders(seed, examples, machine, batch_size=8, optimizer=SGD):
    """The first pixels of the images, in the order of training, by epoch."""
    seen, epochs = [], []

    def forward(model, images, _):
        seen.append(images[:, 0, 0, :4])
        return model(images.flatten(1))

    section = recipe(batch_size=batch_size, optimizer=optimizer)
    trainer = Trainer(nn.Linear(64, 4), forward, lambda step: ["flat"], section, examples, seed, machine)
    for _ in trainer.epochs(lambda images: None):
        epochs.append([tuple(row) for row in torch.cat(seen).tolist()])
        seen.clear()
    return epochs


def test_epoch_order_depends_on_the_seed_and_the_epoch_only(examples, machine):
    first = orders(0, examples, machine)
    assert orders(0, examples, machine, batch_size=4, optimizer=ADADELTA) == first
    assert first[0] != first[1]
    assert orders(1, examples, machine)[0] != first[0]


def test_an_epoch_trains_every_image_once(examples, machine):
    everything = {tuple(row) for row in examples.pixels()[:, 0, 0, :4].tolist()}
    for order in orders(0, examples, machine):
        assert len(order) == len(everything) == len(examples)
        assert set(order) == everything


def test_epochs_count_from_one_and_hold_a_loss_of_each_step(examples, machine):
    ticks = []
    epochs = list(flat_trainer(examples, machine, recipe(3, 7)).epochs(ticks.append))
    assert [(epoch.number, len(epoch.losses["flat"])) for epoch in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert ticks == [7] * 9


@pytest.mark.parametrize("sampler", ["cycle", "sandwich", "strict_fair"])
def test_each_loss_of_an_epoch_is_filed_under_the_path_that_a_step_trained(sampler, examples, machine):
    space = SPACES["prefix-norm"]
    choose = build_sampler(sampler, space, 0)
    trainer = supernet_trainer(machine.place(SuperNet(space, 0)), choose, examples, machine)
    for first_step, epoch in zip((0, 3), quietly(trainer), strict=True):
        planned = Counter(architecture_id(each) for step in range(first_step, first_step + 3) for each in choose(step))
        assert {name: len(losses) for name, losses in epoch.losses.items()} == planned


def test_training_lowers_the_loss(examples, machine):
    epochs = quietly(flat_trainer(examples, machine, recipe(20)))
    first, last = (sum(epochs[index].losses["flat"]) for index in (0, -1))
    assert last < 0.5 * first


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
def test_a_budget_of_steps_is_kept_and_the_schedule_squeezed_into_it(steps, examples, machine):
    ticks, rates = [], []
    hook = register_optimizer_step_post_hook(lambda this, *_: rates.append(this.param_groups[0]["lr"]))
    try:
        epochs = list(flat_trainer(examples, machine, steps=steps).epochs(ticks.append))
    finally:
        hook.remove()
    assert sum(len(epoch.losses["flat"]) for epoch in epochs) == len(ticks) == steps
    assert len(epochs) == -(-steps // 3)  # 24 images in batches of 8
    assert rates == [0.1 * schedule_factor(recipe().schedule, step, steps) for step in range(steps)]


def test_a_budget_of_all_steps_is_the_whole_training(examples, machine):
    weights = []
    for steps in (None, 6):
        torch.manual_seed(0)
        trainer = flat_trainer(examples, machine, steps=steps)
        quietly(trainer)
        weights.append(trainer.model.weight.detach().clone())
    assert torch.equal(*weights)


def gradients(supernet, architectures, examples, machine, distillation=False):
    """(losses, gradients by name) of one step on all examples."""
    supernet.zero_grad(set_to_none=True)
    trainer = supernet_trainer(supernet, lambda step: architectures, examples, machine, distillation=distillation)
    losses = trainer.add_gradients(trainer.paths(0), torch.arange(len(examples)))
    return losses, {name: weight.grad for name, weight in supernet.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(threads, examples, machine):
    """Without batch norm: with it each part has its own statistics. The 24 images come in parts of two sizes, too."""
    supernet = machine.place(SuperNet(SPACES["sum"], 0))
    chosen, some = SPACES["sum"].architectures[:2], examples.take(slice(23))
    losses, whole = gradients(supernet, chosen, some, machine)
    losses_of_parts, parts = gradients(supernet, chosen, some, Machine("cpu", "fp32", threads))
    torch.testing.assert_close(losses_of_parts, losses)
    assert parts.keys() == whole.keys()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-6)


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


def test_finetuning_trains_for_exactly_so_many_steps_of_the_recipe(examples, machine, tmp_path):
    space = SPACES["prefix-norm"]
    supernet, section = machine.place(SuperNet(space, 0)), recipe(epochs=9)
    before = serialise(tensors(supernet))
    for steps in (0, 1, 5):
        network = supernet.extract(space.architectures[0])
        twin = supernet.extract(space.architectures[0])
        job = Job("stage@study", "1-1", 0, 1, 1, 0, {}, Subnet(network, section, steps, examples, machine))
        finetune(job, Reporter(lambda kind, content: None), Checkpoints(tmp_path / str(steps), "fingerprint"))
        quietly(Trainer(twin, run_whole, lambda step: ["subnet"], section, examples, 0, machine, steps=steps))
        assert serialise(tensors(network)) == serialise(tensors(twin))
        untouched = serialise(tensors(supernet.extract(space.architectures[0])))
        assert (serialise(tensors(network)) == untouched) == (steps == 0)
    assert serialise(tensors(supernet)) == before


def test_a_finetuning_that_was_killed_goes_on_after_its_last_whole_epoch(examples, machine, tmp_path):
    space, section = SPACES["prefix-norm"], recipe(epochs=9)
    supernet, steps = machine.place(SuperNet(space, 0)), 3 * steps_per_epoch(len(examples), section.batch_size)

    def job():
        subnet = Subnet(supernet.extract(space.architectures[0]), section, steps, examples, machine)
        return Job("stage@study", "1-1", 0, 3, 1, 0, {}, subnet)

    whole = finetune(job(), Reporter(lambda kind, content: None), Checkpoints(tmp_path / "whole", "fingerprint"))
    heard = []

    def die(kind, content):
        heard.append(kind)
        if heard.count("epoch") == 2:
            raise SystemExit

    with pytest.raises(SystemExit):
        finetune(job(), Reporter(die), Checkpoints(tmp_path / "killed", "fingerprint"))
    trained = []
    reporter = Reporter(lambda kind, content: trained.append(content) if kind == "tick" else None)
    resumed = finetune(job(), reporter, Checkpoints(tmp_path / "killed", "fingerprint"))
    assert serialise(resumed.tensors) == serialise(whole.tensors)
    assert sum(trained) == len(examples) // section.batch_size * section.batch_size


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["loss", "sum of the gradients"])
def test_what_is_not_finite_ends_training_before_a_weight_moves(what, value, threads, examples):
    weights = []

    def forward(model, images, name):
        weights.append(model.weight.detach().clone())
        logits = model(images.flatten(1))
        if name == "bad" and what == "loss":
            return logits * value
        if name == "bad":
            logits.register_hook(lambda gradient: gradient * value)
        return logits

    trainer = Trainer(
        nn.Linear(64, 4),
        forward,
        lambda step: ["good", "bad" if step == 4 else "fair"],
        recipe(schedule="constant", warmup=0),
        examples,
        0,
        Machine("cpu", "fp32", threads),
    )
    epochs = trainer.epochs(lambda images: None)
    assert next(epochs).number == 1
    paths = "bad" if what == "loss" else "good, bad"
    with pytest.raises(OneshotError, match=f"architecture {paths}, step 4, learning rate 0.1: the {what} is") as error:
        next(epochs)
    assert error.value.exit_code == TRAINING == 1
    assert torch.equal(trainer.model.weight, weights[-1])


@pytest.mark.parametrize("place", ["loss", "sum of the gradients"])
def test_on_another_device_a_loss_is_read_when_the_epoch_has_ended(place):
    losses = _Losses(Machine("cuda", "bf16", 1))
    for step in range(3):
        bad = torch.tensor(float("nan") if step == 1 else 0.0)
        good = torch.tensor(2.0)
        loss, gradients = (bad, good) if place == "loss" else (good, bad)
        losses.add(torch.stack([loss, good]), gradients, ["a", "b"], f"step {step}")
    with pytest.raises(OneshotError, match=f"architecture a.*, step 1: the {place} is nan"):
        losses.by_path()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_weight_that_is_no_number_ends_training_though_a_relu_may_hide_it(precision, examples):
    machine, space = Machine("cpu", precision, 1), SPACES["prefix-norm"]
    supernet = machine.place(SuperNet(space, 0))
    next(iter(supernet.parameters())).data.view(-1)[0] = float("nan")
    trainer = supernet_trainer(supernet, lambda step: space.architectures[:1], examples, machine)
    with pytest.raises(OneshotError, match=r"step 0, learning rate .* must be finite"):
        next(trainer.epochs(lambda images: None))


def test_losses_are_kept_by_path_in_the_order_of_the_steps():
    for device in ("cpu", "cuda"):
        losses = _Losses(Machine(device, "fp32", 1))
        for step, paths in enumerate(("ab", "bc", "ca")):
            losses.add(torch.tensor([step, step + 0.5]), torch.zeros(()), tuple(paths), "")
        assert losses.by_path() == {"a": [0, 2.5], "b": [0.5, 1], "c": [1.5, 2]}


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


def test_rate_of_the_recipe_times_the_factor_is_the_learning_rate(examples, machine):
    trainer = flat_trainer(examples, machine, recipe(epochs=4))  # 12 steps
    assert trainer.learning_rate(7) == 0.1 * schedule_factor(trainer.recipe.schedule, 7, 12)
