"""What a supernet's ranking is worth: rank correlations, intervals over test images, and one sentence of verdict.

Accuracies are fractions; gaps and regret are percentage points. Resampling takes its seed as an argument.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy import stats

Vector = NDArray[numpy.float64]
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Statistic:
    """A value, or None with the reason why there is none."""

    value: float | None
    reason: str | None = None

    def entries(self, key: str) -> dict[str, float | str | None]:
        return {key: self.value} | ({f"{key}_reason": self.reason} if self.value is None else {})


TIED = Statistic(None, "all architectures tie in one of the two rankings")


def kendall_tau(first: Vector, second: Vector) -> Statistic:
    """Kendall's tau-b, which corrects for ties."""
    return _correlation(stats.kendalltau(first, second).statistic, first, second)


def kendall_p_value(first: Vector, second: Vector) -> float:
    """Two-sided; exact for few architectures without ties. 1 where tau is undefined."""
    p_value = float(stats.kendalltau(first, second).pvalue)
    return 1.0 if math.isnan(p_value) else p_value


def spearman_rho(first: Vector, second: Vector) -> Statistic:
    if _constant(first) or _constant(second):
        return TIED
    return _correlation(stats.spearmanr(first, second).statistic, first, second)


def _correlation(value: float, first: Vector, second: Vector) -> Statistic:
    return TIED if _constant(first) or _constant(second) else Statistic(round(float(value), 6))


def _constant(values: Vector) -> bool:
    return bool((values == values[0]).all())


def bootstrap_tau(
    oneshot_correct: NDArray[numpy.bool_], standalone_correct: NDArray[numpy.bool_], samples: int, seed: int
) -> tuple[Statistic, Statistic]:
    """95% interval of Kendall's tau-b: percentiles over resampled test images, the same for both arms.

    *_correct: (seeds, architectures, images). It covers the choice of test images, not the luck of training.
    """
    images = oneshot_correct.shape[-1]
    generator = numpy.random.default_rng(seed)
    taus = []
    for _ in range(samples):
        weights = numpy.bincount(generator.integers(images, size=images), minlength=images).astype(numpy.float32)
        arms = [(correct @ weights).mean(0) for correct in (oneshot_correct, standalone_correct)]
        tau = kendall_tau(*arms).value
        if tau is not None:
            taus.append(tau)
    if not taus:
        return TIED, TIED
    low, high = numpy.percentile(taus, [2.5, 97.5])
    return Statistic(round(float(low), 6)), Statistic(round(float(high), 6))


def winners(accuracies: Vector) -> set[int]:
    """Indices of the best; several if tied."""
    return {int(index) for index in numpy.flatnonzero(accuracies == accuracies.max())}


def verdict(tau: Statistic, low: Statistic, p_value: float, architectures: int) -> str:
    """One sentence: is the supernet's ranking supported, not supported, or undecided?"""
    if tau.value is None:
        return f"Cannot be decided: {tau.reason}."
    smallest = 2 / math.factorial(architectures)
    if smallest > SIGNIFICANCE:
        return (
            f"Cannot be decided with {architectures} architectures: even a perfect ranking would have "
            f"p = {smallest:.3f}; it takes at least {_enough_architectures()}."
        )
    figures = f"Kendall tau-b {tau.value:.2f}, p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
    if p_value <= SIGNIFICANCE and tau.value > 0 and low.value is not None and low.value > 0:
        return f"Supported: the one-shot ranking agrees with the standalone ranking ({figures})."
    if tau.value <= 0:
        return f"Not supported: the one-shot ranking does not follow the standalone ranking ({figures})."
    return f"Cannot be decided: the agreement may be chance ({figures}); more architectures or seeds would tell."


def _enough_architectures() -> int:
    count = 2
    while 2 / math.factorial(count) > SIGNIFICANCE:
        count += 1
    return count


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None with a single value."""
    deviation = float(numpy.std(values, ddof=1)) if len(values) > 1 else None
    return float(numpy.mean(values)), deviation
