"""One-shot against standalone: the row of each architecture and the figures of the whole space, from what both arms got
right. Knows no files and no networks. Intervals are 95% of a paired bootstrap (see resampling)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from oneshot.arms import Arms, Resampled
from oneshot.catalog import UNLEARNED
from oneshot.params import Compare
from oneshot.predictors import Row, precision_k, rank_predictors, reference
from oneshot.randomness import derive
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
    selection, k = by_name["oneshot_val"], precision_k(section, len(rows))
    gaps = 100 * (resampled.standalone - resampled.oneshot)
    p_value = kendall_p_value(oneshot, truth, derive(section.bootstrap_seed, "permutations"))
    return {
        "architectures": len(rows),
        "seeds": len(arms.oneshot),
        **_renamed(by_name["oneshot_test"], "kendall_tau", "kendall_tau"),
        **_renamed(by_name["oneshot_test"], "spearman_rho", "spearman_rho"),
        **_renamed(selection, "precision_at_1", "precision_at_1"),
        **_renamed(selection, f"precision_at_{k}", f"precision_at_{k}"),
        **_renamed(selection, "regret_at_1", "regret_at_1"),
        **_renamed(selection, "kendall_tau", "kendall_tau_selection"),
        **_renamed(by_name["params"], "kendall_tau", "kendall_tau_params"),
        **_renamed(by_name["macs"], "kendall_tau", "kendall_tau_macs"),
        **_renamed(by_name["kl_to_reference"], "kendall_tau", "kl_kendall_tau"),
        **_renamed(by_name["kl_to_reference"], "spearman_rho", "kl_spearman_rho"),
        "kl_reference": rows[reference(arms)]["architecture"],
        "kendall_p_value": plain(p_value),
        **entry("noise_ceiling", noise_ceiling(arms.standalone.mean(2)), "it takes at least two seeds"),
        **Estimate.of(100 * (truth - oneshot).mean(), gaps.mean(1)).entries("mean_gap"),
        **Estimate.of(100 * (truth - oneshot).max(), gaps.max(1)).entries("max_gap"),
        "best_oneshot": max(rows, key=lambda row: row["oneshot_val_accuracy"])["architecture"],
        "best_standalone": max(rows, key=lambda row: row["standalone_test_accuracy"])["architecture"],
        "verdict": judge(_evidence(by_name, rows, arms, resampled, p_value)),
        "rankings": rankings,
    }


def _evidence(
    rankings: Mapping[str, Row], rows: Sequence[Row], arms: Arms, resampled: Resampled, p_value: float
) -> Evidence:
    taus = {name: _estimated_tau(rankings[name]) for name in ("oneshot_test", "params", "macs")}
    size = max(("params", "macs"), key=lambda name: numpy.nan_to_num(taus[name].value, nan=-1.0))
    sizes = numpy.array([row[size] for row in rows], float)
    ahead = kendall_tau(resampled.oneshot, resampled.standalone) - kendall_tau(sizes, resampled.standalone)
    return Evidence(
        tau=taus["oneshot_test"],
        p_value=p_value,
        architectures=len(rows),
        seeds=resampled.supernet_seed_weights.shape[1],
        unlearned={
            "one-shot": int((arms.oneshot.mean((0, 2)) < UNLEARNED).sum()),
            "standalone": int((arms.standalone.mean((0, 2)) < UNLEARNED).sum()),
        },
        size_tau=taus[size],
        size={"params": "params", "macs": "MACs"}[size],
        advantage=Estimate.of(taus["oneshot_test"].value - taus[size].value, ahead),
    )


def _estimated_tau(ranking: Row) -> Estimate:
    """Back from how it is written, with None for nan."""
    numbers = (ranking[f"kendall_tau{end}"] for end in ("", "_low", "_high"))
    return Estimate(*(math.nan if number is None else number for number in numbers))


def _renamed(row: Row, key: str, new: str) -> Row:
    """An estimate with its bounds and reasons."""
    return {new + name.removeprefix(key): value for name, value in row.items() if name.startswith(key)}
