"""How the console script ends: with the code and the lines of its command, or of the signal, whenever it comes."""

import signal
import subprocess
import sys

import pytest
from project import ENVIRONMENT, ROOT

from oneshot.errors import IO, USAGE

START = """
import collections.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
"""
INTERRUPTED_IMPORT = """
left = int(sys.argv[2])
def hear(event, _):
    global left
    left -= event == "import"
    if event == "import" and left == 0:
        os.kill(os.getpid(), int(sys.argv[1]))
sys.addaudithook(hear)
from oneshot.cli import main
main(["check"])
"""
LOST_INTERRUPTION = """
import oneshot.commands
from oneshot.cli import main
def lose(*_, **__):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
    except BaseException:
        raise ImportError("cannot load module more than once")
oneshot.commands.main = lose
main()
"""
FAILING_THREAD = """
import threading
import oneshot.commands
from oneshot.cli import main
def work(*_, **__):
    interrupted = threading.Event()
    thread = threading.Thread(target=lambda: (interrupted.wait(), 1 / 0))
    thread.start()
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
    finally:
        interrupted.set()
        thread.join()
oneshot.commands.main = work
main()
"""
INTERRUPTED_END = """
from oneshot.cli import main
install, strikes = signal.signal, [int(sys.argv[1])]
def strike(number, handler):
    if handler == signal.SIG_IGN and strikes:
        os.kill(os.getpid(), strikes.pop())
    install(number, handler)
signal.signal = strike
main(["--version"])
"""
LATE_INTERRUPTION = """
import atexit
from oneshot.cli import main
atexit.register(os.kill, os.getpid(), int(sys.argv[1]))
main(["--version"])
"""


def run(program: str, number: int, *arguments: int) -> tuple[int, str]:
    command = [sys.executable, "-c", START + program, *map(str, (number, *arguments))]
    ended = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stderr


def check_end(number: signal.Signals, code: int, said: str) -> None:
    (line,) = said.splitlines()
    assert line.startswith(f"error: ended by {number.name}; ") and code == 128 + number


@pytest.mark.parametrize("at", [3, 20, 60, 100, 140, 180, 220])  # the first two are those of the script
def test_interrupted_import_is_the_end(at: int) -> None:
    number = (signal.SIGINT, signal.SIGTERM)[at // 20 % 2]

    check_end(number, *run(INTERRUPTED_IMPORT, number, at))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "program",
    [LOST_INTERRUPTION, FAILING_THREAD, INTERRUPTED_END],
    ids=["lost in a library", "fatal to a thread", "at the very end"],
)
def test_interruption_is_one_whatever_it_meets(number: signal.Signals, program: str) -> None:
    check_end(number, *run(program, number))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_after_the_end_changes_nothing(number: signal.Signals) -> None:
    assert run(LATE_INTERRUPTION, number) == (0, "")


def script(redirected: str) -> tuple[int, str, str]:
    """Code and streams of the console script, its arguments followed by what a shell does with its streams."""
    command = f'set -o pipefail; "{sys.executable}" -c "from oneshot.cli import script; script()" {redirected}'
    buffered = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, env=buffered, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def test_script_ends_as_the_command_does_and_says_all_that_it_said() -> None:
    code, said, failed = script("check")
    assert code == 0 and "depths: 9 architectures" in said and not failed
    code, said, failed = script("nothing")
    assert code == USAGE and not said and len(failed.splitlines()) == 1


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-"])
def test_script_with_a_closed_stream_ends_well(redirected: str) -> None:
    code, _, failed = script(f"check {redirected}")
    assert code == 0 and not failed


@pytest.mark.parametrize("redirected", ["--version > /dev/full", "check > /dev/full"])
def test_output_that_cannot_be_written_is_one_line_and_a_code(redirected: str) -> None:
    code, _, failed = script(redirected)
    assert code == IO and len(failed.splitlines()) == 1


def test_a_reader_that_has_read_enough_is_no_fault_to_tell() -> None:
    code, _, failed = script("show --markdown | true")
    assert code == IO and not failed


def test_script_runs_what_was_registered_for_its_end() -> None:
    program = "import atexit; from oneshot.cli import script; atexit.register(print, 'the end'); script()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "--version"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "the end"
