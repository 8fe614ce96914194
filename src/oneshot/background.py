"""An object in a process of its own. It is told things, and never waited for but at the end, and then not for long.

A process, not a thread: the imports of two large libraries take turns in one process, and a call that hangs in a thread
cannot be ended. It does not hear an interruption, which is the caller's to pass on; the caller's death ends it.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Protocol

from oneshot.jobs import interruptions_blocked


class Told(Protocol):
    @property
    def failure(self) -> str | None:
        """Why it could not do what it was told, in one line."""

    def abandon(self) -> None:
        """The caller died without a word."""


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
        """Waits at most so long for all that it was told; the failure, if any."""
        self._waiting.put(None)
        try:
            return self._wait(seconds) if self._told else None
        except BaseException:
            self._wait(seconds)  # an interruption waits, too; the second one does not
            raise
        finally:
            self._process.kill()

    def _wait(self, seconds: float) -> str | None:
        self._process.join(seconds)
        if self._process.is_alive():
            return f"no answer within {seconds:.0f} seconds"
        try:
            failure: str | None = self._connection.recv()
        except (EOFError, ConnectionResetError):
            return "its process died"
        return failure

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):  # after its death there is nobody to tell
            while (message := self._waiting.get()) is not None:
                self._connection.send(message)
            self._connection.send(None)


def _serve(connection: Connection, make: Callable[..., Told], arguments: tuple[Any, ...]) -> None:
    os.nice(5)  # the caller's own work comes first
    try:
        told = make(*arguments)
        try:
            while message := connection.recv():
                method, told_arguments = message
                getattr(told, method)(*told_arguments)
        except EOFError:
            told.abandon()
            return
        failure = told.failure
    except Exception as error:
        failure = " ".join(str(error).split()) or type(error).__name__
    connection.send(failure)
