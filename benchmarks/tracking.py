"""What telling MLflow costs a training stage."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.counted import SECONDS_FILE
from benchmarks.measure import Ratio, Side, Work, alternate
from benchmarks.project import finish, make_project, start
from benchmarks.settings import STUDY, Settings
from benchmarks.table import Row
from oneshot.params import load_params
from pipeline.layout import Layout

STAGE = """
import sys
from benchmarks.counted import CountedRuns
from oneshot.cli import script
from pipeline import runner
runner.StageRuns = CountedRuns
sys.argv = ["oneshot", sys.argv[1], "--study", sys.argv[2]]
script()
"""
"""The command, whose tracking counts."""


def make_stage(root: Path, folder: Path, stage: str, tracking: str) -> Work:
    """The work gives the seconds of the stage's training and scoring, and those of a core that tracking took."""

    def run() -> tuple[float, float]:
        shutil.rmtree(folder / ".work", ignore_errors=True)
        counted = folder / "tracking-seconds"
        counted.unlink(missing_ok=True)
        own = {"PYTHONPATH": str(root), "ONESHOT_TRACKING": tracking, SECONDS_FILE: str(counted)}
        finish(start(folder, [sys.executable, "-c", STAGE, stage, STUDY], **own))
        return _trained_seconds(folder, stage), float(counted.read_text()) if tracking == "on" else 0.0

    return run


def _trained_seconds(folder: Path, stage: str) -> float:
    """Standalones are trained so many at a time."""
    paths, workers = Layout(folder, folder).study(STUDY), load_params(folder / "params.yaml").compute.workers
    file, together = {
        "train_supernet": (paths.supernet_timing, 1),
        "train_standalones": (paths.standalone_timing, workers),
    }[stage]
    timing = json.loads(file.read_text())
    return float(timing["train_seconds"] + timing["evaluation_seconds"]) / together


def tracking_rows(settings: Settings) -> list[Row]:
    """The first round makes MLflow's database, once for a repository: it has a row of its own, and is in no other."""
    epochs = {arm: settings.amount(getattr(settings.study(STUDY), arm).epochs, 1) for arm in ("supernet", "standalone")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, STUDY, {f"studies.{STUDY}.{arm}.epochs": count for arm, count in epochs.items()})
        return [
            row
            for stage, count in zip(("train_supernet", "train_standalones"), epochs.values(), strict=True)
            for row in _rows(settings, folder, stage, count)
        ]


def _rows(settings: Settings, folder: Path, stage: str, epochs: int) -> list[Row]:
    sides = [Side(tracking, make_stage, (settings.root, folder, stage, tracking)) for tracking in ("on", "off")]
    measured = alternate(sides, settings.amount(4, 2), warmups=0)
    work = f"`{stage}@{STUDY}` of {epochs} epoch{'s' * (epochs > 1)}: telling MLflow"
    (_, first_seconds), *results = measured["on"].results
    trained_seconds, tracking_seconds = (median(column) for column in zip(*results, strict=True))
    shares = [100 * tracking / trained for trained, tracking in results]
    on, off = (measured[side].seconds[1:] for side in ("on", "off"))
    ratio = Ratio.of(off, on)
    low, high = (100 * (1 - bound) for bound in reversed(ratio.spread))
    first = Row(f"{work}, the same in the repository's first stage", f"{first_seconds:.2f} s", "", first_seconds, " s")
    return [
        Row(
            f"{work}, after its import, seconds of a core",
            f"{tracking_seconds:.2f} s",
            f"training and scoring: {trained_seconds:.2f} s",
            median(shares),
            "%",
            (min(shares), max(shares)),
            at_most=2,
        ),
        *([first] if stage == "train_supernet" else []),
        Row(
            f"{work}, from the command's start to its end",
            f"{median(on):.2f} s",
            f"untracked: {median(off):.2f} s",
            100 * (1 - ratio.value),
            "%",
            (low, high),
        ),
    ]
