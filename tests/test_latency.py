"""Latency is measured in evaluation mode, after a warm-up, and in order."""

import time

import pytest
import torch
from torch import nn

from oneshot.latency import WARM_UP, measure_latency


class Sleeper(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.calls = seconds, 0

    def forward(self, images):
        assert not self.training and not torch.is_grad_enabled()
        # The first calls are slow, as those of a real network are.
        time.sleep(self.seconds if self.calls >= WARM_UP else 20 * self.seconds)
        self.calls += 1
        return images


def test_latency_is_that_of_a_warm_network_in_milliseconds(machine):
    sleeper = Sleeper(0.003)
    measured = measure_latency(sleeper, torch.zeros(1), 10, machine)
    assert sleeper.calls == WARM_UP + 10
    assert 3 <= measured["p50_ms"] <= measured["p95_ms"]
    assert measured["p50_ms"] == pytest.approx(3, abs=3)
