"""The paired bootstrap over images and seeds."""

import numpy
import pytest

from oneshot.resampling import CHUNK, average_seeds, resample_images, resample_seeds


def draw_correct(*shape):
    return numpy.random.default_rng(0).random(shape) < 0.8


def test_every_network_sees_the_same_images():
    correct = draw_correct(1, 200)
    both = resample_images(numpy.stack([correct, correct, ~correct]), 50, seed=0)
    assert (both[:, 0] == both[:, 1]).all()
    assert both[:, 0] + both[:, 2] == pytest.approx(numpy.ones((50, 1)))


def test_resamples_are_a_function_of_their_seed_whatever_is_resampled_with_them():
    correct = draw_correct(3, 200)
    alone = resample_images(correct[:1], CHUNK + 7, seed=1)
    assert (alone == resample_images(correct, CHUNK + 7, seed=1)[:, :1]).all()
    assert (alone != resample_images(correct[:1], CHUNK + 7, seed=2)).any()


def test_spread_of_resamples_is_the_binomials():
    correct = draw_correct(1, 400)
    share = correct.mean()
    assert resample_images(correct, 4000, seed=0).std() == pytest.approx((share * (1 - share) / 400) ** 0.5, rel=0.05)


def test_one_seed_is_always_drawn_and_several_sum_to_one():
    assert (resample_seeds(1, 10, seed=0) == 1).all()
    weights = resample_seeds(3, 500, seed=0)
    assert weights.sum(1) == pytest.approx(numpy.ones(500))
    assert weights.mean(0) == pytest.approx(numpy.full(3, 1 / 3), abs=0.05)
    assert {0.0, 1.0} <= set(weights[:, 0].round(6))


def test_seeds_are_averaged_by_how_often_they_were_drawn():
    accuracies = numpy.array([[[0.5, 0.6], [0.7, 1.0]]])
    assert average_seeds(accuracies, numpy.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(
        numpy.array([[0.5, 0.6], [0.6, 0.8]])
    )
