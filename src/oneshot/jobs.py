"""Trainings side by side in processes, each kept in a store by what determines its bytes.

A job that finished once is never trained again: its folder in the store is named by its fingerprint. How many jobs run
at a time changes no result, since each claims its own threads and seeds its own streams.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from heapq import heapreplace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from oneshot.checkpoint import Checkpoints, serialise, sha256, write_folder
from oneshot.errors import PROCESS, OneshotError

if TYPE_CHECKING:
    from torch import Tensor

SHUFFLES = 500
WEIGHTS, RECORD = "weights.safetensors", "record"  # a line with its own SHA-256, then JSON


@dataclass(frozen=True)
class Job:
    stage: str
    """`train_supernet@depths`."""
    name: str
    """`supernet`, or the architecture's id."""
    seed: int
    epochs: int
    images: int
    """Trained on per epoch."""
    macs: int
    """Of its network, per image: how long it takes beside others."""
    identity: Mapping[str, Any]
    """Everything that determines the result's bytes, as JSON."""
    inputs: Any
    """What the training needs, for the worker process."""

    @property
    def fingerprint(self) -> str:
        return sha256(json.dumps(self.identity, sort_keys=True).encode())[:32]


@dataclass(frozen=True)
class Trained:
    tensors: Mapping[str, "Tensor"]
    record: Mapping[str, Any]
    """`curve`: rows of all epochs; `train_seconds`; and whatever else is worth keeping, as JSON."""


@dataclass(frozen=True)
class Finished:
    job: Job
    weights: bytes
    record: Mapping[str, Any]
    reused: bool


class Listener(Protocol):
    """Hears how jobs go; must not raise. Rows are those of the job's curve, an epoch's at a time, also of epochs that
    an earlier run trained."""

    def begin(self, jobs: Sequence[Job]) -> None: ...
    def tick(self, job: Job, images: int) -> None: ...
    def epoch(self, job: Job, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def note(self, job: Job, text: str) -> None: ...
    def finish(self, finished: Finished) -> None: ...


class Reporter:
    """A job's way to be heard. Ticks are gathered, so that a step costs no message."""

    def __init__(self, send: Callable[[str, Any], None], interval: float = 0.5):
        self._send, self._interval = send, interval
        self._images, self._sent = 0, time.monotonic()

    def tick(self, images: int) -> None:
        self._images += images
        if time.monotonic() - self._sent >= self._interval:
            self._flush()

    def epoch(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._flush()
        self._send("epoch", rows)

    def note(self, text: str) -> None:
        self._send("note", text)

    def _flush(self) -> None:
        self._send("tick", self._images)
        self._images, self._sent = 0, time.monotonic()


Training = Callable[[Job, Reporter, Checkpoints], Trained]


def run_jobs(training: Training, jobs: Sequence[Job], workers: int, store: Path, listener: Listener) -> list[Finished]:
    """The jobs' results, in their order. `training` must be importable by name, as it runs in other processes.

    If jobs fail, the others are finished and kept first; then the first failure is raised.
    """
    listener.begin(jobs)
    results: dict[str, Finished] = {}
    missing: dict[str, Job] = {}
    for job in jobs:
        if kept := _kept(job, store):
            _checkpoints(job, store).remove()  # of a process that was killed when it had just finished the job
            results[job.fingerprint] = kept
            listener.finish(kept)
        else:
            missing.setdefault(job.fingerprint, job)
    workers = min(workers, len(missing))
    run = _run_here if workers <= 1 else _run_in_processes
    for finished in run(training, order(missing.values(), workers), workers, store, listener):
        results[finished.job.fingerprint] = finished
        listener.finish(finished)
    # Two jobs may be the same network, as depths 1-2 and 2-1 of adjacent blocks are: it is trained once, for both.
    for job in jobs:
        if job.fingerprint in missing and missing[job.fingerprint] is not job:
            listener.finish(replace(results[job.fingerprint], job=job, reused=True))
    return [replace(results[job.fingerprint], job=job) for job in jobs]


def order(jobs: Iterable[Job], workers: int) -> list[Job]:
    """That in which so many processes are all done soonest, going by MACs: the longest first, or one of many shuffles
    where that would leave processes idle at the end."""
    longest_first = sorted(jobs, key=lambda job: -job.macs)
    numbers = random.Random(0)  # noqa: S311
    shuffles = (numbers.sample(longest_first, len(longest_first)) for _ in range(SHUFFLES))
    return min([longest_first, *shuffles], key=lambda order: makespan(order, workers))


def makespan(jobs: Sequence[Job], workers: int) -> int:
    """MACs until the last is done, each begun by the process that is free first."""
    busy = [0] * max(1, workers)
    for job in jobs:
        heapreplace(busy, busy[0] + job.macs)
    return max(busy)


def _run_here(
    training: Training, jobs: Sequence[Job], workers: int, store: Path, listener: Listener
) -> Iterator[Finished]:
    failures: list[Exception] = []
    for job in jobs:
        try:
            yield _train_and_keep(training, job, store, functools.partial(_tell, listener, job))
        except Exception as error:
            failures.append(error)
    _raise_first(failures)


def prepare_processes(*modules: str) -> ForkServerContext:
    """Begins to import what jobs need, in a process that theirs are forked from: once, and its memory is shared.

    Not forked from this one: a fork inherits torch's thread pools, once they have worked, in a state that can hang.
    """
    context = multiprocessing.get_context("forkserver")
    # torch.optim imports the second when it is first used, which costs each process a second.
    context.set_forkserver_preload([*modules, "torch._dynamo"])
    with interruptions_blocked():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def interruptions_blocked() -> Iterator[None]:
    """For a process that is started meanwhile, which inherits this: an interruption is its parent's to handle."""
    resource_tracker.ensure_running()  # its own start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_in_processes(
    training: Training, jobs: Sequence[Job], workers: int, store: Path, listener: Listener
) -> Iterator[Finished]:
    context = prepare_processes(training.__module__)
    # Its `put` returns when the message is in the pipe, so what a job said is there before its result.
    messages = context.SimpleQueue()
    failures: list[BaseException] = []
    with ProcessPoolExecutor(workers, context, _connect, (messages,)) as pool:
        by_fingerprint = {job.fingerprint: job for job in jobs}
        try:
            pending: set[Future[Finished]] = {pool.submit(_train_in_worker, training, job, store) for job in jobs}
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                _hear(messages, by_fingerprint, listener)
                for future in done:
                    if error := future.exception():
                        failures.append(error)
                    else:
                        yield future.result()
        except BaseException:
            # Interrupted: what has not started never will, and what runs is stopped.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    _raise_first(failures)


def _raise_first(failures: Sequence[BaseException]) -> None:
    if not failures:
        return
    first = failures[0]
    if isinstance(first, BrokenProcessPool):
        raise OneshotError(
            "a training process died (out of memory, or killed); finished ones are kept; "
            "lower compute.workers in params.yaml and run `dvc repro` again",
            PROCESS,
        )
    raise first


_messages: Any = None


def _connect(messages: Any) -> None:
    """In a new worker process: where its jobs report to. Its parent ends it by SIGTERM, or by its own death."""
    global _messages
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _messages = messages


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _train_in_worker(training: Training, job: Job, store: Path) -> Finished:
    return _train_and_keep(training, job, store, lambda kind, content: _messages.put((job.fingerprint, kind, content)))


def _hear(messages: Any, jobs: Mapping[str, Job], listener: Listener) -> None:
    while not messages.empty():
        fingerprint, kind, content = messages.get()
        _tell(listener, jobs[fingerprint], kind, content)


def _tell(listener: Listener, job: Job, kind: str, content: Any) -> None:
    hears: dict[str, Callable[[Job, Any], None]] = {
        "tick": listener.tick,
        "epoch": listener.epoch,
        "note": listener.note,
    }
    hears[kind](job, content)


def _train_and_keep(training: Training, job: Job, store: Path, send: Callable[[str, Any], None]) -> Finished:
    checkpoints = _checkpoints(job, store)
    try:
        trained = training(job, Reporter(send), checkpoints)
    except OneshotError as error:
        raise OneshotError(f"{job.stage}: {job.name}, seed {job.seed}: {error}", error.exit_code) from None
    weights = serialise(trained.tensors)
    record = dict(trained.record) | {"weights_sha256": sha256(weights), "identity": dict(job.identity)}
    content = json.dumps(record, indent=1).encode()
    files = {WEIGHTS: weights, RECORD: sha256(content).encode() + b"\n" + content}
    write_folder(store / job.fingerprint, files)
    checkpoints.remove()
    return Finished(job, weights, record, reused=False)


def _checkpoints(job: Job, store: Path) -> Checkpoints:
    return Checkpoints(store / "checkpoints" / job.stage / f"{job.name}, seed {job.seed}", job.fingerprint)


def _kept(job: Job, store: Path) -> Finished | None:
    """The job's result of an earlier run, if it is there and whole."""
    folder = store / job.fingerprint
    try:
        weights, content = (folder / WEIGHTS).read_bytes(), (folder / RECORD).read_bytes()
    except OSError:
        return None
    digest, _, record = content.partition(b"\n")
    if sha256(record).encode() != digest or (kept := json.loads(record))["weights_sha256"] != sha256(weights):
        return None
    return Finished(job, weights, kept, reused=True)
