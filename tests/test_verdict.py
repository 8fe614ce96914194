"""The sentence that says whether a ranking may be believed."""

import math
from dataclasses import replace

import pytest

from oneshot.statistics import Estimate
from oneshot.verdict import Evidence, critical_tau, judge

UNDEFINED = Estimate(math.nan)
SURE = Evidence(
    tau=Estimate(0.8, 0.6, 0.9),
    p_value=0.002,
    architectures=9,
    seeds=1,
    counting=Estimate(0.5, 0.3, 0.7),
    counted="params",
    lead=Estimate(0.3, 0.1, 0.5),
)


@pytest.mark.parametrize("tau", [-1.0, 0.33, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_architectures_are_never_enough(tau, count):
    sentence = judge(replace(SURE, architectures=count, tau=Estimate(tau, tau, tau), p_value=2 / math.factorial(count)))
    assert sentence.startswith(f"Cannot be decided with {count} architecture")
    assert "at least 5" in sentence


def test_clear_agreement_is_supported():
    assert judge(SURE).startswith("Supported: ")
    assert "0.80, 95% interval 0.60 to 0.90, p = 0.002" in judge(SURE)


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        (Estimate(0.3, 0.1, 0.5), "params does worse (0.50)"),
        (Estimate(-0.3, -0.5, -0.1), "params does better (0.50)"),
        (Estimate(0.1, -0.1, 0.3), "params cannot be told from it (0.50)"),
    ],
)
def test_support_is_held_against_counting(lead, expected):
    assert expected in judge(replace(SURE, lead=lead))


def test_where_all_have_the_same_size_counting_says_nothing():
    assert "counting params or MACs says nothing" in judge(replace(SURE, counting=UNDEFINED, lead=UNDEFINED))


@pytest.mark.parametrize("tau", [Estimate(-0.8, -0.9, -0.6), Estimate(0.1, -0.1, 0.3), Estimate(0.3, 0.1, 0.4)])
def test_a_ranking_that_at_best_is_chance_is_not_supported(tau):
    assert judge(replace(SURE, tau=tau, p_value=0.5)).startswith("Not supported: ")


def test_a_weak_agreement_takes_more_architectures():
    sentence = judge(replace(SURE, tau=Estimate(0.4, -0.1, 0.7), p_value=0.15))
    assert sentence.startswith("Cannot be decided with 9 architectures and 1 seed: ")
    needed = int(sentence.rsplit("about ", 1)[1].split()[0])
    assert critical_tau(needed) <= 0.4 < critical_tau(needed - 1)


def test_an_agreement_lost_in_noise_takes_more_seeds():
    assert "about 3 seeds" in judge(replace(SURE, tau=Estimate(0.7, -0.1, 0.9), p_value=0.02))


def test_no_number_of_architectures_is_promised_for_no_agreement():
    assert "more than 1000" in judge(replace(SURE, tau=Estimate(0.0, -0.6, 0.6), p_value=0.9))


def test_a_tie_of_all_cannot_be_decided():
    assert judge(replace(SURE, tau=UNDEFINED)).startswith("Cannot be decided: all architectures tie")


@pytest.mark.parametrize(("count", "exact"), [(9, 0.556), (20, 0.326), (40, 0.218)])
def test_critical_tau_is_near_the_exact_tables(count, exact):
    assert critical_tau(count) == pytest.approx(exact, abs=0.04)
