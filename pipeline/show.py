"""Command show: the comparison tables of the studies that `run` names, for the terminal or as Markdown; and what is
wrong with them: stale, or of networks that learned nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneshot.catalog import CLASSES, UNLEARNED
from oneshot.errors import OneshotError
from oneshot.params import Params, check_known, load_params
from oneshot.tables import of_one_run, read_csv, read_json
from pipeline.installation import some
from pipeline.layout import Layout, StudyLayout, address
from pipeline.lockfile import STUDY_STAGES, built_stages, read_lock
from pipeline.staleness import stale_stages

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
ACCURACIES = {"one-shot": "oneshot_test_accuracy", "standalone": "standalone_test_accuracy"}


def run(markdown: bool, only: Sequence[str], say: Callable[[str], None]) -> bool:
    """Whether there are tables of all. only: studies; all of `run` if there is none. `say` hears at the end what a
    reader should know of them."""
    layout, console = Layout.find(), Console()
    params = load_params(layout.params)
    check_known(only, "run", params.run)
    studies = list(dict.fromkeys(only or params.run))
    absent = [study for study in studies if not layout.manifest(study).exists()]
    compared = [study for study in studies if study not in absent]
    notes = [f"{study}: not compared yet; the stage compare makes its table; run `dvc repro`" for study in absent]
    for study in compared:
        paths = layout.study(study)
        with of_one_run(f"compare@{study}"):
            # Not what params.yaml says now, which may be edited.
            dataset = dict(read_json(layout.manifest(study))["settings"])["dataset"]
            if markdown:
                print(f"**{study}** on {dataset}\n\n{markdown_table(paths)}\n{summary(paths)}\n", flush=True)
            else:
                console.print(_table(f"{study} on {dataset}", paths))
                console.print(summary(paths), highlight=False, markup=False)
            notes += _unlearned(study, paths)
    for note in (*_stale(layout, params, compared), *notes):
        say(note)
    return not absent


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


def _stale(layout: Layout, params: Params, studies: Iterable[str]) -> Iterator[str]:
    """Nothing where there is no dvc.lock that can be read: that `oneshot doctor` tells."""
    with suppress(OneshotError):
        stale = stale_stages(layout, params, read_lock(layout.root / "dvc.lock", built_stages(params)))
        for study in studies:
            for name in (address(stage, study) for stage in STUDY_STAGES):
                if name in stale:
                    yield f"{name} is stale: {stale[name]} has changed; its table is of before; run `dvc repro`"
                    break


def _unlearned(study: str, paths: StudyLayout) -> list[str]:
    """By accuracies that are means over seeds."""
    rows, notes = read_csv(paths.comparison_table), list[str]()
    for arm, key in ACCURACIES.items():
        if names := [row["architecture"] for row in rows if float(row[key]) < UNLEARNED]:
            notes.append(
                f"{study}: {arm}: {len(names)} of {len(rows)} architectures have less than {UNLEARNED:.0%} of the test "
                f"images right, where a guess has {1 / CLASSES:.0%}: {some(names)}; ranks of guesses mean nothing; "
                "train longer, or with another learning rate"
            )
    return notes


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
