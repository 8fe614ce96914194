"""Which architectures a step trains: a function of (seed, step) alone, so that it can be asked out of order."""

# ruff: noqa: S311 - draws of architectures, not of secrets
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from math import lcm

from oneshot.cost import by_size
from oneshot.randomness import derive
from oneshot.space import Architecture, SearchSpace, architecture_id

Sampler = Callable[[int], tuple[Architecture, ...]]
"""Step, counted from 0, to the architectures that it trains; of one space, equally many in every step."""


def build_sampler(name: str, space: SearchSpace, seed: int) -> Sampler:
    samplers = {"uniform": _uniform, "cycle": _cycle, "strict_fair": _strict_fair, "sandwich": _sandwich}
    return samplers[name](space, seed)


def _uniform(space: SearchSpace, seed: int) -> Sampler:
    """Each step draws one choice per block (single path one-shot, arXiv 1904.00420)."""
    architectures = space.architectures

    def uniform(step: int) -> tuple[Architecture]:
        return (random.Random(derive(seed, "uniform", step)).choice(architectures),)

    return uniform


def _cycle(space: SearchSpace, seed: int) -> Sampler:
    """Steps are dealt from a shuffled deck of all architectures, so each is trained equally often."""
    architectures = space.architectures

    @lru_cache(maxsize=1)
    def deck(number: int) -> list[Architecture]:
        return random.Random(derive(seed, "deck", number)).sample(architectures, len(architectures))

    def cycle(step: int) -> tuple[Architecture]:
        number, card = divmod(step, len(architectures))
        return (deck(number)[card],)

    return cycle


def _strict_fair(space: SearchSpace, seed: int) -> Sampler:
    """Every step trains each choice of every block equally often (FairNAS, arXiv 1907.01845): a permutation of each
    block's choices, dealt side by side. Where blocks have different numbers of choices there are as many paths as the
    least common multiple, and each block deals permutations until it has as many."""
    blocks = space.blocks
    paths = lcm(*map(len, blocks))

    def deal(step: int, number: int) -> list[str]:
        dealer, choices = random.Random(derive(seed, "strict_fair", step, number)), blocks[number]
        return [choice for _ in range(paths // len(choices)) for choice in dealer.sample(choices, len(choices))]

    def strict_fair(step: int) -> tuple[Architecture, ...]:
        return tuple(zip(*(deal(step, number) for number in range(len(blocks))), strict=True))

    return strict_fair


def _sandwich(space: SearchSpace, seed: int) -> Sampler:
    """Every step trains the largest, then the smallest architecture, then two others drawn anew (arXiv 1903.05134);
    fewer where the space has fewer."""
    ordered = by_size(space)
    ends, others = (ordered[-1], ordered[0]), ordered[1:-1]

    def sandwich(step: int) -> tuple[Architecture, ...]:
        return *ends, *random.Random(derive(seed, "sandwich", step)).sample(others, min(2, len(others)))

    return sandwich


def sampling_ledger(trained: Mapping[Architecture, int], space: SearchSpace) -> Iterator[tuple[str, str, int, float]]:
    """(kind, name, trained, imbalance): the batches that trained each architecture, then each choice of `block 1`,
    `block 2`, ..., and the imbalance of its kind. A batch counts for every path that a step runs it through."""
    counts = {"architecture": {architecture_id(each): trained.get(each, 0) for each in space.architectures}}
    for block, choices in enumerate(space.blocks):
        of_choice = Counter[str](dict.fromkeys(choices, 0))
        for architecture, count in trained.items():
            of_choice[architecture[block]] += count
        counts[f"block {block + 1}"] = of_choice
    for kind, of_kind in counts.items():
        for name, count in of_kind.items():
            yield kind, name, count, imbalance(of_kind.values())


def imbalance(counts: Collection[int]) -> float:
    """(most - least) / mean, in percent; 0 where nothing was counted."""
    return round(100 * (max(counts) - min(counts)) * len(counts) / max(1, sum(counts)), 3)
