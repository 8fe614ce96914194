"""Ranks, intervals and the verdict on a supernet's ranking."""

import itertools
import math

import numpy
import pytest
from scipy import stats

from oneshot.statistics import (
    Statistic,
    bootstrap_tau,
    kendall_p_value,
    kendall_tau,
    mean_and_deviation,
    spearman_rho,
    verdict,
    winners,
)

NINE = numpy.arange(9) / 10
UNDECIDED = "Cannot be decided"


def tau_b(first, second):
    """By its definition, pair by pair."""
    pairs = list(itertools.combinations(zip(first, second, strict=True), 2))
    signs = [(numpy.sign(a[0] - b[0]), numpy.sign(a[1] - b[1])) for a, b in pairs]
    untied = [sum(side != 0 for side in sides) for sides in zip(*signs, strict=True)]
    return sum(x * y for x, y in signs) / math.sqrt(math.prod(untied))


@pytest.mark.parametrize("levels", [3, 5, 1000], ids="{} levels".format)
@pytest.mark.parametrize("seed", range(3))
def test_kendall_tau_is_tau_b_with_and_without_ties(levels, seed):
    first, second = numpy.random.default_rng(seed).integers(levels, size=(2, 9)).astype(float)
    assert kendall_tau(first, second).value == pytest.approx(tau_b(first, second), abs=1e-6)
    assert kendall_tau(first, second).value == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-6)


def test_spearman_rho_is_the_correlation_of_ranks():
    first, second = numpy.random.default_rng(0).random((2, 9))
    ranks = stats.rankdata(first), stats.rankdata(second)
    assert spearman_rho(first, second).value == pytest.approx(numpy.corrcoef(*ranks)[0, 1], abs=1e-6)


@pytest.mark.parametrize("correlate", [kendall_tau, spearman_rho])
@pytest.mark.parametrize("arms", [(NINE, NINE * 0), (NINE * 0, NINE), (NINE * 0, NINE * 0)])
def test_correlation_with_a_constant_has_a_reason_instead_of_a_value(correlate, arms):
    entries = correlate(*arms).entries("tau")
    assert entries["tau"] is None
    assert "tie" in entries["tau_reason"]


def test_defined_statistic_has_no_reason():
    assert kendall_tau(NINE, NINE).entries("tau") == {"tau": 1.0}


@pytest.mark.parametrize("arms", [(NINE, NINE), (NINE, -NINE)])
def test_p_value_of_a_perfect_order_counts_permutations(arms):
    assert kendall_p_value(*arms) == pytest.approx(2 / math.factorial(9))


def test_p_value_of_a_constant_is_one():
    assert kendall_p_value(NINE, NINE * 0) == 1.0


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_verdict_on_four_architectures_cannot_be_decided(order):
    first, second = numpy.arange(4) / 10, numpy.array(order) / 10
    tau = kendall_tau(first, second)
    assert verdict(tau, tau, kendall_p_value(first, second), 4).startswith(f"{UNDECIDED} with 4 architectures")


@pytest.mark.parametrize(
    ("standalone", "low", "expected"),
    [
        (NINE, Statistic(0.8), "Supported"),
        (NINE, Statistic(-0.1), UNDECIDED),
        (NINE, Statistic(None, "tied"), UNDECIDED),
        (-NINE, Statistic(-1.0), "Not supported"),
        (NINE[[2, 7, 0, 4, 8, 1, 5, 3, 6]], Statistic(0.0), UNDECIDED),
        (NINE * 0, Statistic(None, "tied"), UNDECIDED),
    ],
    ids=["agrees", "agrees-by-luck-of-images", "no-interval", "reversed", "weak", "constant"],
)
def test_verdict_on_nine_architectures(standalone, low, expected):
    sentence = verdict(kendall_tau(NINE, standalone), low, kendall_p_value(NINE, standalone), 9)
    assert sentence.startswith(f"{expected}:")


def draw_correct(gap):
    """(seeds, architectures, images) of two arms; accuracy rises by `gap` from one architecture to the next."""
    chance = 0.3 + gap * numpy.arange(6).reshape(1, 6, 1)
    generator = numpy.random.default_rng(0)
    return generator.random((2, 6, 400)) < chance, generator.random((2, 6, 400)) < chance


def test_bootstrap_interval_is_a_function_of_its_seed():
    arms = draw_correct(gap=0.01)
    assert bootstrap_tau(*arms, 200, seed=0) == bootstrap_tau(*arms, 200, seed=0)
    assert bootstrap_tau(*arms, 200, seed=0) != bootstrap_tau(*arms, 200, seed=1)


@pytest.mark.parametrize("gap", [0.02, 0.1])
def test_bootstrap_interval_contains_the_estimate(gap):
    arms = draw_correct(gap)
    low, high = bootstrap_tau(*arms, 200, seed=0)
    assert -1 <= low.value <= kendall_tau(*(correct.mean((0, 2)) for correct in arms)).value <= high.value <= 1


def test_bootstrap_interval_is_narrower_where_the_ranking_is_clear():
    widths = [high.value - low.value for low, high in (bootstrap_tau(*draw_correct(gap), 200, 0) for gap in (0, 0.1))]
    assert widths[0] > widths[1]


def test_bootstrap_interval_of_constant_arms_has_a_reason():
    everything = numpy.ones((1, 3, 50), bool)
    assert [bound.value for bound in bootstrap_tau(everything, everything, 100, 0)] == [None, None]


def test_winners_are_all_that_share_the_best():
    assert winners(numpy.array([0.5, 0.9, 0.1, 0.9])) == {1, 3}


def test_deviation_is_of_the_sample_and_undefined_for_one_value():
    assert mean_and_deviation([0.5]) == (0.5, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
