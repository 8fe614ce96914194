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

from oneshot.report.figures import draw_figures
from oneshot.report.image import PALETTE, svg
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
    "kl_to_reference": "KL divergence to the reference subnet",
    "first_epoch": "standalone after its first epoch",
    "params": "params",
    "macs": "MACs",
    "random": "random order",
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

    @property
    def status(self) -> str:
        """Of the verdict: supported, not-supported or undecided."""
        opening = str(self.summary.get("verdict")).partition(":")[0]
        return {"Supported": "supported", "Not supported": "not-supported"}.get(opening, "undecided")

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
    "large": _large,
    "script_hash": _script_hash,
}
