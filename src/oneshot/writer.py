"""One writer: a lock that says who holds it, and an end with the process that started this one."""

import contextlib
import ctypes
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from oneshot.errors import BUSY, OneshotError

PR_SET_PDEATHSIG = 1  # of prctl.h


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
        path.write_text("")
        lock.release()


def _holder(path: Path) -> str:
    for _ in range(20):
        try:
            record = json.loads(path.read_text())
            return f"process {record['pid']} (`{record['command']}`, since {record['since']})"
        except (OSError, ValueError, LookupError, TypeError):
            time.sleep(0.02)  # it has only just taken the lock
    return "another process"


def end_with_parent() -> None:
    """SIGTERM to this process as soon as its parent is dead, whatever it died of. Only Linux can do it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # Dead already: then the parent is whoever adopts orphans, who is of another session.
    with contextlib.suppress(ProcessLookupError):
        if os.getsid(os.getppid()) != os.getsid(0):
            os.kill(os.getpid(), signal.SIGTERM)
