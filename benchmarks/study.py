"""A whole study, its supernet and its standalones: as the pipeline runs it, and the usual way."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from benchmarks import usual
from benchmarks.measure import Measured, Ratio, Side, Work, alternate
from benchmarks.project import make_project, one_epoch
from benchmarks.settings import DATASET, STUDY, Settings
from benchmarks.table import Row, ratio_row
from benchmarks.training import faster, usual_sides
from oneshot.data import Examples, load_split
from oneshot.jobs import Finished, Job
from oneshot.params import Recipe, load_params
from oneshot.sampling import build_sampler
from oneshot.space import Architecture
from oneshot.training import steps_per_epoch
from pipeline import train_standalones, train_supernet
from pipeline.context import Context
from pipeline.layout import Layout
from pipeline.runner import prepare_workers

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


def make_ours(folder: Path, name: str) -> Work:
    params, layout = load_params(folder / "params.yaml"), Layout(folder, folder)
    os.chdir(folder)  # where the workers look for what they load
    prepare_workers(name)

    def run() -> Result:
        shutil.rmtree(layout.store, ignore_errors=True)
        heard = Accuracies()
        for stage in (train_standalones, train_supernet):
            stage.run(Context(stage.__name__.rpartition(".")[2], name, params, layout, heard))
        standalones, supernet = (f"{stage}@{name}" for stage in ("train_standalones", "train_supernet"))
        # Standalones are trained so many at a time.
        seconds = heard.seconds[standalones] / params.compute.workers + heard.seconds[supernet]
        means = {stage: mean(accuracies.values()) for stage, accuracies in heard.last.items()}
        return Result(seconds, means[supernet], means[standalones])

    return run


class UsualStudy:
    """One network after the other, each followed after its epochs by an evaluation pass per subnet."""

    def __init__(self, folder: Path, name: str, workers: int):
        params = load_params(folder / "params.yaml")
        self.study = params.studies[name]
        self.build, self.number = usual.NETWORKS[name]
        self.space = self.study.search_space()
        dataset = Layout(folder, folder).dataset(DATASET)
        self.training, self.validation = load_split(dataset, params.datasets[DATASET], params.training_size(name))
        self.workers, self.seconds = workers, 0.0

    def run(self) -> Result:
        self.seconds = 0.0
        torch.manual_seed(0)
        sampler = build_sampler(self.study.supernet.sampler, self.space, seed=0)
        all_architectures = self.space.architectures
        subnets = self._train(self.study.supernet, lambda step: self._choice(sampler(step)[0]), all_architectures)
        standalones = [
            self._train(self.study.standalone, self._always(architecture), [architecture])
            for architecture in all_architectures
        ]
        return Result(self.seconds, mean(subnets), mean(accuracy for (accuracy,) in standalones))

    def _train(self, recipe: Recipe, choose: Choose, architectures: Sequence[Architecture]) -> list[float]:
        model = self.build()
        loader = self._load(self.training, recipe.batch_size, training=True)
        steps = recipe.epochs * steps_per_epoch(len(self.training), recipe.batch_size)
        training = usual.Training(model, choose, recipe, steps)
        accuracies: list[float] = []
        for _ in range(recipe.epochs):
            started = time.perf_counter()
            training.train(iter(loader))
            self.seconds += time.perf_counter() - started
            validation = self._load(self.validation, self.study.evaluate.batch_size, training=False)
            accuracies = [
                usual.evaluate(model, self._choice(architecture), validation) for architecture in architectures
            ]
        return accuracies

    def _always(self, architecture: Architecture) -> Choose:
        return lambda step: self._choice(architecture)

    def _choice(self, architecture: Architecture) -> usual.Choice:
        first, second = map(self.number, architecture)
        return first, second

    def _load(self, examples: Examples, batch_size: int, training: bool) -> usual.Batches:
        return usual.load(examples, batch_size, self.workers, training)


def make_usual(folder: Path, name: str, workers: int) -> Work:
    return UsualStudy(folder, name, workers).run


def _measure(
    settings: Settings, study: str, changes: Mapping[str, Any], workers: Sequence[int], rounds: int, warmups: int = 0
) -> tuple[Measured, str, Measured]:
    """Ours, and the name and figures of the usual recipe with the faster of these numbers of workers."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(settings, folder, study, changes)
        ours, others = Side("ours", make_ours, (folder, study)), usual_sides(workers, make_usual, folder, study)
        measured = alternate([ours, *others], rounds, warmups)
    return measured[ours.name], *faster(others, measured)


def study_rows(settings: Settings) -> list[Row]:
    """By an epoch of each network; in the quick mode of a twenty-fifth of the images."""
    part = settings.amount(1, 25)
    # One to warm up: a process in which nothing has run yet takes seconds more, which the rows of a start have.
    mine, name, theirs = _measure(
        settings, STUDY, _epoch(settings, part), settings.loader_workers, settings.amount(3, 1), warmups=1
    )
    images = "an epoch" if part == 1 else f"1/{part} of an epoch"
    work = f"study `{STUDY}`, {images} of its 5 networks, {settings.params.compute.workers} workers"
    seconds = [[result.training_seconds for result in side.results] for side in (mine, theirs)]
    training, usual_training = (f"{median(side):.1f} s" for side in seconds)
    whole = Ratio.of(theirs.seconds, mine.seconds)
    alone = Ratio.of(seconds[1], seconds[0])
    return [
        ratio_row(f"{work}, with scoring", f"{mine.median:.1f} s", f"{name}: {theirs.median:.1f} s", whole, 8),
        ratio_row(f"{work}, training alone", training, f"{name}: {usual_training}", alone, 8),
    ]


def accuracy_rows(settings: Settings) -> list[Row]:
    """After the whole recipe of each network, once, with one seed."""
    rows = []
    for study in usual.NETWORKS:
        ours, _, others = _measure(settings, study, {}, workers=(0,), rounds=1)
        mine, theirs = ours.results[0], others.results[0]
        for arm in ("oneshot", "standalone"):
            reached, usually = getattr(mine, arm), getattr(theirs, arm)
            work = f"study `{study}`, mean {arm} validation accuracy after the whole recipe"
            points = 100 * (reached - usually)
            rows.append(Row(work, f"{reached:.4f}", f"usual recipe: {usually:.4f}", points, " points"))
    return rows


def _epoch(settings: Settings, part: int) -> dict[str, Any]:
    """Changes of the params: an epoch of each network, of the `part`th part of the images."""
    changes = one_epoch(STUDY)
    if part > 1:
        validation = settings.params.datasets[DATASET].validation_size
        changes[f"datasets.{DATASET}.validation_size"] = validation // part
        changes[f"studies.{STUDY}.training_size"] = settings.params.training_size(STUDY) // part
        changes[f"studies.{STUDY}.evaluate.calibration_images"] = 100
    return changes
