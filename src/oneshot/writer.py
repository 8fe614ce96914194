"""One writer: a lock that says who holds it, and an end with the process that started this one."""

import contextlib
import json
import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from oneshot.errors import BUSY, OneshotError


@contextlib.contextmanager
def sole_writer(path: Path, address: str) -> Iterator[None]:
    """Holds the lock file `path`. Raises OneshotError (exit 75) at once where another process does; a dead one holds
    nothing, since the system lets go of its lock."""
    from filelock import FileLock, Timeout  # takes a tenth of a second

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OneshotError(
            f"{address}: {_holder(path)} is at it; one process at a time writes what it writes; "
            "wait until that one has ended, or end it, and run again",
            BUSY,
        ) from None
    try:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        since = datetime.now().isoformat(" ", "seconds")
        path.write_text(json.dumps({"pid": os.getpid(), "since": since, "command": command}))
        yield
    finally:
        with contextlib.suppress(OSError):
            path.write_text("")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file now."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _holder(path: Path) -> str:
    for _ in range(20):
        try:
            record = json.loads(path.read_text())
            return f"process {record['pid']} (`{record['command']}`, since {record['since']})"
        except (OSError, ValueError, LookupError, TypeError):
            time.sleep(0.02)  # it has only just taken the lock
    return "another process"


def end_with_starter(name: str) -> None:
    """SIGTERM to this process as soon as the one that set its variable `name` is dead, whatever it died of. That is the
    nearest one above which has not the variable itself: between them may be a shell. Only Linux can tell."""
    if sys.platform != "linux":
        return
    try:
        starter = _starter(f"{name}={os.environ[name]}".encode())
        # Who adopts orphans is of another session.
        descriptor = os.pidfd_open(starter) if os.getsid(starter) == os.getsid(0) else None
    except (FileNotFoundError, ProcessLookupError):
        descriptor = None
    except OSError:  # a Linux without pidfd
        return
    if descriptor is None:  # it is dead already
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        threading.Thread(target=_end_after, args=(descriptor,), daemon=True).start()


def _starter(variable: bytes) -> int:
    process = os.getppid()
    with contextlib.suppress(PermissionError):  # somebody else's
        while variable in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            state = Path(f"/proc/{process}/stat").read_text()
            process = int(state.rpartition(")")[2].split()[1])
    return process


def _end_after(descriptor: int) -> None:
    select.select([descriptor], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
