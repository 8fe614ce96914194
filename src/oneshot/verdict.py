"""One sentence: is the supernet's ranking supported, not supported, or not to be decided, and what would it take?"""

import math
from dataclasses import dataclass

from scipy import stats

from oneshot.statistics import LEVEL, TIED, Estimate

MOST = 1000
"""Architectures; beyond this many, an agreement is too weak to be of use."""


@dataclass(frozen=True)
class Evidence:
    tau: Estimate
    """Kendall tau-b of one-shot with standalone accuracy."""
    p_value: float
    architectures: int
    seeds: int
    counting: Estimate
    """Kendall tau-b of the params, or of the MACs if these rank better, with standalone accuracy."""
    counted: str
    """`params` or `MACs`."""
    lead: Estimate
    """tau minus counting, resampled together."""


def judge(evidence: Evidence) -> str:
    tau, count = evidence.tau, evidence.architectures
    with_so_many = f"Cannot be decided with {count} architecture{'s' if count > 1 else ''}"
    smallest = min(1.0, 2 / math.factorial(count))
    if smallest > LEVEL:
        few = f"even a perfect ranking would have p = {smallest:.3f}; it takes at least {_fewest_architectures()}"
        return f"{with_so_many}: {few}."
    if math.isnan(tau.value):
        return f"Cannot be decided: {TIED}."
    agreement = f"Kendall tau-b {tau.value:.2f}, 95% interval {tau.low:.2f} to {tau.high:.2f}, p {_p(evidence.p_value)}"
    if evidence.p_value <= LEVEL and tau.low > 0:
        return f"Supported: one-shot accuracy ranks as standalone accuracy does ({agreement}); {_against(evidence)}."
    if tau.high < critical_tau(count) or tau.high <= 0:
        return f"Not supported: one-shot accuracy does not rank as standalone accuracy does ({agreement})."
    seeds = f"{evidence.seeds} seed{'s' if evidence.seeds > 1 else ''}"
    return f"{with_so_many} and {seeds}: the agreement may be luck ({agreement}); {_what_it_takes(evidence)}."


def critical_tau(architectures: int) -> float:
    """The smallest tau that is significant with so many architectures (normal approximation, no ties)."""
    deviation = math.sqrt(2 * (2 * architectures + 5) / (9 * architectures * (architectures - 1)))
    return float(stats.norm.isf(LEVEL / 2)) * deviation


def _what_it_takes(evidence: Evidence) -> str:
    tau, count = evidence.tau, evidence.architectures
    if evidence.p_value <= LEVEL:
        # An interval narrows with the root of the seeds.
        seeds = math.ceil(evidence.seeds * ((tau.value - tau.low) / tau.value) ** 2) + 1
        return f"it would take about {seeds} seeds for the interval to leave 0 out"
    needed = next((n for n in range(count + 1, MOST) if critical_tau(n) <= tau.value), MOST)
    least = f"more than {MOST}" if needed == MOST else f"about {needed}"
    return f"at this tau it would take {least} architectures"


def _against(evidence: Evidence) -> str:
    counting, lead = evidence.counting, evidence.lead
    if math.isnan(counting.value):
        return "counting params or MACs says nothing here"
    if lead.low > 0:
        relation = "does worse"
    elif lead.high < 0:
        relation = "does better"
    else:
        relation = "cannot be told from it"
    return f"sorting by {evidence.counted} {relation} ({counting.value:.2f})"


def _fewest_architectures() -> int:
    count = 2
    while 2 / math.factorial(count) > LEVEL:
        count += 1
    return count


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
