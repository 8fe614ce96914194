"""The figures of a comparison, drawn from its tables: for the page as they are, for everyone else as PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from oneshot.checkpoint import write_whole
from oneshot.report.curves import draw_curves
from oneshot.report.diagram import draw_diagram
from oneshot.report.image import png
from oneshot.report.ledger import draw_ledger
from oneshot.report.pareto import draw_pareto
from oneshot.report.scatter import draw_scatter
from oneshot.report.series import Rows
from oneshot.space import SearchSpace


def draw_figures(
    study: str,
    space: SearchSpace,
    rows: Rows,
    supernet_curves: Rows,
    standalone_curves: Rows,
    summary: Mapping[str, Any],
) -> dict[str, Figure]:
    """By name. Rows are those of comparison.csv as numbers; a number that is missing is not drawn."""
    return {
        "curves": draw_curves(study, space, supernet_curves, standalone_curves),
        "oneshot_vs_standalone": draw_scatter(study, rows, summary),
        "pareto": draw_pareto(study, rows),
        "gap_ledger": draw_ledger(study, rows),
        "supernet": draw_diagram(study, space),
    }


def write_pngs(folder: Path, figures: Mapping[str, Figure]) -> None:
    for name, figure in figures.items():
        write_whole(folder / f"{name}.png", png(figure))
