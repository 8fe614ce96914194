"""Command show: the comparison tables of the studies that `run` names, for the terminal or as Markdown."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneshot.params import load_params
from oneshot.tables import of_one_run, read_csv, read_json
from pipeline.layout import Layout, StudyLayout

COLUMNS = (
    "architecture",
    "params",
    "MACs",
    "one-shot val",
    "one-shot test",
    "standalone test",
    "tier",
    "gap, points",
)


def run(markdown: bool) -> None:
    layout = Layout.find()
    console = Console()
    for study in load_params(layout.params).run:
        paths = layout.study(study)
        with of_one_run(f"compare@{study}"):
            # Not what params.yaml says now, which may be edited.
            dataset = dict(read_json(layout.manifest(study))["settings"])["dataset"]
            if markdown:
                print(f"**{study}** on {dataset}\n\n{markdown_table(paths)}\n{summary(paths)}\n", flush=True)
            else:
                console.print(_table(f"{study} on {dataset}", paths))
                console.print(summary(paths), highlight=False, markup=False)


def markdown_table(paths: StudyLayout) -> str:
    """As the README holds it."""
    rows = [COLUMNS, ("---", *("---:" for _ in COLUMNS[1:])), *_cells(paths)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def summary(paths: StudyLayout) -> str:
    comparison = read_json(paths.comparison)
    gap = "Mean gap {mean_gap:z.2f} points ({mean_gap_low:z.2f} to {mean_gap_high:z.2f}), "
    gap += "worst {max_gap:z.2f} ({max_gap_low:z.2f} to {max_gap_high:z.2f})."
    cost = comparison["supernet_cost_in_standalone_trainings_macs"]
    return (
        f"{comparison['verdict']}\n{gap.format(**comparison)} "
        f"Training the supernet took as many MACs as {cost:.1f} standalone trainings.\n"
    )


def _table(title: str, paths: StudyLayout) -> Table:
    # So that eight columns fit a terminal of 80.
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, collapse_padding=True, show_edge=False
    )
    table.add_column(COLUMNS[0], no_wrap=True)
    for heading in COLUMNS[1:]:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for cells in _cells(paths):
        table.add_row(*map(Text, cells))  # no markup
    return table


def _cells(paths: StudyLayout) -> list[tuple[str, ...]]:
    shares = ("oneshot_val_accuracy", "oneshot_test_accuracy", "standalone_test_accuracy")
    return [
        (
            row["architecture"],
            f"{int(row['params']):,}",
            f"{int(row['macs']) / 1e6:.2f} M",
            *(f"{float(row[share]):.2%}" for share in shares),
            row["standalone_tier"],
            f"{float(row['gap']):+z.2f}",
        )
        for row in read_csv(paths.comparison_table)
    ]
