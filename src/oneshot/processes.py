"""Processes forked from one that has imported what they need. They hear no interruption."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

OPTIMIZER = "torch._dynamo"
"""What torch.optim imports when it is first used: more than a second, for each process that trains."""


def prepare_processes(*modules: str) -> ForkServerContext:
    """Begins to import them, unless others were before, in the process that this one's are forked from: once, and the
    memory is shared.

    Not forked from this one: a fork inherits torch's thread pools, once they have worked, in a state that can hang.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    with interruptions_blocked():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def interruptions_blocked() -> Iterator[None]:
    """For a process that is started meanwhile, which inherits this: an interruption is its parent's to handle."""
    resource_tracker.ensure_running()  # its own start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
