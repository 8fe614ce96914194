"""Runs one stage: params in, progress and tracking around it, its results into MLflow."""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oneshot.background import Background
from oneshot.errors import USAGE, OneshotError
from oneshot.jobs import Finished, Job, Listener, prepare_processes
from oneshot.params import Params, check_known, load_params
from oneshot.progress import ProgressListener
from oneshot.tracking import PATIENCE
from oneshot.writer import sole_writer
from pipeline.dvcfile import file_md5
from pipeline.layout import STUDY, Layout
from pipeline.publish import LiveRuns, StageRuns, record_of_run
from pipeline.units import Record

SWITCH = "ONESHOT_TRACKING"


class Everyone:
    """Passes what it hears on to several listeners."""

    def __init__(self, *listeners: Listener):
        self._listeners = listeners

    def begin(self, jobs: Sequence[Job]) -> None:
        for listener in self._listeners:
            listener.begin(jobs)

    def tick(self, job: Job, images: int) -> None:
        for listener in self._listeners:
            listener.tick(job, images)

    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
        for listener in self._listeners:
            listener.epoch(job, rows)

    def note(self, job: Job, text: str) -> None:
        for listener in self._listeners:
            listener.note(job, text)

    def finish(self, finished: Finished) -> None:
        for listener in self._listeners:
            listener.finish(finished)


def run_stage(name: str, key: str, say: Callable[[str], None]) -> None:
    """`key`: the study; the dataset of `download`; empty for `report`. `say`: warnings, and what a download is from."""
    layout = Layout.find()
    params = load_params(layout.params)
    _check_key(name, key, params)
    dataset = key if name in ("download", "report") else params.run[key]
    record = record_of_run(layout, name, key, dataset)
    _refuse_foreign_code(record)
    with sole_writer(layout.lock(record.address), record.address), _tracked(layout, record, say) as listeners:
        if name == "download":
            _download(params, layout, key, say)
        elif name == "report":
            importlib.import_module("pipeline.report").run(params, layout)
        else:
            if name == "train_standalones" and params.compute.workers > 1:
                prepare_workers(key)
            from pipeline.context import Context  # imports torch, as the others do now

            with ProgressListener(f"{name}@{key}") as progress:
                context = Context(name, key, params, layout, Everyone(progress, *listeners))
                importlib.import_module(f"pipeline.{name}").run(context)
        _refuse_edits_meanwhile(record, record_of_run(layout, name, key, dataset))


def prepare_workers(study: str) -> None:
    """Begins to import, and to load, what the study's standalones need, in the process that theirs are forked from."""
    os.environ[STUDY] = study
    prepare_processes("pipeline.train_standalones", "pipeline.preload")


@contextmanager
def _tracked(layout: Layout, record: Record, warn: Callable[[str], None]) -> Iterator[Sequence[Listener]]:
    """Shows in MLflow what is done meanwhile: to whom jobs must be told. Results do not depend on it."""
    if _tracking_is_off():
        yield ()
        return
    runs = Background(StageRuns, layout, record)
    live = LiveRuns(runs)
    try:
        # A fine-tuning shows in the comparison alone.
        yield () if record.stage == "compare" else (live,)
        runs.tell("publish")
    except BaseException as error:
        # An interruption is no Exception.
        live.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    finally:
        if failure := runs.close(PATIENCE):
            warn(f"warning: MLflow: {failure}; results are not affected; run `oneshot sync` later")


def _tracking_is_off() -> bool:
    switch = os.environ.get(SWITCH, "on")
    if switch not in ("on", "off"):
        raise OneshotError(f"{SWITCH}: `{switch}`; it must be on or off; unset it", USAGE)
    return switch == "off"


def _refuse_foreign_code(record: Record) -> None:
    """The console script runs the code that it was installed from; DVC hashes the code of this folder."""
    installed = Path(__file__).parents[1]
    for path, md5 in record.code.items():
        if not (installed / path).is_file() or file_md5(installed / path) != md5:
            raise OneshotError(
                f"{path}: not the code that is installed; dvc.lock must name the code that runs; run `make env` here",
                USAGE,
            )


def _refuse_edits_meanwhile(before: Record, after: Record) -> None:
    """DVC takes hashes and params after a stage has ended, and would book these results to the edit."""
    if before != after:
        raise OneshotError(
            f"{before.address}: its params or code were edited while it ran; results must belong to what "
            "dvc.lock says; run `dvc repro` again",
            USAGE,
        )


def _download(params: Params, layout: Layout, dataset: str, say: Callable[[str], None]) -> None:
    from pipeline import download

    folder = params.datasets[dataset].folder
    download.run(dataset, layout.home / Path(folder).expanduser() if folder else None, layout.dataset(dataset), say)


def _check_key(name: str, key: str, params: Params) -> None:
    if name == "report":  # one for all studies
        return
    section, known = ("datasets", params.datasets) if name == "download" else ("run", params.run)
    check_known([key], section, known)
