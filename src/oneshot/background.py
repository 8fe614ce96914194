"""An object in a process of its own. It is told things, and never waited for but at the end, and then not for long.

A process, not a thread: the imports of two large libraries take turns in one process, and a call that hangs in a thread
cannot be ended. It does not hear an interruption, which is the caller's to pass on; the caller's death ends it.
"""

import atexit
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Protocol

from oneshot.garbage import collect_rarely
from oneshot.jobs import interruptions_blocked


class Told(Protocol):
    @property
    def failure(self) -> str | None:
        """Why it could not do what it was told, in one line."""

    def abandon(self) -> None:
        """The caller died without a word."""


ALIVE = True
"""A sign of life. The last word is a failure, or None."""
MAKING_SECONDS = 60
"""To be made in: a busy machine takes its time to import a large library."""


class Background:
    def __init__(self, make: Callable[..., Told], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        with interruptions_blocked():
            self._process.start()
        theirs.close()
        self._told = False
        self._waiting: SimpleQueue[tuple[str, tuple[Any, ...]] | None] = SimpleQueue()
        # A pipe that is full would stop whoever writes to it.
        threading.Thread(target=self._pass_on, daemon=True).start()

    def tell(self, method: str, *arguments: Any) -> None:
        self._told = True
        self._waiting.put((method, arguments))

    def close(self, seconds: float) -> str | None:
        """Waits for all that it was told, but once it is made no longer than so without a sign of life, which each step
        of a method that is an iterator is; the failure, if any."""
        self._waiting.put(None)
        try:
            return self._wait(seconds) if self._told else None
        except BaseException:
            self._wait(seconds)  # an interruption waits, too; the second one does not
            raise
        finally:
            self._process.kill()

    def _wait(self, seconds: float) -> str | None:
        patience = max(seconds, MAKING_SECONDS)
        try:
            while self._connection.poll(patience):
                if (answer := self._connection.recv()) is not ALIVE:
                    self._process.join(seconds)
                    failure: str | None = answer
                    return failure
                patience = seconds
        except (EOFError, ConnectionResetError):
            return "its process died"
        return f"no answer within {patience:.0f} seconds"

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):  # after its death there is nobody to tell
            while (message := self._waiting.get()) is not None:
                self._connection.send(message)
            self._connection.send(None)


def _serve(connection: Connection, make: Callable[..., Told], arguments: tuple[Any, ...]) -> None:
    collect_rarely()
    os.nice(5)  # the caller's own work comes first
    try:
        told = make(*arguments)
        connection.send(ALIVE)
        try:
            while message := connection.recv():
                method, told_arguments = message
                for _ in getattr(told, method)(*told_arguments) or ():
                    connection.send(ALIVE)
        except (EOFError, ConnectionResetError):  # the latter, if it died with signs of life unread
            told.abandon()
            return
        failure = told.failure
    except Exception as error:
        failure = " ".join(str(error).split()) or type(error).__name__
    connection.send(failure)
    # What is left to the system here, a large library would take apart for a second.
    atexit._run_exitfuncs()
    os._exit(0)
