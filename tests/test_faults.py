"""Training stages that are killed, interrupted, started eight at a time, and given damaged files end as the clean run
did, or say why not; and the checks that say so notice the bugs that they are for.

`make test` does a few of each, `make faults` as many as README.md says. A failure names its seed: FAULT_SEED=... again.
"""

import contextlib
import json
import os
import random
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from faults import (
    SAVE,
    SEED,
    STAGES,
    START,
    STUDY,
    Lab,
    Plant,
    Run,
    count,
    epochs_told,
    go_on_to_the_end,
    kill_and_resume,
    pause,
    rng_of,
    told,
)

import oneshot.checkpoint
import oneshot.tables
import oneshot.training
import pipeline.runner
import pipeline.train_standalones
import pipeline.train_supernet
from oneshot.catalog import CATALOG, KnownDataset
from oneshot.checkpoint import LARGEST, Checkpoint, Checkpoints, serialise, sha256
from oneshot.data import load, verify_training_files
from oneshot.errors import BAD_DATA, BUSY, OneshotError
from oneshot.randomness import generator
from oneshot.state import restore
from oneshot.training import Trainer

pytestmark = pytest.mark.faults
Record = Callable[[str, Any], None]
Damage = Callable[[random.Random, bytes, bytes], bytes]
"""The file, and another whole one of its kind, to what is left of it."""
PICKLE = b"cos\nsystem\n(S'touch PWNED'\ntR."
EPOCHS = {"train_supernet": 5, "train_standalones": 3}


# Kills and interruptions


@pytest.mark.parametrize("stage", STAGES)
def test_killed_trainings_end_with_the_bytes_of_the_clean_one(lab: Lab, stage: str, record_property: Record) -> None:
    kills = count("KILLS", 2) // 2
    kill_and_resume(lab, stage, kills)
    record_property("training killed, half of them while it saved", kills)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_trainings_say_so_and_end_with_the_bytes_of_the_clean_one(
    lab: Lab, stage: str, record_property: Record
) -> None:
    wanted = count("SIGNALS", 2) // 2
    interrupted = trial = 0
    while interrupted < wanted:
        rng = rng_of("interrupt", stage, trial)
        number = rng.choice((signal.SIGINT, signal.SIGTERM))
        with told(f"FAULT_SEED={SEED}: {number.name} {trial} of {stage}"):
            interrupted += interrupt(lab, stage, number, rng)
            go_on_to_the_end(lab, stage)
        trial += 1
    record_property("training interrupted, SIGINT or SIGTERM", wanted)


def interrupt(lab: Lab, stage: str, number: signal.Signals, rng: random.Random) -> bool:
    """Whether it was still at work. One in four hears the signal twice."""
    lab.reset()
    run = lab.start(stage)
    run.await_beat(START)
    pause(rng.uniform(0, lab.seconds[stage]))
    for _ in range(rng.choice((1, 1, 1, 2))):
        run.kill(number)
        pause(rng.uniform(0, 0.02))
    run.wait()
    run.check_end(0, 128 + number)
    lab.check_whole()
    kept = {file.parent.name: epoch for file, epoch in lab.checkpoints().items()}
    for job, epoch in epochs_told(run.output).items():
        assert epoch == EPOCHS[stage] or kept.get(f"{job}, seed 0", 0) >= epoch, run.output
    return run.code != 0


# Damaged files


def flip(rng: random.Random, content: bytes, other: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def cut(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def lengthen(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content + rng.randbytes(rng.randint(1, 5000))


def blank(rng: random.Random, content: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(content) - 512)
    return content[:start] + bytes(512) + content[start + 512 :]


def swap(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return other


def splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    place = rng.randrange(1, min(len(content), len(other)))
    return content[:place] + other[place:]


def noise(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return rng.randbytes(rng.randint(0, 2000))


def forge(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """A right hash, of a body that no training has kept: a pickle, a bomb, another's header."""
    header, _, weights = content.partition(b"\n")[2].partition(b"\n")
    body = rng.choice(
        (
            PICKLE,
            header + b"\n" + PICKLE,
            header + b"\n" + (1 << 60).to_bytes(8, "little") + weights,
            header + b"\n" + weights[: len(weights) // 2],
            b"[" * 100_000,
            b"[]\n" + weights,
            b"{}\n" + weights,
            json.dumps(json.loads(header) | {"fingerprint": "another"}).encode() + b"\n" + weights,
            other.partition(b"\n")[2],
        )
    )
    return sha256(body).encode() + b"\n" + body


def unpickle(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return PICKLE


DAMAGES: tuple[Damage, ...] = (flip, flip, flip, cut, cut, lengthen, blank, swap, splice, noise, forge, unpickle)


@pytest.fixture(scope="module")
def kept(lab: Lab) -> Mapping[Path, bytes]:
    """The two checkpoints of a supernet that was killed while it saved its fourth epoch."""
    lab.reset()
    run = lab.start("train_supernet")
    run.await_beat(SAVE, 7)  # each file, and then its folder
    run.kill()
    run.wait()
    return {file: file.read_bytes() for file in lab.checkpoints()}


def check_damages(kept: Mapping[Path, bytes], folder: Path, cases: int) -> None:
    """Of checkpoints, `kept` the true ones: what is damaged is never used, but set aside, and the one before it is."""
    files = sorted(kept, key=lambda file: file.name)
    (fingerprint,) = {file.name.partition("-")[0] for file in files}
    older, newest = ((folder / file.name, kept[file]) for file in files)
    for case in range(cases):
        rng = rng_of("checkpoint", case)
        damage = rng.choice(DAMAGES)
        victims = rng.choice(([newest], [newest], [newest, older]))
        with told(f"FAULT_SEED={SEED}: checkpoint {case}, {damage.__name__}"):
            written = {older[0]: older[1], newest[0]: newest[1]}
            for (path, content), (_, other) in zip(victims, ([older, newest]), strict=False):
                written[path] = damage(rng, content, other)
            check_damaged(folder, fingerprint, written, dict((older, newest)))


def check_damaged(folder: Path, fingerprint: str, written: Mapping[Path, bytes], true: Mapping[Path, bytes]) -> None:
    for path, content in written.items():
        path.write_bytes(content)
    notes: list[str] = []
    found = Checkpoints(folder, fingerprint).newest(notes.append)
    whole = [path for path in true if written[path] == true[path]]
    damaged = [path for path in true if path not in whole and not any(better > path for better in whole)]
    if whole:
        assert found is not None and found.epoch == int(whole[-1].stem.rpartition("-")[2])
        header, _, weights = true[whole[-1]].partition(b"\n")[2].partition(b"\n")
        assert serialise(found.tensors) == weights and found.record == json.loads(header)["record"]
    else:
        assert found is None
    assert len(notes) == len(damaged) and all("damaged" in note and note.isprintable() for note in notes)
    assert all(path.with_suffix(".damaged").read_bytes() == written[path] for path in damaged)


def test_damaged_checkpoint_is_never_used(
    kept: Mapping[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    cases = count("CHECKPOINTS", 100)
    check_damages(kept, tmp_path / "checkpoints", cases)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoints"]  # no payload ran
    record_property("checkpoint damaged", cases)


@pytest.mark.parametrize("size", [1 << 28, LARGEST + 1])
def test_bomb_of_zeros_is_not_read_into_memory(size: int, tmp_path: Path, record_property: Record) -> None:
    with (tmp_path / "f-3.checkpoint").open("wb") as file:
        file.truncate(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    notes: list[str] = []
    assert Checkpoints(tmp_path, "f").newest(notes.append) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000 and len(notes) == 1
    record_property("checkpoint damaged", 1)


def test_training_whose_checkpoints_are_damaged_ends_with_the_bytes_of_the_clean_one(
    lab: Lab, record_property: Record
) -> None:
    cases = count("DAMAGED_TRAININGS", 1)
    for case in range(cases):
        rng, stage = rng_of("damaged", case), STAGES[case % 2]
        with told(f"FAULT_SEED={SEED}: damaged training {case} of {stage}"):
            lab.reset()
            run = lab.start(stage)
            run.await_beat(SAVE, rng.randint(5, 6))
            run.kill()
            run.wait()
            files = list(lab.checkpoints())
            for file in files[-rng.randint(1, 2) :]:
                file.write_bytes(rng.choice(DAMAGES)(rng, file.read_bytes(), files[0].read_bytes() + b"!"))
            assert "is not used" in go_on_to_the_end(lab, stage)
    record_property("training gone on with damaged checkpoints", cases)


@pytest.fixture
def tiny_mnist(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(CATALOG, "mnist", KnownDataset("MNIST", None, lab.pins))
    folder = tmp_path / "mnist"
    folder.mkdir()
    return folder


def test_damaged_dataset_is_refused_with_its_name_and_both_hashes(
    lab: Lab, tiny_mnist: Path, record_property: Record
) -> None:
    true = {name: (lab.folder / "data" / "mnist" / name).read_bytes() for name in lab.pins}
    cases = count("DATASETS", 40)
    for case in range(cases):
        rng = rng_of("dataset", case)
        damage, (victim, other) = rng.choice((flip, cut, lengthen, swap, splice, noise)), rng.sample(sorted(true), 2)
        with told(f"FAULT_SEED={SEED}: dataset {case}, {damage.__name__} of {victim}"):
            content = damage(rng, true[victim], true[other])
            for name in true:
                (tiny_mnist / name).write_bytes(content if name == victim else true[name])
            with pytest.raises(OneshotError) as refused:
                load(tiny_mnist, "t10k") if victim.startswith("t10k") else verify_training_files(tiny_mnist)
            assert refused.value.exit_code == BAD_DATA
            read = content[: lab.pins[victim].size + 1]  # no further than shows that it is too long
            for said in (str(tiny_mnist / victim), sha256(read), lab.pins[victim].sha256):
                assert said in str(refused.value)
    record_property("dataset file damaged", cases)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_does_not_begin_on_a_damaged_dataset(lab: Lab, stage: str, record_property: Record) -> None:
    file = lab.folder / "data" / "mnist" / "train-labels-idx1-ubyte"
    true = file.read_bytes()
    lab.reset()
    file.write_bytes(flip(rng_of("stage", stage), true, b""))
    try:
        run = lab.start(stage)
        run.wait()
    finally:
        file.write_bytes(true)
    run.check_end(BAD_DATA)
    assert file.name in run.output and lab.results() == {}
    record_property("dataset file damaged", 1)


# One writer


def start_together(lab: Lab, stage: str, number: int, plant: Plant = lambda: None) -> list[Run]:
    """All at the lock at the same time. Whoever is let in waits until the others have ended; one alone may be."""
    (arrived, at_gate), (gate, opened), (inside, let_in), (end, ended) = [os.pipe() for _ in range(4)]

    def hold_up() -> None:
        plant()
        lock = pipeline.runner.sole_writer

        @contextlib.contextmanager
        def gated(path: Path, address: str) -> Iterator[None]:
            os.write(at_gate, b".")
            os.read(gate, 1)
            with lock(path, address):
                os.write(let_in, b".")
                os.read(end, 1)
                yield

        pipeline.runner.sole_writer = gated

    lab.reset()
    runs = [lab.start(stage, hold_up) for _ in range(number)]
    for _ in runs:
        os.read(arrived, 1)
    os.write(opened, b"." * number)
    entered, deadline = 0, time.monotonic() + 60
    while entered < 2 and sum(map(has_ended, runs)) < number - 1 and time.monotonic() < deadline:
        if select.select([inside], [], [], 0.02)[0]:
            entered += len(os.read(inside, number))
    os.write(ended, b"." * number)
    for run in runs:
        run.wait()
    for pipe in (arrived, at_gate, gate, opened, inside, let_in, end, ended):
        os.close(pipe)
    return runs


def has_ended(run: Run) -> bool:
    return os.waitid(os.P_PID, run.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def check_one_trains(lab: Lab, stage: str, number: int, plant: Plant = lambda: None) -> None:
    runs = start_together(lab, stage, number, plant)
    assert sorted(run.code for run in runs) == [0] + [BUSY] * (number - 1), [run.output for run in runs]
    (winner,) = (run for run in runs if run.code == 0)
    for run in runs:
        run.check_end(0, BUSY)
        assert run is winner or f"{stage}@{STUDY}: process {winner.process} (`" in run.output
    lab.check_like_clean(stage)


def test_one_of_those_that_start_together_trains(lab: Lab, record_property: Record) -> None:
    starters = count("STARTERS", 3)
    check_one_trains(lab, "train_supernet", starters)
    record_property("one of eight started at once", starters)


# The checks notice what they are for


def write_in_place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = len(content) // 2
    with path.open("wb") as file:
        file.write(content[:half])
        file.flush()
        os.fsync(file.fileno())
        time.sleep(0.02)
        file.write(content[half:])


def plant_writing_in_place() -> None:
    for module in (oneshot.checkpoint, oneshot.tables, pipeline.train_supernet, pipeline.train_standalones):
        module.write_whole = write_in_place


def plant_a_forgotten_optimizer() -> None:
    Trainer.restore = lambda self, stored: restore(
        self.model, {name: stored[name] for name in stored if "/" not in name}
    )


def plant_forgotten_buffers() -> None:
    whole = Trainer.restore

    def without_buffers(self: Trainer[Any], stored: Mapping[str, Any]) -> None:
        whole(self, dict(stored) | {name: buffer.clone() for name, buffer in self.model.named_buffers()})

    Trainer.restore = without_buffers


def plant_an_order_that_counts_from_the_start() -> None:
    epochs = iter(range(1, 1000))
    oneshot.training.generator = lambda seed, purpose, number: generator(seed, purpose, next(epochs))


def plant_no_lock() -> None:
    pipeline.runner.sole_writer = lambda path, address: contextlib.nullcontext()


@pytest.mark.parametrize(
    "bug",
    [
        plant_writing_in_place,
        *(
            pytest.param(bug, marks=pytest.mark.slow)
            for bug in (
                plant_a_forgotten_optimizer,
                plant_forgotten_buffers,
                plant_an_order_that_counts_from_the_start,
            )
        ),
    ],
)
def test_kills_find(lab: Lab, bug: Plant) -> None:
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        kill_and_resume(lab, "train_supernet", 30, bug)


def test_damages_find_that_no_hash_is_checked(
    kept: Mapping[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Checkpoints, path: Path, epoch: int) -> Checkpoint:
        header, _, weights = path.read_bytes().partition(b"\n")[2].partition(b"\n")
        return self._parse(header, weights, epoch)

    monkeypatch.setattr(Checkpoints, "_read", read)
    with pytest.raises(AssertionError):
        check_damages(kept, tmp_path, 30)


def test_starters_find_that_there_is_no_lock(lab: Lab) -> None:
    with pytest.raises(AssertionError):
        check_one_trains(lab, "train_supernet", 2, plant_no_lock)
