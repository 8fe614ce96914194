"""`dvc repro` itself killed, its stage, or both: no process is left, and one more `dvc repro` ends with the bytes of a
run that nobody disturbed."""

import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults import check_nothing_works_in
from project import ENVIRONMENT, ROOT, Project

from oneshot.errors import BUSY
from pipeline.demo import make_small_project
from pipeline.layout import Layout

pytestmark = [pytest.mark.faults, pytest.mark.slow]
Record = Callable[[str, Any], None]
STAGE = "train_standalones@kernels-sum"
EPOCHS, LONG = 12, 2000


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its data is there, and nothing has been trained."""
    folder = tmp_path_factory.mktemp("dvc") / "project"
    make_small_project(Layout(ROOT, ROOT), folder, ["kernels-sum"])
    project = Project(folder)
    project.edit("datasets.mnist.validation_size", 300)
    project.edit("studies.kernels-sum.training_size", 500)
    project.edit("studies.kernels-sum.standalone.epochs", EPOCHS)
    for place in (0, 2):
        project.edit(f"studies.kernels-sum.space.{place}.channels", 2)
    project.repro("download@mnist")
    return project


@pytest.fixture(scope="module")
def expected(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    project = untouched.copy(tmp_path_factory.mktemp("clean") / "project")
    project.repro(STAGE)
    return project.outputs()


@pytest.fixture
def project(untouched: Project, tmp_path: Path) -> Project:
    return untouched.copy(tmp_path / "project")


def start(project: Project, tracking: str = "off", shell: str = "/bin/sh") -> subprocess.Popen[str]:
    """In a session of its own, as from a terminal of its own; trainings have begun when it returns."""
    process = subprocess.Popen(
        ["env", "--default-signal=INT", "dvc", "repro", STAGE],
        cwd=project.folder,
        env=ENVIRONMENT | {"ONESHOT_TRACKING": tracking, "SHELL": shell},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while "epoch 2/" not in (line := process.stdout.readline()):
        assert line or process.poll() is None, "it ended without an epoch"
    return process


def strike(process: subprocess.Popen[str], victim: str, number: signal.Signals) -> None:
    if victim == "group":
        os.killpg(process.pid, number)
    elif victim == "dvc":
        process.send_signal(number)
    else:
        *between, stage = lineage(psutil.Process(process.pid))
        (stage if victim == "stage" else between[-1]).send_signal(number)


def lineage(process: psutil.Process) -> list[psutil.Process]:
    """dvc, the shell if it stays, and the stage."""
    found = [process]
    while "oneshot" not in " ".join(found[-1].cmdline()[:2]):
        found += found[-1].children()[:1]
    return found


@pytest.mark.parametrize(
    ("victim", "number", "shell"),
    [
        ("dvc", signal.SIGKILL, "/bin/sh"),
        ("dvc", signal.SIGKILL, "/bin/bash"),
        ("dvc", signal.SIGTERM, "/bin/sh"),
        ("shell", signal.SIGKILL, "/bin/sh"),
        ("stage", signal.SIGKILL, "/bin/bash"),
        ("stage", signal.SIGTERM, "/bin/sh"),
        ("group", signal.SIGKILL, "/bin/sh"),
        ("group", signal.SIGINT, "/bin/sh"),
    ],
)
def test_dvc_killed_leaves_no_process_and_goes_on_to_the_bytes_of_the_clean_run(
    project: Project,
    expected: dict[str, bytes],
    victim: str,
    number: signal.Signals,
    shell: str,
    record_property: Record,
) -> None:
    process = start(project, shell=shell)
    strike(process, victim, number)
    output = process.communicate(timeout=60)[0]
    check_nothing_works_in(project.folder)
    assert "Traceback" not in output
    if number != signal.SIGKILL or victim in ("dvc", "shell"):
        assert f"error: ended by {'SIGINT' if number == signal.SIGINT else 'SIGTERM'}; " in output
    kept = list((project.folder / ".work" / "checkpoints").rglob("*.checkpoint"))

    outcome = project.repro(STAGE)

    assert kept and outcome.ran == {STAGE}
    assert project.outputs() == expected
    check_nothing_works_in(project.folder)
    record_property("`dvc`, its shell, its stage or all of them killed", 1)


def test_the_runs_of_a_stage_whose_dvc_was_killed_are_killed(project: Project, record_property: Record) -> None:
    project.edit("studies.kernels-sum.standalone.epochs", LONG)
    process = start(project, tracking="on")
    deadline = time.monotonic() + 60
    while not statuses(project) and time.monotonic() < deadline:
        time.sleep(0.2)
    strike(process, "dvc", signal.SIGKILL)
    process.communicate(timeout=120)
    check_nothing_works_in(project.folder)

    assert "KILLED" in statuses(project) and "RUNNING" not in statuses(project)
    record_property("`dvc`, its shell, its stage or all of them killed", 1)


def statuses(project: Project) -> Sequence[str]:
    database = project.folder / "mlflow.db"
    if not database.exists():
        return []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return [status for (status,) in connection.execute("select status from runs")]


def test_one_of_eight_commands_of_a_stage_trains(project: Project, record_property: Record) -> None:
    project.edit("studies.kernels-sum.standalone.epochs", LONG)
    command = ["oneshot", "train_standalones", "--study", "kernels-sum"]
    starters = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=ENVIRONMENT | {"ONESHOT_TRACKING": "off"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    deadline = time.monotonic() + 120
    while sum(starter.poll() is None for starter in starters) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    for starter in starters:
        starter.terminate()
    said = [starter.communicate(timeout=60)[1].splitlines() for starter in starters]

    assert Counter(starter.returncode for starter in starters) == {BUSY: 7, 143: 1}, said
    assert all(lines[-1].startswith("error: ") for lines in said)
    check_nothing_works_in(project.folder)
    record_property("one of eight started at once", 8)
