"""How well each way to sort the architectures predicts standalone test accuracy: the supernet, and trivial ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from oneshot.arms import Arms, Resampled
from oneshot.params import Compare
from oneshot.randomness import derive
from oneshot.resampling import average_seeds
from oneshot.statistics import Estimate, Vector, kendall_tau, precision_at, regret_at_1, spearman_rho

Row = dict[str, Any]


def precision_k(section: Compare, architectures: int) -> int:
    """The k of precision@k; a space may have fewer architectures."""
    return min(section.precision_k, architectures)


def reference(arms: Arms) -> int:
    """Index of the subnet that the others' KL divergence is measured from."""
    return int(arms.divergence.max(0).argmin())


def rank_predictors(rows: Sequence[Row], arms: Arms, resampled: Resampled, section: Compare) -> list[Row]:
    """A row per predictor. What was found on validation is taken as it is: resampled are the test images that it is
    held against, and the seeds."""
    truth = arms.standalone.mean((0, 2))
    supernets, standalones = resampled.supernet_seed_weights, resampled.standalone_seed_weights

    def seeds(values: Vector, weights: Vector) -> tuple[Vector, Vector]:
        return values.mean(0), average_seeds(values[None], weights)

    sizes = {key: numpy.array([row[key] for row in rows], float) for key in ("params", "macs")}
    predictors = {
        "oneshot_test": (arms.oneshot.mean((0, 2)), resampled.oneshot),
        "oneshot_val": seeds(arms.oneshot_validation, supernets),
        "oneshot_val_inherited": seeds(arms.inherited_validation, supernets),
        "kl_to_reference": seeds(-arms.divergence, supernets),
        "first_epoch": seeds(arms.first_epoch_validation, standalones),
        **{key: (values, values[None]) for key, values in sizes.items()},
    }
    k = precision_k(section, len(rows))
    ranked = []
    for name, (values, resamples) in predictors.items():
        # The reference is no prediction of itself.
        left_out = [reference(arms)] if name == "kl_to_reference" and len(rows) > 1 else []
        each = (values, truth, resamples, resampled.standalone)
        ranked.append({"predictor": name} | _measure(k, *(numpy.delete(array, left_out, -1) for array in each)))
    return [*ranked, {"predictor": "random"} | _measure_random(k, truth, section)]


def _measure(k: int, predictor: Vector, truth: Vector, predictors: Vector, truths: Vector) -> Row:
    row: Row = {}
    for key, measure in _measures(k, len(truth)).items():
        row |= Estimate.of(measure(predictor, truth), measure(predictors, truths)).entries(key)
    return row


def _measure_random(k: int, truth: Vector, section: Compare) -> Row:
    """What chance gives: expected values, with the middle 95% of random orders."""
    generator = numpy.random.default_rng(derive(section.bootstrap_seed, "orders"))
    orders = generator.permuted(numpy.tile(numpy.arange(float(len(truth))), (section.bootstrap_samples, 1)), axis=1)
    expected = {"kendall_tau": 0.0, "spearman_rho": 0.0}
    row: Row = {}
    for key, measure in _measures(k, len(truth)).items():
        # Where all tie, precision and regret are their expectation over random orders.
        value = expected.get(key, measure(numpy.zeros_like(truth), truth))
        row |= Estimate.of(value, measure(orders, truth)).entries(key)
    return row


def _measures(k: int, count: int) -> Mapping[str, Any]:
    """By key; of `count` architectures, which may be fewer than k."""
    return {
        "kendall_tau": kendall_tau,
        "spearman_rho": spearman_rho,
        "precision_at_1": lambda predictor, truth: precision_at(1, predictor, truth),
        f"precision_at_{k}": lambda predictor, truth: precision_at(min(k, count), predictor, truth),
        "regret_at_1": regret_at_1,
    }
