"""A scratch project whose studies are the committed ones, but for the keys that a benchmark changes."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.settings import DATASET, Settings
from oneshot.documents import load_document, write_document
from pipeline.demo import make_small_project
from pipeline.layout import Layout

BIN = Path(sys.executable).parent


def make_project(settings: Settings, folder: Path, study: str, changes: Mapping[str, Any]) -> None:
    """changes: dotted keys of params.yaml to their values."""
    make_small_project(Layout(settings.root, settings.root), folder, [study])
    params = load_document(settings.root / "params.yaml")
    params["run"], params["studies"] = {study: DATASET}, {study: params["studies"][study]}
    params["datasets"] = {DATASET: params["datasets"][DATASET]}
    for key, value in changes.items():
        *path, last = key.split(".")
        section = params
        for part in path:
            section = section[part]
        section[last] = value
    write_document(folder / "params.yaml", params)
    (folder / "data").mkdir()
    (folder / "data" / DATASET).symlink_to(settings.dataset.resolve())


def one_epoch(study: str) -> dict[str, Any]:
    """The changes that make each of its trainings one epoch."""
    return {f"studies.{study}.{arm}.epochs": 1 for arm in ("supernet", "standalone")}


def environment(**changes: str) -> dict[str, str]:
    """No tracking server and no other project may leak in."""
    foreign = ("MLFLOW_", "DVC_", "ONESHOT_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return own | {"PATH": f"{BIN}{os.pathsep}{own['PATH']}", "DVC_NO_ANALYTICS": "true"} | changes


def start(folder: Path, command: Sequence[str], **changes: str) -> "subprocess.Popen[str]":
    """In a session of its own, so that all its processes are found, and ended, by its id."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**changes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> None:
    """Raises RuntimeError with what the command said if it failed. An interruption ends it."""
    try:
        _, said = process.communicate()
    except BaseException:
        end_session(process)
        raise
    if process.returncode:
        raise RuntimeError(f"{process.args!r}: exit {process.returncode}: {said[-2000:]}")


def end_session(process: "subprocess.Popen[str]") -> None:
    """Ends it and every process that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
