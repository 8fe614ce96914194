"""The sentence that says whether a ranking may be believed."""

import math
from dataclasses import replace

import numpy
import pytest
from scipy import stats

from oneshot.statistics import Estimate
from oneshot.verdict import USEFUL_TAU, Evidence, architectures_needed, judge

UNDEFINED = Estimate(math.nan)
SURE = Evidence(
    tau=Estimate(0.8, 0.6, 0.9),
    p_value=0.002,
    architectures=9,
    seeds=1,
    unlearned={"one-shot": 0, "standalone": 0},
    size_tau=Estimate(0.5, 0.3, 0.7),
    size="params",
    advantage=Estimate(0.3, 0.1, 0.5),
)
WEAK = replace(SURE, tau=Estimate(0.4, -0.1, 0.7), p_value=0.15)


@pytest.mark.parametrize("tau", [-1.0, 0.33, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_architectures_are_never_enough(tau, count):
    sentence = judge(replace(SURE, architectures=count, tau=Estimate(tau, tau, tau), p_value=2 / math.factorial(count)))
    assert sentence.startswith(f"Cannot be decided with {count} architecture")
    assert "at least 5" in sentence


def test_clear_agreement_is_supported():
    assert judge(SURE).startswith("Supported: ")
    assert "0.80, 95% interval 0.60 to 0.90 over test images, one seed, p = 0.002" in judge(SURE)


def test_a_verdict_says_what_its_interval_covers():
    assert "over test images, one seed" in judge(SURE)
    assert "over test images and seeds" in judge(replace(SURE, seeds=3))


@pytest.mark.parametrize("evidence", [SURE, WEAK, replace(SURE, tau=Estimate(-0.5, -0.7, -0.2))])
@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        (Estimate(0.3, 0.1, 0.5), "params does worse (0.50)"),
        (Estimate(-0.3, -0.5, -0.1), "params does better (0.50)"),
        (Estimate(0.1, -0.1, 0.3), "params cannot be told from it (0.50)"),
    ],
)
def test_every_verdict_is_held_against_counting(evidence, advantage, expected):
    assert expected in judge(replace(evidence, advantage=advantage))


def test_where_all_have_the_same_size_counting_says_nothing():
    assert "all equal and rank nothing" in judge(replace(SURE, size_tau=UNDEFINED, advantage=UNDEFINED))


@pytest.mark.parametrize(
    "evidence", [WEAK, replace(WEAK, architectures=99), replace(SURE, tau=Estimate(-0.8, -0.9, -0.6))]
)
@pytest.mark.parametrize("arm", SURE.unlearned)
def test_ranks_of_guesses_refute_nothing(evidence, arm):
    sentence = judge(replace(evidence, unlearned=SURE.unlearned | {arm: 2}))
    assert sentence.startswith(f"Cannot be decided: 2 of {evidence.architectures} {arm} accuracies are below 20%")
    assert judge(replace(evidence, unlearned=SURE.unlearned | {arm: 1})) == judge(evidence)


def test_an_agreement_that_shows_in_spite_of_guesses_is_supported():
    assert judge(replace(SURE, unlearned={"one-shot": 2, "standalone": 2})) == judge(SURE)


def test_an_interval_below_zero_is_not_supported():
    assert judge(replace(SURE, tau=Estimate(-0.8, -0.9, -0.6))).startswith("Not supported: ")


def test_lack_of_agreement_is_believed_only_where_a_useful_one_would_have_shown():
    enough = architectures_needed(USEFUL_TAU)
    assert judge(replace(WEAK, architectures=enough)).startswith("Not supported: ")
    assert judge(replace(WEAK, architectures=enough - 1)).startswith("Cannot be decided")


def test_a_weak_agreement_takes_more_architectures():
    assert judge(WEAK).startswith("Cannot be decided with 9 architectures and 1 seed: ")
    assert f"about {architectures_needed(0.4)} architectures" in judge(WEAK)


def test_an_agreement_that_may_be_luck_takes_seeds():
    unsure = replace(SURE, tau=Estimate(0.7, -0.1, 0.9))
    assert "3 seeds or more" in judge(unsure)
    assert "about 5 seeds" in judge(replace(unsure, seeds=3))


def test_no_number_of_architectures_is_promised_for_no_agreement():
    assert "more than 1000" in judge(replace(WEAK, tau=Estimate(0.0, -0.6, 0.6), p_value=0.9))


def test_a_tie_of_all_cannot_be_decided():
    assert judge(replace(SURE, tau=UNDEFINED)).startswith("Cannot be decided: all architectures tie")


@pytest.mark.parametrize("tau", [0.3, 0.5])
def test_so_many_architectures_find_such_a_tau_about_four_times_of_five(tau):
    """Draws from a bivariate normal whose Kendall tau is tau (Greiner: correlation sin(pi tau / 2))."""
    count, generator = architectures_needed(tau), numpy.random.default_rng(0)
    correlation = math.sin(math.pi * tau / 2)
    draws = generator.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=(400, count))
    found = numpy.mean([stats.kendalltau(*draw.T).pvalue <= 0.05 for draw in draws])
    assert 0.75 <= found <= 0.93  # a strong tau spreads less than the approximation has it
