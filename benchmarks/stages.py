"""What surrounds a training: starting, the command line, DVC, and the memory of a stage."""

import subprocess
import sys
import tempfile
import time
from operator import itemgetter
from pathlib import Path

from benchmarks.measure import Measured, Side, Work, alternate
from benchmarks.project import BIN, end_session, environment, finish, make_project, one_epoch, start
from benchmarks.settings import STUDY, Settings
from benchmarks.table import Row
from pipeline.lockfile import STUDY_STAGES

ONESHOT = str(BIN / "oneshot")
# Ends the process as soon as the first step is done.
FIRST_STEP = """
import os, sys
from oneshot import jobs
from oneshot.cli import main
jobs.Reporter.tick = lambda *_: os._exit(0)
main(["train_supernet", "--study", sys.argv[1]])
"""
GIGABYTE = 1e9
INTERVAL = 0.2
"""Seconds between two looks at the memory."""


def make_command(folder: Path, command: list[str]) -> Work:
    def run() -> None:
        process = start(folder, command)
        process.wait()  # not for what it started
        if process.returncode:
            finish(process)
        end_session(process)

    return run


def start_rows(settings: Settings) -> list[Row]:
    rounds = settings.amount(7, 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, STUDY, {})
        commands = {
            "stage": [sys.executable, "-c", FIRST_STEP, STUDY],
            "torch": [sys.executable, "-c", "import torch"],
            "help": [ONESHOT, "--help"],
            "python": [sys.executable, "-c", "pass"],
        }
        sides = [Side(name, make_command, (folder, command)) for name, command in commands.items()]
        measured = alternate(sides, rounds)
    stage, torch, help_, python = (measured[name] for name in commands)
    return [
        _seconds("start of a stage, to its first step", stage, f"`import torch`: {torch.median:.2f} s", 4),
        _seconds("`oneshot --help`", help_, f"an empty Python: {python.median:.2f} s", 0.5),
        *_no_op_rows(settings, rounds),
    ]


def _seconds(work: str, measured: Measured, against: str, floor: float) -> Row:
    spread = min(measured.seconds), max(measured.seconds)
    return Row(work, f"{measured.median:.2f} s", against, measured.median, " s", spread, at_most=floor)


def _no_op_rows(settings: Settings, rounds: int) -> list[Row]:
    """Only where every result is there, as `dvc repro` would train what is not."""
    status = subprocess.run(
        [str(BIN / "dvc"), "status", "-q"], cwd=settings.root, env=environment(), capture_output=True
    )
    if status.returncode:
        missing = "not measured: results are missing here; run `dvc repro`"
        return [Row("no-op `dvc repro`", missing, "", None, " s", at_most=4)]
    sides = [
        Side("repro", make_command, (settings.root, [str(BIN / "dvc"), "repro"])),
        Side("dvc", make_command, (settings.root, [sys.executable, "-c", "import dvc.repo"])),
    ]
    measured = alternate(sides, rounds)
    return [_seconds("no-op `dvc repro`", measured["repro"], f"`import dvc.repo`: {measured['dvc'].median:.2f} s", 4)]


def memory_rows(settings: Settings) -> list[Row]:
    """Of every study, stages of one epoch; in the quick mode the first seconds of one stage."""
    studies, stages, seconds = list(settings.params.run), list(STUDY_STAGES), float("inf")
    if settings.quick:
        studies, stages, seconds = ["depths"], ["train_standalones"], 12.0
    peaks = [_peak_memories(settings, study, stages, seconds) for study in studies]
    rows = []
    for stage in stages:
        study, peak = max(zip(studies, (of_study[stage] for of_study in peaks), strict=True), key=itemgetter(1))
        largest = f", the largest of {len(studies)} studies" if len(studies) > 1 else ""
        work = f"memory of `{stage}@{study}`, all its processes{largest}"
        rows.append(Row(work, f"{peak:.2f} GB", "", peak, " GB", at_most=2))
    return rows


def _peak_memories(settings: Settings, study: str, stages: list[str], seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, study, one_epoch(study))
        return {stage: _peak_memory(folder, stage, study, seconds) for stage in stages}


def _peak_memory(folder: Path, stage: str, study: str, seconds: float) -> float:
    """Gigabytes that the stage's processes held at most together, each shared page counted once."""
    process = start(folder, [ONESHOT, stage, "--study", study])
    peak, end = 0.0, time.monotonic() + seconds
    try:
        while process.poll() is None and time.monotonic() < end:
            peak = max(peak, _session_memory(process.pid))
            time.sleep(INTERVAL)
        if process.returncode:
            finish(process)
    finally:
        end_session(process)
    return peak / GIGABYTE


def _session_memory(session: int) -> float:
    """Bytes: proportional set sizes summed over the session's processes."""
    return sum(_pss(folder) for folder in Path("/proc").glob("[0-9]*") if _session_of(folder) == session)


def _session_of(folder: Path) -> int:
    try:
        # Behind the name, which may hold anything: state, parent, group, session.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:  # it has ended meanwhile
        return 0


def _pss(folder: Path) -> float:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024.0 * float(line.split()[1]) for line in lines if line.startswith("Pss:"))
