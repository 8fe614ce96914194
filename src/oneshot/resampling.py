"""The paired bootstrap: test images are drawn with replacement, the same ones for every network, and so are seeds.

Images of one test set, and the luck of training, are what an accuracy depends on beyond its architecture. With a single
seed the intervals cover the images alone.
"""

import numpy
from numpy.typing import NDArray

from oneshot.statistics import Vector

Correct = NDArray[numpy.bool_]
"""Whether a prediction is right; the last axis is the images'."""
CHUNK = 500  # resamples at a time: the counts of 10,000 images take 20 MB


def resample_images(correct: Correct, samples: int, seed: int) -> Vector:
    """Accuracies (samples, ...) of what was right (..., images) on resampled images."""
    images = correct.shape[-1]
    rows = correct.reshape(-1, images).astype(numpy.float32)
    generator = numpy.random.default_rng(seed)
    accuracies = []
    for start in range(0, samples, CHUNK):
        drawn = [generator.integers(images, size=images) for _ in range(min(CHUNK, samples - start))]
        counts = numpy.stack([numpy.bincount(draw, minlength=images) for draw in drawn]).astype(numpy.float32)
        # Sums of whole numbers below 2^24, so exact in float32.
        accuracies.append((counts @ rows.T).astype(numpy.float64) / images)
    return numpy.concatenate(accuracies).reshape(samples, *correct.shape[:-1])


def resample_seeds(seeds: int, samples: int, seed: int) -> Vector:
    """Weights (samples, seeds) that sum to 1: how often each seed was drawn."""
    generator = numpy.random.default_rng(seed)
    weights: Vector = generator.multinomial(seeds, [1 / seeds] * seeds, size=samples) / seeds
    return weights


def average_seeds(accuracies: Vector, weights: Vector) -> Vector:
    """(samples or 1, seeds, architectures) by weights (samples, seeds) -> (samples, architectures)."""
    averaged: Vector = (accuracies * weights[:, :, None]).sum(1)
    return averaged
