"""A stage's results in MLflow: live while it runs, whole when it has ended, and again from dvc.lock at any time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from oneshot.background import Background
from oneshot.documents import load_document
from oneshot.jobs import Finished, Job
from oneshot.tracking import Metrics, Tracker, Unit, load_library
from pipeline.differences import param_at
from pipeline.dvcfile import code_hashes, read_stage
from pipeline.layout import Layout
from pipeline.origin import ORIGIN, origin
from pipeline.units import ARMS, Record, compared_metrics, curve_point, read_units, run_name, run_tags

Address = tuple[str, str]
"""A job and its seed."""


class StageRuns:
    """What MLflow shows of a stage. Lives in a process of its own (see background.Told)."""

    def __init__(self, layout: Layout, record: Record):
        self._layout, self._record = layout, record
        self._tracker = Tracker(layout.home, {ORIGIN: origin(layout, record.address)})
        self._runs: dict[Address, str] = {}
        """Run ids of what is trained now."""
        self._finished: set[Address] = set()
        load_library()

    @property
    def failure(self) -> str | None:
        return self._tracker.failure

    def epoch(self, address: Address, number: int, metrics: Metrics) -> None:
        if address not in self._runs:
            stage, study = self._record.stage, self._record.key
            run_id = self._tracker.start(study, run_name(stage, address[0]), run_tags(stage, study, *address))
            if run_id is None:
                return
            self._runs[address] = run_id
        self._tracker.log_epoch(self._runs[address], number, metrics)

    def finish(self, address: Address) -> None:
        self._finished.add(address)

    def publish(self) -> Iterator[None]:
        """Fills up the runs from the stage's files, in steps; `compare` adds what it knows to those of the networks."""
        layout, record = self._layout, self._record
        for _ in publish(self._tracker, layout, record, self._runs):
            yield
        for stage in ARMS.values() if record.stage == "compare" else ():
            networks = []
            of_stage = record_of_run(layout, stage, record.key, record.dataset)
            for published in publish(self._tracker, layout, of_stage):
                networks.append(published)
                yield
            yield from log_compared(self._tracker, layout, record.key, networks)

    def end(self, status: str) -> None:
        """The stage came to no end: `status` is FAILED or KILLED."""
        for address, run_id in self._runs.items():
            self._tracker.end(run_id, "FINISHED" if address in self._finished else status)

    def abandon(self) -> None:
        self.end("KILLED")


class LiveRuns:
    """Hears jobs (see jobs.Listener) and tells StageRuns of each, epoch by epoch."""

    def __init__(self, runs: Background):
        self._stage_runs = runs
        self._epochs: Counter[Address] = Counter()

    def begin(self, jobs: Sequence[Job]) -> None:
        pass

    def tick(self, job: Job, images: int) -> None:
        pass

    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
        address = job.name, str(job.seed)
        self._epochs[address] += 1
        self._stage_runs.tell("epoch", address, self._epochs[address], curve_point(rows))

    def note(self, job: Job, text: str) -> None:
        pass

    def finish(self, finished: Finished) -> None:
        self._stage_runs.tell("finish", (finished.job.name, str(finished.job.seed)))

    def end(self, status: str) -> None:
        """The stage failed (FAILED) or was interrupted (KILLED)."""
        if self._epochs:
            self._stage_runs.tell("end", status)


def record_of_run(layout: Layout, stage: str, key: str, dataset: str) -> Record:
    """From params.yaml and the code as they are."""
    entry = read_stage(layout.root, stage, key, dataset)
    document = load_document(layout.params)
    params = {name: param_at(document, name) for name in entry.params}  # as dvc.lock lists them
    return Record(stage, key, dataset, params, code_hashes(layout.root, entry))


class Published(NamedTuple):
    run_id: str
    unit: Unit
    made: bool
    """From files, as there was no run that shows the unit."""


def publish(
    tracker: Tracker,
    layout: Layout,
    record: Record,
    live_runs: Mapping[Address, str] | None = None,
    restored: bool = False,
) -> Iterator[Published]:
    """Links, completes or makes the run of each unit. `restored`: made from files of an earlier run."""
    for unit in read_units(layout, record):
        address = unit.params.get("architecture", ""), unit.params.get("seed", "")
        if done := tracker.complete(unit, (live_runs or {}).get(address), restored):
            run_id, made = done
            yield Published(run_id, unit, made)


def log_compared(tracker: Tracker, layout: Layout, study: str, networks: Sequence[Published]) -> Iterator[None]:
    """What only `compare` knows, into the runs of the subnets and standalones that it compared, in steps."""
    seeds = {network.unit.params["seed"] for network in networks}
    found = compared_metrics(layout.study(study), one_seed=len(seeds) == 1)
    for network in networks:
        params = network.unit.params
        tracker.log_final(network.run_id, found[params["stage"]][params["architecture"]])
        yield
