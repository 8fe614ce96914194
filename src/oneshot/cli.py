"""The console script `oneshot`. SIGINT and SIGTERM end it with one error line, whenever they come."""

import os
import signal
import sys
from collections.abc import Callable, Sequence


class Interruption(BaseException):
    """By a signal. Not KeyboardInterrupt, of which click makes something else."""


def script() -> None:
    """`main`, and an end that leaves to the system what Python would take apart first: torch's modules, for a second.
    The workers of a training, which are forked, end the same way."""
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        import atexit

        from oneshot.errors import IO

        atexit._run_exitfuncs()
        code = end.code
        for stream in filter(None, (sys.stdout, sys.stderr)):  # one that was closed is None
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or IO  # what was said is lost
        os._exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends the process: with 128 and the signal's number if one came, else as the command says."""
    _hear(_end_at_once)
    from oneshot.garbage import collect_rarely

    collect_rarely()
    from oneshot.commands import main as run  # the first of the imports that take time

    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        _silence_threads()
        _end_workers()
        raise Interruption

    try:
        try:
            _hear(interrupt)
            run(arguments, prog_name="oneshot")
        finally:
            _hear(signal.SIG_IGN)  # what was done is done
    except BaseException:
        if not came:
            raise
        # Whatever became of the interruption: a library whose import it ends may say that the import failed.
    _tell(came[0])
    sys.exit(128 + came[0])


def _hear(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(number, handler)


def _end_at_once(number: int, _: object) -> None:
    """While nothing is under way."""
    _tell(number)
    os._exit(128 + number)


def _silence_threads() -> None:
    """The executor's own can fail over workers that end while their jobs are cancelled, which is no news."""
    if threading := sys.modules.get("threading"):
        threading.excepthook = lambda _: None  # type: ignore[attr-defined]


def _end_workers() -> None:
    """An executor that is interrupted while it starts them would wait for all that they were given. The tracker's
    process does not hear this: it has yet to tell of the end."""
    # No import here, which may be the one that was interrupted.
    for worker in getattr(sys.modules.get("multiprocessing.process"), "active_children", tuple)():
        worker.terminate()


def _tell(number: int) -> None:
    print(
        f"error: ended by {signal.Signals(number).name}; trainings are kept up to their last whole epoch; "
        "run `dvc repro` to go on",
        file=sys.stderr,
        flush=True,
    )
