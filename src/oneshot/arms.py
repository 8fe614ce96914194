"""What both arms of a comparison got right, and the same on resampled images and seeds."""

from dataclasses import dataclass

import numpy

from oneshot.params import Compare
from oneshot.randomness import derive
from oneshot.resampling import Correct, average_seeds, resample_images, resample_seeds
from oneshot.statistics import Vector


@dataclass(frozen=True)
class Arms:
    """What was found of every architecture, in the space's order: predictions (seeds, architectures, images), others
    (seeds, architectures), accuracies as fractions."""

    oneshot: Correct
    """Recalibrated subnets on the test images."""
    inherited: Correct
    """The same with the supernet's mixed batch-norm buffers."""
    finetuned: Correct | None
    """The same after some steps of their own."""
    standalone: Correct
    oneshot_validation: Vector
    inherited_validation: Vector
    standalone_validation: Vector
    first_epoch_validation: Vector
    """Of the standalones after one epoch."""
    divergence: Vector
    """KL to the reference subnet, nats."""


@dataclass(frozen=True)
class Resampled:
    """Accuracies (samples, architectures) on resampled images and seeds, and the weights (samples, seeds) of these."""

    oneshot: Vector
    standalone: Vector
    supernet_seed_weights: Vector
    standalone_seed_weights: Vector

    @classmethod
    def draw(cls, arms: Arms, section: Compare) -> "Resampled":
        samples, seed = section.bootstrap_samples, section.bootstrap_seed
        both = resample_images(numpy.stack([arms.oneshot, arms.standalone]), samples, derive(seed, "images"))
        # The arms are trained apart, so their seeds are drawn apart; the images are the same for both.
        supernets, standalones = (
            resample_seeds(len(arms.oneshot), samples, derive(seed, arm, "seeds")) for arm in ("oneshot", "standalone")
        )
        oneshot, standalone = average_seeds(both[:, 0], supernets), average_seeds(both[:, 1], standalones)
        return cls(oneshot, standalone, supernets, standalones)
