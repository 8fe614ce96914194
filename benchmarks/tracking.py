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
from pipeline.layout import Layout

STAGE = """
import sys
from benchmarks.counted import CountedRuns
from oneshot.cli import script
from pipeline import runner
runner.StageRuns = CountedRuns
sys.argv = ["oneshot", "train_supernet", "--study", sys.argv[1]]
script()
"""
"""The command, whose tracking counts."""


def make_stage(root: Path, folder: Path, tracking: str) -> Work:
    """The work gives the seconds of the stage's training and scoring, and those of a core that tracking took."""

    def run() -> tuple[float, float]:
        shutil.rmtree(folder / ".work", ignore_errors=True)
        counted = folder / "tracking-seconds"
        counted.unlink(missing_ok=True)
        own = {"PYTHONPATH": str(root), "ONESHOT_TRACKING": tracking, SECONDS_FILE: str(counted)}
        finish(start(folder, [sys.executable, "-c", STAGE, STUDY], **own))
        timing = json.loads(Layout(folder, folder).study(STUDY).supernet_timing.read_text())
        trained = float(timing["train_seconds"]) + float(timing["evaluation_seconds"])
        return trained, float(counted.read_text()) if tracking == "on" else 0.0

    return run


def tracking_rows(settings: Settings) -> list[Row]:
    epochs = settings.amount(settings.study(STUDY).supernet.epochs, 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, STUDY, {f"studies.{STUDY}.supernet.epochs": epochs})
        sides = [Side(tracking, make_stage, (settings.root, folder, tracking)) for tracking in ("on", "off")]
        measured = alternate(sides, settings.amount(4, 2), warmups=0)
    work = f"`train_supernet@{STUDY}` of {epochs} epoch{'s' * (epochs > 1)}: telling MLflow"
    # The first round makes MLflow's database, once for a repository: it has a row of its own, and is in no other.
    (_, first_seconds), *results = measured["on"].results
    trained_seconds, tracking_seconds = (median(column) for column in zip(*results, strict=True))
    shares = [100 * tracking / trained for trained, tracking in results]
    on, off = (measured[side].seconds[1:] for side in ("on", "off"))
    ratio = Ratio.of(off, on)
    low, high = (100 * (1 - bound) for bound in reversed(ratio.spread))
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
        Row(f"{work}, the same in the repository's first stage", f"{first_seconds:.2f} s", "", first_seconds, " s"),
        Row(
            f"{work}, from the command's start to its end",
            f"{median(on):.2f} s",
            f"untracked: {median(off):.2f} s",
            100 * (1 - ratio.value),
            "%",
            (low, high),
        ),
    ]
