"""All that `dvc repro` does, from a fresh clone of what is committed, without and beside a busy neighbour."""

import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.cores import busy_core
from benchmarks.project import BIN, finish, start
from benchmarks.settings import Settings
from benchmarks.table import Row


def repro_rows(settings: Settings) -> list[Row]:
    """Once each, as each takes its minutes. Raises RuntimeError where the root is no git repository."""
    alone, beside = (_minutes(settings.root, neighbour) for neighbour in (nullcontext(), busy_core()))
    work = f"`dvc repro -f` of all {len(settings.params.run)} studies, in a fresh clone"
    figures = [f"{minutes:.1f} minutes" for minutes in (alone, beside)]
    return [
        Row(work, figures[0], "", alone, " minutes", at_most=12),
        Row(
            f"{work}, beside a busy core", figures[1], f"nothing else running: {figures[0]}", beside / alone, at_most=2
        ),
    ]


def _minutes(root: Path, neighbour: AbstractContextManager[None]) -> float:
    """The download included."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        finish(start(root, ["git", "clone", "--quiet", str(root), str(clone)]))
        with neighbour:
            started = time.perf_counter()
            finish(start(clone, [str(BIN / "dvc"), "repro", "-f"], PYTHONPATH=f"{clone / 'src'}:{clone}"))
            return (time.perf_counter() - started) / 60
