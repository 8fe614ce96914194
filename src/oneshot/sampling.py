"""Which architecture a step trains: a function of (seed, step) alone, so that it can be asked out of order."""

# ruff: noqa: S311 - draws of architectures, not of secrets
import random
from collections.abc import Callable
from functools import lru_cache

from oneshot.randomness import derive
from oneshot.space import Architecture, SearchSpace

Sampler = Callable[[int], Architecture]


def build_sampler(name: str, space: SearchSpace, seed: int) -> Sampler:
    """`uniform`: each step draws one choice per block (single path one-shot, arXiv 1904.00420).
    `cycle`: steps are dealt from a shuffled deck of all architectures, so each is trained equally often."""
    architectures = space.architectures

    def uniform(step: int) -> Architecture:
        return random.Random(derive(seed, "uniform", step)).choice(architectures)

    @lru_cache(maxsize=1)
    def deck(number: int) -> list[Architecture]:
        return random.Random(derive(seed, "deck", number)).sample(architectures, len(architectures))

    def cycle(step: int) -> Architecture:
        number, card = divmod(step, len(architectures))
        return deck(number)[card]

    return {"uniform": uniform, "cycle": cycle}[name]
