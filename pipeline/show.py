"""Command show: the comparison tables of the studies that `run` names, in the terminal."""

from rich.console import Console
from rich.table import Table

from oneshot.params import load_params
from oneshot.tables import read_csv, read_json
from pipeline.layout import Layout, StudyLayout


def run() -> None:
    layout = Layout.find()
    console = Console()
    for study, dataset in load_params(layout.params).run.items():
        paths = layout.study(study)
        console.print(_table(f"{study} on {dataset}", paths))
        console.print(_summary(paths), highlight=False)


def _table(title: str, paths: StudyLayout) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("architecture")
    for heading in ("params", "MACs", "one-shot val", "one-shot test", "standalone test", "gap (points)"):
        table.add_column(heading, justify="right")
    for row in read_csv(paths.comparison_table):
        shares = [row["oneshot_val_accuracy"], row["oneshot_test_accuracy"], row["standalone_test_accuracy"]]
        table.add_row(
            row["architecture"],
            f"{int(row['params']):,}",
            f"{int(row['macs']):,}",
            *(f"{float(share):.2%}" for share in shares),
            f"{float(row['gap']):+.2f}",
        )
    return table


def _summary(paths: StudyLayout) -> str:
    comparison, timing = read_json(paths.comparison), read_json(paths.timing)
    return (
        f"mean gap {comparison['mean_gap']:.2f}, largest {comparison['max_gap']:.2f} points; supernet "
        f"{timing['supernet_seconds']:.0f} s, standalones {timing['standalone_seconds']:.0f} s: it cost as much as "
        f"{timing['supernet_cost_in_standalone_trainings']:.1f} standalone trainings\n{comparison['verdict']}\n"
    )
