"""The architecture of a step is a function of the seed and the step."""

from collections import Counter

import pytest
from conftest import SPACES, kernel_space

from oneshot.sampling import build_sampler

SAMPLERS = ["uniform", "cycle"]
STEPS = range(90)


def draw(name, space, seed, steps=STEPS):
    sampler = build_sampler(name, space, seed)
    return [sampler(step) for step in steps]


@pytest.mark.parametrize("name", SAMPLERS)
def test_architecture_of_a_step_can_be_asked_out_of_order(name):
    space = SPACES["prefix"]
    assert draw(name, space, 0, reversed(STEPS))[::-1] == draw(name, space, 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_seed_draws_another_order(name):
    assert draw(name, SPACES["prefix"], 0) != draw(name, SPACES["prefix"], 1)


@pytest.mark.parametrize("kernels", [(3, 5), (3, 5, 7)])
def test_cycle_trains_every_architecture_once_per_deck(kernels):
    space = kernel_space("sum", kernels=kernels)
    size = len(space.architectures)
    drawn = draw("cycle", space, 0, range(5 * size))
    decks = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    assert all(sorted(deck) == sorted(space.architectures) for deck in decks)
    assert len({tuple(deck) for deck in decks}) > 1


def test_uniform_draws_every_architecture_about_equally_often():
    counts = Counter(draw("uniform", SPACES["prefix"], 0, range(9000)))
    assert set(counts) == set(SPACES["prefix"].architectures)
    assert all(850 <= count <= 1150 for count in counts.values())


def test_uniform_does_not_deal_from_a_deck():
    drawn = draw("uniform", SPACES["sum"], 0)
    assert any(first == second for first, second in zip(drawn[::2], drawn[1::2], strict=True))
