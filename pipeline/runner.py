"""Runs one stage: params in, progress and tracking around it, its results into MLflow."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from oneshot.errors import USAGE, OneshotError
from oneshot.jobs import Finished, Job, Listener
from oneshot.params import Params, load_params
from oneshot.progress import ProgressListener
from oneshot.tracking import Tracker
from pipeline.context import Context
from pipeline.layout import Layout
from pipeline.publish import COMPARED, LiveRuns, log_test_accuracies, publish, record_of_run


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

    def finish(self, finished: Finished) -> None:
        for listener in self._listeners:
            listener.finish(finished)


def run_stage(name: str, key: str, warn: Callable[[str], None]) -> None:
    layout = Layout.find()
    params = load_params(layout.params)
    _check_key(name, key, params)
    tracker = Tracker(layout.home, warn)
    if name == "download":
        _download(params, layout, key)
        publish(tracker, layout, record_of_run(layout, name, key, key))
        return
    with ExitStack() as stack:
        progress = stack.enter_context(ProgressListener(f"{name}@{key}"))
        live = stack.enter_context(LiveRuns(tracker, name, key))
        context = Context(name, key, params, layout, Everyone(progress, live))
        importlib.import_module(f"pipeline.{name}").run(context)
    publish(tracker, layout, record_of_run(layout, name, key, context.dataset_name), live.runs)
    if name == "compare":
        for stage in COMPARED:
            networks = publish(tracker, layout, record_of_run(layout, stage, key, context.dataset_name))
            log_test_accuracies(tracker, layout, key, networks)


def _download(params: Params, layout: Layout, dataset: str) -> None:
    from pipeline import download

    folder = params.datasets[dataset].folder
    download.run(dataset, layout.home / Path(folder).expanduser() if folder else None, layout.dataset(dataset))


def _check_key(name: str, key: str, params: Params) -> None:
    section, known = ("datasets", params.datasets) if name == "download" else ("run", params.run)
    if key not in known:
        raise OneshotError(
            f"{key}: not in `{section}` of params.yaml; known: {', '.join(known)}; use one of them", USAGE
        )
