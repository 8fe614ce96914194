"""What works in the background does what it was told, in order, and costs its caller no more than was agreed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from oneshot.background import Background


class Diary:
    """Writes what it hears into a file."""

    def __init__(self, file: Path):
        self.file = file
        self.failure: str | None = None

    def note(self, text: str) -> None:
        with self.file.open("a") as file:
            file.write(f"{text}\n")

    def sleep(self, seconds: float) -> None:
        self.note("asleep")
        time.sleep(seconds)

    def sleep_in_steps(self, steps: int, seconds: float) -> Iterator[None]:
        for _ in range(steps):
            time.sleep(seconds)
            yield
        self.note("awake")

    def fail(self, reason: str) -> None:
        self.failure = reason

    def stumble(self) -> None:
        raise ValueError("stumbled")

    def die(self) -> None:
        os._exit(1)

    def abandon(self) -> None:
        self.note("abandoned")


def wait_for(file: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def diary(file: Path) -> Background:
    return Background(Diary, file)


def test_all_that_was_told_is_done_in_order_before_the_end(diary: Background, file: Path) -> None:
    for number in range(2000):
        diary.tell("note", str(number))

    assert diary.close(60) is None
    assert file.read_text().split() == [str(number) for number in range(2000)]


def test_telling_does_not_wait_while_the_other_is_busy(diary: Background) -> None:
    started = time.monotonic()
    diary.tell("sleep", 600)
    for _ in range(2000):
        diary.tell("note", "more than a pipe holds" * 10)
    assert time.monotonic() - started < 1

    assert diary.close(0.5) == "no answer within 0 seconds"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(("seconds", "failure"), [(2.5, None), (0.2, "no answer within 0 seconds")])
def test_one_that_gives_signs_of_life_is_waited_for(seconds: float, failure: str | None, diary: Background) -> None:
    diary.tell("sleep_in_steps", 5, 0.7)

    assert diary.close(seconds) == failure


def test_one_that_was_told_nothing_is_not_waited_for(diary: Background) -> None:
    started = time.monotonic()

    assert diary.close(60) is None
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("method", "failure"), [("fail", "no room"), ("stumble", "stumbled"), ("die", "its process died")]
)
def test_a_failure_is_told_at_the_end(diary: Background, method: str, failure: str) -> None:
    diary.tell(method, *(["no room"] if method == "fail" else []))

    assert diary.close(60) == failure


def test_an_interruption_reaches_the_caller_alone(diary: Background, file: Path) -> None:
    diary.tell("sleep", 1)
    wait_for(file, "asleep")
    alive = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    (process,) = (child for child in alive if "spawn_main" in " ".join(child.cmdline()))
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    diary.tell("note", "awake")

    assert diary.close(60) is None
    assert file.read_text().split() == ["asleep", "awake"]


def test_the_callers_death_is_noticed(file: Path) -> None:
    code = f"import sys, os, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
    code += "from test_background import Background, Diary, wait_for; "
    code += f"file = Path({str(file)!r}); diary = Background(Diary, file); diary.tell('note', 'begun'); "
    code += "wait_for(file, 'begun'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL

    wait_for(file, "abandoned")
