"""Which architectures can be told apart on the test images, and which share a tier."""

import numpy
from scipy import stats

from oneshot.resampling import Correct
from oneshot.statistics import LEVEL, Vector


def mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Two-sided p-value that two networks differ. first, second: (seeds, images), paired by image.

    One seed: McNemar's exact test (McNemar 1947), binomial on the images that one gets right and the other wrong.
    Several: the same question of the mean over seeds, by the normal form of the test, since an image's seeds are no
    independent witnesses.
    """
    difference = first.mean(0) - second.mean(0)
    disagreeing = int(numpy.count_nonzero(difference))
    if disagreeing == 0:
        return 1.0
    if len(first) == 1:
        return float(stats.binomtest(int((difference > 0).sum()), disagreeing).pvalue)
    z = difference.sum() / numpy.sqrt((difference**2).sum())
    return float(2 * stats.norm.sf(abs(z)))


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
    pairs = [(i, j) for j in range(count) for i in range(j)]
    p_values = numpy.array([mcnemar_p_value(correct[:, i], correct[:, j]) for i, j in pairs])
    apart = {pair for pair, p_value in zip(pairs, holm(p_values), strict=True) if p_value <= LEVEL}
    order = numpy.argsort(-correct.mean((0, 2)), kind="stable").tolist()
    tiers, leader, tier = [0] * count, order[0], 1
    for index in order:
        if (min(index, leader), max(index, leader)) in apart:
            leader, tier = index, tier + 1
        tiers[index] = tier
    return tiers
