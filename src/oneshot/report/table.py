"""The comparison as a picture of a table."""

from matplotlib.figure import Figure

from oneshot.report.image import LIGHT, style
from oneshot.report.series import Rows

HEADER = ("architecture", "params", "MACs", "one-shot test", "standalone test", "gap (points)")


@style()
def draw_table(study: str, rows: Rows) -> Figure:
    cells = [
        [
            row["architecture"],
            f"{row['params']:,}",
            f"{row['macs']:,}",
            f"{row['oneshot_test_accuracy']:.2%}",
            f"{row['standalone_test_accuracy']:.2%}",
            f"{row['gap']:+.2f}",
        ]
        for row in rows
    ]
    figure = Figure(figsize=(8.5, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(study)
    table = axes.table(cells, colLabels=HEADER, loc="center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.3)
    for (row, _), cell in table.get_celld().items():
        cell.set(linewidth=0.3, edgecolor=LIGHT["muted"])
        if row == 0:
            cell.set_text_props(weight="bold")
    return figure
