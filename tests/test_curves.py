"""A training is followed epoch by epoch, and scored beside the training of the next one."""

import threading

import pytest
import torch
from torch import nn

from oneshot.curves import follow
from oneshot.jobs import Reporter
from oneshot.training import Epoch


def trained(model, epochs=3):
    """Each epoch sets the weights to its number, while the one before is being scored."""
    for number in range(1, epochs + 1):
        nn.init.constant_(model.weight, number)
        yield Epoch(number, 0, [[0.0]], seconds=1.0)


def follow_small(score, messages=None):
    model = nn.Linear(1, 1)
    send = [].append if messages is None else messages.append
    return follow(trained(model), score, model, Reporter(lambda *message: send(message)))


def test_an_epoch_is_scored_with_its_own_weights_though_the_next_is_trained_meanwhile():
    model = nn.Linear(1, 1)
    is_trained = {number: threading.Event() for number in (1, 2, 3)}

    def epochs():
        for epoch in trained(model):
            is_trained[epoch.number].set()
            yield epoch

    def score(epoch, scored):
        if epoch.number < 3:
            assert is_trained[epoch.number + 1].wait(timeout=30)
        return [{"epoch": epoch.number, "weight": scored.weight.item()}]

    result = follow(epochs(), score, model, Reporter(lambda *message: None))
    assert result.record["curve"] == [{"epoch": number, "weight": float(number)} for number in (1, 2, 3)]
    assert result.tensors["weight"].item() == 3


def test_epochs_are_told_in_their_order_with_their_rows():
    messages = []
    follow_small(lambda epoch, scored: [{"epoch": epoch.number}], messages)
    assert [content for kind, content in messages if kind == "epoch"] == [[{"epoch": n}] for n in (1, 2, 3)]


def test_training_and_evaluation_are_timed_apart():
    record = follow_small(lambda epoch, scored: []).record
    assert record["train_seconds"] == 3.0 and record["evaluation_seconds"] < 1


def test_a_score_that_fails_ends_the_training():
    with pytest.raises(ZeroDivisionError):
        follow_small(lambda epoch, scored: 1 / 0)


def test_a_score_runs_on_the_threads_of_the_job():
    threads = []
    follow_small(lambda epoch, scored: threads.append(torch.get_num_threads()) or [])
    assert threads == [torch.get_num_threads()] * 3
