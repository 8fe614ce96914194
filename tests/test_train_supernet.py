"""The supernet's ledger: how often each architecture and choice was trained."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import depth_space, random_examples

import pipeline.inputs
from oneshot.checkpoint import Checkpoints
from oneshot.jobs import Job, Reporter
from oneshot.params import Evaluate, load_params
from oneshot.sampling import build_sampler
from oneshot.space import architecture_id
from pipeline.inputs import Inputs
from pipeline.train_supernet import SAMPLING_COLUMNS, train_supernet

RECIPE = load_params(Path(__file__).parents[1] / "params.yaml").studies["depths"].supernet
SPACE = depth_space("prefix")
EPOCHS, STEPS, BATCH = 2, 5, 8


@pytest.fixture
def rows(monkeypatch, machine, tmp_path):
    """Of sampling.csv, after a small training by a sampler."""
    training = random_examples(STEPS * BATCH + 3)
    monkeypatch.setattr(pipeline.inputs, "load_split", lambda *arguments: (training, random_examples()))

    def train(sampler, seed=0):
        recipe = RECIPE.model_copy(update={"sampler": sampler, "epochs": EPOCHS, "batch_size": BATCH})
        evaluate = Evaluate(batch_size=24, calibration_images=24)
        inputs = Inputs(SPACE, recipe, evaluate, Path(), None, len(training), machine)
        job = Job("train_supernet@small", "supernet", seed, EPOCHS, len(training), 0, {}, inputs)
        checkpoints = Checkpoints(tmp_path, f"{sampler}{seed}")
        return train_supernet(job, Reporter(lambda *message: None), checkpoints).record["sampling"]

    return train


@pytest.mark.parametrize(("sampler", "paths"), [("uniform", 1), ("cycle", 1), ("strict_fair", 3), ("sandwich", 4)])
def test_sampling_ledger_has_a_row_for_everything_in_every_epoch_and_sums_to_the_paths(rows, sampler, paths):
    table = rows(sampler)
    assert all(tuple(row) == SAMPLING_COLUMNS for row in table)
    assert [row["epoch"] for row in table] == [epoch for epoch in (1, 2) for _ in range(9 + 3 + 3)]
    for epoch in (1, 2):
        for kind in ("architecture", "block 1", "block 2"):
            counts = [row["trained"] for row in table if (row["epoch"], row["kind"]) == (epoch, kind)]
            assert sum(counts) == paths * STEPS


@pytest.mark.parametrize("sampler", ["uniform", "sandwich"])
def test_what_was_trained_is_what_the_sampler_of_the_seed_planned(rows, sampler):
    for seed in (0, 1):
        choose = build_sampler(sampler, SPACE, seed)
        planned = Counter(architecture_id(each) for step in range(EPOCHS * STEPS) for each in choose(step))
        counted = Counter()
        for row in rows(sampler, seed):
            counted[row["name"]] += row["trained"] * (row["kind"] == "architecture")
        assert +counted == planned and {row["seed"] for row in rows(sampler, seed)} == {seed}
