"""McNemar's test, Holm's correction, and the tiers they make."""

import numpy
import pytest
from scipy import stats

from oneshot.tiers import assign_tiers, holm, mcnemar_p_values


def answers(wrong, images=1000, start=0):
    """Right but for `wrong` images from `start` on: (1 seed, images)."""
    correct = numpy.ones((1, images), bool)
    correct[0, start : start + wrong] = False
    return correct


def mcnemar_p_value(first, second):
    """Of two networks, (seeds, images) each; the same from either side."""
    p_values = mcnemar_p_values(numpy.stack([first, second], 1))
    assert p_values[0, 1] == p_values[1, 0] and p_values[0, 0] == p_values[1, 1] == 1
    return p_values[0, 1]


def test_mcnemar_is_the_binomial_test_of_the_images_that_differ():
    first, second = answers(30, start=0), answers(12, start=20)  # 20 that one alone gets wrong, 2 the other
    assert mcnemar_p_value(first, second) == pytest.approx(stats.binomtest(2, 22).pvalue)


def test_networks_with_the_same_mistakes_cannot_be_told_apart():
    for seeds in (1, 3):
        assert mcnemar_p_value(*[numpy.repeat(answers(50), seeds, 0)] * 2) == 1


def test_mcnemar_of_several_seeds_does_not_count_an_image_twice():
    """Five trainings that make the same mistakes tell no more than one."""
    first, second = answers(30), answers(12, start=20)
    five = mcnemar_p_value(numpy.repeat(first, 5, 0), numpy.repeat(second, 5, 0))
    two = mcnemar_p_value(numpy.repeat(first, 2, 0), numpy.repeat(second, 2, 0))
    assert five == pytest.approx(two)


def test_mcnemar_keeps_its_level_where_nothing_differs():
    generator = numpy.random.default_rng(0)
    for seeds in (1, 3):
        draws = generator.random((300, 2, seeds, 500)) < 0.9
        rejected = numpy.mean([mcnemar_p_value(*draw) <= 0.05 for draw in draws])
        assert rejected <= 0.08


def test_holm_steps_down_and_never_exceeds_one():
    adjusted = holm(numpy.array([0.04, 0.01, 0.03, 0.9]))
    assert adjusted == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert holm(numpy.array([0.6, 0.7])).max() == 1


def test_architectures_that_cannot_be_told_apart_share_a_tier():
    correct = numpy.stack([answers(60)[0], answers(10)[0], answers(61)[0], answers(12)[0]])[None]
    assert assign_tiers(correct) == [2, 1, 2, 1]


def test_a_tier_is_judged_by_its_leader_not_by_a_chain_of_neighbours():
    chain = numpy.stack([answers(10 + 5 * step)[0] for step in range(12)])[None]
    tiers = assign_tiers(chain)
    assert tiers == sorted(tiers) and len(set(tiers)) > 1


def test_identical_architectures_are_one_tier_and_one_alone_is_the_first():
    assert assign_tiers(numpy.stack([answers(10)[0]] * 4)[None]) == [1] * 4
    assert assign_tiers(answers(10)[None]) == [1]
