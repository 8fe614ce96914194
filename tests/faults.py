"""A laboratory for faults: a project of a few images whose training stages run in forks of this process, so that torch
is imported once and a run takes half a second; and the checks that hold whatever was done to it."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import psutil
import torch._dynamo  # noqa: F401 - else the first optimizer imports it, in every fork for a second

import oneshot.machine
import pipeline.runner
import pipeline.train_standalones
import pipeline.train_supernet
from oneshot.catalog import CATALOG, FilePin, KnownDataset
from oneshot.cli import main
from oneshot.documents import load_document, write_document
from oneshot.jobs import RECORD

ROOT = Path(__file__).parents[1]
STUDY = "depths"
STAGES = ("train_supernet", "train_standalones")
SEED = os.environ.get("FAULT_SEED", "0")
CODES = {0, 1, 2, 65, 66, 69, 71, 74, 75, 130, 143}  # of README.md
START, SAVE = b"s", b"f"
"""What a run says of itself: it begins; it is about to sync a file that it writes."""
Plant = Callable[[], None]


def count(name: str, few: int) -> int:
    """How many faults of a kind: few in `make test`, as many as the environment says in `make faults`."""
    return int(os.environ.get(f"FAULT_{name}", few))


def rng_of(*purpose: Any) -> random.Random:
    return random.Random(" ".join(map(str, (SEED, *purpose))))  # noqa: S311


@dataclass
class Run:
    """A stage in a process of its own. `code` is negative where a signal ended it."""

    process: int
    beats: int
    """A pipe of what it says of itself."""
    log: Path
    code: int | None = None
    saves: int = 0

    @property
    def output(self) -> str:
        return self.log.read_text()

    def await_beat(self, beat: bytes, number: int = 1) -> bool:
        """Whether it came so far before it ended."""
        while number:
            said = os.read(self.beats, 1)
            self.saves += said == SAVE
            number -= said == beat
            if not said:
                return False
        return True

    def wait(self) -> int:
        self.await_beat(b"", 1)
        _, status = os.waitpid(self.process, 0)
        os.close(self.beats)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process, number)

    def check_end(self, *codes: int) -> None:
        """One of these codes; after a failure an error line at the end, and never a traceback."""
        assert self.code in codes, f"exit {self.code}: {self.output}"
        assert "Traceback" not in self.output, self.output
        if self.code > 0:
            assert self.code in CODES and self.output.splitlines()[-1].startswith("error: "), self.output


class Lab:
    def __init__(self, folder: Path):
        self.folder, self._logs, self._runs = folder / "project", folder / "logs", itertools.count()
        for each in (self.folder, self._logs):
            each.mkdir()
        self.pins = _write_images(self.folder / "data" / "mnist")
        write_document(self.folder / "params.yaml", _tiny_params())
        stages = load_document(ROOT / "dvc.yaml")["stages"]
        write_document(self.folder / "dvc.yaml", {"stages": {stage: stages[stage] for stage in STAGES}})
        for code in ("pipeline", "src"):
            (self.folder / code).symlink_to(ROOT / code)
        self.clean: dict[str, dict[str, bytes]] = {}
        self.saves: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        for stage in STAGES:
            self._run_clean(stage)
        self.outside = self._surroundings()

    def _run_clean(self, stage: str) -> None:
        self.reset()
        run = self.start(stage)
        run.await_beat(START)
        started = time.monotonic()
        run.wait()
        run.check_end(0)
        self.clean[stage], self.saves[stage] = self.results(), run.saves
        self.seconds[stage] = time.monotonic() - started

    def reset(self) -> None:
        for name in (".work", "results"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def start(self, stage: str, plant: Plant = lambda: None) -> Run:
        """`plant`: called in the new process before the stage begins."""
        (beats, theirs), log = os.pipe(), self._logs / str(next(self._runs))
        log.touch()
        process = os.fork()
        if process:
            os.close(theirs)
            return Run(process, beats, log)
        try:
            code = self._be_the_stage(stage, theirs, log, plant)
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stderr.flush()
        os._exit(code)

    def _be_the_stage(self, stage: str, beats: int, log: Path, plant: Plant) -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = sys.stderr = log.open("w", buffering=1)
        for descriptor in (1, 2):  # what its own processes say
            os.dup2(sys.stderr.fileno(), descriptor)
        os.chdir(self.folder)
        for name in ("DVC_STAGE", "DVC_ROOT"):
            os.environ.pop(name, None)
        os.environ["ONESHOT_TRACKING"] = "off"
        CATALOG["mnist"] = KnownDataset("MNIST", None, self.pins)
        oneshot.machine._pool.cache_clear()  # a fork has none of the threads that other tests have started
        begin, sync = pipeline.runner.run_stage, os.fsync

        def told_begin(*arguments: Any) -> None:
            os.write(beats, START)
            begin(*arguments)

        def told_sync(descriptor: int) -> None:
            os.write(beats, SAVE)
            sync(descriptor)

        pipeline.runner.run_stage, os.fsync = told_begin, told_sync
        plant()
        try:
            main([stage, "--study", STUDY])
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    def results(self) -> dict[str, bytes]:
        """What must be the same after every fault: all files but the seconds, and those of finished jobs."""
        files = [file for file in self._files() if "timing.json" not in file.name and file.suffix != ".damaged"]
        found = {str(file.relative_to(self.folder)): file.read_bytes() for file in files}
        for name in found:
            if name.endswith(f"/{RECORD}") and not written_aside(name):
                record = json.loads(found[name].partition(b"\n")[2])
                found[name] = json.dumps({key: record[key] for key in record if "seconds" not in key}).encode()
        return found

    def _files(self) -> list[Path]:
        folders = [self.folder / name for name in ("results", ".work")]
        return [
            file for folder in folders for file in folder.rglob("*") if file.is_file() and "locks" not in file.parts
        ]

    def checkpoints(self) -> dict[Path, int]:
        """Those at their final names, with their epochs."""
        files = sorted((self.folder / ".work" / "checkpoints").rglob("*.checkpoint"))
        return {file: int(file.stem.rpartition("-")[2]) for file in files if not file.name.startswith(".")}

    def check_whole(self) -> None:
        """Whatever stands at its final name is whole: by its own hash, or as in the clean run."""
        expected = {name: content for stage in STAGES for name, content in self.clean[stage].items()}
        for checkpoint in self.checkpoints():
            digest, _, body = checkpoint.read_bytes().partition(b"\n")
            assert hashlib.sha256(body).hexdigest().encode() == digest, f"{checkpoint} is not whole"
        for name, content in self.results().items():
            if not written_aside(name) and "checkpoints/" not in name:
                assert content == expected[name], f"{name} is not whole"
        for timing in self.folder.glob("results/**/*timing.json"):
            json.loads(timing.read_text())

    def check_like_clean(self, stage: str) -> None:
        """After the last run: the same files with the same bytes, nothing else, and no process that works here."""
        found, expected = self.results(), self.clean[stage]
        assert found.keys() == expected.keys(), f"{found.keys() ^ expected.keys()}"
        assert {name for name in found if found[name] != expected[name]} == set()
        check_nothing_works_in(self.folder)
        assert self._surroundings() == self.outside

    def _surroundings(self) -> dict[str, bytes]:
        """Data, params, and what lies beside the project."""
        folders = (self.folder.parent, self.folder, self.folder / "data" / "mnist")
        return {str(file): file.read_bytes() for folder in folders for file in folder.iterdir() if file.is_file()}


def written_aside(name: str) -> bool:
    """Whether it is not yet at its final name, so that a kill may leave half of it."""
    return any(part.startswith(".") for part in Path(name).parts[1:])


def workers_in(folder: Path) -> list[int]:
    """Processes, but this one, that work in the folder; dead ones that nobody waited for are none."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            here = Path(process.cwd()).is_relative_to(folder)
            if here and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def check_nothing_works_in(folder: Path, seconds: float = 30) -> None:
    """Those that end with the process that started them may take a moment; what is left then is ended."""
    deadline = time.monotonic() + seconds
    while (left := workers_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


def kill_at_random(lab: Lab, stage: str, rng: random.Random, plant: Plant = lambda: None) -> bool:
    """Starts the stage and kills it, half of the time while it saves; whether it was still there to be killed."""
    run = lab.start(stage, plant)
    if rng.random() < 0.5:
        run.await_beat(SAVE, rng.randint(1, lab.saves[stage]))
        pause(rng.uniform(0, 0.003))
    else:
        run.await_beat(START)
        pause(rng.uniform(0, lab.seconds[stage]))
    run.kill()
    killed = run.wait() == -signal.SIGKILL
    if not killed:
        run.check_end(0)
    lab.check_whole()
    return killed


def pause(seconds: float) -> None:
    """Sleeps, and finely."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        time.sleep(max(0.0, left - 0.001))


def go_on_to_the_end(lab: Lab, stage: str, plant: Plant = lambda: None) -> str:
    """What the run said that began where the killed one had left off."""
    run = lab.start(stage, plant)
    run.wait()
    run.check_end(0)
    lab.check_like_clean(stage)
    return run.output


def kill_and_resume(lab: Lab, stage: str, kills: int, plant: Plant = lambda: None) -> int:
    """At least so many kills, one to three in a training; each training ends as the clean one. The number of
    trainings. A failure names the training, to be done again alone."""
    done = trainings = 0
    while done < kills:
        rng = rng_of(stage, trainings)
        with told(f"FAULT_SEED={SEED}: training {trainings} of {stage}"):
            lab.reset()
            for _ in range(rng.choice((1, 1, 2, 3))):
                done += kill_at_random(lab, stage, rng, plant)
            go_on_to_the_end(lab, stage, plant)
        trainings += 1
    return trainings


@contextlib.contextmanager
def told(case: str) -> Iterator[None]:
    """Names the case whose check fails."""
    try:
        yield
    except Exception as error:
        error.add_note(case)
        raise


def epochs_told(output: str) -> dict[str, int]:
    """The last epoch that the output tells, by job."""
    told = {}
    for job, epoch in re.findall(r"@\w+: (\S+), seed \d+: epoch (\d+)/", output):
        told[job] = int(epoch)
    return told


def _write_images(folder: Path) -> dict[str, FilePin]:
    """Four small files of random images and labels, and their pins."""
    folder.mkdir(parents=True)
    numbers = numpy.random.default_rng(0)
    pins = {}
    for part, images in (("train", 240), ("t10k", 40)):
        for kind, header, size, top in (("images-idx3", 16, 28 * 28, 256), ("labels-idx1", 8, 1, 10)):
            content = bytes(header) + numbers.integers(0, top, images * size, numpy.uint8).tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(content)
            pins[f"{part}-{kind}-ubyte"] = FilePin(len(content), hashlib.sha256(content).hexdigest())
    return pins


def _tiny_params() -> dict[str, Any]:
    """Two trainings of a few epochs, with momentum, batch norm and a schedule: all that a resumed one could lose."""
    params = load_document(ROOT / "params.yaml")
    study = params["studies"][STUDY]
    params["studies"], params["run"] = {STUDY: study}, {STUDY: "mnist"}
    params["datasets"] = {"mnist": {"folder": None, "validation_size": 100, "split_seed": 0}}
    params["compute"] |= {"workers": 1, "supernet_threads": 2, "standalone_threads": 1, "precision": "fp32"}
    study["space"][1]["depths"], study["space"][3]["depths"] = [1, 2], [2]
    for layer in study["space"]:
        layer |= {"channels": 2} if "channels" in layer else {}
    study["training_size"] = 120
    study["supernet"] |= {"epochs": 5, "batch_size": 30}
    study["standalone"] |= {"epochs": 3, "batch_size": 30}
    study["evaluate"] |= {"batch_size": 60, "calibration_images": 60}
    return params
