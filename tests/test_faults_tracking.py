"""Whatever is wrong with MLflow, a stage ends with the bytes of a run without it, after seconds and one warning.

`make test` does the first three faults, `make faults` all.
"""

import contextlib
import functools
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from faults import STAGES, Lab, Run, count
from project import ENVIRONMENT
from servers import bad_server, good_server

from oneshot.tracking import PATIENCE

pytestmark = pytest.mark.faults
Record = Callable[[str, Any], None]
Fault = Callable[[Path, Path], AbstractContextManager[str]]
"""The default database's path, and a whole one elsewhere, to MLFLOW_TRACKING_URI while the fault lasts."""
BUSY_MACHINE = 10  # seconds; processes take turns


def server(kind: str) -> Fault:
    @contextlib.contextmanager
    def fault(database: Path, whole: Path) -> Iterator[str]:
        with bad_server(kind) as address:
            yield f"http://{address}"
        assert not database.exists()

    return fault


@contextlib.contextmanager
def server_that_dies(database: Path, whole: Path) -> Iterator[str]:
    with good_server(answers=3) as heard:
        yield f"http://{heard.address}"
    assert len(heard.text) > 3


@contextlib.contextmanager
def nothing_wrong(database: Path, whole: Path) -> Iterator[str]:
    shutil.copy(whole, database)
    yield ""
    database.unlink()
    shutil.rmtree(database.with_name("mlruns"))


def locked(kind: str) -> Fault:
    @contextlib.contextmanager
    def fault(database: Path, whole: Path) -> Iterator[str]:
        shutil.copy(whole, database)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute(f"BEGIN {kind}")
            yield ""
        database.unlink()

    return fault


@contextlib.contextmanager
def broken_database(database: Path, whole: Path) -> Iterator[str]:
    noise = os.urandom(whole.stat().st_size)
    database.write_bytes(noise)
    yield ""
    assert database.read_bytes() == noise
    database.unlink()


@contextlib.contextmanager
def folder_for_a_database(database: Path, whole: Path) -> Iterator[str]:
    database.mkdir()
    yield ""
    database.rmdir()


SERVERS = ("babbles", "rejects", "forbids", "redirects", "echoes", "hangs", "dribbles")
FAULTS: dict[str, Fault] = {
    "refuses": server("refuses"),
    "fails": server("fails"),
    "folder for a database": folder_for_a_database,
    **{kind: server(kind) for kind in SERVERS},
    "dies": server_that_dies,
    "broken database": broken_database,
    "database locked": locked("EXCLUSIVE"),
    "database locked for writing": locked("IMMEDIATE"),
}
TRIED = list(FAULTS)[: count("TRACKERS", 3)]


@functools.cache
def seconds_of_import() -> float:
    started = time.monotonic()
    command = [sys.executable, "-c", "from oneshot.tracking import load_library; load_library()"]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    return time.monotonic() - started


def run_tracked(lab: Lab, stage: str, fault: Fault, whole: Path) -> tuple[Run, float]:
    """And its seconds."""

    def switch_on() -> None:
        os.environ |= {"ONESHOT_TRACKING": "on", "MLFLOW_TRACKING_URI": uri}

    lab.reset()
    with fault(lab.folder / "mlflow.db", whole) as uri:
        started = time.monotonic()
        run = lab.start(stage, switch_on)
        run.wait()
    return run, time.monotonic() - started


def check_survives(lab: Lab, stage: str, fault: Fault, whole: Path) -> None:
    run, seconds = run_tracked(lab, stage, fault, whole)
    run.check_end(0)
    lab.check_like_clean(stage)
    (warning,) = (line for line in run.output.splitlines() if not line.startswith(f"{stage}@"))
    assert warning.startswith("warning: MLflow: ") and warning.endswith("run `oneshot sync` later")
    assert seconds < lab.seconds[stage] + seconds_of_import() + PATIENCE + BUSY_MACHINE


@pytest.mark.parametrize("fault", TRIED)
def test_a_bad_tracker_costs_one_warning_and_seconds(
    lab: Lab, fault: str, empty_database: Path, record_property: Record
) -> None:
    check_survives(lab, STAGES[TRIED.index(fault) % 2], FAULTS[fault], empty_database)
    record_property("tracker that refuses, hangs, babbles or dies, its database locked or broken", 1)


@pytest.mark.slow
def test_the_check_finds_a_tracker_that_says_nothing(lab: Lab, empty_database: Path) -> None:
    with pytest.raises(ValueError, match="not enough values"):
        check_survives(lab, STAGES[0], nothing_wrong, empty_database)
