"""One-shot against standalone: the row of each architecture and the figures of the whole space, from what both arms got
right. Knows no files and no networks. Intervals are 95% of a paired bootstrap (see resampling)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from oneshot.params import Compare
from oneshot.resampling import Correct, average_seeds, resample_images, resample_seeds
from oneshot.statistics import (
    Estimate,
    Vector,
    entry,
    interval,
    kendall_p_value,
    kendall_tau,
    mean_and_deviation,
    noise_ceiling,
    plain,
    precision_at,
    regret_at_1,
    spearman_rho,
)
from oneshot.tiers import assign_tiers
from oneshot.verdict import Evidence, judge

ACCURACIES = ("oneshot_val_accuracy", "oneshot_test_accuracy", "standalone_val_accuracy", "standalone_test_accuracy")
MEASURED = (*ACCURACIES, "gap")
INTERVALS = ("oneshot_test_accuracy", "standalone_test_accuracy", "gap")
LEDGER = ("gap_batch_norm", "gap_under_training", "gap_rest")
COLUMNS = (
    "architecture",
    "params",
    "macs",
    *MEASURED,
    *(f"{name}_std" for name in MEASURED),
    *(f"{name}_{end}" for name in INTERVALS for end in ("low", "high")),
    "oneshot_test_accuracy_inherited",
    "oneshot_test_accuracy_finetuned",
    *LEDGER,
    "oneshot_tier",
    "standalone_tier",
    "kl_to_reference",
)

Row = dict[str, Any]


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
    """(samples, architectures): accuracies on resampled images and seeds."""

    oneshot: Vector
    standalone: Vector
    supernet_seeds: Vector
    standalone_seeds: Vector

    @classmethod
    def draw(cls, arms: Arms, section: Compare) -> "Resampled":
        samples, seed = section.bootstrap_samples, section.bootstrap_seed
        both = resample_images(numpy.stack([arms.oneshot, arms.standalone]), samples, seed)
        # The arms are trained apart, so their seeds are drawn apart; the images are the same for both.
        supernets, standalones = (resample_seeds(len(arms.oneshot), samples, seed + offset) for offset in (1, 2))
        oneshot, standalone = average_seeds(both[:, 0], supernets), average_seeds(both[:, 1], standalones)
        return cls(oneshot, standalone, supernets, standalones)


def tabulate(names: Sequence[str], params: Vector, macs: Vector, arms: Arms, resampled: Resampled) -> list[Row]:
    """One row per architecture: means over seeds, standard deviations if several, intervals, the gap's parts, tiers."""
    values = _by_seed(arms)
    bounds = {
        "oneshot_test_accuracy": interval(resampled.oneshot),
        "standalone_test_accuracy": interval(resampled.standalone),
        "gap": interval(100 * (resampled.standalone - resampled.oneshot)),
    }
    oneshot_tiers, standalone_tiers = assign_tiers(arms.oneshot), assign_tiers(arms.standalone)
    rows = []
    for index, name in enumerate(names):
        row: Row = {"architecture": name, "params": int(params[index]), "macs": int(macs[index])}
        for key in MEASURED:
            mean, deviation = mean_and_deviation(values[key][:, index])
            row |= {key: plain(mean), f"{key}_std": None if deviation is None else plain(deviation)}
        for key, (low, high) in bounds.items():
            row |= {f"{key}_low": plain(low[index]), f"{key}_high": plain(high[index])}
        row |= _gap_ledger(arms, index)
        row |= {"oneshot_tier": oneshot_tiers[index], "standalone_tier": standalone_tiers[index]}
        row["kl_to_reference"] = plain(arms.divergence[:, index].mean())
        rows.append(row)
    return rows


def _by_seed(arms: Arms) -> dict[str, Vector]:
    """(seeds, architectures) of each measured column."""
    oneshot, standalone = arms.oneshot.mean(2), arms.standalone.mean(2)
    columns = (arms.oneshot_validation, oneshot, arms.standalone_validation, standalone)
    return dict(zip(ACCURACIES, columns, strict=True)) | {"gap": 100 * (standalone - oneshot)}


def _gap_ledger(arms: Arms, index: int) -> Row:
    """Standalone minus inherited one-shot accuracy in points, by what would mend it: statistics, training, neither."""
    inherited, oneshot, standalone = (
        float(correct[:, index].mean()) for correct in (arms.inherited, arms.oneshot, arms.standalone)
    )
    finetuned = None if arms.finetuned is None else float(arms.finetuned[:, index].mean())
    return {
        "oneshot_test_accuracy_inherited": plain(inherited),
        "oneshot_test_accuracy_finetuned": None if finetuned is None else plain(finetuned),
        "gap_batch_norm": plain(100 * (oneshot - inherited)),
        "gap_under_training": None if finetuned is None else plain(100 * (finetuned - oneshot)),
        "gap_rest": plain(100 * (standalone - (oneshot if finetuned is None else finetuned))),
    }


def summarise(rows: Sequence[Row], arms: Arms, resampled: Resampled, section: Compare) -> dict[str, Any]:
    """The figures of the space. Ranks compare both arms on the test images; the one-shot winner is the subnet that a
    selection would pick, the best on validation."""
    truth, oneshot = arms.standalone.mean((0, 2)), arms.oneshot.mean((0, 2))
    rankings = rank_predictors(rows, arms, resampled, section)
    by_name = {ranking["predictor"]: ranking for ranking in rankings}
    k = precision_k(section, len(rows))
    selection = [*_with_bounds("precision_at_1"), *_with_bounds(f"precision_at_{k}"), *_with_bounds("regret_at_1")]
    gaps = 100 * (resampled.standalone - resampled.oneshot).mean(1)
    p_value = kendall_p_value(oneshot, truth, section.bootstrap_samples, section.bootstrap_seed)
    return {
        "architectures": len(rows),
        "seeds": len(arms.oneshot),
        **_pick(by_name["oneshot_test"], "kendall_tau", "spearman_rho"),
        **{key: by_name["oneshot_val"][key] for key in selection},
        **_renamed(by_name["oneshot_val"], "kendall_tau", "kendall_tau_selection"),
        **_renamed(by_name["params"], "kendall_tau", "kendall_tau_params"),
        **_renamed(by_name["macs"], "kendall_tau", "kendall_tau_macs"),
        **_renamed(by_name["kl_to_reference"], "kendall_tau", "kl_kendall_tau"),
        **_renamed(by_name["kl_to_reference"], "spearman_rho", "kl_spearman_rho"),
        "kendall_p_value": plain(p_value),
        **entry("noise_ceiling", noise_ceiling(arms.standalone.mean(2)), "it takes at least two seeds"),
        **Estimate.of(100 * (truth - oneshot).mean(), gaps).entries("mean_gap"),
        "max_gap": max(row["gap"] for row in rows),
        "best_oneshot": max(rows, key=lambda row: row["oneshot_val_accuracy"])["architecture"],
        "best_standalone": max(rows, key=lambda row: row["standalone_test_accuracy"])["architecture"],
        "verdict": judge(_evidence(rows, truth, oneshot, resampled, p_value, len(arms.oneshot))),
        "rankings": rankings,
    }


def precision_k(section: Compare, architectures: int) -> int:
    """The k of precision@k; a space may have fewer architectures."""
    return min(section.precision_k, architectures)


def rank_predictors(rows: Sequence[Row], arms: Arms, resampled: Resampled, section: Compare) -> list[Row]:
    """How well each way to sort the architectures, trivial ones too, predicts their standalone test accuracy."""
    truth = arms.standalone.mean((0, 2))
    supernets, standalones = resampled.supernet_seeds, resampled.standalone_seeds
    fixed = {key: numpy.array([[row[key]] for row in rows], float).T for key in ("params", "macs")}
    resamples = {
        "oneshot_test": resampled.oneshot,
        "oneshot_val": average_seeds(arms.oneshot_validation[None], supernets),
        "oneshot_val_inherited": average_seeds(arms.inherited_validation[None], supernets),
        "kl_to_reference": average_seeds(-arms.divergence[None], supernets),
        "first_epoch": average_seeds(arms.first_epoch_validation[None], standalones),
        **fixed,
    }
    estimates = {
        "oneshot_test": arms.oneshot.mean((0, 2)),
        "oneshot_val": arms.oneshot_validation.mean(0),
        "oneshot_val_inherited": arms.inherited_validation.mean(0),
        "kl_to_reference": -arms.divergence.mean(0),
        "first_epoch": arms.first_epoch_validation.mean(0),
        **{key: values[0] for key, values in fixed.items()},
    }
    k = precision_k(section, len(rows))
    ranked = [
        {"predictor": name} | _measure(k, values, truth, resamples[name], resampled.standalone)
        for name, values in estimates.items()
    ]
    return [*ranked, {"predictor": "random"} | _measure_random(k, truth, section)]


def _measure(k: int, predictor: Vector, truth: Vector, predictors: Vector, truths: Vector) -> Row:
    row: Row = {}
    for key, measure in _measures(k).items():
        row |= Estimate.of(measure(predictor, truth), measure(predictors, truths)).entries(key)
    return row


def _measure_random(k: int, truth: Vector, section: Compare) -> Row:
    """What chance gives: expected values, with the middle 95% of random orders."""
    generator = numpy.random.default_rng(section.bootstrap_seed)
    orders = generator.permuted(numpy.tile(numpy.arange(float(len(truth))), (section.bootstrap_samples, 1)), axis=1)
    expected = {"kendall_tau": 0.0, "spearman_rho": 0.0}
    row: Row = {}
    for key, measure in _measures(k).items():
        # Where all tie, precision and regret are their expectation over random orders.
        value = expected.get(key, measure(numpy.zeros_like(truth), truth))
        row |= Estimate.of(value, measure(orders, truth)).entries(key)
    return row


def _measures(k: int) -> Mapping[str, Any]:
    return {
        "kendall_tau": kendall_tau,
        "spearman_rho": spearman_rho,
        "precision_at_1": lambda predictor, truth: precision_at(1, predictor, truth),
        f"precision_at_{k}": lambda predictor, truth: precision_at(k, predictor, truth),
        "regret_at_1": regret_at_1,
    }


def _evidence(
    rows: Sequence[Row], truth: Vector, oneshot: Vector, resampled: Resampled, p_value: float, seeds: int
) -> Evidence:
    tau, taus = kendall_tau(oneshot, truth), kendall_tau(resampled.oneshot, resampled.standalone)
    counts = {
        name: numpy.array([row[key] for row in rows], float) for name, key in (("params", "params"), ("MACs", "macs"))
    }
    counted = max(counts, key=lambda name: numpy.nan_to_num(kendall_tau(counts[name], truth), nan=-1.0))
    counting, countings = kendall_tau(counts[counted], truth), kendall_tau(counts[counted], resampled.standalone)
    return Evidence(
        tau=Estimate.of(tau, taus),
        p_value=p_value,
        architectures=len(rows),
        seeds=seeds,
        counting=Estimate.of(counting, countings),
        counted=counted,
        lead=Estimate.of(tau - counting, taus - countings),
    )


def _with_bounds(key: str) -> tuple[str, str, str]:
    return key, f"{key}_low", f"{key}_high"


def _pick(row: Row, *keys: str) -> Row:
    """The estimates of these keys, with bounds and reasons."""
    return {name: value for key in keys for name, value in row.items() if name.startswith(key)}


def _renamed(row: Row, key: str, new: str) -> Row:
    """One value without its bounds."""
    return {new + name.removeprefix(key): row[name] for name in (key, f"{key}_reason") if name in row}
