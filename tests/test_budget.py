"""What training cost, how it was dealt, and what best-of-epochs would claim."""

import pytest

from oneshot.budget import best_epoch_gains, break_even, imbalances, standalone_macs, supernet_macs


def ledger(counts, kind="architecture", seed="0", imbalance=0):
    return [
        {"seed": seed, "epoch": "1", "kind": kind, "name": name, "trained": str(n), "imbalance": str(imbalance)}
        for name, n in counts.items()
    ]


MACS = {"1": 10, "2": 30}


def test_training_macs_are_three_forward_passes_of_what_was_trained():
    rows = [*ledger({"1": 4, "2": 2}), *ledger({"1": 6}, kind="block 1")]
    assert supernet_macs(rows, 128, MACS) == 3 * 128 * (4 * 10 + 2 * 30)
    assert standalone_macs(5, 128, MACS, seeds=2) == 3 * 128 * 5 * (10 + 30) * 2


@pytest.mark.parametrize(("supernet", "expected"), [(39.0, 4), (40.0, 5), (41.0, 5), (5.0, 1)])
def test_break_even_is_the_first_number_at_which_the_supernet_is_cheaper(supernet, expected):
    assert break_even(supernet, 90.0, 9) == expected
    assert supernet < expected * 10 and supernet >= (expected - 1) * 10


def test_imbalance_is_of_the_worst_block_over_the_whole_training_and_of_the_worst_epoch():
    rows = [
        *ledger({"1": 1, "2": 3}, imbalance=100),
        *ledger({"1": 3, "2": 1}, imbalance=100),
        *ledger({"a": 10, "b": 10}, kind="block 1"),
        *ledger({"a": 5, "b": 15}, kind="block 2", imbalance=7),
    ]
    assert imbalances(rows) == {"architectures": 0, "architectures_epoch": 100, "choices": 100, "choices_epoch": 7}


def test_seeds_do_not_make_up_for_each_others_imbalance():
    rows = [*ledger({"1": 1, "2": 3}, seed="0"), *ledger({"1": 3, "2": 1}, seed="1"), *ledger({"a": 1}, kind="block 1")]
    assert imbalances(rows)["architectures"] == pytest.approx(100)


def test_best_epoch_gains_are_of_each_network_in_points():
    curves = [
        {"architecture": name, "seed": "0", "val_accuracy": str(value)}
        for name, values in {"1": (0.5, 0.9, 0.8), "2": (0.1, 0.2, 0.3)}.items()
        for value in values
    ]
    assert best_epoch_gains(curves, "val_accuracy") == pytest.approx([10, 0])
