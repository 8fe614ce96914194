"""The supernet's tables: what each architecture lost, and how often it was trained."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from oneshot.params import load_params
from oneshot.sampling import build_sampler
from oneshot.training import Epoch
from pipeline.train_supernet import SAMPLING_COLUMNS, ledger, mean_losses

DEPTHS = load_params(Path(__file__).parents[1] / "params.yaml").studies["depths"]
SPACE = DEPTHS.search_space()


def rows(sampler, epochs=3, images=1000, batch_size=64, seed=0):
    recipe = DEPTHS.supernet.model_copy(update={"sampler": sampler, "epochs": epochs, "batch_size": batch_size})
    return list(ledger(SimpleNamespace(space=SPACE, recipe=recipe, training_size=images), seed))


@pytest.mark.parametrize(("sampler", "paths"), [("uniform", 1), ("cycle", 1), ("strict_fair", 3), ("sandwich", 4)])
def test_sampling_ledger_has_a_row_for_everything_in_every_epoch_and_sums_to_the_paths(sampler, paths):
    table = rows(sampler)
    assert all(tuple(row) == SAMPLING_COLUMNS for row in table)
    assert [row["epoch"] for row in table] == [epoch for epoch in (1, 2, 3) for _ in range(9 + 3 + 3)]
    for epoch in (1, 2, 3):
        for kind in ("architecture", "block 1", "block 2"):
            counts = [row["trained"] for row in table if (row["epoch"], row["kind"]) == (epoch, kind)]
            assert sum(counts) == paths * (1000 // 64)


def test_sampling_ledger_is_that_of_the_seed():
    first, other = rows("uniform"), rows("uniform", seed=1)
    assert {row["seed"] for row in other} == {1}
    assert [row["trained"] for row in first] != [row["trained"] for row in other]


@pytest.mark.parametrize("sampler", ["cycle", "sandwich", "strict_fair"])
def test_loss_of_an_architecture_is_the_mean_over_the_steps_that_trained_it(sampler):
    choose, expected = build_sampler(sampler, SPACE, 0), {}
    losses = [[step + path / 8 for path in range(len(choose(step)))] for step in range(5, 9)]
    for step, of_step in zip(range(5, 9), losses, strict=True):
        for architecture, loss in zip(choose(step), of_step, strict=True):
            expected.setdefault(architecture, []).append(loss)
    found = mean_losses(Epoch(2, 5, losses, 0.0), choose)
    assert found == {key: round(sum(values) / len(values), 6) for key, values in expected.items()}
