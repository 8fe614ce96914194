"""A whole study of `kernels-sum`, its supernet and its four standalones: as the pipeline runs it, and the usual way."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from torch import nn

from benchmarks import usual
from benchmarks.measure import Measured, Ratio, Side, Work, alternate
from benchmarks.project import make_project
from benchmarks.settings import DATASET, STUDY, Settings
from benchmarks.table import Row, ratio_row
from benchmarks.training import faster_workers
from oneshot.data import Examples, load_split
from oneshot.jobs import Finished, Job
from oneshot.params import Recipe, load_params
from oneshot.sampling import build_sampler
from oneshot.space import Architecture
from oneshot.training import steps_per_epoch
from pipeline import train_standalones, train_supernet
from pipeline.context import Context
from pipeline.layout import Layout

Choose = Callable[[int], usual.Choice]


@dataclass(frozen=True)
class Result:
    """Seconds of training alone, and mean validation accuracy over the architectures after the last epoch."""

    training_seconds: float
    oneshot: float
    standalone: float


class Accuracies:
    """Hears jobs (see jobs.Listener), and keeps what they reached last, by stage."""

    def __init__(self) -> None:
        self.last: dict[str, dict[str, float]] = {}
        self.seconds: dict[str, float] = {}

    def begin(self, jobs: Sequence[Job]) -> None: ...
    def tick(self, job: Job, images: int) -> None: ...
    def note(self, job: Job, text: str) -> None: ...

    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.last.setdefault(job.stage, {})[row.get("architecture", job.name)] = row["val_accuracy"]

    def finish(self, finished: Finished) -> None:
        stage = finished.job.stage
        self.seconds[stage] = self.seconds.get(stage, 0) + finished.record["train_seconds"]


def make_ours(folder: Path) -> Work:
    params, layout = load_params(folder / "params.yaml"), Layout(folder, folder)

    def run() -> Result:
        shutil.rmtree(layout.store, ignore_errors=True)
        heard = Accuracies()
        for stage in (train_standalones, train_supernet):
            stage.run(Context(stage.__name__.rpartition(".")[2], STUDY, params, layout, heard))
        standalones, supernet = (f"{stage}@{STUDY}" for stage in ("train_standalones", "train_supernet"))
        # Standalones are trained so many at a time.
        seconds = heard.seconds[standalones] / params.compute.workers + heard.seconds[supernet]
        means = {stage: mean(accuracies.values()) for stage, accuracies in heard.last.items()}
        return Result(seconds, means[supernet], means[standalones])

    return run


class UsualStudy:
    """One network after the other, each followed after its epochs by an evaluation pass per subnet."""

    def __init__(self, folder: Path, workers: int):
        params = load_params(folder / "params.yaml")
        self.study = params.studies[STUDY]
        self.space = self.study.search_space()
        dataset = Layout(folder, folder).dataset(DATASET)
        self.training, self.validation = load_split(dataset, params.datasets[DATASET], params.training_size(STUDY))
        self.workers, self.seconds = workers, 0.0

    def run(self) -> Result:
        self.seconds = 0.0
        sampler = build_sampler(self.study.supernet.sampler, self.space, seed=0)
        all_architectures = self.space.architectures
        subnets = self._train(self.study.supernet, lambda step: _numbers(sampler(step)[0]), all_architectures)
        standalones = [
            self._train(self.study.standalone, _always(architecture), [architecture])
            for architecture in all_architectures
        ]
        return Result(self.seconds, mean(subnets), mean(accuracy for (accuracy,) in standalones))

    def _train(self, recipe: Recipe, choose: Choose, architectures: Sequence[Architecture]) -> list[float]:
        model: nn.Module = usual.KernelsNet()
        loader = self._load(self.training, recipe.batch_size, training=True)
        steps = recipe.epochs * steps_per_epoch(len(self.training), recipe.batch_size)
        training = usual.Training(model, choose, recipe, steps)
        accuracies: list[float] = []
        for _ in range(recipe.epochs):
            started = time.perf_counter()
            training.train(iter(loader))
            self.seconds += time.perf_counter() - started
            validation = self._load(self.validation, self.study.evaluate.batch_size, training=False)
            accuracies = [usual.evaluate(model, _numbers(architecture), validation) for architecture in architectures]
        return accuracies

    def _load(self, examples: Examples, batch_size: int, training: bool) -> usual.Batches:
        return usual.load(examples, batch_size, self.workers, training)


def make_usual(folder: Path, workers: int) -> Work:
    return UsualStudy(folder, workers).run


def _always(architecture: Architecture) -> Choose:
    return lambda step: _numbers(architecture)


def _numbers(architecture: Architecture) -> usual.Choice:
    first, second = (("3", "5").index(choice) for choice in architecture)
    return first, second


def study_rows(settings: Settings) -> list[Row]:
    """Time by an epoch of each network, accuracy after the whole recipe; in the quick mode both by an epoch of a tenth
    of the images."""
    part = settings.amount(1, 10)
    with tempfile.TemporaryDirectory() as scratch:
        rough = Path(scratch) / "rough"
        make_project(settings, rough, STUDY, _epoch(settings, 25))
        workers = faster_workers(make_usual, (rough,), settings)

        def measure(name: str, changes: Mapping[str, Any], rounds: int, warmups: int) -> dict[str, Measured]:
            folder = Path(scratch) / name
            make_project(settings, folder, STUDY, changes)
            sides = [Side("ours", make_ours, (folder,)), Side("usual", make_usual, (folder, workers))]
            return alternate(sides, rounds, warmups)

        # Whole epochs are warm-up enough: the median of the rounds drops the first.
        timed = measure("epoch", _epoch(settings, part), settings.amount(3, 1), settings.amount(0, 1))
        trained = timed if settings.quick else measure("recipe", {}, 1, 0)
    images = "an epoch" if part == 1 else f"1/{part} of an epoch"
    after = images if settings.quick else "the whole recipe"
    against = f"usual recipe, {workers} workers:"
    work = f"study `{STUDY}`, {images} of its 5 networks, {settings.params.compute.workers} workers"
    return [*_time_rows(timed, work, against), *_accuracy_rows(trained, after, against)]


def _epoch(settings: Settings, part: int) -> dict[str, Any]:
    """Changes of the params: an epoch of each network, of the `part`th part of the images."""
    changes: dict[str, Any] = {f"studies.{STUDY}.{arm}.epochs": 1 for arm in ("supernet", "standalone")}
    if part > 1:
        validation = settings.params.datasets[DATASET].validation_size
        changes[f"datasets.{DATASET}.validation_size"] = validation // part
        changes[f"studies.{STUDY}.training_size"] = settings.params.training_size(STUDY) // part
        changes[f"studies.{STUDY}.evaluate.calibration_images"] = 100
    return changes


def _time_rows(measured: Mapping[str, Measured], work: str, against: str) -> list[Row]:
    mine, theirs = measured["ours"], measured["usual"]
    seconds = [[result.training_seconds for result in side.results] for side in (mine, theirs)]
    training, usual_training = (f"{median(side):.1f} s" for side in seconds)
    whole = Ratio.of(theirs.seconds, mine.seconds)
    alone = Ratio.of(seconds[1], seconds[0])
    return [
        ratio_row(f"{work}, with scoring", f"{mine.median:.1f} s", f"{against} {theirs.median:.1f} s", whole, 8),
        ratio_row(f"{work}, training alone", training, f"{against} {usual_training}", alone, 8),
    ]


def _accuracy_rows(measured: Mapping[str, Measured], after: str, against: str) -> list[Row]:
    mine, theirs = (measured[side].results[-1] for side in ("ours", "usual"))
    rows = []
    for name in ("oneshot", "standalone"):
        reached, usually = getattr(mine, name), getattr(theirs, name)
        work = f"study `{STUDY}`, mean {name} validation accuracy after {after}"
        rows.append(Row(work, f"{reached:.4f}", f"{against} {usually:.4f}", 100 * (reached - usually), " points"))
    return rows
