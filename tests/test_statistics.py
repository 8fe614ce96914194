"""Correlations, precision@k, regret@1 and their intervals."""

import itertools
import math

import numpy
import pytest
from scipy import stats

from oneshot.statistics import (
    Estimate,
    entry,
    interval,
    kendall_p_value,
    kendall_tau,
    mean_and_deviation,
    noise_ceiling,
    precision_at,
    regret_at_1,
    spearman_rho,
    top_share,
)

NINE = numpy.arange(9) / 10


def draw(levels, *shape, seed=0):
    return numpy.random.default_rng(seed).integers(levels, size=shape).astype(float)


def tau_b(first, second):
    """By its definition, pair by pair."""
    pairs = list(itertools.combinations(zip(first, second, strict=True), 2))
    signs = [(numpy.sign(a[0] - b[0]), numpy.sign(a[1] - b[1])) for a, b in pairs]
    untied = [sum(side != 0 for side in sides) for sides in zip(*signs, strict=True)]
    return sum(x * y for x, y in signs) / math.sqrt(math.prod(untied))


@pytest.mark.parametrize("levels", [3, 5, 1000], ids="{} levels".format)
def test_kendall_tau_is_tau_b_with_and_without_ties(levels):
    first, second = draw(levels, 2, 4, 9)
    expected = [tau_b(*rankings) for rankings in zip(first, second, strict=True)]
    assert kendall_tau(first, second) == pytest.approx(expected)
    assert kendall_tau(first[0], second) == pytest.approx([tau_b(first[0], each) for each in second])


@pytest.mark.parametrize("levels", [4, 1000], ids="{} levels".format)
def test_spearman_rho_is_the_correlation_of_ranks(levels):
    first, second = draw(levels, 2, 9, seed=1)
    ranks = stats.rankdata(first), stats.rankdata(second)
    assert spearman_rho(first, second) == pytest.approx(numpy.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("correlate", [kendall_tau, spearman_rho])
@pytest.mark.parametrize("arms", [(NINE, NINE * 0), (NINE * 0, NINE), (NINE * 0, NINE * 0)])
def test_correlation_with_a_constant_is_undefined(correlate, arms):
    assert math.isnan(correlate(*arms))


def test_undefined_value_is_none_with_a_reason_and_a_defined_one_has_none():
    entries = Estimate(math.nan, 0.5, 0.25).entries("tau")
    assert entries["tau"] is None and "tie" in entries["tau_reason"]
    assert (entries["tau_low"], entries["tau_high"]) == (0.5, 0.25)
    assert entry("tau", 1.0) == {"tau": 1.0}


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_p_value_of_a_perfect_order_counts_permutations(count):
    order = numpy.arange(float(count))
    for other in (order, -order):
        assert kendall_p_value(order, other, 0) == pytest.approx(2 / math.factorial(count))


def test_p_value_with_ties_counts_every_order_as_extreme():
    first, second = numpy.array([0.0, 0, 1, 1]), numpy.array([0.0, 0, 0, 1])
    taus = [kendall_tau(numpy.array(order), second) for order in itertools.permutations(first)]
    extreme = sum(abs(tau) >= abs(kendall_tau(first, second)) - 1e-9 for tau in taus) / len(taus)
    assert kendall_p_value(first, second, 0) == pytest.approx(extreme)


def test_p_value_with_ties_hardly_depends_on_the_seed():
    first, second = NINE[[0, 0, 1, 3, 2, 4, 8, 6, 7]], NINE[[2, 0, 1, 3, 6, 5, 4, 8, 7]]
    p_values = [kendall_p_value(first, second, seed) for seed in range(4)]
    assert max(p_values) - min(p_values) < 0.005
    assert p_values[0] == pytest.approx(stats.kendalltau(first, second).pvalue, abs=0.02)


def test_p_value_of_many_architectures_takes_no_permutations():
    first, second = draw(5, 2, 200)
    assert kendall_p_value(first, second, 0) == stats.kendalltau(first, second).pvalue


def test_p_value_of_a_constant_is_one():
    assert kendall_p_value(NINE, NINE * 0, 0) == 1.0


@pytest.mark.parametrize("k", range(1, 10))
def test_top_share_gives_out_exactly_k_places(k):
    for seed in range(5):
        shares = top_share(draw(3, 9, seed=seed), k)
        assert shares.sum() == pytest.approx(k)
        assert (shares >= 0).all() and (shares <= 1).all()


def test_top_share_of_ties_is_what_random_orders_give_on_average():
    values = numpy.array([3.0, 2, 2, 2, 1])
    counts = numpy.zeros(5)
    for order in itertools.permutations(range(5)):
        ranked = sorted(range(5), key=lambda index: (-values[index], order[index]))
        counts[ranked[:2]] += 1
    assert top_share(values, 2) == pytest.approx(counts / math.factorial(5))


def test_precision_counts_the_true_best_among_the_predicted_best():
    truth = numpy.array([5.0, 4, 3, 2, 1])
    assert precision_at(3, truth, truth) == 1
    assert precision_at(2, -truth, truth) == 0
    assert precision_at(3, numpy.array([9.0, 0, 8, 7, 0]), truth) == pytest.approx(2 / 3)
    assert precision_at(1, numpy.zeros(5), truth) == pytest.approx(1 / 5)


def test_precision_does_not_punish_a_tie_with_the_best():
    assert precision_at(1, numpy.array([1.0, 2, 0]), numpy.array([7.0, 7, 0])) == 1


def test_regret_is_what_the_picked_one_lacks_in_points():
    truth = numpy.array([0.99, 0.98, 0.90])
    assert regret_at_1(truth, truth) == 0
    assert regret_at_1(numpy.array([0.0, 1, 0]), truth) == pytest.approx(1)
    assert regret_at_1(numpy.array([0.0, 1, 1]), truth) == pytest.approx(5)
    assert regret_at_1(numpy.zeros(3), truth) == pytest.approx(100 * (0.99 - truth.mean()))


def test_measures_of_many_resamples_are_those_of_each():
    predictors, truths = draw(4, 2, 6, 9)
    for measure in (regret_at_1, lambda *both: precision_at(3, *both)):
        together = measure(predictors, truths)
        assert together == pytest.approx([measure(*each) for each in zip(predictors, truths, strict=True)])


def test_interval_holds_the_middle_of_what_is_defined():
    low, high = interval(numpy.array([math.nan, *range(101)]))
    assert (low, high) == (2.5, 97.5)
    assert all(math.isnan(bound) for bound in interval(numpy.full(5, math.nan)))


def test_noise_ceiling_is_the_agreement_of_trainings_and_takes_two():
    assert noise_ceiling(numpy.stack([NINE, NINE, NINE])) == pytest.approx(1)
    assert noise_ceiling(numpy.stack([NINE, NINE, -NINE])) == pytest.approx(-1 / 3)
    assert math.isnan(noise_ceiling(NINE[None]))


def test_deviation_is_of_the_sample_and_undefined_for_one_value():
    assert mean_and_deviation([0.5]) == (0.5, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
