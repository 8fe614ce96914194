"""Progress of long work: a bar on a terminal, plain lines in a log."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from oneshot.jobs import Finished, Job


class ProgressListener:
    """Hears jobs (see jobs.Listener). A context manager, so that the bar is always taken down."""

    def __init__(self, title: str, console: Console | None = None):
        self._title = title
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._epochs = self._all_epochs = 0
        self._images = self._trained_epochs = 0
        self._epoch_of: Counter[str] = Counter()
        self._images_of_epoch: Counter[str] = Counter()
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[epochs]} epochs  {task.fields[speed]} images/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, epochs="0", speed="-")

    def __enter__(self) -> "ProgressListener":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, jobs: Sequence[Job]) -> None:
        self._bar.start()
        self._started = time.monotonic()
        self._all_epochs = sum(job.epochs for job in jobs)
        self._bar.update(self._task, total=sum(job.epochs * job.images for job in jobs))

    def tick(self, job: Job, images: int) -> None:
        self._images += images
        self._images_of_epoch[job.fingerprint] += images
        self._bar.update(self._task, advance=images, speed=f"{self._speed():,.0f}", epochs=self._count())

    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None:
        self._epochs += 1
        self._epoch_of[job.fingerprint] += 1
        if self._images_of_epoch.pop(job.fingerprint, 0):
            self._trained_epochs += 1
            course = f"{self._count()} epochs, {self._speed():,.0f} images/s, {self._seconds_left():.0f} s left"
        else:
            self._bar.update(self._task, advance=job.images)
            course = "trained earlier, kept"
        if not self._console.is_terminal:
            accuracies = [row["val_accuracy"] for row in rows if "val_accuracy" in row]
            reached = f", validation accuracy {sum(accuracies) / len(accuracies):.4f}" if accuracies else ""
            self._say(
                f"{job.name}, seed {job.seed}: epoch {self._epoch_of[job.fingerprint]}/{job.epochs}{reached}; {course}"
            )

    def note(self, job: Job, text: str) -> None:
        self._say(f"{job.name}, seed {job.seed}: {text}")

    def finish(self, finished: Finished) -> None:
        job = finished.job
        if finished.reused:
            self._epochs += job.epochs
            self._bar.update(self._task, advance=job.epochs * job.images, epochs=self._count())
            self._say(f"{job.name}, seed {job.seed}: finished earlier, reused")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", markup=False)

    def _count(self) -> str:
        return f"{self._epochs}/{self._all_epochs}"

    def _speed(self) -> float:
        return self._images / max(1e-9, time.monotonic() - self._started)

    def _seconds_left(self) -> float:
        seconds = time.monotonic() - self._started
        return (self._all_epochs - self._epochs) * seconds / max(1, self._trained_epochs)
