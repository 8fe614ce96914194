"""The rows and figures of a comparison, on made-up answers of both arms."""

import math
from dataclasses import replace

import numpy
import pytest

from oneshot.arms import Arms, Resampled
from oneshot.comparison import COLUMNS, LEDGER, summarise, tabulate
from oneshot.params import Compare
from oneshot.predictors import rank_predictors

SECTION = Compare(
    bootstrap_samples=200, bootstrap_seed=0, precision_k=3, finetune_steps=0, latency_batch=1, latency_repeats=10
)
COUNT, IMAGES = 9, 2000
NAMES = [f"{first}-{second}" for first in "123" for second in "123"]
PARAMS = numpy.arange(1.0, COUNT + 1) * 1000
GOOD = 0.80 + 0.02 * numpy.arange(COUNT)
"""Chance to be right, rising with the size."""


def answers(chances, seeds, stream):
    generator = numpy.random.default_rng(stream)
    return generator.random((seeds, COUNT, IMAGES)) < numpy.asarray(chances)[None, :, None]


def make_arms(seeds=1, oneshot=GOOD - 0.02, finetuned=False):
    accuracies = numpy.repeat(GOOD[None], seeds, 0)
    return Arms(
        oneshot=answers(oneshot, seeds, 1),
        inherited=answers(oneshot - 0.1, seeds, 2),
        finetuned=answers(oneshot + 0.01, seeds, 3) if finetuned else None,
        standalone=answers(GOOD, seeds, 4),
        oneshot_validation=accuracies - 0.02,
        inherited_validation=accuracies[:, ::-1],
        standalone_validation=accuracies,
        first_epoch_validation=accuracies - 0.1,
        divergence=1 - accuracies,
    )


def compare(arms, params=PARAMS, section=SECTION):
    resampled = Resampled.draw(arms, section)
    rows = tabulate(NAMES, params, 10 * params, arms, resampled)
    return rows, summarise(rows, arms, resampled, section)


def test_a_row_holds_every_column_and_no_other():
    for arms in (make_arms(), make_arms(seeds=2, finetuned=True)):
        rows, _ = compare(arms)
        assert [row["architecture"] for row in rows] == NAMES
        assert all(set(row) == set(COLUMNS) for row in rows)


@pytest.mark.parametrize(("arm", "named"), [("oneshot", "one-shot"), ("standalone", "standalone")])
def test_an_arm_of_guesses_leaves_the_verdict_open(arm, named):
    guesses = replace(make_arms(), **{arm: answers(numpy.full(COUNT, 0.1), 1, 5)})
    assert compare(guesses)[1]["verdict"].startswith(f"Cannot be decided: 9 of 9 {named} accuracies are below 20%")


def test_networks_that_learned_are_no_guesses():
    assert "guess" not in compare(make_arms())[1]["verdict"]


def test_gap_is_standalone_minus_oneshot_in_points():
    for row in compare(make_arms(seeds=2))[0]:
        gap = 100 * (row["standalone_test_accuracy"] - row["oneshot_test_accuracy"])
        assert row["gap"] == pytest.approx(gap, abs=1e-3)
        assert row["gap_low"] < row["gap"] < row["gap_high"]


@pytest.mark.parametrize("finetuned", [False, True])
def test_the_parts_of_the_ledger_sum_to_the_gap_of_the_inherited_subnet(finetuned):
    for row in compare(make_arms(finetuned=finetuned))[0]:
        total = 100 * (row["standalone_test_accuracy"] - row["oneshot_test_accuracy_inherited"])
        assert sum(row[part] or 0 for part in LEDGER) == pytest.approx(total, abs=1e-3)
        assert (row["gap_under_training"] is None) == (not finetuned)


def test_deviations_are_there_with_several_seeds_alone():
    for seeds in (1, 3):
        row = compare(make_arms(seeds=seeds))[0][0]
        assert (row["oneshot_test_accuracy_std"] is None) == (seeds == 1)


def test_intervals_of_accuracies_hold_the_true_chances():
    rows, _ = compare(make_arms())
    held = [
        row["standalone_test_accuracy_low"] <= chance <= row["standalone_test_accuracy_high"]
        for row, chance in zip(rows, GOOD, strict=True)
    ]
    assert sum(held) >= COUNT - 2


def test_agreeing_arms_are_supported_and_the_interval_holds_the_estimate():
    _, summary = compare(make_arms())
    assert summary["kendall_tau_low"] <= summary["kendall_tau"] <= summary["kendall_tau_high"]
    assert summary["kendall_tau"] > 0.8 and summary["kendall_p_value"] < 0.01
    assert summary["verdict"].startswith("Supported")
    assert (summary["best_oneshot"], summary["regret_at_1"], summary["precision_at_1"]) == ("3-3", 0, 1)


def test_every_estimate_of_the_summary_has_its_interval():
    _, summary = compare(make_arms())
    for key in ("kendall_tau", "kendall_tau_selection", "kendall_tau_params", "regret_at_1", "mean_gap", "max_gap"):
        assert summary[f"{key}_low"] <= summary[key] <= summary[f"{key}_high"], key


def test_the_reference_is_no_prediction_of_itself():
    """It is the best here; of the others, those nearer to it are the worse."""
    divergence = numpy.append(numpy.arange(1.0, COUNT), 0)[None]
    _, summary = compare(replace(make_arms(), divergence=divergence))
    assert summary["kl_reference"] == "3-3"
    assert summary["kl_spearman_rho"] < -0.95


def test_reversed_arms_are_not_supported_and_cost_the_whole_regret():
    arms = replace(make_arms(oneshot=GOOD[::-1]), oneshot_validation=GOOD[None, ::-1])
    _, summary = compare(arms)
    assert summary["verdict"].startswith("Not supported")
    assert summary["best_oneshot"] == "1-1" and summary["precision_at_3"] == 0
    assert summary["regret_at_1"] == pytest.approx(16, abs=3)


def test_equal_sizes_leave_counting_undefined_with_a_reason():
    _, summary = compare(make_arms(), params=numpy.full(COUNT, 5000.0))
    for key in ("kendall_tau_params", "kendall_tau_macs"):
        assert summary[key] is None and "tie" in summary[f"{key}_reason"]
    assert "rank nothing" in summary["verdict"]


def test_noise_ceiling_takes_two_seeds():
    assert compare(make_arms())[1]["noise_ceiling"] is None
    assert compare(make_arms(seeds=2))[1]["noise_ceiling"] > 0.5


def test_every_predictor_is_ranked_and_chance_gives_nothing():
    arms = make_arms()
    resampled = Resampled.draw(arms, SECTION)
    ranked = rank_predictors(tabulate(NAMES, PARAMS, PARAMS, arms, resampled), arms, resampled, SECTION)
    by_name = {row["predictor"]: row for row in ranked}
    assert list(by_name)[-3:] == ["params", "macs", "random"]
    assert by_name["params"]["kendall_tau"] == by_name["macs"]["kendall_tau"] > 0.8
    assert by_name["oneshot_val_inherited"]["kendall_tau"] == pytest.approx(-by_name["params"]["kendall_tau"])
    assert by_name["kl_to_reference"]["kendall_tau"] > 0.8  # the nearer to the reference, the better
    chance = by_name["random"]
    assert chance["kendall_tau"] == 0 and chance["kendall_tau_low"] < -0.3 < 0.3 < chance["kendall_tau_high"]
    assert chance["precision_at_1"] == pytest.approx(1 / COUNT, abs=1e-6)
    assert by_name["oneshot_test"]["regret_at_1"] < chance["regret_at_1"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_small_space_has_a_small_k(count):
    arms = make_arms()
    few = Arms(**{name: None if value is None else value[:, :count] for name, value in vars(arms).items()})
    resampled = Resampled.draw(few, SECTION)
    rows = tabulate(NAMES[:count], PARAMS[:count], PARAMS[:count], few, resampled)
    summary = summarise(rows, few, resampled, SECTION)
    assert f"precision_at_{count}" in summary and "precision_at_3" not in summary
    assert summary["verdict"].startswith("Cannot be decided")


def test_a_comparison_is_a_function_of_its_seed():
    arms = make_arms(seeds=2)
    assert compare(arms) == compare(arms)
    assert compare(arms)[1] != compare(arms, section=SECTION.model_copy(update={"bootstrap_seed": 1}))[1]


def test_more_seeds_than_images_can_tell_widen_the_interval():
    """Trainings that disagree are uncertainty that no test image shows."""
    steady, luck = numpy.repeat(answers(GOOD, 1, 5), 2, 0), answers(GOOD, 2, 5)
    luck[0, 0] &= numpy.random.default_rng(0).random(IMAGES) < 0.7
    widths = []
    for standalone in (steady, luck):
        low, high = (
            compare(replace(make_arms(2), standalone=standalone))[0][0][f"gap_{end}"] for end in ("low", "high")
        )
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_everything_tied_gives_reasons_and_no_number():
    everything = numpy.ones((1, COUNT, 50), bool)
    arms = replace(make_arms(), oneshot=everything, inherited=everything, standalone=everything)
    _, summary = compare(arms)
    assert summary["kendall_tau"] is None and summary["kendall_tau_low"] is None
    assert summary["verdict"].startswith("Cannot be decided")
    assert not any(isinstance(value, float) and math.isnan(value) for value in summary.values())
