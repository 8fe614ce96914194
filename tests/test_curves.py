"""A training is followed epoch by epoch, and goes on from its newest checkpoint as if nothing had happened."""

import pytest
from conftest import SPACES

from oneshot.checkpoint import Checkpoints, serialise
from oneshot.curves import follow, mean_loss
from oneshot.jobs import Reporter
from oneshot.params import Recipe, Schedule, Sgd
from oneshot.space import canonical
from oneshot.supernet import build_standalone
from oneshot.training import Trainer, run_whole

EPOCHS = 4


class KilledError(Exception):
    """In the place of a signal."""


def follow_small(folder, examples, machine, stop_after=None, fingerprint="f"):
    """(result, what was told) of a small training that is killed in the epoch after `stop_after`."""
    space, messages = SPACES["prefix-norm"], []
    network = machine.place(build_standalone(canonical(space.path(space.architectures[0])), seed=0))
    optimizer = Sgd(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)
    recipe = Recipe(epochs=EPOCHS, batch_size=8, optimizer=optimizer, schedule=Schedule(name="cosine", warmup=0.0))
    trainer = Trainer(network, run_whole, lambda step: ["a"], recipe, examples, 0, machine)
    reporter = Reporter(lambda *message: messages.append(message))

    def score(epoch):
        if stop_after is not None and epoch.number > stop_after:
            raise KilledError
        row = {"epoch": epoch.number, "loss": mean_loss(epoch.losses["a"])}
        return {"curve": [row], "other": [row | {"kind": kind} for kind in "xy"]}

    try:
        return follow(trainer, score, reporter, Checkpoints(folder, fingerprint)), messages
    except KilledError:
        return None, messages


def result_of(trained):
    return serialise(trained.tensors), {key: trained.record[key] for key in ("curve", "other")}


@pytest.mark.parametrize("stops", [(0,), (1,), (2, 3), (1, 1, 2), (4,)])
def test_training_that_is_killed_goes_on_to_the_same_result(stops, tmp_path, examples, machine):
    expected, _ = follow_small(tmp_path / "whole", examples, machine)
    for stop in stops:
        follow_small(tmp_path / "killed", examples, machine, stop_after=stop)
    found, messages = follow_small(tmp_path / "killed", examples, machine)
    assert result_of(found) == result_of(expected)
    told = [content for kind, content in messages if kind == "epoch"]
    assert told == [[row] for row in expected.record["curve"]]


def test_only_what_was_lost_is_trained_again(tmp_path, examples, machine):
    follow_small(tmp_path, examples, machine, stop_after=3)
    _, messages = follow_small(tmp_path, examples, machine)
    assert sum(content for kind, content in messages if kind == "tick") == len(examples)


def test_checkpoint_of_another_fingerprint_is_not_used_and_that_is_said(tmp_path, examples, machine):
    follow_small(tmp_path, examples, machine, stop_after=2)
    _, messages = follow_small(tmp_path, examples, machine, fingerprint="g")
    assert sum(content for kind, content in messages if kind == "tick") == EPOCHS * len(examples)
    (note,) = [content for kind, content in messages if kind == "note"]
    assert "not used" in note


@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "empty"])
def test_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(damage, tmp_path, examples, machine):
    expected, _ = follow_small(tmp_path / "whole", examples, machine)
    follow_small(tmp_path / "killed", examples, machine, stop_after=3)
    older, newest = sorted((tmp_path / "killed").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(
        {"flip": content, "cut": newest.read_bytes()[:-1], "swap": older.read_bytes(), "empty": b""}[damage]
    )
    found, messages = follow_small(tmp_path / "killed", examples, machine)
    assert result_of(found) == result_of(expected)
    assert sum(content for kind, content in messages if kind == "tick") == 2 * len(examples)
    (note,) = [content for kind, content in messages if kind == "note"]
    assert "damaged" in note and newest.with_suffix(".damaged").exists()


def test_training_and_evaluation_are_timed_apart(tmp_path, examples, machine):
    record = follow_small(tmp_path, examples, machine)[0].record
    assert record["train_seconds"] > 0 and record["evaluation_seconds"] < 1


def test_the_loss_of_an_untrained_path_is_none():
    assert mean_loss([]) is None and mean_loss([1.0, 2.0]) == 1.5
