"""Which trained networks can be told apart on the test images, and which share a tier."""

import numpy
from scipy import stats

from oneshot.resampling import Correct
from oneshot.statistics import LEVEL, Vector


def mcnemar_p_values(correct: Correct) -> Vector:
    """Two-sided p-values (architectures, architectures) that two differ, paired by image. correct: (seeds,
    architectures, images).

    One seed: McNemar's exact test (McNemar 1947), binomial on the images that one gets right and the other wrong.
    Several: the same question of the mean over these seeds, by the normal form of the test, since an image's seeds are
    no independent witnesses.
    """
    right = correct.mean(0, dtype=numpy.float64)
    if len(correct) == 1:
        alone = right @ (1 - right).T  # images that the first alone gets right
        tail = stats.binom.cdf(numpy.minimum(alone, alone.T), alone + alone.T, 0.5)
        exact: Vector = numpy.minimum(1.0, 2 * tail)
        return exact
    squares = (right**2).sum(1)
    spread = numpy.sqrt(numpy.maximum(squares[:, None] + squares - 2 * right @ right.T, 0))
    difference = numpy.abs(right.sum(1)[:, None] - right.sum(1))
    z = numpy.divide(difference, spread, out=numpy.zeros_like(spread), where=spread > 1e-6)
    p_values: Vector = 2 * stats.norm.sf(z)
    return p_values


def holm(p_values: Vector) -> Vector:
    """Adjusted for as many tests as there are (Holm 1979): those below the level may be believed together."""
    order = numpy.argsort(p_values)
    stepped = p_values[order] * numpy.arange(len(p_values), 0, -1)
    adjusted = numpy.empty_like(p_values)
    adjusted[order] = numpy.minimum(numpy.maximum.accumulate(stepped), 1.0)
    return adjusted


def assign_tiers(correct: Correct) -> list[int]:
    """The tier of each architecture, 1 the best. correct: (seeds, architectures, images).

    From the best down, an architecture joins the tier of the one that leads it; if the two can be told apart, it leads
    the next. (To be indistinguishable is not transitive, so tiers need a leader.)
    """
    count = correct.shape[1]
    pairs = numpy.triu_indices(count, 1)
    apart = numpy.zeros((count, count), bool)
    apart[pairs] = holm(mcnemar_p_values(correct)[pairs]) <= LEVEL
    apart |= apart.T
    order = numpy.argsort(-correct.mean((0, 2)), kind="stable").tolist()
    tiers, leader, tier = [0] * count, order[0], 1
    for index in order:
        if apart[index, leader]:
            leader, tier = index, tier + 1
        tiers[index] = tier
    return tiers
