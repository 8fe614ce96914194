"""One process at a time writes what a stage writes, and it does not outlive the one that started it."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from oneshot.commands import main
from oneshot.errors import BUSY, OneshotError
from oneshot.writer import end_with_starter, sole_writer
from pipeline.layout import Layout

ADDRESS = "train_supernet@depths"
HOLD = f"""
import sys, time
from pathlib import Path
from oneshot.writer import sole_writer
with sole_writer(Path(sys.argv[1]), "{ADDRESS}"):
    print("held", flush=True)
    time.sleep(600)
"""
# As dvc starts a stage: by a shell, which may become the stage or wait for it.
STARTER = """
import os, shlex, subprocess, sys, time
command = shlex.join([sys.executable, "-c", sys.argv[1]]) + sys.argv[3]
subprocess.Popen([sys.argv[2], "-c", command], env=os.environ | {"STAGE": "a"})
time.sleep(600)
"""
STAGE = """
import os, time
from oneshot.writer import end_with_starter
end_with_starter("STAGE")
print(os.getpid(), flush=True)
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "locks" / f"{ADDRESS}.lock"


@pytest.fixture
def holder(lock):
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_writer_is_refused_at_once_and_told_of_the_first(lock, holder):
    started = time.monotonic()
    with pytest.raises(OneshotError) as refused, sole_writer(lock, ADDRESS):
        pass
    assert time.monotonic() - started < 1
    assert refused.value.exit_code == BUSY == 75
    assert str(refused.value).startswith(f"{ADDRESS}: process {holder.pid} (`")
    assert "since 20" in str(refused.value) and "end it" in str(refused.value)


def test_lock_of_a_dead_process_holds_nobody(lock, holder):
    holder.kill()
    holder.wait()
    with sole_writer(lock, ADDRESS):
        assert str(os.getpid()) in lock.read_text()


def test_lock_is_let_go_whatever_ends_its_holder(lock):
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), sole_writer(lock, ADDRESS):
            raise error
    with sole_writer(lock, ADDRESS):
        pass


@pytest.mark.parametrize("record", [b"", b"\xff", b"[1]", b'{"pid": 1}'])
def test_holder_that_has_not_said_who_it_is_holds_all_the_same(lock, record):
    lock.parent.mkdir()
    with FileLock(lock):
        lock.write_bytes(record)
        with pytest.raises(OneshotError, match="another process is at it"), sole_writer(lock, ADDRESS):
            pass


def test_locks_of_two_stages_and_of_two_copies_of_a_project_do_not_meet():
    copies = [Layout(Path(root), Path("home")) for root in ("home", "copy")]
    assert len({layout.lock(address) for layout in copies for address in (ADDRESS, "report")}) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can do it")
@pytest.mark.parametrize("wait", ["time.sleep(600)", "while True: pass"])
@pytest.mark.parametrize("after", ["", "; true"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_stage_ends_with_its_starter_whatever_that_died_of(wait, after, shell):
    if not Path(shell).exists():
        pytest.skip(f"no {shell}")
    command = [sys.executable, "-c", STARTER, STAGE + wait, shell, after]
    environment = {name: value for name, value in os.environ.items() if name != "STAGE"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as starter:
        stage = int(starter.stdout.readline())
        starter.kill()
        closed, _, _ = select.select([starter.stdout], [], [], 20)  # by all who had it
    if not closed:
        os.kill(stage, signal.SIGKILL)
    assert closed


def _orphan(connection):
    """One whose starter is dead before it can ask."""
    os.setsid()  # whoever adopts it is of another session, as it is outside of tests
    if os.fork() == 0:
        while os.getppid() == os.getsid(0):
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, lambda *_: (connection.send("ended"), os._exit(0)))
        os.environ["STAGE"] = "a"
        end_with_starter("STAGE")
        connection.send("alive")
    os._exit(0)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can do it")
def test_stage_whose_starter_is_dead_already_ends_as_well():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_orphan, args=(theirs,))
    process.start()
    process.join()
    assert ours.poll(20) and ours.recv() == "ended"


def test_clean_takes_nothing_from_a_stage_that_runs(tmp_path, monkeypatch):
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    kept = tmp_path / ".work" / "finished"
    with sole_writer(Layout.find().lock(ADDRESS), ADDRESS):
        kept.touch()
        refused = CliRunner().invoke(main, ["clean"])
        assert refused.exit_code == BUSY and ADDRESS in refused.stderr and kept.exists()
    assert CliRunner().invoke(main, ["clean"]).exit_code == 0 and not (tmp_path / ".work").exists()
