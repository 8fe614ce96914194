"""What one ranking of architectures says about another: correlations, precision@k, regret@1, and their intervals.

Arrays end in the axis of architectures; axes before it are resamples, and broadcast. A measure that is undefined, as a
correlation with a constant is, is nan, and None with a reason once it is written. SciPy does the ranks.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy
from numpy.typing import NDArray
from scipy import stats

Vector = NDArray[numpy.float64]
LEVEL = 0.05
"""Of significance, and what a 95% interval leaves outside."""
PERMUTED = 30
PERMUTATIONS = 99_999  # so that p = 0.05 is known to 0.001
TIED = "all architectures tie in one of the two rankings"


def kendall_tau(first: Vector, second: Vector) -> Vector:
    """Kendall's tau-b, which corrects for ties."""
    return _correlate(stats.kendalltau, first, second)


def spearman_rho(first: Vector, second: Vector) -> Vector:
    return _correlate(stats.spearmanrho, first, second)


def _correlate(correlation: Callable[..., Any], first: Vector, second: Vector) -> Vector:
    first, second = numpy.broadcast_arrays(first, second)
    if first.shape[-1] < 2:
        return numpy.full(first.shape[:-1], math.nan)
    with warnings.catch_warnings():  # nan says the same
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        coefficient: Vector = correlation(first, second, axis=-1).statistic
    return coefficient


def kendall_p_value(first: Vector, second: Vector, seed: int) -> float:
    """Two-sided p-value of tau-b; 1 where tau is undefined. Without ties it is exact. With ties, where the textbook
    forms are not, it is found by permutation; beyond 30 architectures the normal form is as good."""
    if numpy.isnan(kendall_tau(first, second)):
        return 1.0
    if len(first) > PERMUTED or not (_ties(first) or _ties(second)):
        return float(stats.kendalltau(first, second).pvalue)
    one, other = numpy.triu_indices(len(first), 1)
    order = numpy.sign(second[one] - second[other])

    def concordance(shuffled: Vector, axis: int) -> Vector:
        """Concordant minus discordant pairs: all of tau-b that a permutation changes."""
        difference: Vector = numpy.sign(shuffled[..., one] - shuffled[..., other]) @ order
        return difference

    test = stats.permutation_test(
        (first,),
        concordance,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=10_000,
        rng=numpy.random.default_rng(seed),
    )
    return float(test.pvalue)


def _ties(values: Vector) -> bool:
    return len(numpy.unique(values)) < len(values)


def top_share(values: Vector, k: int) -> Vector:
    """How much of each is among the `k` best: 1 or 0, and a share of the last places for those that tie."""
    last = numpy.sort(values, axis=-1)[..., -k, None]
    above, tied = values > last, values == last
    share: Vector = above + tied * ((k - above.sum(-1, keepdims=True)) / tied.sum(-1, keepdims=True))
    return share


def precision_at(k: int, predictor: Vector, truth: Vector) -> Vector:
    """Share of the predictor's best `k` that are among the true best `k`, or tie with them."""
    best = truth >= numpy.sort(truth, axis=-1)[..., -k, None]
    precision: Vector = (top_share(predictor, k) * best).sum(-1) / k
    return precision


def regret_at_1(predictor: Vector, truth: Vector) -> Vector:
    """Percentage points lost by the predictor's winner against the best; on average over winners that tie."""
    regret: Vector = 100 * (truth.max(-1) - (top_share(predictor, 1) * truth).sum(-1))
    return regret


def interval(values: Vector) -> tuple[Vector, Vector]:
    """Percentiles that hold the middle 95% of resamples (axis 0), of those where the measure is defined."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        low, high = numpy.nanpercentile(values, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2], axis=0)
    return low, high


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; nan where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, value: float | Vector, resampled: Vector) -> "Estimate":
        """resampled: (resamples,)."""
        low, high = interval(resampled)
        return cls(float(value), float(low), float(high))

    def entries(self, key: str, reason: str = TIED) -> dict[str, float | str | None]:
        """`key`, `key_low` and `key_high`; None with a reason where undefined."""
        found: dict[str, float | str | None] = {}
        for name, number in ((key, self.value), (f"{key}_low", self.low), (f"{key}_high", self.high)):
            found |= entry(name, number, reason)
        return found


def entry(key: str, value: float | Vector, reason: str = TIED) -> dict[str, float | str | None]:
    """As the files hold it: six decimals, or None and why."""
    return {key: None, f"{key}_reason": reason} if math.isnan(value) else {key: plain(value)}


def plain(value: SupportsFloat) -> float:
    return round(float(value), 6) + 0.0  # no -0.0


def noise_ceiling(accuracies: Vector) -> float:
    """How well one training of all architectures predicts the ranking of another: mean Kendall tau-b over the pairs of
    seeds. accuracies: (seeds, architectures). A predictor without noise of its own may agree somewhat better."""
    pairs = [(i, j) for j in range(len(accuracies)) for i in range(j)]
    return float(numpy.mean([kendall_tau(accuracies[i], accuracies[j]) for i, j in pairs])) if pairs else math.nan


def mean_and_deviation(values: Sequence[float] | Vector) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None with a single value."""
    deviation = float(numpy.std(values, ddof=1)) if len(values) > 1 else None
    return float(numpy.mean(values)), deviation
