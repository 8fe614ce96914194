"""What a step trains is a function of the seed and the step, and as fair as its sampler promises."""

from collections import Counter

import pytest
from conftest import CLASSES, INPUT_SHAPE, SPACES, depth_space, kernel_space

from oneshot.blocks import ClassifierLayer, DepthBlock, KernelBlock, MaxPoolLayer
from oneshot.cost import by_size, count_macs, count_params
from oneshot.sampling import build_sampler, sampling_ledger
from oneshot.space import SearchSpace, architecture_id

SAMPLERS = ["uniform", "cycle", "strict_fair", "sandwich"]
STEPS = range(90)


def uneven_space(*counts):
    """Blocks with so many choices each."""
    blocks = [
        DepthBlock(layer="depth_block", depths=(*range(1, count + 1),), kernel=3, sharing="prefix", batch_norm=False)
        for count in counts
    ]
    return SearchSpace((*blocks, ClassifierLayer(layer="classifier", classes=CLASSES)), INPUT_SHAPE)


def draw(name, space, seed, steps=STEPS):
    sampler = build_sampler(name, space, seed)
    return [sampler(step) for step in steps]


def draw_single(name, space, seed, steps=STEPS):
    return [architecture for (architecture,) in draw(name, space, seed, steps)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_architectures_of_a_step_can_be_asked_out_of_order(name):
    space = SPACES["prefix"]
    assert draw(name, space, 0, reversed(STEPS))[::-1] == draw(name, space, 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_seed_draws_another_order(name):
    assert draw(name, SPACES["prefix"], 0) != draw(name, SPACES["prefix"], 1)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("counts", [(1,), (2,), (3,), (3, 2), (2, 1, 4)])
def test_every_step_trains_equally_many_architectures_of_the_space(name, counts):
    space = uneven_space(*counts)
    steps = draw(name, space, 0)
    assert len(set(map(len, steps))) == 1
    assert {architecture for step in steps for architecture in step} <= set(space.architectures)


@pytest.mark.parametrize("kernels", [(3, 5), (3, 5, 7)])
def test_cycle_trains_every_architecture_once_per_deck(kernels):
    space = kernel_space("sum", kernels=kernels)
    size = len(space.architectures)
    drawn = draw_single("cycle", space, 0, range(5 * size))
    decks = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    assert all(sorted(deck) == sorted(space.architectures) for deck in decks)
    assert len({tuple(deck) for deck in decks}) > 1


def test_uniform_draws_every_architecture_about_equally_often():
    counts = Counter(draw_single("uniform", SPACES["prefix"], 0, range(9000)))
    assert set(counts) == set(SPACES["prefix"].architectures)
    assert all(850 <= count <= 1150 for count in counts.values())


def test_uniform_does_not_deal_from_a_deck():
    drawn = draw_single("uniform", SPACES["sum"], 0)
    assert any(first == second for first, second in zip(drawn[::2], drawn[1::2], strict=True))


@pytest.mark.parametrize(
    ("counts", "paths"), [((2, 2), 2), ((3, 3), 3), ((2, 3), 6), ((4, 6), 12), ((1, 3), 3), ((2, 3, 4), 12), ((5,), 5)]
)
def test_strict_fair_trains_each_choice_of_a_block_equally_often_in_every_step(counts, paths):
    space = uneven_space(*counts)
    for step in draw("strict_fair", space, 0):
        assert len(step) == paths
        for choices, dealt in zip(space.blocks, zip(*step, strict=True), strict=True):
            assert Counter(dealt) == dict.fromkeys(choices, paths // len(choices))


def test_strict_fair_deals_every_pair_of_choices():
    steps = draw("strict_fair", SPACES["prefix"], 0)
    assert {architecture for step in steps for architecture in step} == set(SPACES["prefix"].architectures)


@pytest.mark.parametrize("space", [SPACES["prefix"], SPACES["sum"], uneven_space(3, 2)], ids=["3x3", "2x2", "3x2"])
def test_sandwich_trains_the_largest_the_smallest_and_two_others(space):
    ordered = by_size(space)
    steps = draw("sandwich", space, 0)
    assert all(step[:2] == (ordered[-1], ordered[0]) for step in steps)
    assert all(len(set(step)) == 4 for step in steps)
    assert {architecture for step in steps for architecture in step} == set(space.architectures)


@pytest.mark.parametrize("counts", [(2,), (3,)])
def test_sandwich_of_a_small_space_trains_each_once(counts):
    space = uneven_space(*counts)
    assert all(sorted(step) == sorted(space.architectures) for step in draw("sandwich", space, 0))


def test_size_is_macs_then_params_then_place():
    space = depth_space("prefix")
    sizes = [
        (count_macs(space.path(architecture), INPUT_SHAPE), count_params(space.path(architecture)))
        for architecture in by_size(space)
    ]
    assert sizes == sorted(sizes)
    assert (by_size(space)[0], by_size(space)[-1]) == (("1", "1"), ("3", "3"))
    equal = kernel_space("sum", kernels=(3, (1, 9), (9, 1)))
    assert by_size(equal) == equal.architectures


def test_of_equal_macs_more_params_are_larger():
    def block(*kernels):
        return KernelBlock(layer="kernel_block", kernels=kernels, channels=1, sharing="sum", batch_norm=False)

    classifier = ClassifierLayer(layer="classifier", classes=CLASSES)
    space = SearchSpace(
        (block(1, (1, 3)), MaxPoolLayer(layer="max_pool", size=2), block(1, 3), classifier), INPUT_SHAPE
    )
    # 64 * 3 + 16 * 1 MACs and 64 * 1 + 16 * 9 are the same, with 3 + 1 weights and 1 + 9.
    assert by_size(space) == (("1", "1"), ("1x3", "1"), ("1", "3"), ("1x3", "3"))


def ledger(name, space, steps, seed=0):
    sampler = build_sampler(name, space, seed)
    entries = list(sampling_ledger(Counter(each for step in steps for each in sampler(step)), space))
    counts = {(kind, key): trained for kind, key, trained, _ in entries}
    assert len(counts) == len(entries)
    return counts


def of_kind(counts, kind):
    return [trained for (other, _), trained in counts.items() if other == kind]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [range(0), range(1), range(5, 26)])
def test_ledger_counts_what_the_sampler_draws_with_a_row_for_everything(name, steps):
    space = uneven_space(3, 2)
    drawn = [architecture for step in draw(name, space, 0, steps) for architecture in step]
    expected = {
        ("architecture", architecture_id(architecture)): drawn.count(architecture)
        for architecture in space.architectures
    }
    for block, choices in enumerate(space.blocks):
        names = [architecture[block] for architecture in drawn]
        expected |= {(f"block {block + 1}", choice): names.count(choice) for choice in choices}
    found = ledger(name, space, steps)
    assert found == expected
    assert list(found) == list(expected)


def test_ledger_says_how_uneven_each_kind_is():
    space = uneven_space(2, 2)
    first, second = space.architectures[0], space.architectures[1]  # of the same first choice
    entries = list(sampling_ledger({first: 1, second: 3}, space))
    assert {kind: each for kind, _, _, each in entries} == {"architecture": 300, "block 1": 200, "block 2": 100}


@pytest.mark.parametrize("name", ["uniform", "cycle"])
def test_ledger_of_one_path_a_step_sums_to_the_steps(name):
    counts = ledger(name, uneven_space(3, 2), range(10, 57))
    assert [sum(of_kind(counts, kind)) for kind in ("architecture", "block 1", "block 2")] == [47] * 3


@pytest.mark.parametrize("steps", [range(36), range(7, 60)])
def test_ledger_of_a_cycle_differs_by_one_deck_at_most(steps):
    counts = of_kind(ledger("cycle", SPACES["prefix"], steps), "architecture")
    assert max(counts) - min(counts) <= (steps.start % 9 > 0) + (steps.stop % 9 > 0)


@pytest.mark.parametrize("counts", [(3, 3), (2, 3)])
def test_ledger_of_strict_fair_has_exactly_equal_choices_in_every_epoch(counts):
    space = uneven_space(*counts)
    for epoch in range(4):
        found = ledger("strict_fair", space, range(epoch * 13, (epoch + 1) * 13))
        assert all(len(set(of_kind(found, f"block {block}"))) == 1 for block in (1, 2))
        assert min(of_kind(found, "block 1")) >= 13
