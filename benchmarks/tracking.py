"""What telling MLflow costs a training stage."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.counted import SECONDS_FILE
from benchmarks.measure import Measured, Ratio, Side, Work, alternate
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
sys.argv = ["oneshot", sys.argv[1], "--study", sys.argv[2]]
script()
"""
"""The command, whose tracking counts."""


ARMS = {"train_supernet": "supernet", "train_standalones": "standalone"}


def make_stage(settings: Settings, folder: Path, stage: str, tracking: str) -> Work:
    """The work gives the seconds of the stage's training and scoring, and those of a core that tracking took."""
    paths = Layout(folder, folder).study(STUDY)
    file, together = paths.supernet_timing, 1
    if stage == "train_standalones":
        file, together = paths.standalone_timing, settings.params.compute.workers

    def run() -> tuple[float, float]:
        shutil.rmtree(folder / ".work", ignore_errors=True)
        counted = folder / "tracking-seconds"
        counted.unlink(missing_ok=True)
        own = {"PYTHONPATH": str(settings.root), "ONESHOT_TRACKING": tracking, SECONDS_FILE: str(counted)}
        finish(start(folder, [sys.executable, "-c", STAGE, stage, STUDY], **own))
        timing = json.loads(file.read_text())
        trained = float(timing["train_seconds"] + timing["evaluation_seconds"]) / together
        return trained, float(counted.read_text()) if tracking == "on" else 0.0

    return run


def tracking_rows(settings: Settings) -> list[Row]:
    """Of both training stages. The very first round makes MLflow's database, once for a repository, and has a row of
    its own."""
    study = settings.study(STUDY)
    epochs = {arm: settings.amount(getattr(study, arm).epochs, 1) for arm in ARMS.values()}
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, STUDY, {f"studies.{STUDY}.{arm}.epochs": count for arm, count in epochs.items()})
        for stage, arm in ARMS.items():
            work = f"`{stage}@{STUDY}` of {epochs[arm]} epoch{'s' * (epochs[arm] > 1)}: telling MLflow"
            sides = [Side(way, make_stage, (settings, folder, stage, way)) for way in ("on", "off")]
            measured = alternate(sides, settings.amount(4, 2), warmups=0)
            if not rows:
                _, first = measured["on"].results[0]
                made = f"{work}, after its import, in the repository's first stage, seconds of a core"
                rows.append(Row(made, f"{first:.2f} s", "", first, " s"))
            rows += _rows(work, measured["on"], measured["off"])
    return rows


def _rows(work: str, on: Measured, off: Measured) -> list[Row]:
    """Without the first round."""
    results = on.results[1:]
    trained_seconds, tracking_seconds = (median(column) for column in zip(*results, strict=True))
    shares = [100 * tracking / trained for trained, tracking in results]
    whole, untracked = on.seconds[1:], off.seconds[1:]
    ratio = Ratio.of(untracked, whole)
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
        Row(
            f"{work}, from the command's start to its end",
            f"{median(whole):.2f} s",
            f"untracked: {median(untracked):.2f} s",
            100 * (1 - ratio.value),
            "%",
            (low, high),
        ),
    ]
