"""One sentence: is the supernet's ranking supported, not supported, or not to be decided, and what would it take?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from oneshot.catalog import CLASSES, UNLEARNED
from oneshot.statistics import LEVEL, TIED, Estimate

POWER = 0.8
USEFUL_TAU = 0.5
"""What a ranking should reach at least to be of use: three of four pairs in the right order."""
MOST = 1000
"""Architectures; beyond this many, an agreement is too weak to be of use."""
FEWEST_SEEDS = 3
"""From which the luck of training can be judged."""


@dataclass(frozen=True)
class Evidence:
    tau: Estimate
    """Kendall tau-b of one-shot with standalone accuracy."""
    p_value: float
    architectures: int
    seeds: int
    unlearned: Mapping[str, int]
    """By arm, how many of its accuracies are below UNLEARNED."""
    size_tau: Estimate
    """Kendall tau-b of the params, or of the MACs if these rank better, with standalone accuracy."""
    size: str
    """`params` or `MACs`."""
    advantage: Estimate
    """tau minus size_tau, resampled together."""


def judge(evidence: Evidence) -> str:
    """Supported: the p-value and the interval leave 0 out. Not supported: the interval lies below 0, or there is no
    agreement though there are enough architectures to have shown a useful one. Where several networks of an arm learned
    nothing it is supported or cannot be decided; the latter in all other cases, too."""
    tau, count = evidence.tau, evidence.architectures
    smallest = min(1.0, 2 / math.factorial(count))
    if smallest > LEVEL:
        few = f"even a perfect ranking would have p = {smallest:.3f}; it takes at least {_fewest_architectures()}"
        return f"Cannot be decided with {_number(count, 'architecture')}: {few}."
    if math.isnan(tau.value):
        return f"Cannot be decided: {TIED}."
    significant = evidence.p_value <= LEVEL
    end = f"({_figures(evidence)}); {_against_size(evidence)}."
    if significant and tau.low > 0:
        return f"Supported: one-shot agrees with standalone accuracy better than chance {end}"
    for arm, unlearned in evidence.unlearned.items():
        if unlearned > 1:
            low = f"{unlearned} of {count} {arm} accuracies are below {UNLEARNED:.0%}"
            return f"Cannot be decided: {low}, a guess has {1 / CLASSES:.0%}, and ranks of guesses mean nothing {end}"
    if tau.high <= 0 or (not significant and architectures_needed(USEFUL_TAU) <= count):
        return f"Not supported: one-shot does not agree with standalone accuracy {end}"
    sizes = f"{_number(count, 'architecture')} and {_number(evidence.seeds, 'seed')}"
    return f"Cannot be decided with {sizes}: the agreement may be luck, and {_what_it_takes(evidence)} {end}"


def architectures_needed(tau: float) -> int:
    """How many it takes to find such a tau significant with 80% power (normal approximation without ties); MOST if not
    even that many would do."""
    deviations = float(stats.norm.isf(LEVEL / 2) + stats.norm.ppf(POWER))
    return next((n for n in range(3, MOST) if deviations * _deviation(n) <= tau), MOST)


def _deviation(architectures: int) -> float:
    """Standard deviation of tau where nothing agrees."""
    return math.sqrt(2 * (2 * architectures + 5) / (9 * architectures * (architectures - 1)))


def _what_it_takes(evidence: Evidence) -> str:
    tau = evidence.tau
    if evidence.p_value > LEVEL:
        needed = architectures_needed(tau.value)
        least = f"more than {MOST}" if needed == MOST else f"about {needed}"
        return f"at this tau it would take {least} architectures to tell"
    if evidence.seeds < FEWEST_SEEDS:
        return f"it would take {FEWEST_SEEDS} seeds or more to tell"
    # An interval narrows with the root of the seeds.
    seeds = math.ceil(evidence.seeds * ((tau.value - tau.low) / tau.value) ** 2) + 1
    return f"it would take about {seeds} seeds to tell"


def _figures(evidence: Evidence) -> str:
    tau = evidence.tau
    covers = "test images and seeds" if evidence.seeds > 1 else "test images, one seed"
    p_value = "< 0.001" if evidence.p_value < 0.001 else f"= {evidence.p_value:.3f}"
    return f"Kendall tau-b {tau.value:.2f}, 95% interval {tau.low:.2f} to {tau.high:.2f} over {covers}, p {p_value}"


def _against_size(evidence: Evidence) -> str:
    tau, advantage = evidence.size_tau, evidence.advantage
    if math.isnan(tau.value):
        return "params and MACs are all equal and rank nothing"
    if advantage.low > 0:
        relation = "does worse"
    elif advantage.high < 0:
        relation = "does better"
    else:
        relation = "cannot be told from it"
    return f"sorting by {evidence.size} {relation} ({tau.value:.2f})"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _fewest_architectures() -> int:
    count = 2
    while 2 / math.factorial(count) > LEVEL:
        count += 1
    return count
