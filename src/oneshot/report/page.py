"""The page over all studies: one HTML file without anything from elsewhere. Equal results give equal bytes.

Everything that comes from results and params is escaped; the only markup that is trusted is the SVG drawn here.
"""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from markupsafe import Markup

from oneshot.report.curves import FEW
from oneshot.report.figures import draw_figures
from oneshot.report.image import PALETTE, svg
from oneshot.report.ledger import ledger_parts
from oneshot.report.pareto import constant_macs
from oneshot.report.scatter import is_crowded
from oneshot.report.series import Rows, number
from oneshot.space import SearchSpace

MISSING = "\N{EN DASH}"
ALTERNATIVES = {
    "curves": "validation accuracy by epoch of every subnet and every standalone",
    "oneshot_vs_standalone": "one-shot test accuracy of every architecture against its standalone test accuracy",
    "pareto": "test accuracy against MACs with the Pareto front of both arms",
    "gap_ledger": "parts of the accuracy gap of every architecture as stacked bars",
    "supernet": "the supernet as boxes from image to classifier",
}
PREDICTORS = {
    "oneshot_test": "one-shot, test",
    "oneshot_val": "one-shot, validation",
    "oneshot_val_inherited": "one-shot, validation, inherited batch norm",
    "first_epoch": "first epoch of the standalones, validation",
    "params": "params",
    "macs": "MACs",
    "random": "random order",
}
OPENINGS = {"Supported": "supported", "Not supported": "not-supported", "Cannot be decided": "undecided"}
# Columns of the ledger's table, and the part of the gap without which one is left out.
LEDGER = {
    "oneshot_test_accuracy_inherited": ("inherited", "batch-norm"),
    "oneshot_test_accuracy": ("subnet", None),
    "oneshot_test_accuracy_finetuned": ("fine-tuned", "under-training"),
    "standalone_test_accuracy": ("standalone", None),
    "gap_batch_norm": ("batch norm", "batch-norm"),
    "gap_under_training": ("under-training", "under-training"),
    "gap_rest": ("rest", None),
}
TRIVIAL = ("first_epoch", "params", "macs", "random")


@dataclass(frozen=True)
class StudyResults:
    """What the page shows of one study: the content of its files, cells of tables as text or numbers."""

    name: str
    dataset: str
    digests: Mapping[str, str]
    """SHA-256 of the dataset's files, by name."""
    seeds: Sequence[int]
    space: SearchSpace
    standalone_epochs: int
    warmup_epochs: float
    """Of a standalone's training."""
    params: str
    """The study's section of params.yaml."""
    rows: Rows
    """comparison.csv."""
    summary: Mapping[str, Any]
    """comparison.json."""
    timing: Mapping[str, Any]
    supernet_curves: Rows
    standalone_curves: Rows
    sampling: Rows
    inputs: Sequence[Mapping[str, str]]
    """`path` and `md5` of every file."""
    settings: Mapping[str, Any]
    """Of data and machine, as params.yaml has them."""
    weights: Sequence[Mapping[str, str]]
    """`path` and `md5` of what was compared."""

    @property
    def verdict(self) -> str:
        return str(self.summary.get("verdict") or MISSING)

    @property
    def opening(self) -> str:
        """The verdict in a word or three; empty if it says something else."""
        return next((words for words in OPENINGS if self.verdict.startswith(words)), "")

    @property
    def reasons(self) -> str:
        """The rest of the verdict."""
        return self.verdict.removeprefix(self.opening)

    @property
    def status(self) -> str:
        return OPENINGS.get(self.opening, "undecided")

    @property
    def coverage(self) -> str:
        """What the intervals are about."""
        if len(self.seeds) == 1:
            return "With one seed, 95% intervals cover the luck of the test images only, not the luck of training."
        return f"With {len(self.seeds)} seeds, 95% intervals cover the luck of the test images and of training."

    @property
    def crowded(self) -> bool:
        """Colours of the scatter tell choices of the first block."""
        return is_crowded(self.rows)

    @property
    def many(self) -> bool:
        """Colours of the curves tell choices of the first block."""
        return len(self.rows) > FEW

    @property
    def constant_macs(self) -> bool:
        return constant_macs(self.rows)

    @property
    def roles(self) -> dict[str, str]:
        """What a predictor of the rankings is for, by its name."""
        trainings = len(self.seeds) * len(self.rows)
        within = "lies within the warm-up of" if self.warmup_epochs >= 1 else "is part of"
        return dict.fromkeys(TRIVIAL, "trivial baseline") | {
            "oneshot_test": "the verdict is about this",
            "oneshot_val": "the selection uses this",
            "first_epoch": f"{within} the same training; all of them together cost {trainings:,} epochs",
        }

    @property
    def ledger_columns(self) -> dict[str, str]:
        """Titles of the ledger's table by column of comparison.csv."""
        parts = {None, *ledger_parts(self.rows)}
        return {key: title for key, (title, part) in LEDGER.items() if part in parts}

    @property
    def ledger_caption(self) -> str:
        steps, parts = self.summary.get("finetune_steps"), ledger_parts(self.rows)
        whole = "The gap between a standalone and the subnet"
        if "batch-norm" in parts:
            whole += " with the batch-norm buffers of the supernet, part by part: what recalibration closes"
        if "under-training" in parts:
            whole += ", " if "batch-norm" in parts else ": "
            whole += f"what fine-tuning closes (fine-tuned for {_format(number(steps), ',.0f')} steps)"
        if len(parts) > 1:
            whole += ", and the rest"
        return f"{whole}." if steps != 0 else f"{whole}; fine-tuning is off (compare.finetune_steps: 0)."

    @property
    def last_epoch(self) -> list[dict[str, Any]]:
        """Validation accuracies of either arm after its last epoch, a row per architecture and seed."""
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        arms = {
            "subnet": (self.supernet_curves, "val_accuracy"),
            "inherited": (self.supernet_curves, "val_accuracy_inherited"),
            "standalone": (self.standalone_curves, "val_accuracy"),
        }
        for arm, (curves, key) in arms.items():
            for row in sorted(curves, key=lambda row: int(row["epoch"])):
                own = {"architecture": row["architecture"], "seed": int(row["seed"])}
                rows.setdefault((own["architecture"], own["seed"]), own)[arm] = _known(row.get(key))
        return list(rows.values())

    @property
    def precisions(self) -> list[str]:
        """`precision_at_k` of each k, in ascending order."""
        found = {key for key in self.summary if re.fullmatch(r"precision_at_\d+", key)}
        return sorted(found, key=lambda key: int(key.rpartition("_")[2]))

    @property
    def latency(self) -> Rows:
        rows: Rows = (self.timing.get("latency") or {}).get("architectures", [])
        return rows

    @property
    def trained(self) -> dict[str, dict[str, int]]:
        """Batches over the whole training and all seeds, by kind (architecture, block 1, ...) and name."""
        totals: dict[str, dict[str, int]] = {}
        for row in self.sampling:
            kind = totals.setdefault(row["kind"], {})
            kind[row["name"]] = kind.get(row["name"], 0) + int(row["trained"])
        return totals

    @cached_property
    def figures(self) -> dict[str, Markup]:
        drawn = draw_figures(
            self.name, self.space, self.rows, self.supernet_curves, self.standalone_curves, self.summary
        )
        return {
            name: Markup(svg(figure, f"{self.name}.{name}", f"{self.name}: {ALTERNATIVES[name]}"))  # noqa: S704
            for name, figure in drawn.items()
        }


def render(studies: Sequence[StudyResults], versions: Mapping[str, str]) -> str:
    """`versions`: of what draws the page, by name."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    template = environment.get_template("page.html")
    return template.render(
        studies=studies, versions=versions, palette=PALETTE, predictors=PREDICTORS, trivial=TRIVIAL, missing=MISSING
    )


def _known(value: Any) -> float | None:
    known = number(value)
    return known if math.isfinite(known) else None


def _number(value: Any) -> float:
    """Also of what the template finds nowhere."""
    return math.nan if isinstance(value, Undefined) else number(value)


def _format(value: float, form: str, unit: str = "") -> str:
    return format(value, form).replace("-", "\N{MINUS SIGN}") + unit if math.isfinite(value) else MISSING


def _large(value: Any) -> str:
    """Three digits or so and a prefix: 2.82 M."""
    amount = _number(value)
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(amount) >= size:
            return _format(amount / size, ".2f", f" {prefix}")
    return _format(amount, ".0f")


def _script_hash(script: str) -> str:
    """As a content security policy names a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()


FILTERS: dict[str, Callable[..., str]] = {
    "percent": lambda value: _format(_number(value) * 100, "z.2f", "%"),
    "points": lambda value: _format(_number(value), "+z.2f"),
    "decimals": lambda value, digits=2: _format(_number(value), f"z,.{digits}f"),
    "integer": lambda value: _format(_number(value), ",.0f"),
    "brief": lambda value: _format(_number(value), "z,.1f").removesuffix(".0"),
    "starred": lambda title: f"{title}*",
    "large": _large,
    "script_hash": _script_hash,
}
