"""A stage's results in MLflow: live while it runs, whole when it has ended, and again from dvc.lock at any time."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from oneshot.documents import load_document
from oneshot.jobs import Finished, Job
from oneshot.tracking import Tracker, Unit
from pipeline.dvcfile import Stage, code_hashes, read_stage
from pipeline.layout import Layout
from pipeline.units import Record, curve_point, read_units, run_name, run_tags, test_accuracies

COMPARED = ("evaluate_subnets", "train_standalones")


class LiveRuns:
    """Hears jobs (see jobs.Listener) and shows each in a run of its own, epoch by epoch."""

    def __init__(self, tracker: Tracker, stage: str, study: str):
        self._tracker, self._stage, self._study = tracker, stage, study
        self.runs: dict[tuple[str, str], str] = {}
        """Run ids by job and seed, of what was trained now."""
        self._epochs: dict[str, int] = {}
        self._finished: set[tuple[str, str]] = set()

    def begin(self, jobs: Sequence[Job]) -> None:
        pass

    def tick(self, job: Job, images: int) -> None:
        pass

    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
        address = job.name, str(job.seed)
        if address not in self.runs:
            tags = run_tags(self._stage, self._study, job.name, job.seed)
            run_id = self._tracker.start(self._study, run_name(self._stage, job.name), tags)
            if run_id is None:
                return
            self.runs[address] = run_id
        number = self._epochs[job.fingerprint] = self._epochs.get(job.fingerprint, 0) + 1
        self._tracker.log_epoch(self.runs[address], number, curve_point(rows))

    def finish(self, finished: Finished) -> None:
        self._finished.add((finished.job.name, str(finished.job.seed)))

    def __enter__(self) -> "LiveRuns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        # An exit by signal is a SystemExit or a KeyboardInterrupt, not an Exception.
        status = "FAILED" if issubclass(kind, Exception) else "KILLED"
        for address, run_id in self.runs.items():
            self._tracker.end(run_id, "FINISHED" if address in self._finished else status)


def record_of_run(layout: Layout, stage: str, key: str, dataset: str) -> Record:
    """From params.yaml and the code as they are."""
    entry = read_stage(layout.root, stage, key, dataset)
    params = _pick_params(load_document(layout.params), entry)
    return Record(stage, key, dataset, params, code_hashes(layout.root, entry))


def _pick_params(document: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """The stage's params, by dotted key, as dvc.lock lists them."""
    picked = {}
    for key in stage.params:
        value: Any = document
        for part in key.split("."):
            value = value[part]
        picked[key] = value
    return picked


Published = dict[str, tuple[Unit, bool]]
"""By run id: the unit that the run shows, and whether the run was made from files."""


def publish(
    tracker: Tracker,
    layout: Layout,
    record: Record,
    live_runs: Mapping[tuple[str, str], str] | None = None,
    restored: bool = False,
) -> Published:
    """Links, completes or makes the run of each unit. `restored`: made from files of an earlier run."""
    published: Published = {}
    for unit in read_units(layout, record):
        address = unit.params.get("architecture", ""), unit.params.get("seed", "")
        if done := tracker.complete(unit, (live_runs or {}).get(address), restored):
            run_id, made = done
            published[run_id] = unit, made
    return published


def log_test_accuracies(tracker: Tracker, layout: Layout, study: str, published: Published) -> None:
    """What only `compare` knows, into the runs of the subnets and standalones. Its table holds means over seeds,
    so with several seeds there is no figure of one run's own."""
    if len({unit.params["seed"] for unit, _ in published.values()}) != 1:
        return
    accuracies = test_accuracies(layout.study(study))
    for run_id, (unit, _) in published.items():
        accuracy = accuracies[unit.params["stage"]][unit.params["architecture"]]
        tracker.log_final(run_id, {"test/accuracy": accuracy})
